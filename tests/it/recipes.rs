//! What `docs/agents.md` has for agents that read files, with a real one where it can be had.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::{
    host::{Host, wait_until},
    peers::find,
};

/// The block of code below a heading.
fn recipe(heading: &str, language: &str) -> String {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/agents.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// A server that answers everybody, and writes down what they authorise themselves with.
fn server() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(vec![]));
    let written = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let head =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let value = |line: String| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
            };
            // All of it is read: what is not makes the answer a reset.
            let values: Vec<String> = head.filter_map(value).collect();
            written.lock().unwrap().push(values.concat());
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: 4\r\n\
                          connection: close\r\n\r\na 1\n";
            let _gone = (&stream).write_all(answer.as_bytes());
        }
    });
    (address, seen)
}

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

#[test]
fn prometheus_follows_a_rotation_live() {
    let Some(prometheus) = find("prometheus", "PROMETHEUS") else { return };
    let host = Host::new();
    host.list("overlap = \"0s\"\n[[token]]\nname = \"edge_reader\"\nread = [\"telemetry\"]\n");
    host.apply();
    let (address, seen) = server();
    let configuration = recipe("Prometheus", "yaml")
        .replace("scheme: https", "scheme: http\n    scrape_interval: 100ms\n    scrape_timeout: 100ms")
        .replace("influxdb.example.com", &address.to_string())
        .replace("/run/influx-tokend/secrets", host.path("run/secrets").to_str().unwrap());
    host.write("prometheus.yml", &configuration);
    let log = fs::File::create(host.path("prometheus.log")).unwrap();
    let mut command = Command::new(prometheus);
    command
        .arg("--config.file")
        .arg(host.path("prometheus.yml"))
        .arg("--storage.tsdb.path")
        .arg(host.path("tsdb"));
    command.args(["--web.listen-address", "127.0.0.1:0"]).stdin(Stdio::null());
    let running = Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let why = || fs::read_to_string(host.path("prometheus.log")).unwrap();
    for _ in 0..3 {
        let newest = host.live("edge_reader").into_iter().max_by_key(|token| token.created_at).unwrap();
        let expected = format!("Token {}", newest.secret);
        wait_until("a request with it", || seen.lock().unwrap().contains(&expected), why);
        assert_eq!(host.tokend(&["rotate", "edge_reader"]).code, Some(0));
        // Nobody delivers but a run.
        host.apply();
    }
    assert!(seen.lock().unwrap().iter().all(|value| value.starts_with("Token ")), "one came without");
    drop(running);
}
