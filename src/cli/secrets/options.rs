//! What the command line knows: the commands, their options and their help. The parser and the help read the same
//! tables, so neither knows what the other does not.

use std::fmt::Write as _;

/// An option.
#[derive(Debug)]
pub(super) struct Opt {
    pub(super) key: Key,
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    /// What its value is called in help; `None` where it takes none.
    pub(super) value: Option<&'static str>,
    /// For help; a line each.
    about: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Socket,
    Store,
    Identity,
    Unwrap,
    Id,
    Help,
    Version,
    Output,
    Check,
    Out,
    Timeout,
}

/// A command.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) verb: Verb,
    pub(super) name: &'static str,
    /// What it is given beside options.
    pub(super) operands: &'static str,
    about: &'static str,
    /// What else there is to say; a line each.
    more: &'static [&'static str],
    pub(super) options: &'static [&'static Opt],
    /// Whether it can read a store without a daemon.
    pub(super) reads_a_store: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Resolve,
    Render,
    Wait,
    Watch,
}

macro_rules! option {
    ($name:ident, $key:ident, $long:literal, $short:expr, $value:expr, $($about:literal),+) => {
        static $name: Opt =
            Opt { key: Key::$key, long: $long, short: $short, value: $value, about: &[$($about),+] };
    };
}

option!(
    SOCKET,
    Socket,
    "socket",
    None,
    Some("PATH"),
    "The daemon's secrets socket [default: INFLUX_SECRETS_SOCKET, else",
    "/run/influx-tokend/secrets.sock, or for an ordinary user",
    "$XDG_RUNTIME_DIR/influx-tokend/secrets.sock]"
);
option!(
    STORE,
    Store,
    "store",
    None,
    Some("PATH"),
    "Read this store's folder, without a daemon",
    "[default with --identity or --unwrap: /var/lib/influx-tokend,",
    "or for an ordinary user ~/.local/state/influx-tokend]"
);
option!(
    IDENTITY,
    Identity,
    "identity",
    None,
    Some("FILE"),
    "What opens the store [default: identity.txt or identity.age in",
    "its folder]"
);
option!(
    UNWRAP,
    Unwrap,
    "unwrap",
    None,
    Some("FILE"),
    "What opens a wrapped identity: an identity file, a plugin's",
    "for instance"
);
option!(
    ID,
    Id,
    "id",
    None,
    Some("NAME"),
    "What references call these secrets: the part before the colon",
    "[default: influx]"
);
option!(HELP, Help, "help", Some('h'), None, "Print help; after a command, its help");
option!(VERSION, Version, "version", Some('V'), None, "Print the version");
option!(
    OUTPUT,
    Output,
    "output",
    None,
    Some("FORMAT"),
    "How to print: text for people, json for programs [default: text]"
);
option!(
    CHECK,
    Check,
    "check",
    None,
    Some("FILE…"),
    "List every reference of these files, and whether it resolves"
);
option!(OUT, Out, "out", Some('o'), Some("PATH"), "Where to write it, mode 0600; stdout if not given");
option!(
    TIMEOUT,
    Timeout,
    "timeout",
    None,
    Some("TIME"),
    "The longest to wait: a whole number and one of ms, s, m, h, d",
    "[default: 80s]"
);

/// What every command takes.
pub(super) static EVERYWHERE: [&Opt; 7] = [&SOCKET, &STORE, &IDENTITY, &UNWRAP, &ID, &HELP, &VERSION];

/// All commands, in the order of the help.
pub(super) static COMMANDS: [Sub; 6] = [
    Sub {
        verb: Verb::Get,
        name: "get",
        operands: "NAME",
        about: "Print a secret; without a newline, unless a person reads it",
        more: &[],
        options: &[],
        reads_a_store: true,
    },
    Sub {
        verb: Verb::List,
        name: "list",
        operands: "",
        about: "List the names, never the secrets",
        more: &["A line each: name, state, generation and expiry, with tabs between."],
        options: &[&OUTPUT],
        reads_a_store: true,
    },
    Sub {
        verb: Verb::Resolve,
        name: "resolve",
        operands: "[TEXT]",
        about: "Print a text with its references resolved, or check those of files",
        more: &[
            "TEXT has references, such as '@{influx:edge_writer}'; without one, or for '-', stdin.",
            "With --check nothing is resolved: each reference is listed, with what becomes of it.",
        ],
        options: &[&CHECK],
        reads_a_store: true,
    },
    Sub {
        verb: Verb::Render,
        name: "render",
        operands: "FILE",
        about: "Print a file with its references resolved; those to other stores stay",
        more: &["FILE is '-' for stdin. It is written whole or not at all."],
        options: &[&OUT],
        reads_a_store: true,
    },
    Sub {
        verb: Verb::Wait,
        name: "wait",
        operands: "[NAME…]",
        about: "Wait until tokens are ready; without names, all that the caller may read",
        more: &[
            "Waits for the daemon too, and for a list that lets the caller read. Tells on stderr what",
            "it waits for, each time that changes. Without names there must be one token at least.",
        ],
        options: &[&TIMEOUT],
        reads_a_store: false,
    },
    Sub {
        verb: Verb::Watch,
        name: "watch",
        operands: "NAME -- COMMAND [ARGS…]",
        about: "Run a command each time a token has a new secret",
        more: &[
            "Reads NAME at the start, and again only after COMMAND exited 0: until then the daemon",
            "takes it that the former secret is in use. One run serves all changes during the one",
            "before. A COMMAND that fails is run again, after 1 s, 2 s, … 60 s at most.",
            "COMMAND is started without a shell and without input, and is told no secret. When watch",
            "is ended, a COMMAND that runs is left to come to its own end, unless the signal went to",
            "both, as systemd and terminals send it.",
        ],
        options: &[],
        reads_a_store: false,
    },
];

/// The help of a command; of the whole program without one.
pub(super) fn help(sub: Option<&Sub>) -> String {
    let mut text = String::new();
    match sub {
        None => {
            text += "Reads the InfluxDB tokens of this host: one by name, or wherever a text refers to one\n\n\
                     Usage: influx-secrets [OPTIONS] COMMAND\n\nCommands:\n";
            for sub in &COMMANDS {
                _ = writeln!(text, "  {:<9}{}", sub.name, sub.about);
            }
        }
        Some(sub) => {
            _ = writeln!(text, "{}\n\nUsage: {}", sub.about, usage(sub));
            if !sub.more.is_empty() {
                _ = writeln!(text, "\n{}", sub.more.join("\n"));
            }
        }
    }
    text += "\nOptions:\n";
    for option in options_of(sub) {
        let short = option.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
        let left = format!("  {short}--{}{value}", option.long);
        for (number, line) in option.about.iter().enumerate() {
            _ = writeln!(text, "{:<25}{line}", if number == 0 { left.as_str() } else { "" });
        }
    }
    if sub.is_none() {
        text += "\n`influx-secrets COMMAND --help` tells more about one.\n\
                 Exit codes: 0 done, 1 error, 2 usage, 5 daemon unreachable\n";
    }
    text
}

/// How a command is written.
pub(super) fn usage(sub: &Sub) -> String {
    format!("influx-secrets {} [OPTIONS] {}", sub.name, sub.operands).trim_end().to_owned()
}

/// What may be written with a command.
pub(super) fn options_of(sub: Option<&Sub>) -> impl Iterator<Item = &'static Opt> {
    let own = sub.map(|sub| sub.options).unwrap_or_default();
    let reads_a_store = sub.is_none_or(|sub| sub.reads_a_store);
    let everywhere = EVERYWHERE.iter().filter(move |option| {
        reads_a_store || !matches!(option.key, Key::Store | Key::Identity | Key::Unwrap | Key::Id)
    });
    own.iter().chain(everywhere).copied()
}
