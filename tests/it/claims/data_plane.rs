//! A data plane that is something else, or nothing: a person is told, by `apply` and by `status`.

use influx_sandbox::{Effect, Oddities};
use serde_json::Value;

use super::*;

fn status(status: u16, kind: &str, body: &str) -> Effect {
    let headers = vec![
        ("content-type".to_owned(), kind.to_owned()),
        ("location".to_owned(), "https://new.example.com/".to_owned()),
    ];
    Effect::Status { status, headers, body: body.to_owned() }
}

/// What is answered to writes and queries, and a word that a person must read.
fn answers() -> Vec<(&'static str, Effect, &'static [&'static str])> {
    const JSON: &str = "application/json";
    const PAGE: &str = "<html><body>Welcome</body></html>";
    const HTML: &str = "text/html; charset=utf-8";
    vec![
        ("404", status(404, JSON, "{}"), &["404"]),
        ("404 of an ingress", status(404, "text/plain", "default backend - 404"), &["404"]),
        ("page", status(200, HTML, PAGE), &["HTML"]),
        ("page with 404", status(404, HTML, PAGE), &["404"]),
        ("301", status(301, JSON, ""), &["301"]),
        ("308", status(308, JSON, "{}"), &["308"]),
        ("closed", Effect::CutBefore, &["cut off", "closed", "connection", "reset"]),
        ("400", status(400, JSON, "{\"error\":\"no such path\"}"), &["400", "no such path"]),
        ("400 without words", status(400, "text/plain", ""), &["400"]),
        ("405", status(405, JSON, "{}"), &["405"]),
        ("500", status(500, JSON, "{\"error\":\"oops\"}"), &["500"]),
    ]
}

fn list(host: &Host, grants: &str, count: usize) {
    let token = |name: String| {
        format!(
            "[[token]]\nname = \"{name}\"\n{grants}probe = {{ interval = \"20ms\", deadline = \"1s\" }}\n"
        )
    };
    host.list(&names(count).map(token).collect::<String>());
}

fn is_said(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// With nothing that worked before.
#[test]
fn a_data_plane_that_is_something_else_is_reported_by_apply_and_status() {
    let grants = ["write = [\"telemetry\"]\n", "read = [\"telemetry\"]\n"];
    let cases = answers()
        .into_iter()
        .zip(grants.into_iter().cycle())
        .zip([true, false, false, true].into_iter().cycle());
    at_once(cases, |(((what, effect, words), grants), by_daemon)| {
        let context = format!("{what}, {grants:?}, daemon {by_daemon}");
        let host = Host::new();
        host.sandbox.set_oddities(Oddities { data: Some(effect), ..Oddities::default() });
        list(&host, grants, 3);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        setting.settle();
        let ran = setting.apply();
        assert_eq!(ran.code, Some(4), "{context}: {ran:?}");
        assert!(is_said(&ran.stderr, words), "{context}: {ran:?}");
        if by_daemon {
            let told = setting.run(&["status"]).stdout;
            assert!(is_said(&told, words), "{context}: {told}");
        }
        assert_eq!(setting.host.sandbox.tokens().len(), 3, "{context}: each is made once");
        setting.host.sandbox.set_oddities(Oddities::default());
        setting.must_apply();
        for name in names(3) {
            setting.host.assert_settled(&name);
        }
    });
}

/// With a token that works, as far as anybody knows.
#[test]
fn a_rotation_waits_for_a_data_plane_that_answers_as_one_and_the_old_token_stays() {
    at_once(
        answers().into_iter().zip([false, true].into_iter().cycle()),
        |((what, effect, words), by_daemon)| {
            let host = Host::new();
            list(&host, "read = [\"telemetry\"]\nwrite = [\"telemetry\"]\n", 2);
            let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
            let host = &setting.host;
            setting.settle();
            setting.must_apply();
            let old = host.live("t0")[0].clone();
            host.sandbox.set_oddities(Oddities { data: Some(effect), ..Oddities::default() });
            let ran = setting.run(&["rotate", "t0"]);
            assert_eq!(ran.code, Some(4), "{what}: {ran:?}");
            // The daemon goes on, and `status` says how far it is.
            assert!(by_daemon || is_said(&ran.stderr, words), "{what}: {ran:?}");
            assert_eq!(host.delivered("t0"), Some(old.secret.clone()), "{what}");
            assert!(host.is_live(&old.id), "{what}");
            if by_daemon {
                let told = setting.host.status_of("t0");
                assert!(is_said(&told.to_string(), words), "{what}: {told}");
            }
            host.sandbox.set_oddities(Oddities::default());
            setting.must_apply();
            assert_eq!(host.status_of("t0")["generation"], Value::from(2), "{what}");
            assert_eq!(setting.created("t0"), 2, "{what}");
        },
    );
}
