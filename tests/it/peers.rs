//! Real programs in place of our own. Where one is missing the test says so and passes, but fails where
//! `INFLUX_TOKEND_REQUIRE_PEERS=1`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hyper::Method;
use influx_sandbox::{Dedicated, Effect, Fault};

use crate::{
    host::{Host, PATIENCE, wait_until},
    kind::Kind,
};

/// Where a program is: named by a variable, or on PATH.
pub(crate) fn find(program: &str, variable: &str) -> Option<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    let on_path = || {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
    };
    let found = named.filter(|file| file.is_file()).or_else(on_path);
    if found.is_none() {
        missing(program);
    }
    found
}

/// Says that something is not shown, or fails.
pub(crate) fn missing(what: &str) {
    assert!(env::var_os("INFLUX_TOKEND_REQUIRE_PEERS").is_none_or(|value| value != "1"), "{what} is missing");
    println!("skipped: {what} is missing");
}

#[test]
fn age_opens_a_record() {
    let Some(age) = find("age", "AGE") else { return };
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let output = Command::new(age)
        .arg("-d")
        .arg("-i")
        .arg(host.path("store/identity.txt"))
        .arg(host.path("store/tokens/t0.age"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record["current"]["secret"]["token"], host.live("t0")[0].secret);
}

#[test]
fn a_real_telegraf_writes_with_the_minted_token() {
    let Some(telegraf) = find("telegraf", "TELEGRAF") else { return };
    let host = Host::new();
    host.list_of(1);
    host.apply();
    host.write(
        "telegraf.conf",
        &format!(
            "[agent]\ninterval = \"200ms\"\nflush_interval = \"200ms\"\nflush_jitter = \"0s\"\nomit_hostname = true\n\
             [[secretstores.docker]]\nid = \"influx\"\npath = \"{secrets}\"\ndynamic = true\n\
             [[inputs.mock]]\nmetric_name = \"m\"\n[[inputs.mock.constant]]\nname = \"f\"\nvalue = 1\n\
             [[outputs.influxdb_v2]]\nurls = [\"{url}\"]\ntoken = \"@{{influx:t0}}\"\norganization = \"x\"\nbucket = \"telemetry\"\n",
            secrets = host.path("run/secrets").display(),
            url = host.sandbox.url(),
        ),
    );
    let id = host.live("t0")[0].id.clone();
    let log = fs::File::create(host.path("telegraf.log")).unwrap();
    let mut child = Command::new(telegraf)
        .arg("--config")
        .arg(host.path("telegraf.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while host.sandbox.written(&id).len() < 5 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ended = child.kill();
    child.wait().unwrap();
    let written = host.sandbox.written(&id);
    assert!(written.len() >= 5, "{written:?}\n{}", fs::read_to_string(host.path("telegraf.log")).unwrap());
    assert!(
        written.iter().all(|line| line.database == "telemetry" && line.line.starts_with("m f=1")),
        "{written:?}"
    );
    let refused = host.sandbox.requests().into_iter().filter(|request| {
        request.path.ends_with("/write") && !request.body.starts_with('#') && request.status != Some(204)
    });
    assert_eq!(refused.count(), 0);
}

/// The descriptions that InfluxData publishes, as they are called in `INFLUX_TOKEND_OPENAPI`.
const DESCRIPTIONS: [(&Kind, &str); 2] =
    [(&Kind::CLUSTERED, "clustered-management.yml"), (&Kind::DEDICATED, "cloud-dedicated-management.yml")];

/// Each kind of server with its description, and schemathesis, which knows what to do with one.
fn for_each_description(check: impl Fn(&'static Kind, &Path, &Path)) {
    let Some(schemathesis) = find("schemathesis", "INFLUX_TOKEND_SCHEMATHESIS") else { return };
    let Some(folder) = env::var_os("INFLUX_TOKEND_OPENAPI") else { return missing("INFLUX_TOKEND_OPENAPI") };
    for (kind, file) in DESCRIPTIONS {
        let description = PathBuf::from(&folder).join(file);
        if description.is_file() { check(kind, &description, &schemathesis) } else { missing(file) }
    }
}

/// The sandbox stands in for servers that nobody here can reach: at least it is what their published descriptions say.
#[test]
fn the_sandbox_is_what_the_description_of_the_api_says() {
    for_each_description(|kind, description, schemathesis| {
        let host = Host::on(kind);
        host.sandbox.add_token("somebody's", &[("read", "a")]);
        let Dedicated { account, cluster, .. } = Dedicated::default();
        // Drawn ids are those of clusters that are not there, and of these there is nothing more to see.
        host.write(
            "schemathesis.toml",
            &format!(
                "[parameters]\n\"path.accountId\" = \"{account}\"\n\"path.clusterId\" = \"{cluster}\"\n"
            ),
        );
        let below = (kind.base)().replace(&account, "{accountId}").replace(&cluster, "{clusterId}");
        let below = below.strip_prefix("/api/v0").unwrap();
        let mut command = Command::new(schemathesis);
        command
            .arg("run")
            .arg(description)
            .args(["--url", &format!("{}/api/v0", host.sandbox.url())])
            .args(["--header", &format!("Authorization: Bearer {}", host.sandbox.management_token())]);
        for path in ["/tokens", "/tokens/{tokenId}", "/databases"] {
            command.args(["--include-path", &format!("{below}{path}")]);
        }
        let output = command
            .args(["--exclude-operation-id", "CreateClusterDatabase"])
            .args([
                "--checks",
                "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            ])
            .args(["--max-examples", "50", "--seed", "1", "--phases", "examples,fuzzing", "--no-color"])
            .current_dir(host.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}: {said}\n{}",
            kind.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let requests = host.sandbox.requests();
        let fine = requests.iter().filter(|request| request.status == Some(200)).count();
        println!("{}: {} requests, {fine} of them answered 200", kind.name, requests.len());
        assert!(requests.len() > 100 && fine > 20, "{}: {fine} of {}: {said}", kind.name, requests.len());
    });
}

/// And so is every request that the program makes: minting, listing, ending, with grants and lifetimes of all kinds.
#[test]
fn every_request_is_what_the_description_of_the_api_says() {
    for_each_description(|kind, description, schemathesis| {
        let host = Host::on(kind);
        host.list(
            "[[token]]\nname = \"all\"\nread = [\"*\"]\nwrite = [\"*\"]\n[[token]]\nname = \"some\"\nread = [\"a\", \"b\"]\n\
             lifetime = \"30d\"\ndescription = \"caf\u{e9} \\\"x\\\" of {host}\"\n",
        );
        // A mint that nobody hears of, so that there is a stray to end.
        let lost = Fault::on(Some(Method::POST), &host.api("/tokens"), Effect::CutAfter);
        host.sandbox.fault(lost.times(1));
        host.tokend(&["apply"]);
        host.apply();
        let requests = recorded(&host);
        for method in ["GET", "POST", "DELETE"] {
            assert!(requests.iter().any(|request| request["method"] == method), "{method} was not made");
        }
        host.write("requests.json", &serde_json::to_string(&requests).unwrap());
        let output = Command::new(schemathesis.with_file_name("python"))
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/conform.py"))
            .arg(description)
            .stdin(fs::File::open(host.path("requests.json")).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {output:?}", kind.name);
    });
}

/// The requests to the management API, without what is known to be in no description.
fn recorded(host: &Host) -> Vec<serde_json::Value> {
    let requests = host.sandbox.requests().into_iter();
    requests
        .filter_map(|request| {
            let path = request.path.strip_prefix("/api/v0")?.to_owned();
            let kind =
                request.headers.iter().find(|(name, _)| name == "content-type").map(|(_, kind)| kind.clone());
            let mut body = request.body;
            // The guide of Cloud Dedicated has it, and a server that refuses it is asked without.
            if let Ok(serde_json::Value::Object(mut object)) = serde_json::from_str(&body) {
                object.remove("expirationType");
                body = serde_json::Value::Object(object).to_string();
            }
            Some(serde_json::json!({
                "method": request.method, "path": path, "body": body, "content_type": kind,
            }))
        })
        .collect()
}

#[test]
fn an_abort_leaves_no_core_and_the_secret_is_in_memory_and_nowhere_else() {
    let host = Host::new();
    host.list_of(1);
    let mut command = host.command(&["--log", "trace", "run"]);
    command.current_dir(host.folder.path());
    let mut daemon = crate::host::Daemon::start(command);
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    let secret = host.live("t0")[0].secret.clone();
    let management = host.sandbox.management_token();
    let pid = daemon.pid().as_raw_pid();
    let seen_in_memory = in_memory(pid, secret.as_bytes());
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    daemon.signal(rustix::process::Signal::ABORT);
    assert_eq!(daemon.wait(), None, "ended by the signal");
    match seen_in_memory {
        Some(seen) => assert!(seen, "the search does not see what is there"),
        None => missing("the right to read another process's memory"),
    }
    let log = daemon.log();
    assert!(log.contains("minted and sealed"), "{log}");
    for canary in [&secret, &management] {
        for (place, bytes) in
            [("log", log.as_bytes()), ("environment", &environment), ("arguments", &arguments)]
        {
            assert!(!contains(bytes, canary.as_bytes()), "a secret in the {place}");
        }
    }
    for file in crate::host::files_below(host.folder.path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.starts_with("core"), "{file:?}");
        if !fs::symlink_metadata(&file).unwrap().is_file() {
            continue;
        }
        let is_meant = file.ends_with("run/secrets/t0");
        assert_eq!(contains(&fs::read(&file).unwrap(), secret.as_bytes()), is_meant, "{file:?}");
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether a process has these bytes anywhere; `None` where its memory may not be read.
fn in_memory(pid: i32, wanted: &[u8]) -> Option<bool> {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let found = maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let range = line.split(' ').next().unwrap_or_default();
        let Some((from, to)) = range.split_once('-') else { return false };
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.read_exact_at(&mut bytes, from).is_ok() && contains(&bytes, wanted)
    });
    Some(found)
}
