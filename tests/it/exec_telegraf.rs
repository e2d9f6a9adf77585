//! `influx-secrets exec -- telegraf`: a telegraf.conf with `@<influx:NAME>`, and what Telegraf is given in its place.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    agent::{Agent, refused},
    exec::Desk,
    host::{Host, Ran, files_below, ran, wait_until},
    peers::find,
};

/// A desk with something that is called like Telegraf, says that it is this version, and writes down what it is given: its
/// arguments, and what the files among them say. Then it ends, or waits for `HUP` to do it again and `TERM` to end.
fn desk(version: &str, waits: bool) -> Desk {
    let desk = Desk::new();
    let look = "look() { printf '%s\\n' \"$@\" >args; : >seen; for a in \"$@\"; do\n\
                test -e \"${a#*=}\" && find \"${a#*=}\" -name '*.conf' | sort | while read f; do\n\
                echo \"== ${f#*/influx-secrets-*/}\" >>seen; cat \"$f\" >>seen; done; done; echo . >>looks; }\n";
    let end = if waits { "trap 'look \"$@\"' HUP; while :; do sleep 0.05; done\n" } else { "exit 7\n" };
    desk.write(
        "telegraf",
        &format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'Telegraf {version} (git: HEAD@1)'; exit; fi\n\
             {look}look \"$@\"\n{end}"
        ),
    );
    fs::set_permissions(desk.path("telegraf"), fs::Permissions::from_mode(0o755)).unwrap();
    desk
}

fn run(desk: &Desk, arguments: &[&str]) -> Ran {
    desk.end(desk.command(arguments).spawn().unwrap())
}

/// Its arguments, with the private folder left out of them.
fn given(desk: &Desk) -> Vec<String> {
    let folder = |line: &str| {
        let Some((before, rest)) = line.split_once("/influx-secrets-") else { return line.to_owned() };
        let before = before.rsplit_once('=').map_or(String::new(), |(option, _)| format!("{option}="));
        format!("{before}{}", rest.split_once('/').unwrap().1)
    };
    desk.read("args").lines().map(folder).collect()
}

const CONF: &str = "[[outputs.influxdb_v2]]\n  token = \"@<influx:edge>\" # @<influx:edge>\n  x = \"@{influx:b}@<other:c>\"\n";

#[test]
fn each_version_is_given_the_store_that_fits_it_and_no_secret() {
    for (version, says, notes) in [
        ("1.39.3", "[[secretstores.vault]]", ""),
        ("1.40.0-1a2b3c4d", "token = \"none\"", ""),
        ("1.38.4", "[secretstores.vault.approle]", ""),
        ("1.38.3", "[secretstores.vault.approle]", "telegraf 1.38.3 ends on a reload (SIGHUP)"),
        ("1.37.0", "[secretstores.vault.approle]", "restart it instead"),
        ("1.36.4", "dynamic = true", "ends on a reload"),
        ("1.34.0", "dynamic = false", "takes a new token at a reload only: send this process SIGHUP"),
    ] {
        let desk = desk(version, false);
        desk.write("t.conf", CONF);
        fs::create_dir(desk.path("secrets")).unwrap();
        let ran = run(&desk, &["--", "./telegraf", "--config", "t.conf", "--test"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), ""), "{ran:?}");
        assert!(
            ran.stderr.contains(notes) && ran.stderr.is_empty() == notes.is_empty(),
            "{version}: {ran:?}"
        );
        let expected = ["--config", "0/t.conf", "--config", "influx-tokend/store.conf", "--test"];
        assert_eq!(given(&desk), expected, "{version}");
        let seen = desk.read("seen");
        let (conf, store) = seen.split_once("== influx-tokend/store.conf\n").unwrap();
        let rewritten = CONF.replace("@<influx:edge>", "@{influx:edge}");
        assert_eq!(conf, format!("== 0/t.conf\n{rewritten}"), "{version}");
        assert!(store.contains(says) && store.contains("id = \"influx\""), "{version}: {store}");
        let path = if store.contains("vault") { desk.reader.socket() } else { desk.path("secrets") };
        assert!(store.contains(path.to_str().unwrap()), "{version}: {store}");
        assert!(!store.contains("[[outputs"), "{store}");
    }
}

#[test]
fn folders_and_several_files_are_copied_as_telegraf_finds_them() {
    let desk = desk("1.39.3", false);
    desk.write("a.conf", "a = '@<influx:a>'\n");
    for folder in ["d", "d/sub", "d/..data", "d/empty", "elsewhere"] {
        fs::create_dir(desk.path(folder)).unwrap();
    }
    for (file, text) in [
        ("d/b.conf", "b = '@<influx:b>'\n"),
        ("d/sub/c.conf", "c = '@<influx:c>'\n"),
        // None of these Telegraf reads.
        ("d/..data/d.conf", "@<influx:d>"),
        ("d/.conf", "@<influx:e>"),
        ("d/f.conf.bak", "@<influx:f>"),
        ("elsewhere/g.conf", "@<influx:g>"),
    ] {
        desk.write(file, text);
    }
    symlink(desk.path("elsewhere"), desk.path("d/linked")).unwrap();
    symlink(desk.path("d/..data/d.conf"), desk.path("d/l.conf")).unwrap();
    let arguments =
        ["--", "./telegraf", "-config=a.conf", "--config-directory", "d", "--config", "https://h/x"];
    let arguments = [&arguments[..], &["-config-directory=d/empty", "secrets", "list"]].concat();
    assert_eq!(run(&desk, &arguments).code, Some(7));
    let expected = [
        "-config=0/a.conf",
        "--config",
        "influx-tokend/store.conf",
        "--config-directory",
        "1",
        "--config",
        "https://h/x",
        "-config-directory=4",
        "secrets",
        "list",
    ];
    assert_eq!(given(&desk), expected);
    let seen = desk.read("seen");
    for (file, text) in [
        ("0/a.conf", "a = '@{influx:a}'\n"),
        ("1/b.conf", "b = '@{influx:b}'\n"),
        ("1/l.conf", "@{influx:d}"),
        ("1/sub/c.conf", "c = '@{influx:c}'\n"),
    ] {
        assert!(seen.contains(&format!("== {file}\n{text}")), "{file}: {seen}");
    }
    assert_eq!(seen.matches("== ").count(), 5, "{seen}");
}

#[test]
fn a_store_that_is_configured_already_is_kept() {
    let desk = desk("1.39.3", false);
    desk.write("t.conf", "x = '@<influx:a>'\n");
    fs::create_dir(desk.path("d")).unwrap();
    desk.write("d/ours.conf", "[[secretstores.docker]]\n  id = \"influx\"\n  path = \"/x\"\n");
    let arguments = ["--", "./telegraf", "--config", "t.conf", "--config-directory", "d"];
    assert_eq!(run(&desk, &arguments).code, Some(7));
    assert_eq!(desk.read("seen").matches("[[secretstores").count(), 1);
    // That of another name is another's.
    let ran = run(&desk, &[&["--id", "mine"], &arguments[..]].concat());
    assert_eq!(ran.code, Some(7), "{ran:?}");
    let seen = desk.read("seen");
    assert!(seen.contains("id = \"mine\"") && seen.contains("@<influx:a>"), "{seen}");
}

#[test]
fn a_hangup_takes_what_is_edited_to_it_and_no_store_is_asked() {
    let desk = desk("1.39.3", true);
    fs::create_dir(desk.path("d")).unwrap();
    desk.write("d/a.conf", "a = '@<influx:a>'\n");
    desk.write("d/b.conf", "b = 1\n");
    let arguments = ["--env", "T=@{influx:t}", "--", "./telegraf", "--config-directory", "d"];
    let server = desk.reader.serve();
    let exec = desk.command(&arguments).spawn().unwrap();
    server.asks("/v1/secret/t").answer(200, "CANARY");
    let looks =
        |count: usize| wait_until("a look", || desk.read("looks").lines().count() >= count, String::new);
    looks(1);
    assert!(desk.read("seen").contains("== 0/b.conf\nb = 1\n"), "{}", desk.read("seen"));
    desk.write("d/a.conf", "a = 'new @<influx:a>'\n");
    fs::remove_file(desk.path("d/b.conf")).unwrap();
    fs::create_dir(desk.path("d/sub")).unwrap();
    desk.write("d/sub/c.conf", "c = 1\n");
    let pid = Pid::from_raw(exec.id().cast_signed()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    looks(2);
    let seen = desk.read("seen");
    assert!(seen.contains("== 0/a.conf\na = 'new @{influx:a}'\n== 0/sub/c.conf\nc = 1\n"), "{seen}");
    assert!(!seen.contains("b.conf"), "{seen}");
    // One that cannot be read any more leaves the copies, and is told.
    fs::rename(desk.path("d"), desk.path("gone")).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    looks(3);
    assert_eq!(desk.read("seen"), seen);
    kill_process(pid, Signal::TERM).unwrap();
    let ran = desk.end(exec);
    assert!(ran.stderr.contains("warning: cannot read \"d\": No such file"), "{ran:?}");
    server.assert_idle();
}

#[test]
fn what_telegraf_could_not_do_is_told_before_it_is_started() {
    let desk = desk("1.39.3", false);
    desk.write("t.conf", "\n\ntoken = \"@<influx:edge-writer>\"\n");
    desk.write("ok.conf", "\n");
    let failed = |arguments: &[&str], code: i32, said: &[&str]| {
        let ran = run(&desk, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        for said in said {
            assert!(ran.stderr.contains(said), "{said}: {ran:?}");
        }
        assert!(!desk.path("args").exists(), "it was started");
    };
    let with = |file: &'static str| ["--", "./telegraf", "--config", file];
    failed(
        &with("t.conf"),
        1,
        &["\"t.conf\", line 3: @{influx:edge-writer} is no reference", "hint: write @<influx:"],
    );
    failed(
        &["--", "./telegraf", "--test"],
        1,
        &["configuration is not named", "hint: write `telegraf --config"],
    );
    failed(&with("nowhere.conf"), 1, &["cannot read \"nowhere.conf\": No such file"]);
    failed(
        &[&["--file", "ok.conf"], &with("ok.conf")[..]].concat(),
        1,
        &["telegraf's configuration already"],
    );
    failed(
        &[&["--store", "s"], &with("ok.conf")[..]].concat(),
        1,
        &["telegraf reads from the daemon", "--store"],
    );
    failed(
        &[&["--id", "a-b"], &with("ok.conf")[..]].concat(),
        1,
        &["\"a-b\" is no name of a telegraf secret"],
    );
    failed(
        &["--", "nowhere/telegraf", "--config", "ok.conf"],
        127,
        &["\"nowhere/telegraf\" cannot be started"],
    );
    failed(
        &["--telegraf", "--", "false", "--config", "ok.conf"],
        1,
        &["does not tell which version of telegraf"],
    );
    failed(
        &["--telegraf", "--", "echo", "--config", "ok.conf"],
        1,
        &["and it says \"echo ", "hint: see what"],
    );
    for (version, said) in [
        ("1.26.3", &["telegraf 1.26.3 has no secret store", "hint: 1.39 or later is best"][..]),
        ("1.36.0", &["telegraf 1.36.0 reads delivered files, and there is no folder", "`[deliver.files]`"]),
    ] {
        let script = fs::read_to_string(desk.path("telegraf")).unwrap();
        let (before, rest) = script.split_once("Telegraf ").unwrap();
        let rest = rest.split_once(' ').unwrap().1;
        desk.write("telegraf", &format!("{before}Telegraf {version} {rest}"));
        failed(&with("ok.conf"), 1, said);
    }
}

/// What a person runs, but for the configuration.
fn under_exec(host: &Host, telegraf: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_influx-secrets"));
    command
        .arg("--socket")
        .arg(host.path("run/secrets.sock"))
        .args(["exec", "--telegraf", "--"])
        .arg(telegraf);
    command
}

fn output(host: &Host, token: &str) -> String {
    format!(
        "[[outputs.influxdb_v2]]\n  urls = [\"{}\"]\n  token = \"@<influx:{token}>\"\n  organization = \"any\"\n  \
         bucket = \"telemetry\"\n",
        host.sandbox.url()
    )
}

fn newest(host: &Host, name: &str) -> String {
    host.live(name).into_iter().max_by_key(|token| token.created_at).unwrap().id
}

/// A real one, with the spelling that it does not know itself: it follows two rotations live, and a reload takes an edit.
#[test]
fn a_real_telegraf_follows_what_its_configuration_names_in_angles() {
    let Some(telegraf) = find("telegraf", "TELEGRAF") else { return };
    let host = Host::new();
    host.list(
        "overlap = \"0s\"\noverlap_cap = \"1s\"\n[[token]]\nname = \"edge\"\nwrite = [\"telemetry\"]\n\
         [[token]]\nname = \"other\"\nwrite = [\"telemetry\"]\n",
    );
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let agent = Agent::start_by(&host, &mut under_exec(&host, &telegraf), "edge", &output(&host, "edge"));
    for _ in 0..2 {
        agent.wait_for_points(&host, &newest(&host, "edge"), 3);
        assert_eq!(host.tokend(&["rotate", "edge"]).code, Some(0));
        wait_until("the old one has ended", || host.live("edge").len() == 1, || agent.log());
    }
    agent.wait_for_points(&host, &newest(&host, "edge"), 3);
    // Its copy is where nobody else looks, and has no secret.
    let copies = copies_of(agent.pid());
    assert_eq!(copies.len(), 2, "{copies:?}");
    for copy in &copies {
        let text = fs::read_to_string(copy).unwrap();
        assert!(!host.sandbox.tokens().iter().any(|token| text.contains(&token.secret)), "{copy:?}");
        assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    agent.rewrite(&host, |text| text.replace("@<influx:edge>", "@<influx:other>"));
    agent.reload();
    agent.wait_for_points(&host, &newest(&host, "other"), 3);
    agent.stop_complete(&host);
    assert_eq!(refused(&host), []);
    assert!(copies.iter().all(|copy| !copy.exists()), "{copies:?}");
    assert_eq!(daemon.stop().0, Some(0));
}

/// What the test above would see if it did not work.
#[test]
fn without_us_the_same_configuration_is_refused() {
    let Some(telegraf) = find("telegraf", "TELEGRAF") else { return };
    let host = Host::new();
    host.list("[[token]]\nname = \"edge\"\nwrite = [\"telemetry\"]\n");
    host.apply();
    let agent = Agent::start(&host, &telegraf, "edge", &output(&host, "edge"));
    wait_until("a refusal", || refused(&host).iter().any(|refusal| refusal.status == 401), || agent.log());
    assert!(agent.points(&host).is_empty());
}

/// The files in the private folder of a process: the one that it has open and locked.
fn copies_of(pid: Pid) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).unwrap();
    let targets = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let is_ours = |path: &PathBuf| path.to_string_lossy().contains("/influx-secrets-");
    targets.filter(is_ours).flat_map(|folder| files_below(&folder)).collect()
}

/// Those that are named are each given what fits them. `INFLUX_TOKEND_TELEGRAFS=/path/to/one:/path/to/another`.
#[test]
fn real_telegrafs_of_other_versions_write_with_what_fits_them() {
    let telegrafs = env::var_os("INFLUX_TOKEND_TELEGRAFS").unwrap_or_default();
    for telegraf in env::split_paths(&telegrafs).filter(|path| path.is_file()) {
        let version = Command::new(&telegraf).arg("--version").stdin(Stdio::null()).output().unwrap();
        let version = ran(version).stdout.trim().to_owned();
        let host = Host::new();
        host.list(
            "overlap = \"0s\"\noverlap_cap = \"1h\"\n[[token]]\nname = \"edge\"\nwrite = [\"telemetry\"]\n",
        );
        host.apply();
        let daemon = host.daemon();
        daemon.wait_for("ready");
        let agent = Agent::start_by(&host, &mut under_exec(&host, &telegraf), "edge", &output(&host, "edge"));
        agent.wait_for_points(&host, &newest(&host, "edge"), 3);
        assert_eq!(host.tokend(&["rotate", "edge"]).code, Some(0));
        // As it is warned of at the start.
        let by_reload = agent.log().contains("takes a new token at a reload only");
        if by_reload {
            agent.reload();
        }
        agent.wait_for_points(&host, &newest(&host, "edge"), 3);
        agent.stop_complete(&host);
        assert_eq!(refused(&host), [], "{version}");
        println!("{version}: follows{}", if by_reload { " by reload" } else { " live" });
        assert_eq!(daemon.stop().0, Some(0));
    }
}
