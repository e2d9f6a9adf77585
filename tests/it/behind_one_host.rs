//! Clusters behind one host, each below a path of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
};

use influx_sandbox::{Options, Sandbox};
use jiff::SignedDuration;

use crate::{
    gateway::forward,
    host::{Host, wait_until},
};

const T0: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";

/// Two clusters, and the host that both are behind.
struct Clusters {
    prod: Sandbox,
    staging: Sandbox,
    address: SocketAddr,
}

impl Clusters {
    fn new() -> Self {
        let cluster = |path: &str| {
            let options = Options { base: path.to_owned(), ..Options::default() };
            let options = Options { management_token: Some("management".to_owned()), ..options };
            Sandbox::start(options).unwrap()
        };
        let (prod, staging) = (cluster("/prod"), cluster("/staging"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ways = [("/prod/", prod.address()), ("/staging/", staging.address())];
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let line = request_line(&client);
                    let way = ways.iter().find(|(path, _)| line.contains(&format!(" {path}")));
                    way.map(|(_, to)| forward(client, *to))
                });
            }
        });
        Self { prod, staging, address }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn both(&self) -> [&Sandbox; 2] {
        [&self.prod, &self.staging]
    }

    /// So that what was minted is old enough to be judged by a list.
    fn shift_clocks(&self) {
        self.both().iter().for_each(|cluster| cluster.shift_clock(SignedDuration::from_mins(15)));
    }

    /// That nothing but lists, mints and databases was asked for.
    fn assert_unchanged(&self) {
        for cluster in self.both() {
            let requests = cluster.requests();
            let change = requests.iter().find(|request| matches!(&*request.method, "DELETE" | "PATCH"));
            assert!(change.is_none(), "{change:?}");
        }
    }

    /// That neither was shown a token that it does not know.
    fn assert_no_secret_of_the_other(&self) {
        for cluster in self.both() {
            let requests = cluster.requests();
            let refused = requests.iter().find(|request| request.status == Some(401));
            assert!(refused.is_none(), "{refused:?}");
        }
    }
}

/// A client sends to one path over one connection.
fn request_line(client: &TcpStream) -> String {
    let mut bytes = [0; 256];
    loop {
        let length = client.peek(&mut bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..length]);
        if length == 0 || text.contains("HTTP/") {
            return text.lines().next().unwrap_or_default().to_owned();
        }
    }
}

/// A host with a list of these servers and tokens.
fn host_of(clusters: &Clusters, servers: &[(&str, &str)], tokens: &str) -> Host {
    let host = Host::new();
    host.write("management-token", "management");
    list(&host, clusters, servers, tokens);
    host
}

fn list(host: &Host, clusters: &Clusters, servers: &[(&str, &str)], tokens: &str) {
    let folder = host.folder.path().display();
    let rest = host.list_text("", tokens).split_once("[store]").unwrap().1.to_owned();
    let server = |(name, path): &(&str, &str)| {
        format!(
            "[servers.{name}]\nproduct = \"clustered\"\nurl = \"{}\"\ntimeout = \"1s\"\n\
             management_token = {{ file = \"{folder}/management-token\" }}\n",
            clusters.url(path)
        )
    };
    let servers: String = servers.iter().map(server).collect();
    host.write("tokens.toml", &format!("{servers}[store]{rest}"));
}

/// The same name on both, and one more on each.
const ON_BOTH: &str = "overlap = \"0s\"\noverlap_cap = \"0s\"\ngrace = \"0s\"\n\
    [[token]]\nname = \"shared\"\nwrite = [\"telemetry\"]\nservers = [\"prod\", \"staging\"]\n\
    [[token]]\nname = \"p\"\nwrite = [\"telemetry\"]\nserver = \"prod\"\n\
    [[token]]\nname = \"s\"\nwrite = [\"telemetry\"]\nserver = \"staging\"\n";
const BOTH: [(&str, &str); 2] = [("prod", "/prod"), ("staging", "/staging/")];

#[test]
fn clusters_below_different_paths_do_not_touch_each_other_s_tokens() {
    let clusters = Clusters::new();
    let host = host_of(&clusters, &BOTH, ON_BOTH);
    let secret = |cluster: &Sandbox, name: &str| {
        let label = format!("/{name}/");
        let live = cluster.live();
        let found: Vec<_> = live.iter().filter(|token| token.description.contains(&label)).collect();
        assert_eq!(found.len(), 1, "{name}: {live:?}");
        Some(found[0].secret.clone())
    };
    for _ in 0..3 {
        host.apply();
        assert_eq!(host.delivered("p"), secret(&clusters.prod, "p"));
        assert_eq!(host.delivered("shared"), secret(&clusters.prod, "shared"));
        assert_eq!(host.delivered("s"), secret(&clusters.staging, "s"));
        assert_eq!(host.delivered("shared_staging"), secret(&clusters.staging, "shared_staging"));
        clusters.shift_clocks();
    }
    clusters.assert_unchanged();
    assert_eq!(clusters.both().map(|cluster| cluster.tokens().len()), [2, 2]);
    assert_eq!(host.tokend(&["strays"]).stdout, "no strays\n");
    // What leaves the list is revoked where it lives.
    let others = ON_BOTH.replace("name = \"p\"", "name = \"q\"").replace("name = \"s\"", "name = \"r\"");
    list(&host, &clusters, &BOTH, &others);
    for _ in 0..3 {
        host.apply();
        clusters.shift_clocks();
    }
    assert_eq!(clusters.both().map(|cluster| cluster.live().len()), [2, 2]);
    assert_eq!(clusters.both().map(|cluster| cluster.tokens().len()), [3, 3]);
    clusters.assert_no_secret_of_the_other();
}

#[test]
fn a_daemon_keeps_clusters_below_different_paths_apart_too() {
    let clusters = Clusters::new();
    let host = host_of(&clusters, &BOTH, ON_BOTH);
    let daemon = host.daemon();
    let names = ["p", "s", "shared", "shared_staging"];
    wait_until("all of them", || names.iter().all(|name| host.delivered(name).is_some()), || daemon.log());
    let before = names.map(|name| host.delivered(name));
    clusters.shift_clocks();
    host.apply();
    assert_eq!(names.map(|name| host.delivered(name)), before);
    clusters.assert_unchanged();
    clusters.assert_no_secret_of_the_other();
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn another_path_in_the_url_waits_for_a_person() {
    let clusters = Clusters::new();
    let host = host_of(&clusters, &[("it", "/prod")], T0);
    host.apply();
    let old = clusters.prod.live().remove(0);
    // The same address in another spelling.
    list(&host, &clusters, &[("it", "/prod//")], T0);
    host.apply();
    assert_eq!((clusters.prod.tokens().len(), host.delivered("t0")), (1, Some(old.secret.clone())));

    list(&host, &clusters, &[("it", "/staging")], T0);
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("the list names another server"), "{ran:?}");
    assert!(ran.stderr.contains(&clusters.url("/prod")), "{ran:?}");
    let daemon = host.daemon();
    wait_until(
        "a word",
        || host.tokend(&["status"]).stdout.contains("the list names another server"),
        || daemon.log(),
    );
    assert_eq!(clusters.staging.tokens().len(), 0);
    assert_eq!(host.delivered("t0"), Some(old.secret.clone()), "still delivered");
    let shown = host.tokend(&["confirm"]);
    assert_eq!(shown.code, Some(3), "{shown:?}");
    assert!(shown.stdout.contains(&clusters.url("/prod")), "{shown:?}");
    let digest = shown.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    let ran = host.tokend(&["confirm", &digest]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(host.delivered("t0"), Some(clusters.staging.live()[0].secret.clone()));
    assert_eq!(clusters.prod.live().len(), 1, "the old one is kept");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn one_server_under_two_names_is_a_fault_of_the_list() {
    let clusters = Clusters::new();
    let host = host_of(&clusters, &[("one", "/prod"), ("two", "/prod/")], "");
    let ran = host.tokend(&["check"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("[servers.two]: the same server as [servers.one], line 3"), "{ran:?}");
    assert_eq!(clusters.prod.requests().len(), 0);
    assert!(!fs::exists(host.path("store")).unwrap());
}
