//! influxctl as the way to manage tokens: what it is called with, and what becomes of all that it may answer.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use influx_sandbox::influxctl::{Call, Defect, Shape, StandIn};
use jiff::SignedDuration;

use crate::{
    apply::EXAMPLES,
    host::{Daemon, Host, can_write, files_below, ran, wait_until},
    kind::Kind,
    local_clock,
    peers::missing,
};

/// A host whose server is managed by a stand-in of this version.
fn host(version: &str, rest: &str) -> Option<(Host, StandIn)> {
    if StandIn::program().is_none() {
        missing("influxctl");
        return None;
    }
    let host = Host::on(&Kind::INFLUXCTL);
    let stand_in = StandIn::new(host.path("bin"), version).unwrap();
    host.list(rest);
    Some((host, stand_in))
}

fn calls(stand_in: &StandIn, verb: &str) -> Vec<Call> {
    stand_in.calls().into_iter().filter(|call| call.verb == verb).collect()
}

#[test]
fn the_four_documented_calls_arrive_word_for_word() {
    let expiring = "[[token]]\nname = \"expiring\"\nread = [\"a\"]\nwrite = [\"b\"]\nlifetime = \"30d\"\n";
    let Some((host, stand_in)) = host("2.12.0", &format!("{EXAMPLES}{expiring}")) else { return };
    host.apply();
    let cases = [
        ("read_write", "Read/write token for a", &["--read-database", "a", "--write-database", "a"][..]),
        ("read_only", "Read-only token for a", &["--read-database", "a"]),
        ("read_two", "Read-only token for a and b", &["--read-database", "a", "--read-database", "b"]),
        (
            "mixed",
            "Read-only on a, read/write on b",
            &["--read-database", "a", "--read-database", "b", "--write-database", "b"],
        ),
        ("expiring", "", &["--read-database", "a", "--write-database", "b"]),
    ];
    let created = calls(&stand_in, "token create");
    assert_eq!(created.len(), cases.len());
    for (name, words, flags) in cases {
        let token = &host.live(name)[0];
        let call = created.iter().find(|call| call.argv.last() == Some(&token.description)).unwrap();
        // A profile of ours comes first.
        let (profile, words_of_call) = call.argv.split_at(2);
        assert_eq!(profile[0], "--config");
        let mut expected: Vec<String> =
            ["token", "create"].iter().chain(flags).map(|word| (*word).to_owned()).collect();
        if let Some(at) = token.expires_at {
            expected.extend(["--expires-at".to_owned(), format!("{at:.0}")]);
        }
        expected.extend(["--format".to_owned(), "json".to_owned(), token.description.clone()]);
        assert_eq!(words_of_call, expected, "{name}");
        assert_eq!(token.expires_at.is_some(), name == "expiring");
        assert!(token.description.starts_with(words), "{}", token.description);
        host.assert_settled(name);
    }
}

#[test]
fn nothing_secret_is_in_its_arguments_or_its_environment_and_no_file_stays() {
    let Some((host, stand_in)) = host("2.12.0", EXAMPLES) else { return };
    let mut command = host.command(&["apply"]);
    command.env("INFLUXCTL_PROFILE", "x").env("SECRET_OF_SOMEBODY", "x");
    let ran = ran(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let secret = host.sandbox.management_token();
    let calls = stand_in.calls();
    assert!(calls.len() > 5);
    for call in calls {
        assert!(call.stdin_closed, "{call:?}");
        assert!(!call.argv.iter().any(|word| word.contains(&secret)), "{call:?}");
        let known = ["HOME", "LANG", "PATH"];
        assert!(call.env_names.iter().all(|name| known.contains(&name.as_str())), "{call:?}");
    }
    let left: Vec<_> = files_below(&host.path("run/private"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn its_profile_is_ours_alone_while_it_is_there_and_goes_with_a_kill() {
    let Some((host, stand_in)) = host("2.12.0", EXAMPLES) else { return };
    // It hangs for as long as it is looked at.
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &list.replace("timeout = \"1s\"", "timeout = \"60s\""));
    stand_in.defect("token list", Defect::Hang);
    let mut child = host.command(&["apply"]).spawn().unwrap();
    wait_until("a call", || !calls(&stand_in, "token list").is_empty(), String::new);
    let files = files_below(&host.path("run/private"));
    assert_eq!(files.len(), 1, "{files:?}");
    let (file, folder) = (&files[0], host.path("run/private"));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(file), mode(&folder)), (0o600, 0o700));
    assert!(fs::read_to_string(file).unwrap().contains(&host.sandbox.management_token()));
    // Who only looks, beside it, takes nothing away.
    stand_in.clear_defects();
    let looked = host.tokend(&["plan"]);
    assert_eq!(looked.code, Some(0), "{looked:?}");
    assert_eq!(files_below(&folder), files);
    child.kill().unwrap();
    child.wait().unwrap();
    host.apply();
    assert_eq!(files_below(&folder), Vec::<std::path::PathBuf>::new());
}

#[test]
fn older_versions_do_what_they_can() {
    for (version, end, has_expiry) in
        [("2.6.0", "delete", false), ("2.9.9", "delete", false), ("2.10.0", "revoke", true)]
    {
        let Some((host, stand_in)) =
            host(version, "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\nlifetime = \"30d\"\n")
        else {
            return;
        };
        host.apply();
        assert_eq!(host.live("t0")[0].expires_at.is_some(), has_expiry, "{version}");
        let ran = host.tokend(&["revoke", "t0", "--now"]);
        assert_eq!(ran.code, Some(0), "{version}: {ran:?}");
        let ended = calls(&stand_in, &format!("token {end}"));
        assert_eq!(ended.len(), 1, "{version}: {:?}", stand_in.calls());
        assert_eq!(ended[0].argv[4], "--force", "{:?}", ended[0]);
        assert!(can_write(&host, &host.delivered("t0").unwrap(), "a"), "{version}");
    }
}

#[test]
fn what_is_too_old_or_not_there_is_told_with_what_to_install() {
    let Some((host, stand_in)) = host("2.5.0", EXAMPLES) else { return };
    let ran = host.tokend(&["check"]);
    assert!(ran.stdout.contains("influxctl 2.5.0 is too old: expected 2.6.0 or later"), "{ran:?}");
    assert!(ran.stdout.contains("hint: install influxctl 2.10.0 or later"), "{ran:?}");
    stand_in.set_version("2.0.3");
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("influxctl 2.0.3 is too old"), "{ran:?}");
    assert_eq!(host.mints(), 0);
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let nowhere = list.replace(&host.path("bin/influxctl").display().to_string(), "/nonexistent/influxctl");
    host.write("tokens.toml", &nowhere);
    let ran = host.tokend(&["check"]);
    assert!(ran.stdout.contains("there is no \"/nonexistent/influxctl\""), "{ran:?}");
    host.write("tokens.toml", &nowhere.replace("/nonexistent/influxctl", "influxctl"));
    let mut command = host.command(&["check"]);
    let ran = ran_with_path(&mut command, "/nonexistent/bin");
    assert!(ran.stdout.contains("there is no \"influxctl\" on PATH (\"/nonexistent/bin\")"), "{ran:?}");
    assert!(ran.stdout.contains("hint: install influxctl 2.10.0 or later"), "{ran:?}");
}

fn ran_with_path(command: &mut Command, path: &str) -> crate::host::Ran {
    ran(command.env("PATH", path).output().unwrap())
}

/// Whatever `token create` answers: either the token is sealed and delivered, or the list decides, and none is left over.
#[test]
fn whatever_create_answers_no_token_is_lost_or_left() {
    let named = ["accessToken", "access_token", "token_string", "credential"];
    let of_create = named.map(|name| Shape::SecretNamed(name.to_owned())).into_iter();
    let of_create = of_create.chain([Shape::Wrapped, Shape::InArray]).map(Defect::Shape);
    let of_create = of_create.chain([Defect::WarningBefore("note: update available".into())]);
    let of_all = [
        Shape::PermissionsObject,
        Shape::PermissionsRows,
        Shape::PermissionsRead,
        Shape::TimesText,
        Shape::TimesProtobuf,
        Shape::TimesMissing,
        Shape::TimesEpoch,
    ];
    let of_all = of_all.map(|shape| ("*", Defect::Shape(shape)));
    for (verb, defect) in of_create.map(|defect| ("token create", defect)).chain(of_all) {
        let Some((host, stand_in)) = host("2.12.0", "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n") else {
            return;
        };
        let context = format!("{defect:?}");
        stand_in.defect(verb, defect);
        for _ in 0..2 {
            host.apply();
            host.assert_settled("t0");
        }
        assert_eq!(host.sandbox.tokens().len(), 1, "{context}");
        assert_eq!(calls(&stand_in, "token update").len(), 0, "{context}: there is nothing to change");
    }
    let doubtful = [Shape::TwoSecrets, Shape::NoId, Shape::NoSecret].map(Defect::Shape);
    let broken = [
        Defect::Table,
        Defect::Prompt,
        Defect::CutOutput,
        Defect::FailAfter,
        Defect::FailBefore,
        Defect::Hang,
        Defect::HangAfter,
        Defect::TenMegabytes,
        Defect::Garbage,
    ];
    // Words that look like a refusal, of a token that is there.
    let wordings = [
        "stream closed (request id 9f401c7e)",
        "rpc error: code = Internal desc = unauthorized (request id 9f401c7e)",
        "cannot print \"rpc error: code = Unauthenticated desc = \": broken pipe",
        "rpc error: code = Unavailable desc = gone\nerror\trpc error: code = Unauthenticated desc = x",
    ];
    let wordings = wordings.map(|text| Defect::FailAfterSaying(text.to_owned()));
    for defect in doubtful.into_iter().chain(broken).chain(wordings) {
        let Some((host, stand_in)) = host("2.12.0", "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n") else {
            return;
        };
        let context = format!("{defect:?}");
        stand_in.defect_times("token create", defect, 0, 1);
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(1), "{context}: {ran:?}");
        assert!(ran.stderr.contains("token t0: "), "{context}: {ran:?}");
        assert!(host.delivered("t0").is_none(), "{context}");
        let shown = format!("{ran:?}");
        assert!(
            host.sandbox.tokens().iter().all(|token| !shown.contains(&token.secret)),
            "{context}: {ran:?}"
        );
        host.apply();
        host.assert_settled("t0");
    }
}

#[test]
fn a_child_that_keeps_the_output_is_ended_and_not_waited_for() {
    let Some((host, stand_in)) = host("2.12.0", "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n") else {
        return;
    };
    stand_in.defect("token list", Defect::ChildKeepsPipe);
    host.apply();
    host.assert_settled("t0");
    for child in stand_in.children() {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}

#[test]
fn a_shape_that_is_not_known_is_reported_without_what_is_in_it() {
    let Some((host, stand_in)) = host("2.12.0", "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n") else {
        return;
    };
    stand_in.defect_times("token create", Defect::Shape(Shape::TwoSecrets), 0, 1);
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("`token create` printed {"), "{ran:?}");
    assert!(ran.stderr.contains("text(36)"), "{ran:?}");
}

#[test]
fn without_a_clock_that_can_be_believed_nothing_is_judged() {
    let Some((host, stand_in)) = host("2.12.0", EXAMPLES) else { return };
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &list.replace("local_clock = \"trusted\"\n", ""));
    let ran = host.tokend(&["apply"]);
    // A machine whose clock is known to be right may mint.
    if ran.code == Some(0) {
        return;
    }
    assert!(ran.stderr.contains("the server sends no date, and this host's clock"), "{ran:?}");
    assert!(ran.stderr.contains("local_clock = \"trusted\""), "{ran:?}");
    assert_eq!(calls(&stand_in, "token create").len(), 0);
}

/// Nobody's clock is right to the second: what a server says of when it made a token may be yet to come here.
#[test]
fn a_server_whose_clock_is_a_little_ahead_keeps_nothing_waiting() {
    let list = "overlap = \"0s\"\noverlap_cap = \"1ms\"\n[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n";
    let Some((host, _)) = host("2.12.0", list) else { return };
    host.sandbox.shift_clock(SignedDuration::from_mins(5));
    let daemon = host.daemon();
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    let old = host.live("t0")[0].id.clone();
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", daemon.log());
    wait_until("the end of the old one", || !host.is_live(&old), || daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
    host.assert_settled("t0");
}

#[test]
fn a_clock_that_has_gone_back_judges_nothing_until_it_is_set() {
    if local_clock::library().is_none() {
        return missing("libfaketime");
    }
    let Some((host, stand_in)) = host("2.12.0", "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n") else {
        return;
    };
    host.shift_clock(SignedDuration::from_hours(1));
    host.apply();
    host.shift_clock(SignedDuration::from_hours(-1));
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("is behind what is sealed already"), "{ran:?}");
    assert!(ran.stderr.contains("hint: set this host's clock"), "{ran:?}");
    assert_eq!(calls(&stand_in, "token create").len(), 1);
    host.shift_clock(SignedDuration::from_hours(2));
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    assert_eq!(calls(&stand_in, "token create").len(), 2);
}

#[test]
fn a_persons_login_serves_one_shot_commands_only() {
    let Some((host, _)) = host("2.12.0", "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n") else { return };
    let address = host.sandbox.address();
    let profile = format!(
        "[[profile]]\nname = \"default\"\nproduct = \"clustered\"\nhost = \"{}\"\nport = \"{}\"\nmgmt_token = \"{}\"\n\
         [profile.tls]\ndisable = true\n",
        address.ip(),
        address.port(),
        host.sandbox.management_token()
    );
    fs::create_dir_all(host.path("home/.config/influxctl")).unwrap();
    host.write("home/.config/influxctl/config.toml", &profile);
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let token = list.lines().find(|line| line.starts_with("management_token")).unwrap();
    host.write("tokens.toml", &list.replace(&format!("{token}\n"), ""));
    let at_home = |arguments: &[&str]| {
        let mut command = host.command(arguments);
        ran(command.env("HOME", host.path("home")).env_remove("XDG_CONFIG_HOME").output().unwrap())
    };
    let applied = at_home(&["apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    host.assert_settled("t0");
    let checked = at_home(&["check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.stdout.contains("note: server default: influxctl logs in as its profile says"),
        "{checked:?}"
    );
    let daemon = Daemon::start(host.command(&["run"]));
    daemon.wait_for("a daemon has no login of its own");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn another_way_to_the_same_server_mints_changes_and_ends_nothing() {
    let Some((host, _)) = host("2.12.0", EXAMPLES) else { return };
    host.sandbox.set_rest(true);
    host.apply();
    let by_influxctl = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let lines = |line: &&str| !line.starts_with("via") && !line.starts_with("influxctl");
    let by_http: String = by_influxctl.lines().filter(lines).map(|line| format!("{line}\n")).collect();
    let tokens = host.sandbox.tokens();
    host.sandbox.clear_requests();
    for list in [&by_http, &by_influxctl, &by_http] {
        host.write("tokens.toml", list);
        host.apply();
    }
    assert!(host.sandbox.requests().iter().all(|request| request.method == "GET"));
    assert_eq!(format!("{:?}", host.sandbox.tokens()), format!("{tokens:?}"));
}

#[test]
fn a_management_token_that_is_refused_is_told_and_read_anew() {
    let Some((host, _)) = host("2.12.0", "[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n") else { return };
    host.write("management-token", "canary-of-another");
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("list tokens: 401") && !ran.stderr.contains("canary"), "{ran:?}");
    assert!(ran.stderr.contains("hint: the management token is unknown there"), "{ran:?}");
    host.write("management-token", &host.sandbox.management_token());
    host.apply();
    host.assert_settled("t0");
}
