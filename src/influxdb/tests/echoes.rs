//! Servers that repeat what they were sent, wherever they can: nothing of a secret gets into any text.

use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;
use crate::influxdb::server_text::{clean, shown};

/// As long as those of Clustered.
const LONG: &str =
    "apiv1_Zk3vQ9xT2mB7nR5wY8cD1fG4hJ6kL0pSaVbXeUiOqWzCyEtNrMdHlKgPjFoIuA-_3s5D7q9B1x2c4V6b8N0mQwErTyUiOp";

/// Ways to write it that a reader can undo.
fn forms(secret: &str) -> Vec<String> {
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    vec![
        secret.to_owned(),
        secret.to_uppercase(),
        percent,
        BASE64.encode(secret.as_bytes()),
        BASE64.encode(format!("x:{secret}").as_bytes()),
        BASE64.encode(format!(":{secret}").as_bytes()),
        secret.chars().flat_map(|c| [c, '\u{200b}']).collect(),
        secret.chars().flat_map(|c| [c, '\u{202e}', '\u{7}']).collect(),
        secret[..17].to_owned(),
        secret[secret.len() - 16..].to_owned(),
    ]
}

fn has_piece(text: &str, secret: &str) -> bool {
    let text = text.to_lowercase();
    secret
        .to_lowercase()
        .as_bytes()
        .windows(16)
        .any(|piece| text.as_bytes().windows(16).any(|at| at == piece))
}

#[test]
fn a_text_that_repeats_a_secret_is_left_out_as_a_whole() {
    let secret = Secret::new(LONG.into());
    for form in forms(LONG) {
        for before in [0, 1, 100, 190, 199] {
            let text = format!("{} Authorization: Token {form} is not known", "x".repeat(before));
            let shown = shown(&text, &[&secret]);
            assert!(shown.is_none() || before > 190 && !has_piece(&clean(&text), LONG), "{text}: {shown:?}");
        }
    }
    for text in ["apiv1_0123456789abcdefABCDEF", "apiv12_0123456789abcdef=="] {
        assert_eq!(shown(&format!("minted {text}"), &[]), None, "one that nobody here knows");
    }
    for text in
        ["apiv1 is old", "apiv1_ and more", "unauthorized access", "%zz %4", "AAAAAAAAAAAAAAAAAAAAAAAA"]
    {
        assert_eq!(shown(text, &[&secret]).as_deref(), Some(text));
    }
    assert_eq!(shown("short", &[&Secret::new(String::new())]).as_deref(), Some("short"));
}

#[test]
fn nothing_that_a_terminal_obeys_is_shown() {
    let text = "a\u{202e}b\u{2066}c\u{200e}d\u{61c}e\u{200b}f\u{feff}g\u{1b}[31mh\r\n\ti\u{ad}\u{e0041}";
    assert_eq!(clean(text), "abcdefg[31mhi");
    assert_eq!(shown("\u{202e}\u{200b} ", &[]), None);
    assert_eq!(clean(&"ä".repeat(500)).chars().count(), 200);
}

proptest! {
    #[test]
    fn no_piece_of_a_secret_is_shown(
        before in "\\PC{0,220}", after in "\\PC{0,60}", secret in "[A-Za-z0-9_+/=-]{17,102}", form in 0..10_usize,
        from in 0..40_usize,
    ) {
        let told: String = forms(&secret)[form].chars().skip(from).collect();
        let shown = shown(&format!("{before}{told}{after}"), &[&Secret::new(secret.clone())]);
        prop_assert!(shown.as_ref().is_none_or(|shown| !has_piece(shown, &secret)), "{shown:?}");
    }
}

/// Answers that repeat what was sent in the header.
fn echoing(told: &str) -> Vec<String> {
    let json = "content-type: application/json\r\n";
    let padded = format!("{}{told}", "p".repeat(180));
    vec![
        answer("400 Bad Request", json, &format!(r#"{{"code":400,"message":"got {told}"}}"#)),
        answer("401 Unauthorized", json, &format!(r#"{{"error":"{padded}"}}"#)),
        answer("403 Forbidden", json, &format!(r#"{{"error":{{"header":"{told}"}}}}"#)),
        answer("404 Not Found", "", &format!("no such page: {padded}\nand more")),
        answer("500 Oops", "content-type: text/html\r\n", &format!("<html>{told}")),
        answer("308 Permanent Redirect", &format!("location: https://x.example/?t={told}\r\n"), ""),
        answer("200 OK", json, &format!(r#"{{"results":[{{"error":"{padded}"}}]}}"#)),
        answer("200 OK", json, &format!(r#"{{"error":"{told}"}}"#)),
        answer("200 OK", json, &format!(r#"[{{"id":"{told}"#)),
        answer("204 No Content", &format!("retry-after: {told}\r\ndate: {told}\r\n"), ""),
    ]
}

#[tokio::test]
async fn no_answer_gets_a_piece_of_a_secret_into_a_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let credential = Credential::Token(Secret::new(LONG.into()));
    for script in forms(LONG).iter().filter(|form| form.is_ascii()).flat_map(|form| echoing(form)) {
        let (port, _) = serve(None, vec![script.clone()]).await;
        let config = config(&format!("http://127.0.0.1:{port}"), folder.path());
        std::fs::write(folder.path().join("management-token"), LONG).expect("written");
        let server = connect(&config).expect("a client");
        let id = TokenId("i".into());
        let mut told = vec![format!("{:?}", server.list(&nobody()).await)];
        told.extend([format!("{:?}", server.mint(&order()).await), format!("{:?}", server.get(&id).await)]);
        for plane in [Plane::Write, Plane::Query] {
            told.push(format!(
                "{:?}",
                server.check(&credential, &Check { plane, database: "a".into() }).await
            ));
        }
        if let Err(error) = server.databases().await {
            told.extend([error.to_string(), format!("{:?}", error.hint())]);
        }
        for told in told {
            assert!(!has_piece(&told, LONG), "{script}: {told}");
        }
    }
}
