//! What the command line knows: the options of each command, and the help. The parser and the help read the same
//! tables, so neither knows what the other does not.

use std::fmt::Write as _;

use super::commands::{COMMANDS, Sub};

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
    MaxOutput,
    For,
    User,
    File,
    Env,
    Telegraf,
    Delivered,
    Follow,
    Recheck,
    Clear,
    Ring,
}

macro_rules! option {
    ($name:ident, $key:ident, $long:literal, $short:expr, $value:expr, $($about:literal),+) => {
        pub(super) static $name: Opt =
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

option!(
    AGENT_TIMEOUT,
    Timeout,
    "timeout",
    None,
    Some("TIME"),
    "Answer within this time: a whole number and one of ms, s, m, h, d",
    "[default: 3s, as Vector waits for 5]"
);
option!(
    MAX_OUTPUT,
    MaxOutput,
    "max-output",
    None,
    Some("SIZE"),
    "Print no more than this: a number of bytes, or one with KiB or MiB",
    "[default: 1MiB, as Datadog's agent takes no more]"
);
option!(FOR, For, "for", None, Some("AGENT"), "Whose rules the file is to satisfy: datadog or vector");
option!(USER, User, "user", None, Some("NAME"), "Who the agent runs as [default: dd-agent, vector]");

option!(
    FILE,
    File,
    "file",
    None,
    Some("FILE"),
    "A file that COMMAND reads: it is given a copy with references",
    "resolved wherever an argument is FILE or ends in =FILE"
);
option!(
    ENV,
    Env,
    "env",
    None,
    Some("NAME=REF"),
    "A variable for COMMAND, as NAME='@{influx:edge_writer}'; the",
    "environment of a process is easier to see than its files"
);
option!(TELEGRAF, Telegraf, "telegraf", None, None, "COMMAND is Telegraf, whatever it is called");
option!(
    DELIVERED,
    Delivered,
    "delivered",
    None,
    Some("PATH"),
    "Where files are delivered, for Telegraf before 1.37",
    "[default: secrets beside the socket]"
);

option!(FOLLOW, Follow, "follow", None, None, "Go on, and follow each change");
option!(
    RECHECK,
    Recheck,
    "recheck",
    None,
    Some("TIME"),
    "With --follow: look at everything anew this often [default: 30s]"
);
option!(CLEAR, Clear, "clear", None, None, "Only take out what was put in so; needs no daemon");
option!(
    RING,
    Ring,
    "ring",
    None,
    Some("NAME"),
    "What Telegraf's store calls it: its keyring option",
    "[default: telegraf]"
);

/// What every command takes.
pub(super) static EVERYWHERE: [&Opt; 7] = [&SOCKET, &STORE, &IDENTITY, &UNWRAP, &ID, &HELP, &VERSION];

/// The help of a command; of the whole program without one.
pub(super) fn help(sub: Option<&Sub>) -> String {
    let mut text = String::new();
    match sub {
        None => {
            text += "Reads the InfluxDB tokens of this host: one by name, or wherever a text refers to one\n\n\
                     Usage: influx-secrets [OPTIONS] COMMAND\n\nCommands:\n";
            for sub in &COMMANDS {
                _ = writeln!(text, "  {:<13}{}", sub.name, sub.about);
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
                 Exit codes: 0 done, 1 error, 2 usage, 4 partly done, 5 daemon unreachable\n";
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
