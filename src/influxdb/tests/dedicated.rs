//! Cloud Dedicated: the same below a cluster, and its two kinds of expiry.

use super::*;

const ACCOUNT: &str = "11111111-1111-4111-8111-111111111111";
const CLUSTER: &str = "33333333-3333-4333-8333-333333333333";

fn dedicated(port: u16, folder: &Path) -> Cluster {
    let ids =
        ClusterIds { account: ACCOUNT.parse().expect("an id"), cluster: CLUSTER.parse().expect("an id") };
    let config = config(&format!("http://127.0.0.1:{port}"), folder);
    connect(&ServerConfig { product: Product::Dedicated, cluster: Some(ids), ..config }).expect("a client")
}

/// An answer about this cluster: a row, or what a mint gives.
fn of_cluster(account: &str, cluster: &str) -> String {
    format!(
        r#"{{"accountId":"{account}","clusterId":"{cluster}","id":"i","description":"d","permissions":[],"createdAt":"2029-01-01T00:00:00Z","expiresAt":"2030-01-01T00:00:00Z","accessToken":"{SECRET}","name":"x"}}"#
    )
}

/// The bodies of the mints that were asked for.
fn mints(asked: &Asked) -> Vec<serde_json::Value> {
    let asked = asked.lock().expect("asked");
    let posts = asked.iter().filter(|request| request.starts_with("POST"));
    posts
        .map(|post| serde_json::from_str(post.split_once("\r\n\r\n").expect("a body").1).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn of_cloud_dedicated_the_same_stands_below_the_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = of_cluster(ACCOUNT, &CLUSTER.to_uppercase());
    let list = answer("200 OK", "", &format!("[{row}]"));
    let token = answer("200 OK", "", &row);
    let script =
        vec![list.clone(), list, token.clone(), token.clone(), token, answer("204 No Content", "", "")];
    let (port, asked) = serve(None, script).await;
    let server = dedicated(port, folder.path());
    let id = TokenId("i".into());
    assert_eq!(server.list(&BTreeSet::from([id.clone()])).await.expect("a list").tokens.len(), 1);
    assert_eq!(server.databases().await.expect("databases"), BTreeSet::from(["x".to_owned()]));
    assert_eq!(server.mint(&order()).await.expect("minted").expires_at, order().expires_at);
    assert!(server.get(&id).await.expect("a token").is_some());
    server.patch(&id, &order().grants).await.expect("changed");
    server.revoke(&id).await.expect("ended");
    let base = format!("/api/v0/accounts/{ACCOUNT}/clusters/{CLUSTER}");
    let asked = asked.lock().expect("asked");
    for (request, line) in asked.iter().zip([
        "GET {}/tokens ",
        "GET {}/databases ",
        "POST {}/tokens ",
        "GET {}/tokens/i ",
        "PATCH {}/tokens/i ",
        "DELETE {}/tokens/i ",
    ]) {
        assert!(request.starts_with(&line.replace("{}", &base)), "{line}: {request}");
    }
}

#[tokio::test]
async fn the_kind_of_expiry_is_said_until_the_server_shows_that_it_does_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let minted = || answer("200 OK", "", &of_cluster(ACCOUNT, CLUSTER));
    let refused = || answer("400 Bad Request", "", r#"{"code":400,"message":"unknown field"}"#);
    let never = Order { expires_at: None, ..order() };
    let told = |body: &serde_json::Value| {
        let text = |key: &str| body.get(key).map(|value| value.as_str().expect("a text").to_owned());
        (text("expirationType"), text("expiresAt"))
    };
    let (datetime, at) = (Some("datetime".to_owned()), Some("2030-01-01T00:00:00Z".to_owned()));
    let no_expiration = Some("noExpiration".to_owned());

    let (port, asked) = serve(None, vec![minted()]).await;
    let server = dedicated(port, folder.path());
    let _minted = server.mint(&order()).await.expect("minted");
    let _minted = server.mint(&never).await.expect("minted");
    let bodies: Vec<_> = mints(&asked).iter().map(told).collect();
    assert_eq!(bodies, [(datetime.clone(), at.clone()), (no_expiration.clone(), None)]);

    let (port, asked) = serve(None, vec![refused(), minted()]).await;
    let server = dedicated(port, folder.path());
    let _minted = server.mint(&never).await.expect("minted");
    let _minted = server.mint(&order()).await.expect("minted");
    let bodies: Vec<_> = mints(&asked).iter().map(told).collect();
    assert_eq!(bodies, [(no_expiration, None), (None, None), (None, at.clone())], "it is remembered");

    // Refused for whatever else: that says nothing of the kind of expiry.
    let (port, asked) = serve(None, vec![refused(), refused(), minted()]).await;
    let server = dedicated(port, folder.path());
    let error = server.mint(&order()).await.expect_err("refused");
    assert!(matches!(error, MintError::NotMinted(_)), "{error}");
    let _minted = server.mint(&order()).await.expect("minted");
    let bodies: Vec<_> = mints(&asked).iter().map(told).collect();
    assert_eq!(bodies, [(datetime.clone(), at.clone()), (None, at.clone()), (datetime, at)]);
}

#[tokio::test]
async fn only_a_mint_that_was_surely_refused_is_asked_for_in_another_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = || answer("400 Bad Request", "", "");
    for (script, posts, surely_not) in [
        (vec![String::new()], 1, false),
        (vec![answer("409 Conflict", "", "")], 1, false),
        (vec![answer("500 Oops", "", "")], 1, false),
        (vec![answer("403 Forbidden", "", "")], 1, true),
        (vec![refused()], 2, true),
        (vec![refused(), String::new()], 2, false),
        (vec![refused(), answer("500 Oops", "", "")], 2, false),
        (vec![refused(), answer("200 OK", "", "{")], 2, false),
    ] {
        let (port, asked) = serve(None, script.clone()).await;
        let error = dedicated(port, folder.path()).mint(&order()).await.expect_err("no secret");
        assert_eq!(matches!(error, MintError::NotMinted(_)), surely_not, "{script:?}: {error}");
        assert_eq!(mints(&asked).len(), posts, "{script:?}");
    }
}

#[tokio::test]
async fn an_answer_about_another_cluster_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = "99999999-9999-4999-8999-999999999999";
    for (account, cluster, told) in
        [(other, CLUSTER, "it is about account"), (ACCOUNT, other, "it is about cluster")]
    {
        let row = of_cluster(account, cluster);
        let id = TokenId("i".into());
        let (port, _) = serve(None, vec![answer("200 OK", "", &format!("[{row}]"))]).await;
        let server = dedicated(port, folder.path());
        let errors = [
            server.list(&BTreeSet::new()).await.expect_err("another's"),
            server.databases().await.expect_err("another's"),
        ];
        let (port, _) = serve(None, vec![answer("200 OK", "", &row)]).await;
        let server = dedicated(port, folder.path());
        let more = [
            server.get(&id).await.expect_err("another's"),
            server.patch(&id, &order().grants).await.expect_err("another's"),
        ];
        for error in errors.iter().chain(&more) {
            let expected = format!("unexpected answer: {told} \"{other}\"");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        let error = server.mint(&order()).await.expect_err("another's");
        assert!(matches!(&error, MintError::Unknown(error) if error.may_have_been_done()), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}
