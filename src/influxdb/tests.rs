//! Clustered over real connections to small servers that answer by script.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;
use crate::{
    config::{
        ClientCertificate, ManagementTokenConfig, OAuthAuthentication, OAuthClient, ServerConfig,
        TokenSource, Via,
    },
    hint::Hint as _,
    model::{ClusterIds, Database, Label, Listing, Product, Secret, ServerName},
};

mod dedicated;
mod echoes;
mod hints;
mod odd_rows;
mod times;
mod trust;

const MANAGEMENT: &str = "canary-management-token";
const SECRET: &str = "apiv1_canary";

/// What a server has been asked, head and body of each request.
type Asked = Arc<Mutex<Vec<String>>>;

/// Serves `answers` in turn, the last one for ever; an empty one closes the connection.
async fn serve(tls: Option<TlsAcceptor>, answers: Vec<String>) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("an address").port();
    let asked = Asked::default();
    let (heard, answers) = (asked.clone(), Arc::new(answers));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (heard, answers, tls) = (heard.clone(), answers.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => converse(stream, &heard, &answers).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            converse(stream, &heard, &answers).await;
                        }
                    }
                }
            });
        }
    });
    (port, asked)
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, heard: &Asked, answers: &[String]) {
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut heard = heard.lock().expect("nobody panics with it");
            heard.push(request);
            heard.len() - 1
        };
        let answer = answers.get(number).or(answers.last()).map_or("", String::as_str);
        if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if answer.contains("x-then: close") {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
        text.extend_from_slice(&piece[..length]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let wanted = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= wanted {
                return Some(whole);
            }
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn config(url: &str, folder: &Path) -> ServerConfig {
    let token = folder.join("management-token");
    std::fs::write(&token, MANAGEMENT).expect("written");
    let url: Url = url.parse().expect("a url");
    ServerConfig {
        product: Product::Clustered,
        cluster: None,
        data_url: url.clone(),
        url,
        via: Via::Http(ManagementTokenConfig::Source(TokenSource::File(token))),
        ca_file: None,
        client_certificate: None,
        insecure_skip_verify: false,
        proxy: None,
        timeout: Duration::from_secs(5),
    }
}

fn connect(config: &ServerConfig) -> Result<Box<dyn Server>, ServerError> {
    super::connect(&ServerName("default".into()), config, Path::new("/nonexistent"))
}

/// No row of any list concerns anybody.
fn nobody() -> Interest<'static> {
    static NONE: BTreeSet<TokenId> = BTreeSet::new();
    Interest { ids: &NONE, instances: &[] }
}

async fn list(config: &ServerConfig) -> Result<crate::model::Listing, ServerError> {
    connect(config)?.list(&nobody()).await
}

fn order() -> Order {
    let database = |name: &str| -> Database { name.parse().expect("a database") };
    Order {
        description: "d".into(),
        grants: Grants::of([database("b"), database("a")], [database("b"), Database::All]),
        lifetime: Some(Duration::from_secs(365 * 86_400)),
        at: "2029-01-01T00:00:00.9Z".parse().expect("a time"),
        marker: Marker::from_bits([1; 16]),
    }
}

fn minted() -> String {
    let body = format!(
        r#"{{"id":"i","description":"d","permissions":[{{"action":"read","resource":"a"}}],"createdAt":"2029-01-01T00:00:00.123Z","accessToken":"{SECRET}"}}"#
    );
    answer("200 OK", "", &body)
}

#[tokio::test]
async fn a_mint_is_asked_for_as_the_api_describes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, asked) = serve(None, vec![minted()]).await;
    let server =
        connect(&config(&format!("http://127.0.0.1:{port}/prefix"), folder.path())).expect("a client");
    let minted = server.mint(&order()).await.expect("minted");
    assert_eq!((&*minted.id.0, minted.secret.secret().expose()), ("i", SECRET));
    assert_eq!(minted.created_at.map(|at| at.to_string()).as_deref(), Some("2029-01-01T00:00:00.123Z"));
    assert_eq!((minted.label, minted.date, minted.oddities), (LabelEcho::Kept, ServerDate::Absent, vec![]));
    let asked = asked.lock().expect("asked").join("");
    let (head, body) = asked.split_once("\r\n\r\n").expect("a request");
    assert!(head.starts_with("POST /prefix/api/v0/tokens HTTP/1.1"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {MANAGEMENT}")), "{head}");
    assert_eq!(
        body,
        r#"{"description":"d","permissions":[{"action":"write","resource":"*"},{"action":"read","resource":"a"},{"action":"read","resource":"b"},{"action":"write","resource":"b"}],"expiresAt":"2030-01-01T00:00:00Z"}"#
    );
}

#[tokio::test]
async fn what_a_mint_came_to_is_told_on_the_safe_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let unknown = [
        String::new(),
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\nx-then: close\r\n\r\n{".to_owned(),
        answer("200 OK", "", "{}"),
        answer(
            "200 OK",
            "",
            r#"{"id":"i","description":"d","permissions":[],"createdAt":"2029-01-01T00:00:00Z"}"#,
        ),
        answer("200 OK", "content-type: text/html\r\n", "<html>"),
        answer("302 Found", "location: https://elsewhere/\r\n", ""),
        answer("408 Request Timeout", "", ""),
        answer("409 Conflict", "", ""),
        answer("429 Too Many Requests", "retry-after: 3\r\n", ""),
        answer("500 Oops", "", ""),
        answer("425 Too Early", "", ""),
        answer("460 Client Closed", "", ""),
        answer("499 Client Closed Request", "content-type: application/json\r\n", "{}"),
        answer("400 Bad Request", "content-type: text/html; charset=utf-8\r\n", "<html>"),
        answer("403 Forbidden", "", "\n<!DOCTYPE html><html>"),
        answer("404 Not Found", "content-type: text/html\r\n", ""),
    ];
    for script in unknown {
        let (port, asked) = serve(None, vec![script.clone()]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        let error = server.mint(&order()).await.expect_err("no secret");
        assert!(matches!(error, MintError::Unknown(_)), "{script}: {error}");
        assert_eq!(asked.lock().expect("asked").len(), 1, "{script}: asked once");
    }
    let json = answer("400 Bad Request", "content-type: text/html\r\n", r#"{"code":400,"message":"no"}"#);
    let statuses =
        ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "422 No", "451 No"];
    for script in statuses.map(|status| answer(status, "", "")).into_iter().chain([json]) {
        let (port, _) = serve(None, vec![script.clone()]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        let error = server.mint(&order()).await.expect_err("refused");
        assert!(matches!(error, MintError::NotMinted(_)), "{script}: {error}");
    }
    let nobody = connect(&config("http://127.0.0.1:1", folder.path())).expect("a client");
    assert!(matches!(nobody.mint(&order()).await, Err(MintError::NotMinted(_))), "no byte was sent");
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_costs_no_mint_and_doubles_none() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..20 {
        // It closes after each answer, without having said so.
        let closing = answer("200 OK", "x-then: close\r\n", "[]");
        let (port, asked) = serve(None, vec![closing, minted()]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        server.list(&nobody()).await.expect("a list");
        let outcome = server.mint(&order()).await;
        let posts = asked.lock().expect("asked").iter().filter(|request| request.starts_with("POST")).count();
        match outcome {
            Ok(_) => assert_eq!(posts, 1),
            Err(MintError::Unknown(_)) => assert!(posts <= 1),
            Err(MintError::NotMinted(error)) => assert_eq!(posts, 0, "{error}"),
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_any_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let echo = format!("{{\"code\":400,\"message\":\"no {MANAGEMENT}\"}}");
    let half = format!("{{\"id\":\"i\",\"accessToken\":\"{SECRET}\",");
    for (status, body) in [("400 Bad Request", echo.as_str()), ("200 OK", half.as_str())] {
        let (port, _) = serve(None, vec![answer(status, "", body)]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        let error = server.mint(&order()).await.expect_err("no secret");
        let told = format!("{error} {error:?} {server:?}");
        assert!(!told.contains("canary"), "{told}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (elsewhere, asked) = serve(None, vec![answer("200 OK", "", "[]")]).await;
    let to = format!("location: http://127.0.0.1:{elsewhere}/\r\n");
    let (port, _) = serve(None, vec![answer("307 Temporary Redirect", &to, "")]).await;
    let error =
        list(&config(&format!("http://127.0.0.1:{port}"), folder.path())).await.expect_err("a redirect");
    assert!(matches!(error.kind, ErrorKind::Redirect { status: 307, .. }), "{error}");
    assert_eq!(asked.lock().expect("asked").len(), 0);
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date() {
    let folder = tempfile::tempdir().expect("a folder");
    for (headers, wait) in [
        ("retry-after: 7\r\n", Some(7)),
        ("date: Tue, 01 Jan 2030 00:00:00 GMT\r\nretry-after: Tue, 01 Jan 2030 00:02:00 GMT\r\n", Some(120)),
        ("retry-after: 3600\r\n", Some(3600)),
        ("retry-after: 86400\r\n", Some(3600)),
        ("retry-after: 999999999\r\n", Some(3600)),
        ("retry-after: 99999999999999999999\r\n", None),
        ("retry-after: -5\r\n", None),
        ("retry-after: 1.5\r\n", None),
        ("retry-after: soon\r\n", None),
        ("date: Tue, 01 Jan 2030 00:00:00 GMT\r\nretry-after: Wed, 01 Jan 2031 00:00:00 GMT\r\n", Some(3600)),
        ("date: Tue, 01 Jan 2030 00:00:00 GMT\r\nretry-after: Mon, 31 Dec 2029 00:00:00 GMT\r\n", None),
        ("retry-after: Tue, 01 Jan 2030 00:02:00 GMT\r\n", None),
        ("date: now\r\nretry-after: Tue, 01 Jan 2030 00:02:00 GMT\r\n", None),
    ] {
        for status in ["503 Away", "429 Too Many Requests"] {
            let (port, _) = serve(None, vec![answer(status, headers, "")]).await;
            let config = config(&format!("http://127.0.0.1:{port}"), folder.path());
            let error = list(&config).await.expect_err("away");
            assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{headers}");
            let credential = Credential::Token(Secret::new(SECRET.into()));
            let check = Check { plane: Plane::Write, database: "a".into() };
            match connect(&config).expect("a client").check(&credential, &check).await {
                Verdict::Unreachable { retry_after, .. } => assert_eq!(retry_after, error.retry_after()),
                other => panic!("{other:?}"),
            }
        }
    }
    let moved = answer("307 Temporary Redirect", "location: /x\r\nretry-after: 86400\r\n", "");
    let (port, _) = serve(None, vec![moved]).await;
    let error = list(&config(&format!("http://127.0.0.1:{port}"), folder.path())).await.expect_err("moved");
    assert_eq!(error.retry_after(), None, "what a person has to change is waited for as that");
}

#[tokio::test]
async fn of_a_long_list_only_our_rows_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let label = Label {
        instance: Instance::from_bits([7; 16]),
        name: "a".parse().expect("a name"),
        marker: Marker::from_bits([8; 16]),
    };
    let row = |id: usize, description: &str| {
        format!(
            r#"{{"id":"{id}","description":"{description}","permissions":[{{"action":"own","resource":"a"}}],"createdAt":"2029-01-01T00:00:00Z"}}"#
        )
    };
    let mut rows: Vec<String> = (0..20_000).map(|id| row(id, "somebody's")).collect();
    rows[9_999] = row(9_999, &label.follow("ours"));
    let (port, _) = serve(None, vec![answer("200 OK", "", &format!("[{}]", rows.join(",")))]).await;
    let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
    let imported = BTreeSet::from([TokenId("5".into())]);
    let instances = [label.instance.clone()];
    let interest = Interest { ids: &imported, instances: &instances };
    let listing = server.list(&interest).await.expect("a list");
    assert_eq!(listing.rows, 20_000);
    let ids: Vec<&str> = listing.tokens.iter().map(|row| &*row.id.0).collect();
    assert_eq!(ids, ["5", "9999"]);
    assert_eq!(listing.tokens[1].label.as_ref(), Some(&label));
    assert_eq!(listing.tokens[1].grants, None, "an action that we do not know");
}

#[tokio::test]
async fn a_400_says_yes_only_where_it_is_about_the_body() {
    let folder = tempfile::tempdir().expect("a folder");
    let accepted = [
        r#"{"error":"incoming write was empty"}"#,
        r#"{"code":"invalid","message":"write buffer error: incoming write was empty"}"#,
        r#"{"code":"invalid","message":"writing requires points"}"#,
        r#"{"code":"invalid","message":"failed to parse line protocol: errors encountered on line(s): 1","line":1}"#,
        r#"{"error":"line protocol parsing error","data":{"error_message":"No fields were provided"}}"#,
    ];
    let others = [
        "{}",
        "",
        "incoming write was empty",
        r#"{"code":"invalid","message":"empty"}"#,
        r#"{"code":"invalid","message":"bucket name is empty"}"#,
        r#"{"code":"invalid","message":"database not found: incoming write was empty"}"#,
        r#"{"error":"invalid character in database or rp name: a b"}"#,
        r#"{"error":"Authorization header was malformed, it was not in the form of 'Authorization: Bearer <token>'"}"#,
        r#"{"code":"invalid","message":"Please provide either orgID or org"}"#,
        "<html>incoming write was empty",
    ];
    let cases = accepted.map(|body| (body, true)).into_iter().chain(others.map(|body| (body, false)));
    for (body, is_accepted) in cases {
        let (port, _) = serve(None, vec![answer("400 Bad Request", "", body)]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        let credential = Credential::Token(Secret::new(SECRET.into()));
        let check = Check { plane: Plane::Write, database: "a".into() };
        match server.check(&credential, &check).await {
            Verdict::Accepted => assert!(is_accepted, "{body}"),
            Verdict::Misconfigured { why } => {
                assert!(!is_accepted && why.starts_with("400"), "{body}: {why}")
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_data_plane_says_of_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = "content-type: application/json\r\n";
    let found = r#"{"results":[{"statement_id":0}]}"#;
    let lacking = r#"{"results":[{"statement_id":0,"error":"database not found: x"}]}"#;
    for (plane, script, expected) in [
        (Plane::Write, answer("204 No Content", "", ""), "Accepted"),
        (Plane::Write, answer("400 Bad Request", "content-type: text/html\r\n", "<html>"), "Misconfigured"),
        (Plane::Write, answer("401 Unauthorized", "", ""), "Refused { status: 401 }"),
        (Plane::Write, answer("403 Forbidden", "", ""), "Refused { status: 403 }"),
        (Plane::Write, answer("404 Not Found", "", ""), "Misconfigured"),
        (
            Plane::Write,
            answer("429 Too Many Requests", "retry-after: 9\r\n", ""),
            "Unreachable { why: \"429\", retry_after: Some(9s) }",
        ),
        (Plane::Write, answer("503 Away", "", ""), "Unreachable"),
        (Plane::Write, String::new(), "Unreachable"),
        (Plane::Query, answer("200 OK", json, found), "Accepted"),
        (Plane::Query, answer("200 OK", json, lacking), "Misconfigured { why: \"database not found: x\" }"),
        (Plane::Query, answer("200 OK", "content-type: text/html\r\n", "<html>"), "Misconfigured"),
        (Plane::Query, answer("200 OK", "content-type: text/html\r\n", found), "Accepted"),
        (
            Plane::Query,
            answer("200 OK", json, r#"{"results":[]}"#),
            "Misconfigured { why: \"the answer has no result\" }",
        ),
        (
            Plane::Query,
            answer("200 OK", json, r#"{"results":[{}],"error":"x"}"#),
            "Misconfigured { why: \"x\" }",
        ),
        (Plane::Query, answer("200 OK", json, r#"{"results":[{"error":{}}]}"#), "Misconfigured"),
        (Plane::Query, answer("200 OK", json, r#"{"error":"x"}"#), "Misconfigured"),
        (Plane::Query, answer("204 No Content", "", ""), "Misconfigured"),
        (Plane::Write, answer("200 OK", json, "{}"), "Misconfigured"),
        (Plane::Query, answer("401 Unauthorized", json, "{}"), "Refused { status: 401 }"),
        (Plane::Query, answer("302 Found", "location: /login\r\n", ""), "Misconfigured"),
    ] {
        let (port, asked) = serve(None, vec![script.clone()]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        let credential = Credential::Token(Secret::new(SECRET.into()));
        let check = Check { plane, database: "a b".into() };
        let verdict = format!("{:?}", server.check(&credential, &check).await);
        assert!(verdict.starts_with(expected), "{script}: {verdict}");
        let asked = asked.lock().expect("asked").join("");
        assert!(
            asked.contains(&format!("authorization: Token {SECRET}")) && asked.contains("=a+b"),
            "{asked}"
        );
    }
}
