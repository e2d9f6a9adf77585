//! The command line, as urfave/cli v2 and Go's `flag` below it read one: global flags before the verb, a verb's flags
//! before its arguments, one dash or two, a value after `=` or in the next word.

use std::{ops::RangeInclusive, time::Duration};

use super::{Failure, version::Version};

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Switch,
    Text,
    /// May be repeated, and is split at commas: urfave's default, and nothing says that influxctl changes it.
    Many,
}

#[derive(Debug)]
struct Flag {
    name: &'static str,
    kind: Kind,
    since: Version,
}

impl Flag {
    /// What follows it, and the variable that stands in for it. That of the management token has no published name.
    fn hint(&self, version: Version) -> &'static str {
        match self.kind {
            Kind::Text if self.name == "profile" && version >= Version::of(2, 10, 1) => {
                " value  [$INFLUXCTL_PROFILE]"
            }
            Kind::Text | Kind::Many => " value",
            Kind::Switch => "",
        }
    }
}

const fn flag(name: &'static str, kind: Kind, since: Version) -> Flag {
    Flag { name, kind, since }
}

/// A command, and what it takes.
#[derive(Debug)]
pub(super) struct Verb {
    pub(super) name: &'static str,
    since: Version,
    flags: &'static [Flag],
    arguments: RangeInclusive<usize>,
}

const FIRST: Version = Version::FIRST;
const EXPIRY: Version = Version::of(2, 10, 0);
const SORT: Version = Version::of(2, 9, 9);
const MANAGEMENT: Version = Version::of(2, 6, 0);

const GLOBAL: &[Flag] = &[
    flag("config", Kind::Text, FIRST),
    flag("profile", Kind::Text, FIRST),
    flag("account", Kind::Text, FIRST),
    flag("cluster", Kind::Text, FIRST),
    flag("timeout", Kind::Text, Version::of(2, 9, 7)),
    flag("debug", Kind::Switch, FIRST),
    flag("trace", Kind::Switch, Version::of(2, 4, 4)),
    // Not among the documented flags, but urfave adds it to every program that tells its version.
    flag("version", Kind::Switch, FIRST),
    flag("v", Kind::Switch, FIRST),
];

/// Of the program, and of each verb.
const HELP_FLAGS: [Flag; 2] = [flag("help", Kind::Switch, FIRST), flag("h", Kind::Switch, FIRST)];

const READ: Flag = flag("read-database", Kind::Many, FIRST);
const WRITE: Flag = flag("write-database", Kind::Many, FIRST);
const FORMAT: Flag = flag("format", Kind::Text, FIRST);
const FORCE: Flag = flag("force", Kind::Switch, FIRST);
const INCLUDE_REVOKED: Flag = flag("include-revoked", Kind::Switch, EXPIRY);
const DESCRIPTION: Flag = flag("description", Kind::Text, FIRST);
const EXPIRES_AT: Flag = flag("expires-at", Kind::Text, EXPIRY);

const VERBS: &[Verb] = &[
    Verb {
        name: "token create",
        since: FIRST,
        flags: &[READ, WRITE, EXPIRES_AT, flag("format", Kind::Text, Version::of(2, 1, 0))],
        arguments: 1..=1,
    },
    Verb { name: "token get", since: FIRST, flags: &[FORMAT, INCLUDE_REVOKED], arguments: 1..=1 },
    Verb {
        name: "token list",
        since: FIRST,
        flags: &[FORMAT, flag("sort", Kind::Text, SORT), INCLUDE_REVOKED],
        arguments: 0..=0,
    },
    // No `--format`. `--description` is in Dedicated's examples only, but what the verb was made for in 1.1.0.
    Verb { name: "token update", since: FIRST, flags: &[READ, WRITE, DESCRIPTION], arguments: 1..=1 },
    Verb { name: "token revoke", since: EXPIRY, flags: &[FORCE], arguments: 1..=usize::MAX },
    Verb { name: "token delete", since: FIRST, flags: &[FORCE], arguments: 1..=usize::MAX },
    Verb { name: "cluster list", since: FIRST, flags: &[FORMAT], arguments: 0..=0 },
    Verb {
        name: "database list",
        since: FIRST,
        flags: &[FORMAT, flag("filter-status", Kind::Text, Version::of(2, 10, 4))],
        arguments: 0..=0,
    },
    Verb {
        name: "management create",
        since: MANAGEMENT,
        flags: &[flag("expires-at", Kind::Text, FIRST), DESCRIPTION, FORMAT],
        arguments: 0..=0,
    },
    Verb {
        name: "management list",
        since: MANAGEMENT,
        flags: &[FORMAT, flag("sort", Kind::Text, SORT)],
        arguments: 0..=0,
    },
    Verb { name: "management revoke", since: MANAGEMENT, flags: &[FORCE], arguments: 1..=usize::MAX },
    VERSION,
    HELP,
];

const VERSION: Verb = Verb { name: "version", since: FIRST, flags: &[], arguments: 0..=0 };
const HELP: Verb = Verb { name: "help", since: FIRST, flags: &[], arguments: 0..=usize::MAX };

/// Flags in the order they were given.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// The last one wins, as in Go.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    fn ask_for_help(&self) -> bool {
        self.is_set("help") || self.is_set("h")
    }

    pub(super) fn many(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(own, _)| *own == name)
            .flat_map(|(_, value)| value.split(',').map(str::trim))
    }
}

/// A line that is understood.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) global: Flags,
    pub(super) verb: &'static Verb,
    pub(super) flags: Flags,
    pub(super) arguments: Vec<String>,
}

impl Line {
    pub(super) fn wants_json(&self) -> bool {
        self.flags.text("format") == Some("json")
    }

    /// How long one request may take.
    pub(super) fn timeout(&self) -> Result<Duration, Failure> {
        let text = self.global.text("timeout").unwrap_or("1m0s");
        duration(text)
            .ok_or_else(|| Failure::usage(format!("invalid value \"{text}\" for flag -timeout: parse error")))
    }
}

pub(super) fn parse(words: &[String], version: Version) -> Result<Line, Failure> {
    let (global, rest) = take(GLOBAL, words, version)?;
    let told = |global, verb, arguments| Line { global, verb, flags: Flags::default(), arguments };
    if global.ask_for_help() || rest.is_empty() {
        return Ok(told(global, &HELP, vec![]));
    }
    if global.is_set("version") || global.is_set("v") {
        return Ok(told(global, &VERSION, vec![]));
    }
    let (verb, rest) = verb(rest, version)?;
    let (flags, arguments) = take(verb.flags, rest, version)?;
    if flags.ask_for_help() {
        return Ok(told(global, &HELP, vec![verb.name.to_owned()]));
    }
    let line = Line { global, verb, flags, arguments: arguments.to_vec() };
    if line.arguments.len() > *verb.arguments.end() {
        return Err(Failure::usage(format!("too many arguments for {}", verb.name)));
    }
    if line.arguments.len() < *verb.arguments.start() {
        return Err(Failure::usage(format!("{} lacks an argument", verb.name)));
    }
    if !matches!(line.flags.text("format"), None | Some("table" | "json")) {
        return Err(Failure::usage("the format is neither table nor json"));
    }
    line.timeout()?;
    Ok(line)
}

/// The verb at the start, and what follows it.
fn verb(words: &[String], version: Version) -> Result<(&'static Verb, &[String]), Failure> {
    let known = |name: &str| VERBS.iter().find(|verb| verb.name == name && verb.since <= version);
    if let Some(verb) = known(&words[0]) {
        return Ok((verb, &words[1..]));
    }
    let group = VERBS.iter().any(|verb| {
        verb.since <= version && verb.name.strip_prefix(words[0].as_str()).is_some_and(|s| s.starts_with(' '))
    });
    match words.get(1) {
        Some(second) if group => known(&format!("{} {second}", words[0]))
            .map(|verb| (verb, &words[2..]))
            .ok_or_else(|| Failure::no_such_verb(second)),
        None if group => Ok((&HELP, &[])),
        _ => Err(Failure::no_such_verb(&words[0])),
    }
}

/// The flags at the start, and what follows them.
fn take<'a>(flags: &[Flag], words: &'a [String], version: Version) -> Result<(Flags, &'a [String]), Failure> {
    let mut taken = Vec::new();
    let mut words = words;
    while let Some((word, rest)) = words.split_first() {
        if word == "--" {
            return Ok((Flags(taken), rest));
        }
        let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|b| !b.is_empty())
        else {
            break;
        };
        words = rest;
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        let flag = flags
            .iter()
            .chain(&HELP_FLAGS)
            .find(|flag| flag.name == name && flag.since <= version)
            .ok_or_else(|| Failure::usage(format!("flag provided but not defined: -{name}")))?;
        let value = match (value, flag.kind) {
            (Some(value), _) => value.to_owned(),
            (None, Kind::Switch) => "true".to_owned(),
            (None, Kind::Text | Kind::Many) => {
                let (value, rest) = words
                    .split_first()
                    .ok_or_else(|| Failure::usage(format!("flag needs an argument: -{name}")))?;
                words = rest;
                value.clone()
            }
        };
        taken.push((flag.name, value));
    }
    Ok((Flags(taken), words))
}

/// What this version takes: all of it, or one verb's flags.
pub(super) fn help(words: &[String], version: Version) -> String {
    let listed = |flags: &[Flag]| -> String {
        let known = flags.iter().filter(|flag| flag.since <= version);
        known.map(|flag| format!("   --{}{}\n", flag.name, flag.hint(version))).collect()
    };
    let name = words.join(" ");
    if let Some(verb) = VERBS.iter().find(|verb| verb.name == name && verb.since <= version) {
        return format!("NAME:\n   influxctl {name}\n\nOPTIONS:\n{}", listed(verb.flags));
    }
    let verbs: String =
        VERBS.iter().filter(|verb| verb.since <= version).map(|verb| format!("   {}\n", verb.name)).collect();
    format!("NAME:\n   influxctl\n\nCOMMANDS:\n{verbs}\nGLOBAL OPTIONS:\n{}", listed(GLOBAL))
}

/// As Go writes one: `1m0s`, `1.5s`, `300ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "\u{b5}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[end..];
        sum += Duration::try_from_secs_f64(number * unit).ok()?;
    }
    Some(sum)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn parsed(words: &[&str], version: Version) -> Result<Line, Failure> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words, version)
    }

    const NEW: Version = Version::of(2, 12, 0);

    #[test]
    fn flags_come_before_arguments_and_may_repeat() {
        let line = parsed(
            &[
                "--config",
                "c",
                "token",
                "create",
                "--read-database",
                "a",
                "-read-database=b",
                "--format=json",
                "d",
            ],
            NEW,
        );
        let line = line.unwrap();
        assert_eq!((line.verb.name, line.arguments.as_slice()), ("token create", &["d".to_owned()][..]));
        assert_eq!(line.flags.many("read-database").collect::<Vec<_>>(), ["a", "b"]);
        assert!(line.wants_json());
        let late = parsed(&["token", "create", "d", "--format", "json"], NEW).unwrap_err();
        assert_eq!(late.message, "too many arguments for token create");
    }

    #[test]
    fn a_dash_begins_a_flag_but_for_what_follows_two() {
        let flag = parsed(&["token", "create", "-x"], NEW).unwrap_err();
        assert_eq!((flag.code, flag.message.as_str()), (1, "flag provided but not defined: -x"));
        assert_eq!(parsed(&["token", "create", "--", "-x"], NEW).unwrap().arguments, ["-x"]);
    }

    #[test]
    fn a_list_is_split_at_commas() {
        let line = parsed(&["token", "create", "--read-database", "a,b", "d"], NEW).unwrap();
        assert_eq!(line.flags.many("read-database").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn versions_gate_verbs_and_flags() {
        for (words, since) in [
            (&["token", "create", "--format", "json", "d"][..], Version::of(2, 1, 0)),
            (&["--trace", "token", "list"], Version::of(2, 4, 4)),
            (&["management", "list"], Version::of(2, 6, 0)),
            (&["--timeout", "1m0s", "token", "list"], Version::of(2, 9, 7)),
            (&["token", "list", "--sort", "id"], Version::of(2, 9, 9)),
            (&["token", "revoke", "--force", "x"], Version::of(2, 10, 0)),
            (&["token", "list", "--include-revoked"], Version::of(2, 10, 0)),
            (&["token", "get", "--include-revoked", "x"], Version::of(2, 10, 0)),
            (&["token", "create", "--expires-at", "x", "d"], Version::of(2, 10, 0)),
            (&["token", "delete", "--force", "x"], FIRST),
        ] {
            assert!(parsed(words, since).is_ok(), "{words:?}");
            for older in [FIRST, Version::of(2, 1, 0), Version::of(2, 4, 3), Version::of(2, 9, 6), SORT] {
                assert_eq!(parsed(words, older).is_ok(), older >= since, "{words:?} {older}");
            }
        }
    }

    #[test]
    fn unknown_verbs_end_with_three() {
        for words in [&["tokens"][..], &["token", "burn"], &["management", "edit"]] {
            assert_eq!(parsed(words, NEW).unwrap_err().code, 3, "{words:?}");
        }
        assert_eq!(parsed(&["management"], Version::of(2, 5, 0)).unwrap_err().code, 3);
        assert_eq!(parsed(&["token", "update", "--format", "json", "x"], NEW).unwrap_err().code, 1);
    }

    #[test]
    fn help_tells_what_a_version_takes() {
        let flags = |version| {
            let line = parsed(&["token", "create", "--help"], version).unwrap();
            assert_eq!(line.verb.name, "help");
            help(&line.arguments, version)
        };
        assert!(flags(NEW).contains("--expires-at value\n"));
        assert!(!flags(Version::of(2, 9, 9)).contains("--expires-at"));
        let all = |version| help(&parsed(&["-h"], version).unwrap().arguments, version);
        assert!(all(NEW).contains("token revoke") && !all(SORT).contains("token revoke"));
        assert!(all(NEW).contains("[$INFLUXCTL_PROFILE]") && !all(EXPIRY).contains("INFLUXCTL_PROFILE"));
    }

    #[test]
    fn durations_are_gos() {
        for (text, milliseconds) in [("1m0s", 60_000), ("300ms", 300), ("1.5s", 1_500), ("1h2m", 3_720_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "1x", "-1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
