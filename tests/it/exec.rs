//! `influx-secrets exec`: what a program is given, what passes through to it, and that nothing stays.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    host::{Host, Ran, ran, undisturbed, wait_until},
    scripted::{Reader, Scripted},
};

/// A reader with memory of its own to put folders in, so that tests do not look into each other's.
pub(crate) struct Desk {
    pub(crate) reader: Reader,
    pub(crate) memory: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let memory = TempDir::with_prefix_in("exec-", "/dev/shm").unwrap();
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self { reader: Reader::new(), memory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.reader.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.reader.command(&[&["exec"], arguments].concat());
        command.env("XDG_RUNTIME_DIR", self.memory.path());
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn end(&self, child: Child) -> Ran {
        let ran = ran(child.wait_with_output().unwrap());
        self.assert_gone();
        ran
    }

    /// The private folders that there are.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        fs::read_dir(self.memory.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn assert_gone(&self) {
        assert_eq!(self.folders(), Vec::<PathBuf>::new());
    }

    /// Until the program has written this file.
    pub(crate) fn wait_for(&self, name: &str) -> String {
        wait_until(name, || !self.read(name).is_empty(), String::new);
        self.read(name)
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(pid(child), signal).unwrap();
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).unwrap()
}

/// Answers what is asked for a token, with this.
fn answer(server: &Scripted, name: &str, secret: &str) {
    server.asks(&format!("/v1/secret/{name}")).answer(200, secret);
}

/// What a process shows of itself: its arguments, its environment.
fn shown(pid: i32) -> String {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned()
}

#[test]
fn a_file_s_copy_has_the_secrets_and_nobody_else_sees_them() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    desk.write("app.yaml", "token: \"@{influx:a}\"\nother: \"@{vault:x}\"\nagain: '@<influx:a>'\n");
    desk.write("second.yaml", "t: @{influx:b}\n");
    // What it was given, what it finds there, and then it waits.
    let script = "printf '%s\\n' \"$@\" >args; cp \"$2\" seen; cp \"${3#--more=}\" more; \
                  stat -c '%a' \"$2\" \"$(dirname \"$2\")/..\" >modes; echo $$ >pid; read line; exit 3";
    let arguments = ["--file", "app.yaml", "--file=second.yaml", "--", "sh", "-c", script, "app.yaml"];
    let arguments =
        [&arguments[..], &["--conf", "app.yaml", "--more=second.yaml", "xapp.yaml", "app.yamlx"]].concat();
    let mut command = desk.command(&arguments);
    let mut exec = command.stdin(Stdio::piped()).spawn().unwrap();
    answer(&server, "a", "CANARY1");
    answer(&server, "b", "CANARY2");
    let child: i32 = desk.wait_for("pid").trim().parse().unwrap();
    let folder = desk.folders().pop().unwrap();
    let (first, second) = (folder.join("0/app.yaml"), folder.join("1/second.yaml"));
    let given = [
        "--conf",
        first.to_str().unwrap(),
        &format!("--more={}", second.display()),
        "xapp.yaml",
        "app.yamlx",
    ];
    assert_eq!(desk.read("args").lines().collect::<Vec<_>>(), given);
    assert_eq!(desk.read("seen"), "token: \"CANARY1\"\nother: \"@{vault:x}\"\nagain: 'CANARY1'\n");
    assert_eq!(desk.read("more"), "t: CANARY2\n");
    assert_eq!(desk.read("modes"), "600\n700\n");
    for pid in [child, exec.id().cast_signed()] {
        let shown = shown(pid);
        assert!(shown.contains("app.yaml") && !shown.contains("CANARY"), "{shown}");
    }
    exec.stdin.take().unwrap().write_all(b"\n").unwrap();
    let ran = desk.end(exec);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(3), "", ""));
    server.assert_idle();
}

#[test]
fn a_variable_is_in_the_program_s_environment_alone() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    let script = "printf '%s %s' \"$TOKEN\" \"$URL\" >seen; echo $$ >pid; read line";
    let arguments =
        ["--env", "TOKEN=@{influx:a}", "--env=URL=http://u:@<influx:a>@h/", "--", "sh", "-c", script];
    let mut command = desk.command(&arguments);
    let mut exec = command.stdin(Stdio::piped()).env("KEPT", "kept").spawn().unwrap();
    answer(&server, "a", "CANARY");
    let child: i32 = desk.wait_for("pid").trim().parse().unwrap();
    assert_eq!(desk.read("seen"), "CANARY http://u:CANARY@h/");
    let of_child = shown(child);
    assert!(of_child.contains("TOKEN=CANARY") && of_child.contains("KEPT=kept"), "it would have been seen");
    assert!(!shown(exec.id().cast_signed()).contains("CANARY"));
    let arguments = fs::read(format!("/proc/{child}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("CANARY"));
    exec.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(desk.end(exec).code, Some(0));
}

#[test]
fn input_output_and_the_end_are_the_program_s() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    let run = |script: &str| {
        let mut command = desk.command(&["--env", "T=@{influx:a}", "--", "sh", "-c", script]);
        let mut exec = command.stdin(Stdio::piped()).spawn().unwrap();
        answer(&server, "a", "CANARY");
        exec.stdin.take().unwrap().write_all(b"input").unwrap();
        let output = exec.wait_with_output().unwrap();
        desk.assert_gone();
        (output.status, ran(output))
    };
    let (_, ran) = run("cat; echo err >&2; exit 42");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(42), "input", "err\n"));
    for code in [0, 1, 2, 5, 126, 255] {
        assert_eq!(run(&format!("exit {code}")).0.code(), Some(code));
    }
    for signal in [Signal::TERM, Signal::KILL, Signal::SEGV, Signal::HUP, Signal::USR1, Signal::ABORT] {
        let (status, ran) = run(&format!("kill -{} $$", signal.as_raw()));
        assert_eq!(status.signal(), Some(signal.as_raw()), "{ran:?}");
        assert!(!status.core_dumped() && ran.stderr.is_empty(), "{ran:?}");
    }
    // Rust ignores it in this process: it is told as shells tell it.
    assert_eq!(run("kill -PIPE $$").0.code(), Some(141));
}

#[test]
fn a_program_s_signals_are_as_they_would_be_without_us() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    // Started by somebody who ignores two of them, as nohup does one.
    let run = |by: &str| {
        let mut command = undisturbed("sh");
        let program = env!("CARGO_BIN_EXE_influx-secrets");
        let line = format!("{by} exec \"$@\"");
        command.args(["-c", &line, "sh", program, "exec", "--env", "T=@{influx:a}", "--"]);
        command.args(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
        command.env("INFLUX_SECRETS_SOCKET", desk.reader.socket()).env("XDG_RUNTIME_DIR", desk.memory.path());
        let exec = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        answer(&server, "a", "CANARY");
        let ran = desk.end(exec);
        let number = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        let lines: Vec<u64> = ran.stdout.lines().map(number).collect();
        // Those from 32 on are the C library's.
        (lines[0], lines[1] & 0x7fff_ffff)
    };
    let bit = |signal: Signal| 1 << (signal.as_raw() - 1);
    assert_eq!(run(""), (0, 0));
    assert_eq!(run("trap '' HUP USR1;"), (0, bit(Signal::HUP) | bit(Signal::USR1)));
}

/// Waits with a copy in hand, and writes down which signals come.
const WAITS: &str = "for s in HUP INT QUIT TERM USR1 USR2; do trap \"echo $s >>signals; sync\" $s; done; \
                     trap 'echo end >>signals; exit 7' WINCH; echo $$ >pid; while :; do sleep 0.05; done";

fn waiting(desk: &Desk, server: &Scripted) -> Child {
    desk.write("f", "@{influx:a}");
    let exec = desk.start(&["--file", "f", "--", "sh", "-c", WAITS, "sh", "f"]);
    answer(server, "a", "CANARY");
    desk.wait_for("pid");
    exec
}

#[test]
fn signals_are_passed_on_once_each_and_the_program_ends_when_it_will() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    let mut exec = waiting(&desk, &server);
    let signals = [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::HUP, "HUP"),
    ];
    let mut expected = String::new();
    for (sent, name) in signals {
        signal(&exec, sent);
        if sent == Signal::HUP {
            answer(&server, "a", "CANARY2");
        }
        expected += &format!("{name}\n");
        wait_until(name, || desk.read("signals") == expected, || desk.read("signals"));
        assert!(exec.try_wait().unwrap().is_none(), "{name} has not ended it");
        assert_eq!(desk.folders().len(), 1, "{name}");
    }
    signal(&exec, Signal::WINCH);
    let ran = desk.end(exec);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(7), ""), "{ran:?}");
    assert_eq!(desk.read("signals"), expected + "end\n");
}

#[test]
fn what_ends_it_by_a_signal_leaves_nothing() {
    for sent in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let desk = Desk::new();
        let server = desk.reader.serve();
        desk.write("f", "@{influx:a}");
        let exec = desk.start(&["--file", "f", "--", "sh", "-c", "cat $1 >seen; exec sleep 1000", "sh", "f"]);
        answer(&server, "a", "CANARY");
        desk.wait_for("seen");
        assert_eq!(desk.folders().len(), 1);
        signal(&exec, sent);
        if sent == Signal::HUP {
            answer(&server, "a", "CANARY");
        }
        let output = exec.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(sent.as_raw()), "{output:?}");
        desk.assert_gone();
    }
}

#[test]
fn a_hangup_brings_new_secrets_before_it_arrives() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    desk.write("f", "token = @{influx:a}\n");
    let script = "trap 'cat $1 >>seen' HUP; cat $1 >>seen; echo $$ >pid; while :; do sleep 0.05; done";
    let log = fs::File::create(desk.path("log")).unwrap();
    let mut command = desk.command(&["--file", "f", "--", "sh", "-c", script, "sh", "f"]);
    let exec = command.stderr(log).spawn().unwrap();
    answer(&server, "a", "CANARY1");
    desk.wait_for("pid");
    let mut expected = "token = CANARY1\n".to_owned();
    let comes = |expected: &str| {
        wait_until("a reload", || desk.read("seen") == expected, || desk.read("seen") + &desk.read("log"));
    };
    // The file may have changed too.
    desk.write("f", "new = @{influx:a}\n");
    signal(&exec, Signal::HUP);
    answer(&server, "a", "CANARY2");
    expected += "new = CANARY2\n";
    comes(&expected);
    // What cannot be had leaves what there is, is told, and keeps no signal back.
    signal(&exec, Signal::HUP);
    server.asks("/v1/secret/a").answer(503, "");
    expected += "new = CANARY2\n";
    comes(&expected);
    assert!(desk.read("log").contains("warning: token a is not ready\n"), "{}", desk.read("log"));
    let files = crate::host::files_below(desk.memory.path());
    assert_eq!(files.len(), 1, "{files:?}");
    signal(&exec, Signal::TERM);
    desk.end(exec);
}

#[test]
fn what_a_kill_leaves_the_next_run_removes_once_nobody_uses_it() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    let mut exec = waiting(&desk, &server);
    let child: i32 = desk.wait_for("pid").trim().parse().unwrap();
    let left = desk.folders().pop().unwrap();
    exec.kill().unwrap();
    exec.wait().unwrap();
    let next = || {
        let exec = desk.start(&["--file", "f", "--", "cat", "f"]);
        answer(&server, "a", "CANARY2");
        ran(exec.wait_with_output().unwrap())
    };
    // The program goes on, and so does what it reads.
    let ran = next();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "CANARY2"), "{ran:?}");
    assert_eq!(desk.folders(), std::slice::from_ref(&left));
    assert_eq!(fs::read_to_string(left.join("0/f")).unwrap(), "CANARY");
    kill_process(Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
    // Whatever it is waiting in goes away by itself, soon.
    wait_until(
        "nobody to use it",
        || {
            assert_eq!(next().code, Some(0));
            desk.folders().is_empty()
        },
        || format!("{:?}", desk.folders()),
    );
}

#[test]
fn nothing_is_started_and_nothing_stays_where_a_secret_cannot_be_had() {
    let desk = Desk::new();
    desk.write("f", "@{influx:a} @{influx:b}");
    let arguments = ["--file", "f", "--", "sh", "-c", "echo >started", "sh", "f"];
    let failed = |ran: &Ran, code: i32, said: &str| {
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("CANARY"), "{said}: {ran:?}");
        assert!(!desk.path("started").exists(), "{ran:?}");
    };
    failed(&desk.end(desk.start(&arguments)), 5, "there is no such socket");
    let server = desk.reader.serve();
    let exec = desk.start(&arguments);
    answer(&server, "a", "CANARY");
    server.asks("/v1/secret/b").answer(403, "");
    failed(&desk.end(exec), 1, "token b is not for this user");
    let exec = desk.start(&["--env", "A=@{influx:a}", "--env", "B=@{other:b}", "--", "touch", "started"]);
    answer(&server, "a", "CANARY");
    failed(&desk.end(exec), 1, "@{other:b} refers to the store \"other\"");
    desk.write("f", "@{influx:a-b}");
    failed(&desk.end(desk.start(&arguments)), 1, "hint: write @{influx:NAME}");
    fs::remove_file(desk.path("f")).unwrap();
    failed(&desk.end(desk.start(&arguments)), 1, "cannot read \"f\": No such file");
    // The program itself.
    desk.write("f", "@{influx:a}");
    for (program, code, said) in [
        ("./nowhere", 127, "error: \"./nowhere\" cannot be started: No such file or directory"),
        ("./f", 126, "error: \"./f\" cannot be started: Permission denied"),
    ] {
        let exec = desk.start(&["--file", "f", "--", program, "f"]);
        answer(&server, "a", "CANARY");
        failed(&desk.end(exec), code, said);
    }
    server.assert_idle();
}

#[test]
fn a_command_line_that_gives_nothing_or_shows_a_secret_is_refused() {
    let desk = Desk::new();
    for (arguments, said) in [
        (&["--", "app"][..], "nothing is given to COMMAND"),
        (&["--env", "T=@{influx:a}"], "COMMAND is missing"),
        (&["--file", "f", "--", "app", "g"], "no argument of COMMAND is \"f\""),
        // The program is none of its arguments.
        (&["--file", "f", "--", "f"], "no argument of COMMAND is \"f\""),
        (&["--env", "T=CANARY", "--", "app"], "\"--env T=…\" has no reference"),
        (&["--env", "CANARY", "--", "app"], "\"--env\" wants NAME=REF"),
        (&["--env", "=@{influx:a}", "--", "app"], "\"--env\" wants NAME=REF"),
        (&["app", "--config", "f"], "hint: write `--` before the command"),
    ] {
        let ran = desk.end(desk.start(arguments));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("CANARY"), "{said}: {ran:?}");
    }
}

#[test]
fn without_memory_of_its_own_it_takes_what_everybody_shares() {
    let desk = Desk::new();
    let server = desk.reader.serve();
    desk.write("f", "@{influx:a}");
    // On a disk, anybody's, not there, relative.
    let open = TempDir::with_prefix_in("exec-", "/dev/shm").unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for runtime in [Path::new("/proc"), open.path(), Path::new("/nowhere"), Path::new("run"), Path::new("")] {
        let mut command = desk.command(&["--file", "f", "--", "sh", "-c", "echo $1", "sh", "f"]);
        let exec = command.env("XDG_RUNTIME_DIR", runtime).spawn().unwrap();
        answer(&server, "a", "CANARY");
        let ran = desk.end(exec);
        assert!(ran.stdout.starts_with("/dev/shm/influx-secrets-"), "{runtime:?}: {ran:?}");
        let folder = Path::new(ran.stdout.trim()).ancestors().nth(2).unwrap();
        assert!(!folder.exists(), "{folder:?}");
    }
}

#[test]
fn a_store_serves_without_a_daemon() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let ran = host.secrets(&["exec", "--env", "T=@{influx:t0}", "--", "sh", "-c", "printf %s \"$T\""]);
    assert_eq!((ran.code, ran.stdout), (Some(0), host.live("t0")[0].secret.clone()));
}

/// What is typed arrives at the program once, which has the terminal; and ends both where the program lets it.
#[test]
fn a_terminal_is_the_program_s() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("no script on PATH: not shown what a terminal does");
        return;
    }
    let desk = Desk::new();
    let server = desk.reader.serve();
    desk.write("f", "@{influx:a}");
    desk.write(
        "app",
        "trap 'echo INT >>signals' INT; test -t 0 && test -t 1 && tty >seen; cat $1 >>seen; echo >pid\n\
         while :; do sleep 0.05; test -e stop && exit 9; done\n",
    );
    let program = env!("CARGO_BIN_EXE_influx-secrets");
    // A shell in between would get the keys as well, and end by them.
    let line = format!("exec {program} exec --file f -- sh app f");
    let mut script = undisturbed("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(desk.reader.folder.path());
    script.env("INFLUX_SECRETS_SOCKET", desk.reader.socket()).env("XDG_RUNTIME_DIR", desk.memory.path());
    let mut running = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    answer(&server, "a", "CANARY");
    desk.wait_for("pid");
    let seen = desk.read("seen");
    assert!(seen.starts_with("/dev/pts/") && seen.ends_with("CANARY"), "{seen}");
    let mut keyboard = running.stdin.take().unwrap();
    for count in 1..=2 {
        keyboard.write_all(b"\x03").unwrap();
        keyboard.flush().unwrap();
        let expected = "INT\n".repeat(count);
        wait_until("the key", || desk.read("signals").len() >= expected.len(), || desk.read("signals"));
        // A second one would have come from us at once.
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(desk.read("signals"), expected, "once each");
    }
    desk.write("stop", "");
    let mut shown = String::new();
    running.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(9), "{shown}");
    drop(keyboard);
    desk.assert_gone();
}
