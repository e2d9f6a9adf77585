//! age plugins: what works, hangs and fails, and what becomes of their processes (rule 22).

use std::{
    collections::HashSet,
    env, fs,
    io::{BufReader, Read as _, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use age::secrecy::ExposeSecret as _;
use age_core::format::{FileKey, Stanza};
use rustix::process::Signal;

use crate::host::{Daemon, Host, Ran, copy_program, ran, undisturbed, wait_until};

const RECIPIENT: &str = "age1fake1pzry9x8q2c6wmz";
const IDENTITY: &str = "AGE-PLUGIN-FAKE-18YX8DC\n";

/// Wraps a file key by writing it down as it is. It hangs while there is a file `hang`, and once where there is one
/// `hang-once`: then it ignores every signal that can be ignored, and so do its two children, one of them in a session of
/// its own. It fails while there is a file `fail`, and asks for a touch and a PIN, 1234, while there is a file `ask`.
const PLUGIN: &str = r#"#!/bin/sh
cd 'FOLDER' || exit 1
env >> environment
if [ -e hang ] || mv hang-once hung 2>/dev/null; then
    trap '' TERM INT HUP
    sleep 1000 & echo $! >> pids
    setsid sleep 1000 & echo $! >> pids
    echo $$ >> pids
    wait
fi
answered() { read -r _ && read -r _; }
command='' body=''
while read -r line; do
    case "$line" in
        '-> done') read -r _; break ;;
        '-> wrap-file-key'|'-> recipient-stanza 0 fake') command=$line ;;
        *) [ -z "$command" ] || body=$line; command='' ;;
    esac
done
if [ -e ask ]; then
    printf -- '-> msg\ndG91Y2ggdGhlIGtleQ\n'; answered
    printf -- '-> request-secret\nUElO\n'; read -r _; read -r pin
    [ "$pin" = MTIzNA ] || body=''
fi
if [ -e fail ]; then
    printf -- '-> error internal\nbm8gZGV2aWNl\n'; answered
elif [ "$1" = --age-plugin=recipient-v1 ]; then
    printf -- '-> recipient-stanza 0 fake\n%s\n' "$body"; answered
elif [ -n "$body" ]; then
    printf -- '-> file-key 0\n%s\n' "$body"; answered
fi
printf -- '-> done\n\n'
"#;

/// The plugin's folder, and lines of `[store]`.
fn plugged(count: usize, store: &str) -> Host {
    let host = Host::new();
    fs::create_dir_all(host.path("plugin/bin")).unwrap();
    let folder = host.path("plugin");
    host.write("plugin/script", &PLUGIN.replace("FOLDER", folder.to_str().unwrap()));
    copy_program(host.path("plugin/script"), &folder.join("bin/age-plugin-fake"));
    host.list_of(count);
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &list.replace("[store]\n", &format!("[store]\n{store}\n")));
    host
}

/// With the plugin on PATH, and something that is none of its business.
fn aware(host: &Host, mut command: Command) -> Command {
    let path = format!("{}:{}", host.path("plugin/bin").display(), env::var("PATH").unwrap());
    command.env("PATH", path).env("AGEDEBUG", "plugin").env("NOT_FOR_PLUGINS", "canary");
    command
}

fn daemon(host: &Host) -> Daemon {
    Daemon::start(aware(host, host.command(&["run"])))
}

fn tokend(host: &Host, arguments: &[&str]) -> Ran {
    ran(aware(host, host.command(arguments)).output().unwrap())
}

fn has_hung(host: &Host) -> bool {
    pids(host).len() >= 3
}

fn pids(host: &Host) -> Vec<String> {
    let pids = fs::read_to_string(host.path("plugin/pids")).unwrap_or_default();
    pids.lines().map(str::to_owned).collect()
}

/// That the plugin and its children have ended, each time that it has hung.
fn assert_gone(host: &Host) {
    assert!(has_hung(host), "it has not hung at all");
    let left = || -> Vec<String> {
        let stat = |pid: String| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let lives = |stat: &String| !stat.is_empty() && !stat.contains(") Z ");
        pids(host).into_iter().map(stat).filter(lives).collect()
    };
    wait_until("the end of plugin and children", || left().is_empty(), || left().join(""));
}

fn recipients() -> String {
    format!("recipients = [\"{RECIPIENT}\"]")
}

/// What a daemon is to say of a plugin that hangs, and does, to systemd, to whoever asks, and in its log.
const TIMED_OUT: &str = "age plugin \"fake\" timed out after 1 s";

/// With a limit of a second.
fn impatient(store: &str) -> String {
    format!("{store}\nplugin_timeout = \"1s\"")
}

/// The store is opened by the plugin alone.
fn make_identity_the_plugins(host: &Host) {
    host.write("store/identity.txt", IDENTITY);
}

#[test]
fn a_stop_ends_a_plugin_that_hangs_at_the_start() {
    let host = plugged(1, &recipients());
    host.write("plugin/hang", "");
    let mut daemon = daemon(&host);
    wait_until("the plugin", || has_hung(&host), || daemon.log());
    assert_stops_within(&host, &mut daemon, Duration::from_secs(10));
}

/// A stop that is heard at once, and takes the plugin along.
fn assert_stops_within(host: &Host, daemon: &mut Daemon, limit: Duration) {
    let begun = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), Some(0), "{}", daemon.log());
    assert!(begun.elapsed() < limit, "after {:?}\n{}", begun.elapsed(), daemon.log());
    assert_gone(host);
}

#[test]
fn a_daemon_that_is_killed_takes_its_plugin_along() {
    let host = plugged(1, &recipients());
    host.write("plugin/hang", "");
    let mut daemon = daemon(&host);
    wait_until("the plugin", || has_hung(&host), || daemon.log());
    daemon.signal(Signal::KILL);
    daemon.wait();
    assert_gone(&host);
}

#[test]
fn a_plugin_seals_and_opens_and_sees_nothing_of_our_environment() {
    let host = plugged(1, &recipients());
    let ran = tokend(&host, &["apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    make_identity_the_plugins(&host);
    let daemon = daemon(&host);
    daemon.wait_for("ready list=");
    let ran = tokend(&host, &["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    // By influx-secrets, too, and with nothing but the plugin.
    let mut get = Command::new(env!("CARGO_BIN_EXE_influx-secrets"));
    get.arg("--store").arg(host.path("store")).args(["get", "t0"]).stdin(Stdio::null());
    let got = ran_of(aware(&host, get));
    assert_eq!(got.stdout, host.delivered("t0").unwrap(), "{got:?}");
    let environment = fs::read_to_string(host.path("plugin/environment")).unwrap();
    assert!(environment.contains("PATH="), "it has run");
    assert!(!environment.contains("canary") && !environment.contains("AGEDEBUG"), "{environment}");
}

fn ran_of(mut command: Command) -> Ran {
    ran(command.output().unwrap())
}

#[test]
fn a_plugin_that_hangs_at_the_start_is_reported_and_waited_for() {
    let host = plugged(1, &impatient(&recipients()));
    host.write("plugin/hang", "");
    let (command, socket) = host.supervised();
    socket.set_read_timeout(Some(crate::host::PATIENCE)).unwrap();
    let mut command = aware(&host, command);
    command.env("WATCHDOG_USEC", "200000");
    let daemon = Daemon::start(command);
    daemon.wait_for(TIMED_OUT);
    daemon.wait_for("hint: check the device or service behind age-plugin-fake");
    let (mut heard, mut buffer) = (String::new(), [0; 4096]);
    while !["READY=1", TIMED_OUT, "WATCHDOG=1"].iter().all(|word| heard.contains(word)) {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {heard}"));
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    // Nobody else reads it: the daemon would wait for that.
    drop(socket);
    let status = tokend(&host, &["status"]);
    assert!(status.code == Some(1) && status.stderr.contains(TIMED_OUT), "{status:?}");
    let asked = host.secrets_by_socket(&["get", "t0"]);
    assert!(asked.stderr.contains("token t0 is not ready") && asked.stderr.contains(TIMED_OUT), "{asked:?}");
    fs::remove_file(host.path("plugin/hang")).unwrap();
    daemon.wait_for("promoted");
    assert_gone(&host);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_plugin_that_cannot_open_the_records_leaves_the_store_unavailable_and_not_the_records_faulty() {
    let host = plugged(20, &impatient(""));
    host.apply();
    fs::rename(host.path("store/identity.txt"), host.path("before")).unwrap();
    make_identity_the_plugins(&host);
    let before = host.path("before");
    let ran = tokend(&host, &["store", "reseal", "--opened-by", before.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (how, expected) in [("hang", TIMED_OUT), ("fail", "age plugin \"fake\" failed: (internal) no device")]
    {
        host.write(&format!("plugin/{how}"), "");
        let ran = tokend(&host, &["apply"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("hint: check the device"), "{ran:?}");
        let daemon = daemon(&host);
        daemon.wait_for(expected);
        fs::remove_file(host.path(&format!("plugin/{how}"))).unwrap();
        daemon.wait_for("ready list=");
        assert_eq!((0..20).filter(|n| host.delivered(&format!("t{n}")).is_some()).count(), 20);
        assert_eq!(daemon.stop().0, Some(0));
    }
    assert_gone(&host);
}

/// As the plugin wraps.
struct Fake;

impl age::Recipient for Fake {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let stanza = Stanza { tag: "fake".to_owned(), args: vec![], body: file_key.expose_secret().to_vec() };
        Ok((vec![stanza], HashSet::new()))
    }
}

#[test]
fn an_identity_that_a_plugin_wraps_is_waited_for_as_well() {
    let host = plugged(1, "");
    let unwrap = format!("unwrap = {{ file = \"{}\" }}", host.path("outer").display());
    host.apply();
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &list.replace("[store]\n", &format!("[store]\n{}\n", impatient(&unwrap))));
    host.write("outer", IDENTITY);
    let wrapped = age::encrypt(&Fake, &fs::read(host.path("store/identity.txt")).unwrap()).unwrap();
    fs::write(host.path("store/identity.age"), wrapped).unwrap();
    fs::remove_file(host.path("store/identity.txt")).unwrap();
    host.write("plugin/hang", "");
    let daemon = daemon(&host);
    daemon.wait_for(TIMED_OUT);
    fs::remove_file(host.path("plugin/hang")).unwrap();
    daemon.wait_for("ready list=");
    assert!(host.delivered("t0").is_some());
    assert_gone(&host);
    assert_eq!(daemon.stop().0, Some(0));
}

/// A pass waits for it, with the probes that follow the pass; what is sealed in that pass is sealed.
#[test]
fn a_plugin_that_hangs_at_one_seal_holds_up_no_other_name() {
    let host = plugged(3, &format!("{}\nplugin_timeout = \"6s\"", recipients()));
    let daemon = daemon(&host);
    let log_has = |what: &str, times: usize| daemon.log().matches(what).count() >= times;
    wait_until("all", || log_has("promoted", 3), || daemon.log());
    host.write("plugin/hang-once", "");
    let mut rotate = aware(&host, host.command(&["rotate", "t0", "t1", "t2"]));
    let rotate = rotate.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the other two", || has_hung(&host) && log_has("minted and sealed", 5), || daemon.log());
    assert!(!daemon.log().contains("timed out"), "it hangs meanwhile\n{}", daemon.log());
    assert!(host.secrets_by_socket(&["get", "t0"]).code == Some(0), "what is delivered stays");
    let rotated = ran(rotate.wait_with_output().unwrap());
    let expected = "cannot seal the record: age plugin \"fake\" timed out after 6 s";
    assert_eq!(rotated.code, Some(4), "{rotated:?}");
    assert!(rotated.stderr.contains(expected), "{rotated:?}");
    wait_until("the others", || log_has("promoted", 5), || daemon.log());
    let status = tokend(&host, &["status"]);
    assert!(status.stdout.contains(expected), "{status:?}");
    assert_gone(&host);
    let failed = ["t0", "t1", "t2"].into_iter().filter(|name| host.status_of(name)["generation"] == 1);
    let failed: Vec<&str> = failed.collect();
    assert_eq!(failed.len(), 1, "{}", daemon.log());
    let ran = tokend(&host, &["rotate", failed[0]]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(daemon.stop().0, Some(0));
}

/// The list is sealed in the loop that hears signals.
#[test]
fn a_stop_is_heard_while_a_changed_list_is_being_sealed() {
    let host = plugged(1, &recipients());
    let mut daemon = daemon(&host);
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    host.write("plugin/hang", "");
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &format!("{list}description = \"another\"\n"));
    wait_until("the plugin", || has_hung(&host), || daemon.log());
    let status = tokend(&host, &["status"]);
    assert!(status.stdout.contains("t0"), "others are answered: {status:?}");
    assert_stops_within(&host, &mut daemon, Duration::from_secs(20));
}

#[test]
fn a_plugin_asks_whoever_is_at_the_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("no script on PATH: not shown what a person at a terminal is asked");
        return;
    }
    let host = plugged(1, &recipients());
    assert_eq!(tokend(&host, &["apply"]).code, Some(0));
    make_identity_the_plugins(&host);
    host.write("plugin/ask", "");
    let (program, store) = (env!("CARGO_BIN_EXE_influx-secrets"), host.path("store"));
    let get = format!("exec {program} --store {} get t0", store.display());
    let mut script = aware(&host, undisturbed("script"));
    script.args(["-qec", &get, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = script.spawn().unwrap();
    let (mut shown, mut screen) = (String::new(), BufReader::new(running.stdout.take().unwrap()));
    let mut until = |what: &str, shown: &mut String| {
        while !shown.contains(what) {
            let mut byte = [0];
            screen.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}: {shown}"));
            shown.push(char::from(byte[0]));
        }
    };
    until("PIN: ", &mut shown);
    assert!(shown.contains("age-plugin-fake: touch the key"), "{shown}");
    running.stdin.as_mut().unwrap().write_all(b"1234\n").unwrap();
    until(&host.live("t0")[0].secret, &mut shown);
    assert!(running.wait().unwrap().success());
    // Nobody is there to ask: the plugin hears so, and does not open it.
    let mut get = Command::new(program);
    get.arg("--store").arg(store).args(["get", "t0"]).stdin(Stdio::null());
    assert_eq!(ran_of(aware(&host, get)).code, Some(1));
}
