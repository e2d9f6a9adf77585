//! The defects of the stand-in for `influxctl`, each as a caller meets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use influx_sandbox::{
    Effect, Fault, Options, Sandbox,
    influxctl::{Defect, Shape, StandIn},
};
use tempfile::TempDir;

struct Setting {
    folder: TempDir,
    sandbox: Sandbox,
    stand_in: StandIn,
}

const LIST: [&str; 4] = ["token", "list", "--format", "json"];
const CREATE: [&str; 5] = ["token", "create", "--format", "json", "d"];

impl Setting {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let sandbox = Sandbox::start(Options::default()).unwrap();
        let stand_in = StandIn::new(folder.path().join("bin"), "2.12.0").unwrap();
        let setting = Self { folder, sandbox, stand_in };
        setting.profile("product = \"clustered\"\n");
        setting
    }

    fn profile(&self, product: &str) {
        let text = format!(
            "[[profile]]\nname = \"default\"\nhost = \"127.0.0.1\"\nport = \"{}\"\nmgmt_token = \"{}\"\n{product}\
             [profile.tls]\ndisable = true\n",
            self.sandbox.address().port(),
            self.sandbox.management_token(),
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.stand_in.path());
        command.env_clear().arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        command
    }

    fn call(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        said(self.command(arguments).output().unwrap())
    }

    /// A call with this defect, the only one there is.
    fn with(&self, defect: Defect, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.stand_in.clear_defects();
        self.stand_in.defect(&arguments[..2].join(" "), defect);
        self.call(arguments)
    }

    fn hanging(&self, defect: Defect, arguments: &[&str]) -> Child {
        self.stand_in.clear_defects();
        self.stand_in.defect("*", defect);
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn said(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_fails_before_does_nothing() {
    let setting = Setting::new();
    let (code, stdout, stderr) = setting.with(Defect::FailBefore, &CREATE);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let (code, _, stderr) = setting.with(Defect::Unauthorized, &CREATE);
    assert!(code == Some(1) && stderr.contains("Unauthenticated"), "{stderr}");
    assert_eq!(setting.with(Defect::NoSuchVerb, &CREATE).0, Some(3));
    assert_eq!(setting.with(Defect::Says("hello".to_owned()), &CREATE).1, "hello");
    let (code, stdout, _) = setting.with(Defect::Prompt, &CREATE);
    assert!(code == Some(1) && stdout.ends_with("[y/N] "), "{stdout}");
    assert_eq!(setting.sandbox.tokens().len(), 0);
}

#[test]
fn what_fails_after_has_made_a_token() {
    let setting = Setting::new();
    assert_eq!(setting.with(Defect::FailAfter, &CREATE).1, "");
    let secret = setting.sandbox.tokens()[0].secret.clone();
    let whole = setting.with(Defect::FailAfterOutput, &CREATE);
    assert!(whole.0 == Some(1) && whole.1.ends_with("}\n"), "{whole:?}");
    let cut = setting.with(Defect::CutOutput, &CREATE);
    assert!(cut.0 == Some(0) && cut.1.starts_with('{') && !cut.1.ends_with("}\n"), "{cut:?}");
    assert!(setting.with(Defect::Garbage, &CREATE).1.contains(char::REPLACEMENT_CHARACTER));
    assert_eq!(setting.sandbox.tokens().len(), 4);
    assert!(!whole.1.contains(&secret));
}

#[test]
fn what_is_printed_may_be_too_much_or_something_else() {
    let setting = Setting::new();
    let (code, stdout, _) = setting.with(Defect::TenMegabytes, &LIST);
    assert!(code == Some(0) && stdout.len() > 10 << 20 && stdout.ends_with("[]\n"));
    assert_eq!(setting.with(Defect::WarningBefore("careful".to_owned()), &LIST).1, "careful\n[]\n");
    assert!(setting.with(Defect::Table, &LIST).1.starts_with("+-"));
    let (_, stdout, stderr) = setting.with(Defect::Table, &CREATE);
    let secret = setting.sandbox.tokens()[0].secret.clone();
    assert!(stdout.starts_with("+-") && stdout.ends_with(&format!("+\n{secret}\n")), "{stdout}");
    assert!(stderr.starts_with("warn\t"), "{stderr}");
    let shape = Defect::Shape(Shape::SecretNamed("token_string".to_owned()));
    assert!(setting.with(shape, &CREATE).1.contains("\"token_string\": \"apiv1_"));
}

#[test]
fn defects_come_in_turn() {
    let setting = Setting::new();
    setting.call(&LIST);
    setting.stand_in.defect_times("token list", Defect::FailBefore, 1, 2);
    let codes: Vec<_> = (0..4).map(|_| setting.call(&LIST).0).collect();
    assert_eq!(codes, [Some(0), Some(1), Some(1), Some(0)]);
}

#[test]
fn what_hangs_has_done_it_or_not() {
    let setting = Setting::new();
    let mut before = setting.hanging(Defect::Hang, &CREATE);
    wait_until("the call", || setting.stand_in.calls().len() == 1);
    let mut after = setting.hanging(Defect::HangAfter, &CREATE);
    wait_until("the token", || setting.sandbox.tokens().len() == 1);
    for child in [&mut before, &mut after] {
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, "");
    }
    assert_eq!(setting.sandbox.tokens().len(), 1);
}

/// Whoever reads to the end waits for a process that is not the one it started.
#[test]
fn a_child_keeps_the_pipe() {
    let setting = Setting::new();
    let mut child = setting.hanging(Defect::ChildKeepsPipe, &LIST);
    assert!(child.wait().unwrap().success());
    let left = setting.stand_in.children()[0];
    assert!(Path::new(&format!("/proc/{left}")).exists());
    let reader = std::thread::spawn(move || {
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        stdout
    });
    assert!(!reader.is_finished());
    Command::new("sh").args(["-c", &format!("kill {left}")]).status().unwrap();
    assert_eq!(reader.join().unwrap(), "[]\n");
}

#[test]
fn a_silent_server_is_given_up() {
    let setting = Setting::new();
    setting.sandbox.fault(Fault::on(None, "/api/v0/", Effect::Silence));
    let (code, _, stderr) = setting.call(&[&["--timeout", "100ms"], &LIST[..]].concat());
    assert!(code == Some(1) && stderr.contains("DeadlineExceeded"), "{stderr}");
    setting.sandbox.clear_faults();
    setting.sandbox.set_management_token("another");
    let (code, _, stderr) = setting.call(&LIST);
    assert!(code == Some(1) && stderr.contains("Unauthenticated"), "{stderr}");
}

#[test]
fn a_login_of_earlier_is_used_and_forgotten_when_it_is_refused() {
    let setting = Setting::new();
    setting.stand_in.set_version("2.5.0");
    let home = setting.folder.path();
    let cache = home.join(".cache/influxctl");
    fs::create_dir_all(&cache).unwrap();
    let kept = cache.join("token.json");
    let login = serde_json::json!({ "access_token": setting.sandbox.management_token() });
    fs::write(&kept, login.to_string()).unwrap();
    let profile = fs::read_to_string(setting.config()).unwrap();
    let without: Vec<&str> = profile.lines().filter(|line| !line.starts_with("mgmt_token")).collect();
    fs::create_dir_all(home.join(".config/influxctl")).unwrap();
    fs::write(home.join(".config/influxctl/config.toml"), without.join("\n")).unwrap();
    let list = || {
        let mut command = Command::new(setting.stand_in.path());
        said(command.env_clear().env("HOME", home).args(LIST).stdin(Stdio::null()).output().unwrap())
    };
    assert_eq!(list(), (Some(0), "[]\n".to_owned(), String::new()));
    setting.sandbox.set_management_token("another");
    assert_eq!(list().0, Some(1));
    assert!(!kept.exists());
    assert!(list().2.contains("not logged in"));
}

#[test]
fn dedicated_has_a_path_of_its_own() {
    let setting = Setting::new();
    setting.profile("product = \"dedicated\"\naccount_id = \"A\"\ncluster_id = \"C\"\n");
    setting.call(&LIST);
    setting.call(&[&["--cluster", "D"], &LIST[..]].concat());
    let paths: Vec<String> = setting.sandbox.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/api/v0/accounts/A/clusters/C/tokens", "/api/v0/accounts/A/clusters/D/tokens"]);
}

#[test]
fn a_login_that_is_wanted_waits_for_a_person() {
    let setting = Setting::new();
    let profile = fs::read_to_string(setting.config()).unwrap();
    let other = profile.replace("mgmt_token", "auth.oauth2.client_id");
    fs::write(setting.config(), other).unwrap();
    let mut command = setting.command(&LIST);
    let mut child = command.env("HOME", setting.folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut code = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut code).unwrap();
    assert_eq!((&code, child.try_wait().unwrap()), (b"log in", None));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A name in 2.10.1, a file since 2.10.2, nothing before; and never when the line says another.
#[test]
fn the_environment_may_name_the_profile() {
    let setting = Setting::new();
    let with = |version: &str, value: &str| {
        setting.stand_in.set_version(version);
        said(setting.command(&LIST).env("INFLUXCTL_PROFILE", value).output().unwrap()).0
    };
    assert_eq!(with("2.10.0", "another"), Some(0));
    assert_eq!(with("2.10.1", "another"), Some(1));
    assert_eq!(with("2.10.1", "default"), Some(0));
    assert_eq!(with("2.10.2", "/none"), Some(0));
    let mut unsaid = Command::new(setting.stand_in.path());
    unsaid.env_clear().args(LIST).stdin(Stdio::null());
    assert_eq!(said(unsaid.output().unwrap()).0, Some(1));
    assert_eq!(said(unsaid.env("INFLUXCTL_PROFILE", setting.config()).output().unwrap()).0, Some(0));
}

#[test]
fn an_unknown_token_ends_no_other_before_2_9_8() {
    let setting = Setting::new();
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (version, left) in [("2.9.7", 1), ("2.9.8", 0)] {
        setting.stand_in.set_version(version);
        let id = setting.sandbox.add_token("somebody's", &[]);
        let (code, _, stderr) = setting.call(&["token", "delete", "--force", unknown, &id]);
        assert!(code == Some(1) && stderr.contains("NotFound"), "{stderr}");
        assert_eq!(setting.sandbox.live().len(), left, "{version}");
        setting.sandbox.revoke(&id);
    }
}

#[test]
fn a_profile_that_wants_tls_does_not_reach_the_sandbox() {
    let setting = Setting::new();
    let profile = fs::read_to_string(setting.config()).unwrap();
    fs::write(setting.config(), profile.replace("disable = true", "disable = false")).unwrap();
    assert_eq!(setting.call(&LIST).0, Some(1));
    assert_eq!(setting.sandbox.requests().len(), 0);
}
