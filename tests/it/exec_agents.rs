//! Agents that run a program for their secrets, as far as that goes: what Vector's `exec` backend and Datadog's
//! `secret_backend_command` do with one was read in their sources (Vector after 0.57, `src/secrets/exec.rs`; Datadog's agent
//! 7.7x, `comp/core/secrets/impl`), and is done here in the same way, also where their documentation says otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

/// What Vector waits for when nobody says otherwise.
const VECTOR_WAITS: Duration = Duration::from_secs(5);
/// And Datadog's agent.
const DATADOG_WAITS: Duration = Duration::from_secs(30);
/// `secret_backend_output_max_size`.
const DATADOG_TAKES: usize = 1 << 20;

/// What an agent makes of a program: the secrets, or why it does not start; and what it logs.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) secrets: Result<BTreeMap<String, String>, String>,
    pub(crate) log: String,
}

/// What came of the program.
struct Ended {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    success: bool,
}

/// `protocol.version = "v1"` without a type and a config, else `"v1_1"`.
pub(crate) fn vector(command: &mut Command, names: &[&str], more: Option<(&str, Value)>) -> Resolved {
    // A set, in an order of its own.
    let names: BTreeSet<&str> = names.iter().copied().collect();
    let request = match more {
        None => json!({ "version": "1.0", "secrets": names }),
        Some((kind, config)) => json!({ "version": "1.1", "secrets": names, "type": kind, "config": config }),
    };
    let ended = match run(command, &request, VECTOR_WAITS) {
        Ok(ended) => ended,
        Err(why) => return Resolved { secrets: Err(why), log: String::new() },
    };
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    // How it ended nobody looks at.
    Resolved { secrets: vector_takes(&ended.stdout, &names), log }
}

fn vector_takes(stdout: &[u8], names: &BTreeSet<&str>) -> Result<BTreeMap<String, String>, String> {
    let answers: Map<String, Value> = serde_json::from_slice(stdout).map_err(|error| error.to_string())?;
    let secret = |name: &str| {
        let answer = answers.get(name).ok_or_else(|| format!("{name} was not retrieved"))?;
        match (&answer["error"], &answer["value"]) {
            // An empty one is one too.
            (Value::String(error), _) => Err(format!("{name} was not retrieved: {error}")),
            (Value::Null, Value::String(value)) if !value.is_empty() => Ok(value.clone()),
            (Value::Null, Value::Null | Value::String(_)) => Err(format!("{name} was empty")),
            _ => Err("not an answer".to_owned()),
        }
    };
    names.iter().map(|name| Ok(((*name).to_owned(), secret(name)?))).collect()
}

/// The program is a path, as in `secret_backend_command`, with `secret_backend_arguments`.
pub(crate) fn datadog(program: &Path, arguments: &[&str], names: &[&str]) -> Resolved {
    let mut command = Command::new(program);
    datadog_with(command.args(arguments), program, names, "1.1")
}

/// An agent of another version, or with an environment.
pub(crate) fn datadog_with(command: &mut Command, program: &Path, names: &[&str], version: &str) -> Resolved {
    let refused = |why: String| Resolved { secrets: Err(why), log: String::new() };
    // Links are followed.
    let mode = std::fs::metadata(program).unwrap().permissions().mode();
    if mode & 0o077 != 0 {
        return refused(format!("group or others have rights on it: {mode:o}"));
    }
    let request = json!({ "version": version, "secrets": names, "secret_backend_timeout": 30 });
    let ended = match run(command, &request, DATADOG_WAITS) {
        Ok(ended) => ended,
        Err(why) => return refused(why),
    };
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    Resolved { secrets: datadog_takes(&ended, names), log }
}

fn datadog_takes(ended: &Ended, names: &[&str]) -> Result<BTreeMap<String, String>, String> {
    if ended.stdout.len().max(ended.stderr.len()) > DATADOG_TAKES {
        return Err("the output was too long".to_owned());
    }
    if !ended.success {
        return Err("it failed".to_owned());
    }
    let answers: Map<String, Value> =
        serde_json::from_slice(&ended.stdout).map_err(|error| error.to_string())?;
    let text = |value: &Value| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        _ => Err("not an answer".to_owned()),
    };
    let secret = |name: &str| {
        let answer = answers.get(name).ok_or_else(|| format!("{name} was not resolved"))?;
        let (error, value) = (text(&answer["error"])?, text(&answer["value"])?);
        match (error.as_str(), value.as_str()) {
            ("", "") => Err(format!("{name} is empty")),
            ("", _) => Ok(value),
            _ => Err(format!("an error occurred while resolving {name}: {error}")),
        }
    };
    names.iter().map(|name| Ok(((*name).to_owned(), secret(name)?))).collect()
}

/// Until both outputs have come to their end: a child of its that holds on to one is waited for too.
fn run(command: &mut Command, request: &Value, patience: Duration) -> Result<Ended, String> {
    let begun = Instant::now();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    let request = request.to_string();
    // Who does not read it is not told.
    std::thread::spawn(move || stdin.write_all(request.as_bytes()));
    let (sender, receiver) = channel();
    let read = |mut from: Box<dyn Read + Send>, is_stdout: bool| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            let _given_up = sender.send((is_stdout, bytes));
        });
    };
    read(Box::new(child.stdout.take().unwrap()), true);
    read(Box::new(child.stderr.take().unwrap()), false);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        match receiver.recv_timeout(patience.saturating_sub(begun.elapsed())) {
            Ok((true, bytes)) => stdout = bytes,
            Ok((false, bytes)) => stderr = bytes,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                kill(&mut child);
                return Err("timed out".to_owned());
            }
        }
    }
    let success = child.wait().unwrap().success();
    Ok(Ended { stdout, stderr, success })
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
