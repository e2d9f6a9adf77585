//! Whose certificates are believed, and whose are shown.

use tokio_rustls::rustls::{
    RootCertStore, ServerConfig as TlsConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use super::*;

/// A certificate for these names that vouches for itself, as PEM and as a server has it.
fn certificate(
    folder: &Path,
    file: &str,
    names: &[&str],
) -> (ClientCertificate, CertificateDer<'static>, Vec<u8>) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let paths = ClientCertificate {
        certificate: folder.join(format!("{file}.pem")),
        key: folder.join(format!("{file}.key")),
    };
    std::fs::write(&paths.certificate, made.cert.pem()).expect("written");
    std::fs::write(&paths.key, made.signing_key.serialize_pem()).expect("written");
    (paths, made.cert.der().clone(), made.signing_key.serialize_der())
}

pub(super) fn acceptor(
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    client: Option<CertificateDer<'static>>,
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = TlsConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).expect("a certificate")))
}

#[tokio::test]
async fn only_a_server_that_somebody_vouches_for_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (paths, own, key) = certificate(folder.path(), "server", &["localhost"]);
    let (port, asked) = serve(Some(acceptor(own, key, None)), vec![answer("200 OK", "", "[]")]).await;
    let by_name = format!("https://localhost:{port}");
    let refused = |error: ServerError, hint: &str| {
        assert!(matches!(error.kind, ErrorKind::Tls { .. }), "{error}");
        assert!(error.hint().expect("a hint").contains(hint), "{error}");
    };
    refused(list(&config(&by_name, folder.path())).await.expect_err("nobody vouches for it"), "ca_file");
    let trusting = ServerConfig { ca_file: Some(paths.certificate), ..config(&by_name, folder.path()) };
    list(&trusting).await.expect("its own certificate vouches for it");
    let by_number = config(&format!("https://127.0.0.1:{port}"), folder.path());
    let other_name = ServerConfig { ca_file: trusting.ca_file.clone(), ..by_number.clone() };
    refused(list(&other_name).await.expect_err("another name"), "`url`");
    list(&ServerConfig { insecure_skip_verify: true, ..by_number })
        .await
        .expect("whoever answers is believed");
    assert_eq!(asked.lock().expect("asked").len(), 2, "the others were told nothing");
    let nothing =
        ServerConfig { ca_file: Some(folder.path().join("none.pem")), ..config(&by_name, folder.path()) };
    let error = connect(&nothing).expect_err("no file");
    assert!(error.to_string().contains("none.pem"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (paths, own, key) = certificate(folder.path(), "server", &["localhost"]);
    let (client, shown, _) = certificate(folder.path(), "client", &["client"]);
    let (port, _) = serve(Some(acceptor(own, key, Some(shown))), vec![answer("200 OK", "", "[]")]).await;
    let without = ServerConfig {
        ca_file: Some(paths.certificate),
        ..config(&format!("https://localhost:{port}"), folder.path())
    };
    list(&without).await.expect_err("the server wants to see one");
    list(&ServerConfig { client_certificate: Some(client), ..without }).await.expect("shown");
}

#[tokio::test]
async fn an_identity_provider_has_a_certificate_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (paths, own, key) = certificate(folder.path(), "provider", &["localhost"]);
    let issued =
        answer("200 OK", "", r#"{"access_token":"issued","token_type":"bearer","expires_in":"300"}"#);
    let (port, _) = serve(Some(acceptor(own, key, None)), vec![issued]).await;
    let (plain, asked) = serve(None, vec![answer("200 OK", "", "[]")]).await;
    let mut config = config(&format!("http://127.0.0.1:{plain}"), folder.path());
    let secret = config.secret().cloned().expect("it is kept in a file");
    let client = |ca_file| OAuthClient {
        token_url: format!("https://localhost:{port}/token").parse().expect("a url"),
        id: "id".to_owned(),
        secret: secret.clone(),
        authentication: OAuthAuthentication::Basic,
        parameters: vec![],
        ca_file,
        proxy: None,
    };
    let mut list_with = async |ca_file| {
        config.via = Via::Http(ManagementTokenConfig::OAuth(Box::new(client(ca_file))));
        list(&config).await
    };
    let error = list_with(None).await.expect_err("nobody vouches for it");
    assert!(error.to_string().contains("no management token from https://localhost:"), "{error}");
    assert!(error.hint().expect("a hint").contains("oauth = { ca_file"), "{error}");
    list_with(Some(paths.certificate)).await.expect("its own certificate vouches for it");
    let asked = asked.lock().expect("asked");
    assert_eq!(asked.len(), 1, "without a management token nobody is asked");
    assert!(asked[0].contains("authorization: Bearer issued\r\n"), "{}", asked[0]);
}
