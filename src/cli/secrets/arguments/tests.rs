use super::{
    super::{commands::COMMANDS, options::EVERYWHERE},
    *,
};

fn parsed(line: &[&str]) -> Result<Asked, Usage> {
    parse(line.iter().map(OsString::from))
}

fn invocation(line: &[&str]) -> Invocation {
    match parsed(line) {
        Ok(Asked::Run(invocation)) => invocation,
        Ok(Asked::Text(text)) => panic!("{line:?} prints {text}"),
        Err(usage) => panic!("{line:?}: {usage}"),
    }
}

fn refusal(line: &[&str]) -> String {
    match parsed(line) {
        Err(usage) => format!("{usage} | {}", usage.hint().unwrap_or_default()),
        Ok(_) => panic!("{line:?} is understood"),
    }
}

fn printed(line: &[&str]) -> String {
    match parsed(line) {
        Ok(Asked::Text(text)) => text,
        _ => panic!("{line:?} prints nothing"),
    }
}

/// The options that a help shows, `--long` each.
fn shown(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Options:");
    let words = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    words.filter(|word| *word != "--help`").collect()
}

#[test]
fn every_option_that_is_parsed_is_shown_and_the_other_way_round() {
    let everywhere: Vec<&Opt> =
        EVERYWHERE.iter().copied().chain(COMMANDS.iter().flat_map(|s| s.options).copied()).collect();
    for sub in COMMANDS.iter().map(Some).chain([None]) {
        let mut line: Vec<&str> = sub.map(|sub| sub.name).into_iter().collect();
        let help = {
            line.push("--help");
            printed(&line)
        };
        let shown = shown(&help);
        for option in &everywhere {
            let long = format!("--{}", option.long);
            let mut line: Vec<&str> = sub.map(|sub| sub.name).into_iter().collect();
            line.extend([long.as_str(), "1s"]);
            let is_parsed = match parsed(&line) {
                Ok(_) => true,
                Err(usage) => {
                    !usage.to_string().starts_with("unknown option")
                        && !usage.to_string().contains("no store")
                }
            };
            assert_eq!(is_parsed, shown.contains(&long.as_str()), "{line:?}\n{help}");
            if let (Some(short), true) = (option.short, is_parsed) {
                assert!(help.contains(&format!("  -{short}, {long}")), "{help}");
            }
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

#[test]
fn help_names_every_command_and_each_has_its_own() {
    let help = printed(&["-h"]);
    for sub in &COMMANDS {
        assert!(help.contains(&format!("\n  {} ", sub.name)), "{help}");
        let own = printed(&[sub.name, "-h"]);
        assert!(own.contains(&format!("Usage: {}\n", usage(sub))), "{own}");
    }
    assert!(printed(&["-V"]).starts_with("influx-secrets "));
    assert_eq!(printed(&["get", "--version"]), printed(&["--version"]));
}

#[test]
fn options_stand_before_or_after_the_command_with_or_without_an_equals_sign() {
    for line in [
        &["--socket", "/s", "--id=x", "get", "a"][..],
        &["get", "--socket=/s", "a", "--id", "x"],
        &["get", "--id=x", "--socket", "/s", "--", "a"],
    ] {
        let Invocation { from: From::Daemon(Some(socket)), id, command: Command::Get { name } } =
            invocation(line)
        else {
            panic!("{line:?}")
        };
        assert_eq!((socket.to_str(), id.as_str(), name.as_str()), (Some("/s"), "x", "a"));
    }
    let Command::Render { file, out: Some(out) } = invocation(&["render", "-oout", "-"]).command else {
        panic!("no file")
    };
    assert_eq!((file.to_str(), out.to_str()), (Some("-"), Some("out")));
    let Command::Check { files } = invocation(&["resolve", "--check", "a", "b", "--id", "x"]).command else {
        panic!("no files")
    };
    assert_eq!(files, [PathBuf::from("a"), "b".into()]);
}

#[test]
fn a_command_to_run_keeps_its_own_options() {
    let line = ["watch", "a", "--socket", "/s", "--", "reload", "--socket", "-x", "--"];
    let Command::Watch { name, command } = invocation(&line).command else { panic!("no command") };
    assert_eq!(
        (name.as_str(), command),
        ("a", ["reload", "--socket", "-x", "--"].map(OsString::from).to_vec())
    );
    let Command::Wait { names, timeout } = invocation(&["wait", "a", "--timeout", "250ms", "b"]).command
    else {
        panic!("no names")
    };
    assert_eq!((names, timeout), (vec!["a".to_owned(), "b".to_owned()], Duration::from_millis(250)));
}

#[test]
fn an_answer_has_a_time_and_a_size() {
    let Command::Backend(terms) = invocation(&["backend"]).command else { panic!("no backend") };
    assert_eq!(terms, Terms { patience: Duration::from_secs(3), max_output: 1 << 20 });
    for (text, bytes) in [("20", 20), ("0", 0), ("3KiB", 3072), ("16MiB", 16 << 20), ("4095MiB", 4095 << 20)]
    {
        let line = ["backend", "--max-output", text, "--timeout=9s"];
        let Command::Backend(terms) = invocation(&line).command else { panic!("no backend") };
        assert_eq!(terms, Terms { patience: Duration::from_secs(9), max_output: bytes });
    }
    for wrong in ["", "x", "-1", "1.5MiB", "1MB", "1 MiB", "4096MiB", "99999999999", "MiB"] {
        let refusal = refusal(&["backend", &format!("--max-output={wrong}")]);
        assert!(refusal.contains("expected a number of bytes, or one with KiB or MiB"), "{refusal}");
    }
}

#[test]
fn a_keyring_is_filled_followed_or_cleared() {
    let order = |line: &[&str]| match invocation(&[&["keyring"], line].concat()).command {
        Command::Keyring(keyring::Order { ring, task }) => (ring.to_string(), task),
        _ => panic!("{line:?}"),
    };
    let usual = "ring \"telegraf\"".to_owned();
    assert_eq!(order(&[]), (usual.clone(), keyring::Task::Fill));
    assert_eq!(order(&["--clear"]), (usual.clone(), keyring::Task::Clear));
    let follow = |recheck| keyring::Task::Follow { recheck };
    assert_eq!(order(&["--follow"]), (usual.clone(), follow(Duration::from_secs(30))));
    let line = ["--recheck=100ms", "--ring", "edge:2 ä", "--follow"];
    assert_eq!(order(&line), ("ring \"edge:2 ä\"".to_owned(), follow(Duration::from_millis(100))));
    let long = "x".repeat(257);
    for (line, said) in [
        (&["--ring="][..], "a ring has a name | name what Telegraf's store has for its keyring"),
        (&["--ring=.builtin"], "names of rings that begin with a dot"),
        (&["--ring=a;b"], "no ';' in it"),
        (&["--ring=a\nb"], "no '\\n' in it"),
        (&["--ring", &long], "at most 256 bytes here, this one has 257"),
        (&["--follow", "--clear"], "leave out one of them"),
        (&["--recheck=1s"], "--recheck is said without --follow"),
        (&["--recheck=1s", "--clear"], "--recheck is said without --follow"),
        (&["--follow", "--recheck=99ms"], "\"--recheck\" is 99ms | expected 100ms or more"),
        (&["--follow", "--recheck=often"], "\"--recheck\" is \"often\" | expected a whole number"),
        (&["telegraf"], "unexpected \"telegraf\" | usage: influx-secrets keyring [OPTIONS]"),
        (&["--store=/s"], "`influx-secrets keyring` asks the daemon: no store can be named"),
    ] {
        let refusal = refusal(&[&["keyring"], line].concat());
        assert!(refusal.contains(said), "{line:?}: {refusal}");
    }
}

#[test]
fn what_cannot_be_understood_is_told_with_what_would_do() {
    for (line, said) in [
        (&[][..], "a command is missing | `influx-secrets --help` shows the commands"),
        (&["gte", "a"], "unknown command \"gte\" | did you mean \"get\"?"),
        (&["frobnicate"], "unknown command \"frobnicate\" | `influx-secrets --help`"),
        (&["get", "--sokcet", "/s", "a"], "unknown option \"--sokcet\" | did you mean \"--socket\"?"),
        (&["--output", "json", "list"], "it goes after the command: `influx-secrets list --output …`"),
        (&["get", "-x"], "unknown option \"-x\" | `influx-secrets get --help`"),
        (&["watch", "a", "reload", "-x"], "write `--` before the command"),
        (&["wait", "--store", "/s"], "`influx-secrets wait` asks the daemon: no store"),
        (&["--store", "/s", "wait"], "`influx-secrets wait` asks the daemon: no store can be named"),
        (&["--socket", "/s", "--store", "/t", "list"], "leave out the one or the others"),
        (&["--socket", "/s", "--identity=/t", "list"], "leave out the one or the others"),
        (&["get"], "NAME is missing | usage: influx-secrets get [OPTIONS] NAME"),
        (&["get", "a", "b"], "unexpected \"b\" | usage: influx-secrets get [OPTIONS] NAME"),
        (&["list", "a"], "unexpected \"a\" | usage: influx-secrets list [OPTIONS]"),
        (&["render"], "FILE is missing"),
        (&["watch", "a"], "COMMAND is missing | usage: influx-secrets watch [OPTIONS] NAME -- COMMAND"),
        (&["get", "a", "--socket"], "option \"--socket\" wants PATH after it"),
        (&["--socket", "--id", "x", "get"], "option \"--socket\" wants PATH, found \"--id\""),
        (&["get", "--id", "x", "--id", "y", "a"], "option \"--id\" stands there twice"),
        (&["list", "--output", "xml"], "\"--output\" is \"xml\" | expected \"text\" or \"json\""),
        (&["backend", "a"], "unexpected \"a\" | usage: influx-secrets backend [OPTIONS]"),
        (&["install-exec", "/p"], "\"--for\" is missing | usage: influx-secrets install-exec"),
        (&["install-exec", "--for", "x"], "\"--for\" is \"x\" | expected \"datadog\" or \"vector\""),
        (&["wait", "--timeout", "80 seconds"], "\"--timeout\" is \"80 seconds\" | write --timeout 80s"),
        (&["wait", "--timeout", "36501d"], "\"--timeout\" is \"36501d\" | expected at most 36500d"),
        (&["wait", "--timeout", "80"], "\"--timeout\" is \"80\" | expected a whole number and one of ms"),
    ] {
        let refusal = refusal(line);
        assert!(refusal.contains(said), "{line:?}: {refusal}");
    }
}
