//! Cloud Dedicated: the same below a cluster, and its two kinds of expiry.

use super::*;

const ACCOUNT: &str = "11111111-1111-4111-8111-111111111111";
const CLUSTER: &str = "33333333-3333-4333-8333-333333333333";

fn dedicated(port: u16, folder: &Path) -> Box<dyn Server> {
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
    assert_eq!(
        server
            .list(&Interest { ids: &BTreeSet::from([id.clone()]), instances: &[] })
            .await
            .expect("a list")
            .tokens
            .len(),
        1
    );
    assert_eq!(server.databases().await.expect("databases"), BTreeSet::from(["x".to_owned()]));
    assert_eq!(server.mint(&order()).await.expect("minted").expires_at, order().expires_at());
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
    let never = Order { lifetime: None, ..order() };
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
    for (account, cluster, told) in [
        (other, CLUSTER, format!("expected account {ACCOUNT}")),
        (ACCOUNT, other, format!("expected cluster {CLUSTER}")),
    ] {
        let row = of_cluster(account, cluster);
        let id = TokenId("i".into());
        let (port, _) = serve(None, vec![answer("200 OK", "", &format!("[{row}]"))]).await;
        let server = dedicated(port, folder.path());
        let errors = [
            server.list(&nobody()).await.expect_err("another's"),
            server.databases().await.expect_err("another's"),
        ];
        let (port, _) = serve(None, vec![answer("200 OK", "", &row)]).await;
        let server = dedicated(port, folder.path());
        let more = [
            server.get(&id).await.expect_err("another's"),
            server.patch(&id, &order().grants).await.expect_err("another's"),
        ];
        for error in errors.iter().chain(&more) {
            let expected = format!("unexpected answer: {told}, found \"{other}\"");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        // Its string is in no other place.
        let minted = server.mint(&order()).await.expect("minted");
        assert_eq!(minted.oddities, ["accountId, clusterId: expected this cluster's"]);
    }
}

#[tokio::test]
async fn a_row_of_another_cluster_is_skipped_beside_those_of_this_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = "99999999-9999-4999-8999-999999999999";
    let row = |cluster: &str, id: &str| {
        of_cluster(ACCOUNT, cluster).replace(r#""id":"i""#, &format!(r#""id":"{id}""#))
    };
    let rows =
        [row(other, "a"), row(CLUSTER, "b"), row(other, "c"), r#"{"id":"d","clusterId":7}"#.to_owned()];
    let (port, _) = serve(None, vec![answer("200 OK", "", &format!("[{}]", rows.join(",")))]).await;
    let ids = ["b", "c", "d"].map(|id| TokenId(id.into())).into();
    let interest = Interest { ids: &ids, instances: &[] };
    let listing = dedicated(port, folder.path()).list(&interest).await.expect("a list");
    assert_eq!(listing.tokens.iter().map(|row| &*row.id.0).collect::<Vec<_>>(), ["b", "d"]);
    let faults = listing.faults.iter().filter(|fault| fault.what.starts_with("accountId, clusterId"));
    assert_eq!(faults.map(|fault| fault.id.clone()).collect::<Vec<_>>(), [Some(TokenId("c".into()))]);
}
