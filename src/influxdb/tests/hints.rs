//! Each hint, followed to the letter, leads on: the next answer is another.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use super::{trust::acceptor, *};
use crate::influxdb::TlsCause;

/// What a server shows, and where its certificate lies for us to trust.
struct Shown {
    acceptor: TlsAcceptor,
    pem: std::path::PathBuf,
}

fn shown(folder: &Path, file: &str, change: impl FnOnce(&mut CertificateParams)) -> Shown {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("names");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let pem = folder.join(format!("{file}.pem"));
    std::fs::write(&pem, certificate.pem()).expect("written");
    Shown { acceptor: acceptor(certificate.der().clone(), key.serialize_der(), None), pem }
}

async fn serve_list(shown: &Shown) -> u16 {
    serve(Some(shown.acceptor.clone()), vec![answer("200 OK", "", "[]")]).await.0
}

/// Answers each connection with these bytes, whatever it is asked.
async fn serve_bytes(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _asked = stream.read(&mut asked).await;
            let _sent = stream.write_all(bytes).await;
        }
    });
    port
}

/// What comes of a list, and its hint.
async fn told(config: &ServerConfig) -> Result<(), (ErrorKind, String)> {
    list(config).await.map(drop).map_err(|error| {
        let hint = error.hint().unwrap_or_else(|| panic!("{error}: no hint"));
        (error.kind, hint)
    })
}

fn cause((kind, hint): (ErrorKind, String)) -> (TlsCause, String) {
    match kind {
        ErrorKind::Tls { cause, .. } => (cause, hint),
        kind => panic!("{kind}"),
    }
}

#[tokio::test]
async fn each_cause_of_a_failed_handshake_has_its_own_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let good = shown(folder, "good", |_| {});
    let good_port = serve_list(&good).await;
    let at = |port: u16| config(&format!("https://localhost:{port}"), folder);
    let trusting = |port: u16, shown: &Shown| ServerConfig { ca_file: Some(shown.pem.clone()), ..at(port) };
    let healthy = || trusting(good_port, &good);

    let (unknown, hint) = cause(told(&at(good_port)).await.expect_err("nobody vouches for it"));
    assert!(
        unknown == TlsCause::UnknownIssuer
            && hint.contains("name the certificate")
            && hint.contains("itself")
    );
    told(&healthy()).await.expect("named as the hint says");

    let authority =
        shown(folder, "authority", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let port = serve_list(&authority).await;
    for config in [at(port), trusting(port, &authority)] {
        let (found, hint) = cause(told(&config).await.expect_err("a certificate of an authority"));
        assert!(found == TlsCause::AuthorityAsServer && hint.contains("CA:FALSE"), "{found:?}: {hint}");
    }
    let made = shown(folder, "made", |params| params.is_ca = IsCa::ExplicitNoCa);
    told(&trusting(serve_list(&made).await, &made)).await.expect("made as the hint says");

    let by_number = ServerConfig {
        ca_file: Some(good.pem.clone()),
        ..config(&format!("https://127.0.0.1:{good_port}"), folder)
    };
    let (found, hint) = cause(told(&by_number).await.expect_err("another name"));
    assert!(
        found == TlsCause::OtherName
            && hint.contains("write `url` with a host name that the certificate is for")
    );
    told(&healthy()).await.expect("by the name that it is for");

    let old = shown(folder, "old", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let (found, hint) = cause(told(&trusting(serve_list(&old).await, &old)).await.expect_err("expired"));
    assert!(found == TlsCause::Expired && hint.contains("renew"), "{found:?}: {hint}");
    let early = shown(folder, "early", |params| params.not_before = date_time_ymd(2090, 1, 1));
    let (found, hint) = cause(told(&trusting(serve_list(&early).await, &early)).await.expect_err("early"));
    assert!(found == TlsCause::NotYetValid && hint.contains("clock"), "{found:?}: {hint}");

    let (plain, _) = serve(None, vec![answer("200 OK", "", "[]")]).await;
    let not_tls = serve_bytes(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let (found, hint) = cause(told(&at(not_tls)).await.expect_err("plain HTTP"));
    assert!(found == TlsCause::NotTls && hint.contains("http:// in `url`"), "{found:?}: {hint}");
    told(&config(&format!("http://localhost:{plain}"), folder)).await.expect("plain as the hint says");

    for alert in [b"\x15\x03\x01\x00\x02\x02\x46", b"\x15\x03\x01\x00\x02\x02\x28"] {
        let (found, hint) = cause(told(&at(serve_bytes(alert).await)).await.expect_err("nothing in common"));
        assert!(found == TlsCause::NothingInCommon && hint.contains("TLS 1.2"), "{found:?}: {hint}");
    }
    let wants_ours = serve_bytes(b"\x15\x03\x01\x00\x02\x02\x74").await;
    let (found, hint) = cause(told(&at(wants_ours)).await.expect_err("it wants a certificate"));
    assert!(found == TlsCause::ClientCertificate && hint.contains("client_key"), "{found:?}: {hint}");

    let missing = ServerConfig { ca_file: Some(folder.join("none.pem")), ..at(good_port) };
    let (found, hint) = cause(told(&missing).await.expect_err("no file"));
    assert!(found == TlsCause::File && hint.contains("PEM"), "{found:?}: {hint}");
    told(&healthy()).await.expect("a file that can be read");
}

#[tokio::test]
async fn a_redirect_tells_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let (elsewhere, _) = serve(None, vec![answer("200 OK", "", "[]")]).await;
    for (location, expected) in [
        (
            format!("http://127.0.0.1:{elsewhere}/api/v0/tokens"),
            Some(format!("http://127.0.0.1:{elsewhere}")),
        ),
        (
            format!("http://127.0.0.1:{elsewhere}/gw/api/v0/tokens?x=1#y"),
            Some(format!("http://127.0.0.1:{elsewhere}/gw")),
        ),
        ("/login".to_owned(), None),
        ("https://sso.example/login?next=/api/v9".to_owned(), None),
        (format!("http://127.0.0.1:{elsewhere}/api/v0/tokens/"), None),
        ("ä".to_owned(), None),
    ] {
        let script = answer("308 Permanent Redirect", &format!("location: {location}\r\n"), "");
        let (port, _) = serve(None, vec![script]).await;
        let (kind, hint) =
            told(&config(&format!("http://127.0.0.1:{port}"), folder.path())).await.expect_err("a redirect");
        assert!(matches!(kind, ErrorKind::Redirect { status: 308, .. }), "{kind}");
        match expected {
            None => assert!(!hint.contains("write `url"), "{location}: {hint}"),
            Some(expected) => {
                let url = hint.split('"').nth(1).unwrap_or_else(|| panic!("{hint}"));
                assert_eq!(url, expected, "{hint}");
                told(&config(url, folder.path())).await.expect("written as the hint says");
            }
        }
    }
}

#[tokio::test]
async fn a_compressed_answer_is_named_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = "content-encoding: gzip\r\n";
    let (port, asked) =
        serve(None, vec![answer("200 OK", json, "\u{1f}\u{8}"), answer("200 OK", json, "[]")]).await;
    let config = config(&format!("http://127.0.0.1:{port}"), folder.path());
    let (kind, hint) = told(&config).await.expect_err("compressed");
    assert_eq!(kind.to_string(), "unexpected answer: compressed (gzip), expected identity");
    assert!(hint.contains("compresses answers: turn that off"), "{hint}");
    told(&config).await.expect("what can be read is read, whatever it is labelled as");
    assert!(asked.lock().expect("asked")[0].contains("accept-encoding: identity\r\n"));
    let unlabelled = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00").await;
    let unlabelled = super::config(&format!("http://127.0.0.1:{unlabelled}"), folder.path());
    assert!(matches!(told(&unlabelled).await, Err((ErrorKind::Compressed(_), _))));
}

#[tokio::test]
async fn json_is_read_whatever_it_is_labelled_as() {
    let folder = tempfile::tempdir().expect("a folder");
    let html = "content-type: text/html; charset=utf-8\r\n";
    for (body, is_read) in [("[]", true), (" [ ]\n", true), ("<html>[]", false), ("", false)] {
        let (port, _) = serve(None, vec![answer("200 OK", html, body)]).await;
        let outcome = told(&config(&format!("http://127.0.0.1:{port}"), folder.path())).await;
        match outcome {
            Ok(()) => assert!(is_read, "{body}"),
            Err((kind, _)) => {
                assert!(!is_read && kind.to_string().contains("an HTML page"), "{body}: {kind}");
            }
        }
    }
}

#[tokio::test]
async fn a_get_is_asked_once_more_where_a_kept_connection_was_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = answer("200 OK", "", "[]");
    // The second request is heard on the kept connection, and not answered.
    let (port, asked) = serve(None, vec![list.clone(), String::new(), list.clone()]).await;
    let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
    server.list(&nobody()).await.expect("a list");
    server.list(&nobody()).await.expect("asked once more");
    assert_eq!(asked.lock().expect("asked").len(), 3);
    // Once, and not where the connection was new.
    let (port, asked) = serve(None, vec![list.clone(), String::new()]).await;
    let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
    server.list(&nobody()).await.expect("a list");
    server.list(&nobody()).await.expect_err("closed twice");
    server.list(&nobody()).await.expect_err("closed again");
    assert_eq!(asked.lock().expect("asked").len(), 4);
    // Nothing that changes anything.
    let id = TokenId("i".into());
    for _ in 0..3 {
        let (port, asked) = serve(None, vec![list.clone(), String::new()]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        server.list(&nobody()).await.expect("a list");
        match asked.lock().expect("asked").len() {
            1 => {}
            other => panic!("{other}"),
        }
        server.revoke(&id).await.expect_err("closed");
        let deletes = |request: &&String| request.starts_with("DELETE");
        assert_eq!(asked.lock().expect("asked").iter().filter(deletes).count(), 1);
    }
    let (port, asked) = serve(None, vec![list, String::new()]).await;
    let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
    server.list(&nobody()).await.expect("a list");
    server.mint(&order()).await.expect_err("closed");
    server.patch(&id, &order().grants).await.expect_err("closed");
    let heard = asked.lock().expect("asked").iter().filter(|request| request.starts_with("P")).count();
    assert_eq!(heard, 2);
}
