//! Hooks, with a stand-in for systemctl that keeps a record of what it was asked and can fail. On a real systemd:
//! `tests/systemd/driver`.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
};

use serde_json::Value;

use crate::{
    host::{Daemon, Host, Ran, ran, wait_until},
    peers::find,
};

/// Answers `show` with the file `shown`, or `shown.1`, `shown.2`, … in turn, `cat` with the file `unit`, and does what `job`
/// says for everything else that is no enabling.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/.." || exit 9
shift 2
echo "$*" >>asked
case $1 in
  show)
    n=$(($(cat shows 2>/dev/null || echo 0) + 1))
    echo $n >shows
    if [ -e shown.$n ]; then cat shown.$n; else cat shown; fi ;;
  cat)
    if [ -e unit ]; then cat unit; fi ;;
  try-reload-or-restart | try-restart | start)
    if [ -e job ]; then . ./job; fi ;;
esac
"#;

const ACTIVE: &str =
    "LoadState=loaded\nActiveState=active\nSubState=running\nInvocationID=1\nCanReload=yes\n";

/// A host with two tokens that are delivered, and a systemd that says so of every unit.
fn host() -> Host {
    let host = Host::new();
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    host.list_of(2);
    host.apply();
    fs::create_dir(host.path("bin")).unwrap();
    script(&host, "bin/systemctl", SYSTEMCTL);
    host.write("shown", ACTIVE);
    host
}

fn script(host: &Host, name: &str, text: &str) {
    host.write(name, text);
    fs::set_permissions(host.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Such that a unit runs this version of Telegraf.
fn runs_telegraf(host: &Host, version: &str) {
    script(host, "telegraf", &format!("#!/bin/sh\n[ \"$*\" = --version ] && echo 'Telegraf {version}'\n"));
    let path = host.path("telegraf").display().to_string();
    host.write(
        "shown",
        &format!("{ACTIVE}ExecStart={{ path={path} ; argv[]={path} -config x ; ignore_errors=no }}\n"),
    );
}

fn command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = host.command(arguments);
    let path = env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", host.path("bin").display()));
    command
}

fn hook(host: &Host, arguments: &[&str]) -> Ran {
    ran(command(host, &[&["hook"], arguments].concat()).output().unwrap())
}

fn add(host: &Host, arguments: &[&str]) -> Ran {
    let ran = hook(host, &[&["add", "telegraf"], arguments].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

fn run(host: &Host) -> Ran {
    let ran = hook(host, &["run", "telegraf.service"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

/// What systemd was asked since it was last looked at, but for how units are.
fn asked(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.path("asked")).unwrap_or_default();
    let _none = fs::remove_file(host.path("asked"));
    let is_a_look = |line: &str| ["show ", "cat "].iter().any(|look| line.starts_with(look));
    text.lines().filter(|line| !is_a_look(line)).map(str::to_owned).collect()
}

fn acknowledged(host: &Host) -> String {
    fs::read_to_string(host.path("run/acknowledged/telegraf.service")).unwrap_or_default()
}

fn status(host: &Host) -> Value {
    host.status()["hooks"].clone()
}

const RELOAD: &str = "try-reload-or-restart -- telegraf.service";

#[test]
fn one_is_added_for_a_telegraf_as_its_version_can_take_it() {
    let host = host();
    for (version, action, why) in [
        ("1.38.3", "restart", "telegraf 1.38.3 ends at a reload while a dynamic secret store is in use"),
        ("1.39.3", "reload", "telegraf 1.39.3 loses nothing at a reload"),
        ("unknown", "reload", "it can reload"),
    ] {
        runs_telegraf(&host, version);
        let ran = add(&host, &["--token", "t0"]);
        let said = format!("telegraf.service: {action} whenever there is a new value of t0 ({why}");
        assert!(ran.stdout.starts_with(&said), "{ran:?}");
        assert_eq!(
            asked(&host),
            [
                "enable --now -- influx-tokend-hook@telegraf.service.path",
                "start -- influx-tokend-hook@telegraf.service.service"
            ]
        );
        let text = fs::read_to_string(host.path("hooks.d/telegraf.service")).unwrap();
        assert!(text.ends_with(&format!("tokens = [\"t0\"]\naction = \"{action}\"\n")), "{text}");
        assert_eq!(fs::metadata(host.path("hooks.d/telegraf.service")).unwrap().mode() & 0o7777, 0o644);
    }
    // More of it, by a person who knows better.
    runs_telegraf(&host, "1.34.1");
    let ran = add(&host, &["--token", "t1", "--reload"]);
    assert!(ran.stderr.contains("warning: telegraf 1.34.1 ends at a reload"), "{ran:?}");
    let listed = hook(&host, &["list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["hooks"][0]["action"], "reload");
    assert_eq!(listed["hooks"][0]["tokens"][1]["name"], "t1");
    assert_eq!(
        listed["hooks"][0]["tokens"][0],
        serde_json::json!({"name": "t0", "delivered": 1, "acknowledged": null})
    );
    let table = hook(&host, &["list"]).stdout;
    assert!(table.contains("UNIT") && table.contains("telegraf.service  reload"), "{table}");
}

#[test]
fn one_that_has_its_tokens_as_credentials_is_restarted() {
    let host = host();
    runs_telegraf(&host, "1.39.3");
    let drop_in =
        env!("CARGO_MANIFEST_DIR").to_owned() + "/systemd/telegraf.service.d/influx-tokend-credentials.conf";
    host.write("unit", &fs::read_to_string(drop_in).unwrap());
    let ran = add(&host, &["--token", "t0"]);
    let said = "telegraf.service: restart whenever there is a new value of t0 (its tokens are credentials, which systemd \
                fetches when it is started and at no reload)";
    assert!(ran.stdout.starts_with(said), "{ran:?}");
    let ran = add(&host, &["--token", "t0", "--reload"]);
    assert!(ran.stderr.contains("warning: its tokens are credentials"), "{ran:?}");
}

#[test]
fn instances_are_called_as_systemd_escapes_them() {
    let host = host();
    for unit in ["telegraf@edge.service", "my-agent", "a\\x2db.service"] {
        let ran = hook(&host, &["add", unit, "--token", "t0", "t1"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let Some(systemd_escape) = find("systemd-escape", "SYSTEMD_ESCAPE") else { return };
        let whole = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
        let instance = Command::new(systemd_escape).arg("--").arg(&whole).output().unwrap();
        let instance = String::from_utf8(instance.stdout).unwrap().trim().to_owned();
        assert_eq!(asked(&host)[0], format!("enable --now -- influx-tokend-hook@{instance}.path"));
        assert!(host.path("hooks.d").join(whole).is_file());
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let host = host();
    for (arguments, code, said) in [
        (
            &["add", "telegraf", "--token", "t00"][..],
            1,
            "token t00: is not in the list\ninflux-tokend: hint: did you mean \"t0\"?",
        ),
        (&["add", "telegraf", "--token", "somebody"], 1, "add it to "),
        (&["add", "telegraf", "--token", "t-0"], 2, "contains '-'"),
        (&["add", "telegraf"], 2, "--token <NAME>"),
        (&["add", "telegraf@.service", "--token", "t0"], 2, "is a template"),
        (&["add", "telegraf.timer", "--token", "t0"], 2, "is no service"),
        (&["add", "../telegraf", "--token", "t0"], 2, "is no name of a unit"),
        (&["add", "telegraf", "--token", "t0", "--reload", "--restart"], 2, "cannot be used with"),
        (
            &["remove", "telegraf"],
            1,
            "telegraf.service has no hook\ninflux-tokend: hint: `influx-tokend hook list`",
        ),
    ] {
        let ran = hook(&host, arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {ran:?}");
    }
    host.write("shown", "LoadState=not-found\nActiveState=inactive\nCanReload=no\n");
    let ran = hook(&host, &["add", "telegraff", "--token", "t0"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("systemd knows no unit telegraff.service\ninflux-tokend: hint: "), "{ran:?}");
    assert!(!host.path("hooks.d").exists());
    assert!(asked(&host).is_empty());
    // Yet to be installed.
    let ran = add(&host, &["--token", "t0", "--restart"]);
    assert!(ran.stderr.contains("warning: systemd knows no unit telegraf.service yet"), "{ran:?}");
}

#[test]
fn what_systemd_refuses_is_said() {
    let host = host();
    script(&host, "bin/systemctl", "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n");
    let ran = hook(&host, &["add", "telegraf", "--token", "t0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains(
            "error: hook telegraf.service: `systemctl enable --now influx-tokend-hook@telegraf.service.path` failed: \
             Failed to connect to bus\ninflux-tokend: hint: run `systemctl enable"
        ),
        "{ran:?}"
    );
    script(&host, "bin/systemctl", SYSTEMCTL);
    host.write("job", "echo 'Job failed.' >&2; exit 1\n");
    let ran = hook(&host, &["add", "telegraf", "--token", "t0"]);
    assert_eq!(ran.code, Some(4), "it is in force, and is tried again: {ran:?}");
    assert!(ran.stderr.contains("warning: hook telegraf.service: `systemctl start"), "{ran:?}");
}

#[test]
fn without_systemctl_it_is_said_what_to_do_on_the_host() {
    let host = host();
    let without =
        |arguments: &[&str]| ran(host.command(arguments).env("PATH", "/nonexistent").output().unwrap());
    let ran = without(&["hook", "add", "telegraf@edge", "--token", "t0"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.stderr.contains(
            "on the host: systemctl enable --now 'influx-tokend-hook@telegraf\\x40edge.service.path'"
        ),
        "{ran:?}"
    );
    assert!(host.path("hooks.d/telegraf@edge.service").is_file());
    let ran = without(&["hook", "remove", "telegraf@edge"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(!host.path("hooks.d/telegraf@edge.service").exists());
}

#[test]
fn a_new_value_is_brought_once_and_acknowledged() {
    let host = host();
    add(&host, &["--token", "t0", "t1"]);
    asked(&host);
    let ran = run(&host);
    assert!(
        ran.stderr.contains("telegraf.service was reloaded: generation 1 of t0, generation 1 of t1"),
        "{ran:?}"
    );
    assert_eq!(asked(&host), [RELOAD]);
    assert_eq!(acknowledged(&host), "t0 1\nt1 1\n");
    assert_eq!(fs::metadata(host.path("run/acknowledged/telegraf.service")).unwrap().mode() & 0o7777, 0o644);
    run(&host);
    assert!(asked(&host).is_empty(), "nothing is new");
    host.write("run/daemon/generations", "t0 1\nt1 2\nother 7\n");
    run(&host);
    assert_eq!(asked(&host), [RELOAD]);
    assert_eq!(acknowledged(&host), "t0 1\nt1 2\n");
    add(&host, &["--token", "t0", "--restart"]);
    host.write("run/daemon/generations", "t0 2\nt1 2\n");
    asked(&host);
    run(&host);
    assert_eq!(asked(&host), ["try-restart -- telegraf.service"]);
}

#[test]
fn what_comes_during_a_reload_is_not_acknowledged_by_it() {
    let host = host();
    add(&host, &["--token", "t0"]);
    asked(&host);
    // The first reload sees another value come; the second one, what the first has acknowledged.
    host.write(
        "job",
        "if [ -e second ]; then cp run/acknowledged/telegraf.service seen; else \
         echo 't0 2' >run/daemon/generations; >second; fi\n",
    );
    run(&host);
    assert_eq!(asked(&host), [RELOAD, RELOAD]);
    assert_eq!(fs::read_to_string(host.path("seen")).unwrap(), "t0 1\n");
    assert_eq!(acknowledged(&host), "t0 2\n");
}

#[test]
fn a_reload_that_fails_is_not_acknowledged() {
    let host = host();
    add(&host, &["--token", "t0"]);
    host.write("job", "echo 'Job for telegraf.service failed.' >&2; exit 1\n");
    for _ in 0..2 {
        let ran = hook(&host, &["run", "telegraf.service"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.stderr.contains(
                "hook telegraf.service: `systemctl try-reload-or-restart telegraf.service` failed: Job for telegraf.service failed."
            ),
            "{ran:?}"
        );
        assert_eq!(acknowledged(&host), "");
    }
    fs::remove_file(host.path("job")).unwrap();
    run(&host);
    assert_eq!(acknowledged(&host), "t0 1\n");
}

#[test]
fn a_service_that_does_not_run_acknowledges() {
    let host = host();
    add(&host, &["--token", "t0"]);
    for (generation, state) in [
        (2, "ActiveState=inactive\nSubState=dead\n"),
        (3, "ActiveState=failed\nSubState=failed\n"),
        (4, "ActiveState=activating\nSubState=auto-restart\n"),
        (5, "LoadState=not-found\nActiveState=inactive\n"),
    ] {
        host.write("shown", state);
        host.write("run/daemon/generations", &format!("t0 {generation}\n"));
        asked(&host);
        let ran = run(&host);
        assert!(ran.stderr.contains("does not run, and will read it when it does"), "{ran:?}");
        assert!(asked(&host).is_empty(), "it is left as it is");
        assert_eq!(acknowledged(&host), format!("t0 {generation}\n"));
    }
}

/// systemd does nothing at all for `try-reload-or-restart` of a unit that is being started, and calls that a success.
#[test]
fn a_service_that_is_being_started_is_waited_for() {
    let host = host();
    add(&host, &["--token", "t0"]);
    asked(&host);
    let shows = |states: &[(&str, u32)]| {
        host.write("shows", "0");
        for (index, (state, invocation)) in states.iter().enumerate() {
            let text = format!("ActiveState={state}\nSubState=x\nInvocationID={invocation}\nCanReload=yes\n");
            host.write(&format!("shown.{}", index + 1), &text);
        }
    };
    // It may have read before the value came.
    shows(&[("activating", 1), ("activating", 1), ("active", 1)]);
    run(&host);
    assert_eq!(asked(&host), [RELOAD]);
    // Stopped and started again meanwhile: what reads now began after the value had come.
    shows(&[("deactivating", 1), ("deactivating", 1), ("active", 2)]);
    host.write("run/daemon/generations", "t0 2\n");
    let ran = run(&host);
    assert!(ran.stderr.contains("was started meanwhile"), "{ran:?}");
    assert!(asked(&host).is_empty());
    assert_eq!(acknowledged(&host), "t0 2\n");
}

#[test]
fn one_that_is_removed_does_nothing_any_more() {
    let host = host();
    add(&host, &["--token", "t0"]);
    run(&host);
    asked(&host);
    let ran = hook(&host, &["remove", "telegraf"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "telegraf.service has no hook any more\n"),
        "{ran:?}"
    );
    assert_eq!(asked(&host), ["disable --now -- influx-tokend-hook@telegraf.service.path"]);
    assert!(!host.path("hooks.d/telegraf.service").exists() && acknowledged(&host).is_empty());
    // Its unit may still be about to run.
    host.write("run/daemon/generations", "t0 2\n");
    run(&host);
    assert!(asked(&host).is_empty());
    assert_eq!(hook(&host, &["list"]).stdout, "no hooks\n");
}

#[test]
fn the_daemon_starts_a_hook_again_until_it_has_acknowledged_and_tells_of_it() {
    let host = host();
    add(&host, &["--token", "t0"]);
    let generations = host.path("run/daemon/generations");
    let stamp = || {
        let metadata = fs::metadata(&generations).unwrap();
        (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    let before = stamp();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    // What a former process left is taken up at once; the rest, each minute.
    wait_until("the touch", || stamp() != before, || daemon.log());
    assert_eq!(stamp().0, before.0, "it is not written anew");
    assert_eq!(fs::read_to_string(&generations).unwrap(), "t0 1\nt1 1\n");

    let hooks = status(&host);
    assert_eq!(hooks[0]["unit"], "telegraf.service", "{hooks}");
    assert_eq!(hooks[0]["not_acknowledged"], serde_json::json!({"t0": 1}));
    assert!(hooks[0]["since"].is_string());
    let text = host.tokend(&["status"]).stdout;
    assert!(
        text.contains("hook telegraf.service: has not acknowledged generation 1 of t0 (since "),
        "{text}"
    );
    assert!(
        text.contains("hint: run `journalctl -u 'influx-tokend-hook@telegraf.service.service'`"),
        "{text}"
    );

    run(&host);
    assert_eq!(status(&host), serde_json::json!([]));
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(status(&host)[0]["not_acknowledged"], serde_json::json!({"t0": 2}));
    run(&host);
    assert_eq!(acknowledged(&host), "t0 2\n");
    assert_eq!(daemon.stop().0, Some(0));
    // Without a daemon the files tell.
    host.write("run/acknowledged/telegraf.service", "t0 1\n");
    assert_eq!(status(&host)[0]["not_acknowledged"], serde_json::json!({"t0": 2}));
    assert!(status(&host)[0]["since"].is_null());
}

#[test]
fn a_hook_with_faults_is_told_with_its_line_and_what_would_do() {
    let host = host();
    add(&host, &["--token", "t0"]);
    host.write("hooks.d/telegraf.service", "# mine\ntokens = [\"t-0\"]\naction = \"reload\"\n");
    let place = format!(
        "{}:2:11: tokens: token name \"t-0\" contains '-'",
        host.path("hooks.d/telegraf.service").display()
    );
    let ran = hook(&host, &["list"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains(&place) && ran.stdout.contains("call it \"t_0\""), "{ran:?}");
    for arguments in [&["run", "telegraf"][..], &["add", "telegraf", "--token", "t0"]] {
        let ran = hook(&host, arguments);
        assert!(ran.code == Some(1) && ran.stderr.contains(&place), "{ran:?}");
    }
    let daemon = Daemon::start(host.command(&["run"]));
    daemon.wait_for(&place);
    let ran = host.tokend(&["check"]);
    assert!(ran.code == Some(1) && ran.stdout.contains(&place), "{ran:?}");
    assert!(status(&host)[0]["error"].as_str().unwrap().contains(&place));
    assert_eq!(hook(&host, &["remove", "telegraf"]).code, Some(0));
    assert_eq!(status(&host), serde_json::json!([]));
    assert_eq!(daemon.stop().0, Some(0));
    assert_eq!(host.tokend(&["check"]).code, Some(0));
}
