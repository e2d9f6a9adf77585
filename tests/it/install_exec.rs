//! `influx-secrets install-exec`: what it writes is what an agent is willing to run, and runs.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    exec_agents::{datadog_with, vector},
    host::{Host, Ran, copy_program, ran},
};

/// A user of Debian's that is nobody else's, and its number.
const SOMEBODY: (&str, u32) = ("daemon", 1);

/// Whether this can become somebody else; says so if not.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("not root: cannot become another user");
    }
    is_root
}

/// A host whose tokens somebody may read, and a copy of the program that everybody may run.
fn host() -> (Host, PathBuf) {
    let host = Host::new();
    let user = SOMEBODY.0;
    host.list(&format!(
        "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\nallow = {{ users = [\"{user}\"] }}\n"
    ));
    host.apply();
    let program = host.path("influx-secrets");
    copy_program(env!("CARGO_BIN_EXE_influx-secrets"), &program);
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    (host, program)
}

fn run(program: &Path, umask: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("umask {umask}; exec \"$@\"")).arg("sh").arg(program).args(arguments);
    ran(command.stdin(Stdio::null()).output().unwrap())
}

fn no_leftovers(host: &Host) {
    let names = fs::read_dir(host.folder.path()).unwrap();
    let left = names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
}

#[test]
fn datadog_gets_a_script_of_its_own_user_that_nobody_else_may_touch() {
    if !is_root() {
        return;
    }
    let (host, program) = host();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    // A path that a shell would take apart.
    fs::create_dir(host.path("it's $HOME")).unwrap();
    let socket = host.path("it's $HOME/s.sock");
    symlink(host.path("run/secrets.sock"), &socket).unwrap();
    let path = host.path("backend");
    let arguments = ["install-exec", "--for=datadog", "--user", SOMEBODY.0, path.to_str().unwrap()];
    let arguments = [&arguments[..], &["--socket", socket.to_str().unwrap()]].concat();
    for umask in ["0", "077"] {
        let ran = run(&program, umask, &arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let line = format!("\nsecret_backend_command: \"{}\"\n", path.display());
        assert!(ran.stdout.contains(&line) && ran.stdout.contains("ENC[NAME]"), "{ran:?}");
        let file = fs::symlink_metadata(&path).unwrap();
        assert_eq!((file.mode(), file.uid(), file.gid()), (0o100_500, SOMEBODY.1, SOMEBODY.1), "{umask}");
        no_leftovers(&host);
    }
    let asked = |program: &Path, arguments: &[&str], version: &str| {
        let mut command = Command::new(program);
        command.uid(SOMEBODY.1).gid(SOMEBODY.1).args(arguments).current_dir("/");
        datadog_with(&mut command, program, &["t0"], version)
    };
    for version in ["1.0", "1.1"] {
        let seen = asked(&path, &[], version);
        assert_eq!(seen.secrets.unwrap()["t0"], host.live("t0")[0].secret, "{}", seen.log);
        assert_eq!(seen.log, "");
    }
    // The agent's own arguments come after those that are written there.
    let seen = asked(&path, &["--max-output=20"], "1.1");
    assert_eq!(seen.secrets, Err("it failed".to_owned()));
    assert!(seen.log.contains("more than the 20 that may be printed"), "{}", seen.log);
    // What a package installs it does not run, nor a link to it.
    let link = host.path("link");
    symlink(&program, &link).unwrap();
    for program in [&program, &link] {
        assert!(asked(program, &["backend"], "1.0").secrets.unwrap_err().contains("have rights on it"));
    }
    let version = Command::new(&path).arg("--version").uid(SOMEBODY.1).output().unwrap();
    assert!(version.stdout.starts_with(b"influx-secrets "), "{version:?}");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn vector_gets_one_that_root_alone_may_change() {
    if !is_root() {
        return;
    }
    let (host, program) = host();
    let path = host.path("backend");
    let (store, path) = (host.path("store"), path.to_str().unwrap());
    let arguments = ["install-exec", path, "--for", "vector", "--user", "root", "--timeout=9s"];
    let arguments = [&arguments[..], &["--max-output", "16MiB", "--store", store.to_str().unwrap()]].concat();
    for umask in ["0", "077"] {
        let ran = run(&program, umask, &arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let table = format!("\n[secret.influx]\ntype = \"exec\"\ncommand = [\"{path}\"]\n");
        assert!(ran.stdout.ends_with(&table), "{ran:?}");
        let file = fs::symlink_metadata(path).unwrap();
        assert_eq!((file.mode(), file.uid(), file.gid()), (0o100_755, 0, 0), "{umask}");
        no_leftovers(&host);
    }
    let script = fs::read_to_string(path).unwrap();
    assert!(script.contains(" --timeout=9000ms --max-output=16777216 \"$@\"\n"), "{script}");
    let seen = vector(&mut Command::new(path), &["t0"], None);
    assert_eq!(seen.secrets.unwrap()["t0"], host.live("t0")[0].secret, "{}", seen.log);
}

#[test]
fn what_would_not_run_is_told_with_what_to_do() {
    if !is_root() {
        return;
    }
    let (host, program) = host();
    let path = host.path("backend");
    let install = |user: &str, path: &Path| {
        run(&program, "022", &["install-exec", "--for", "datadog", "--user", user, path.to_str().unwrap()])
    };
    let failed = |ran: &Ran, said: &[&str]| {
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        for said in said {
            assert!(ran.stderr.contains(said), "{said:?}: {ran:?}");
        }
    };
    failed(
        &install("nobody_is_called_so", &path),
        &["there is no user \"nobody_is_called_so\"", "hint: install the agent first"],
    );
    failed(&install(SOMEBODY.0, &host.path("nowhere/backend")), &["cannot write", "hint: install the agent"]);
    assert!(!path.exists());
    // Somebody who cannot reach it.
    let private = host.path("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    failed(
        &install(SOMEBODY.0, &private.join("backend")),
        &["is written, but user daemon cannot run it: Permission denied", "reach every folder above both"],
    );
    let own = private.join("influx-secrets");
    copy_program(&program, &own);
    let arguments = ["install-exec", "--for=datadog", "--user=daemon", path.to_str().unwrap()];
    failed(&run(&own, "022", &arguments), &["cannot run it: it ended with exit status: 126"]);
    // Only root gives files away.
    let mut command = Command::new(&program);
    command.args(arguments).uid(12_345).stdin(Stdio::null());
    failed(&ran(command.output().unwrap()), &["as a file of user daemon", "hint: run this as root, or as"]);
    no_leftovers(&host);
}
