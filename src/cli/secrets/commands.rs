//! The commands, as the parser and the help know them.

use super::options::{
    AGENT_TIMEOUT, CHECK, CLEAR, DELIVERED, ENV, FILE, FOLLOW, FOR, MAX_OUTPUT, OUT, OUTPUT, Opt, RECHECK,
    RING, TELEGRAF, TIMEOUT, USER,
};

/// A command.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) verb: Verb,
    pub(super) name: &'static str,
    /// What it is given beside options.
    pub(super) operands: &'static str,
    pub(super) about: &'static str,
    /// What else there is to say; a line each.
    pub(super) more: &'static [&'static str],
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
    Keyring,
    Exec,
    Backend,
    InstallExec,
}

/// All commands, in the order of the help.
pub(super) static COMMANDS: [Sub; 10] = [
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
    Sub {
        verb: Verb::Keyring,
        name: "keyring",
        operands: "",
        about: "Fill the kernel's keyring that Telegraf's os store reads",
        more: &[
            "Run it as Telegraf's user: nobody else, root included, can write to the keyring of a user.",
            "All that this user may read goes into it, but for what is not ready yet: that keeps the",
            "value it has there. What has ended, or is not for this user any more, is taken out; what",
            "somebody else has put there stays. A reboot empties it.",
            "With --follow it goes on, changes each value as soon as there is another, and tells systemd",
            "when the keyring has been filled (Type=notify). It ends at SIGTERM; the keyring stays.",
        ],
        options: &[&FOLLOW, &RECHECK, &CLEAR, &RING],
        reads_a_store: false,
    },
    Sub {
        verb: Verb::Exec,
        name: "exec",
        operands: "-- COMMAND [ARGS…]",
        about: "Run a program with secrets in its files, or in its environment",
        more: &[
            "Copies of files are in a folder in memory that nobody else can open ($XDG_RUNTIME_DIR, else",
            "/dev/shm), until COMMAND ends. Signals, terminal and exit code are COMMAND's. On SIGHUP the",
            "copies are made anew before it is passed on. After a SIGKILL the next run removes what is",
            "left. COMMAND leaves no core dump.",
            "",
            "  influx-secrets exec --file app.yaml -- app --config app.yaml",
            "  influx-secrets exec --env INFLUX_TOKEN='@{influx:edge_writer}' -- app",
            "  influx-secrets exec -- telegraf --config /etc/telegraf/telegraf.conf",
            "",
            "Telegraf resolves references itself, and follows a token that changes: its copies of what",
            "--config and --config-directory name say @{influx:NAME} for @<influx:NAME>, and it is given",
            "the secret store that fits its version, unless they have one that is called influx.",
            "",
            "Exit codes of its own: 1, 2 and 5 as everywhere, 126 and 127 where COMMAND cannot be started.",
        ],
        options: &[&FILE, &ENV, &TELEGRAF, &DELIVERED],
        reads_a_store: true,
    },
    Sub {
        verb: Verb::Backend,
        name: "backend",
        operands: "",
        about: "Answer an agent that runs a program for its secrets: Vector, Datadog",
        more: &[
            "Reads a request on stdin, {\"version\": \"1.0\", \"secrets\": [\"NAME\", …]}, and prints",
            "{\"NAME\": {\"value\": \"…\", \"error\": null}, …}. What else a request of version 1 has is not",
            "looked at. A name that gives no secret has a null value and the reason for its error, with",
            "exit code 0; where nothing at all could be asked, the exit code and stderr say so too.",
            "",
            "  Vector    [secret.influx]  type = \"exec\"  command = [\"/usr/bin/influx-secrets\", \"backend\"]",
            "            a value is then written SECRET[influx.NAME]",
            "  Datadog   `influx-secrets install-exec --for datadog`; a value is then written ENC[NAME]",
        ],
        options: &[&AGENT_TIMEOUT, &MAX_OUTPUT],
        reads_a_store: true,
    },
    Sub {
        verb: Verb::InstallExec,
        name: "install-exec",
        operands: "[PATH]",
        about: "Write a program that runs `backend`, with the owner and mode an agent demands",
        more: &[
            "Datadog's agent runs only what is its own user's and nobody else may read or run: PATH is",
            "then a script of that user with mode 0500. Vector demands nothing: root's, 0755. Where",
            "secrets come from, --timeout and --max-output are written into it. It is tried once as",
            "the agent's user. Prints what to write in the agent's configuration.",
            "PATH is /etc/datadog-agent/influx-secrets or /etc/vector/influx-secrets if not given.",
        ],
        options: &[&FOR, &USER, &AGENT_TIMEOUT, &MAX_OUTPUT],
        reads_a_store: true,
    },
];
