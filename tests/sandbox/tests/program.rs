//! The sandbox as a program, as the tests on a real systemd use it.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn it_tells_its_address_and_reports_what_it_refused() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (token, report) = (folder.join("management-token"), folder.join("report"));
    fs::write(&token, "management").unwrap();
    let _none = fs::remove_file(&report);
    let mut child = Command::new(env!("CARGO_BIN_EXE_influx-sandbox"))
        .arg("--management-token-file")
        .arg(&token)
        .arg("--report")
        .arg(&report)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let address = url.trim().strip_prefix("http://").unwrap();
    for body in ["# a probe", "m f=1"] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /api/v2/write?bucket=telemetry HTTP/1.1\r\nhost: x\r\nauthorization: Token none\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let begun = Instant::now();
    while fs::read_to_string(&report).unwrap_or_default() != "refused 401 /api/v2/write\n" {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", fs::read_to_string(&report));
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
