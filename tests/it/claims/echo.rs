//! Servers that repeat what they were sent, in errors above all: no sixteen bytes of a secret are seen again.

use hyper::Method;
use influx_sandbox::{Answers, Echo, Effect, Fault, Oddities, RowOddity};
use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::host::files_below;

const FEW: usize = 3;

/// Ways to repeat a header. What is cut to a length afterwards is cut within the secret.
fn echoes() -> Vec<Echo> {
    let before = |length: usize| "x".repeat(length);
    let whole = Echo::default;
    vec![
        whole(),
        Echo { before: "bad header \"Authorization: ".to_owned(), ..whole() },
        Echo { before: before(150), ..whole() },
        Echo { before: before(175), plain: true, ..whole() },
        Echo { before: before(190), in_results: true, ..whole() },
        Echo { skip: 20, take: 20, ..whole() },
        Echo { skip: 12, take: 17, plain: true, in_results: true, ..whole() },
        Echo { before: "<html>".to_owned(), plain: true, ..whole() },
        Echo { before: format!("{}\u{1b}[2J\u{202e}", before(100)), in_results: true, ..whole() },
    ]
}

/// That nothing secret stands in what was said, in `status`, or in the name of a file, and nothing that writes over it.
fn assert_silent(setting: &Setting, context: &str) {
    let host = &setting.host;
    let secrets = secrets_of(host);
    let mut texts = vec![setting.said()];
    for arguments in [
        &["status"][..],
        &["status", "--output", "json"],
        &["plan"],
        &["strays"],
        &["check", "--output", "json"],
    ] {
        let ran = setting.run(arguments);
        texts.extend([ran.stdout, ran.stderr]);
    }
    let names =
        |folder: &str| files_below(&host.path(folder)).into_iter().map(|path| path.display().to_string());
    texts.extend(names("store").chain(names("run")));
    for text in texts {
        let piece = piece_of(&text, &secrets);
        assert!(piece.is_none(), "{context}: {piece:?} in {text}");
        let is_odd = |c: char| {
            (c.is_control() && c != '\n')
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        assert!(!text.chars().any(is_odd), "{context}: {text:?}");
    }
}

fn error(status: u16) -> Effect {
    Effect::Status {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: String::new(),
    }
}

/// Every request of the management API, while it is asked for more than a list.
#[test]
fn an_error_of_the_management_that_repeats_the_token_shows_nothing_of_it() {
    at_once(
        echoes().into_iter().zip([(&Kind::CLUSTERED, true), (&Kind::DEDICATED, false)].into_iter().cycle()),
        |(echo, (kind, by_daemon))| {
            let context = format!("{echo:?}");
            let host = odd_host(kind, Oddities::default(), "overlap = \"0s\"\noverlap_cap = \"1ms\"\n", FEW);
            let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
            let host = &setting.host;
            setting.settle();
            host.sandbox.set_oddities(Oddities { echo: Some(echo), ..Oddities::default() });
            for (status, method, path) in [
                (401, Method::GET, "/tokens"),
                (500, Method::POST, "/tokens"),
                (400, Method::POST, "/tokens"),
                (500, Method::DELETE, "/tokens/"),
                (500, Method::GET, "/databases"),
            ] {
                let fault = Fault::on(Some(method.clone()), &host.api(path), error(status));
                host.sandbox.fault(fault.times(6));
                host.shift_clock(SignedDuration::from_mins(11));
                setting.run(&["rotate", "t0"]);
                setting.apply();
                host.sandbox.clear_faults();
            }
            assert_silent(&setting, &context);
        },
    );
}

#[test]
fn an_error_of_the_data_plane_that_repeats_the_token_shows_nothing_of_it() {
    let cases = echoes().into_iter().zip([400, 401, 403, 500, 503].into_iter().cycle());
    at_once(cases.zip([true, false].into_iter().cycle()), |((echo, status), by_daemon)| {
        let context = format!("{status}, {echo:?}");
        let host = Host::new();
        host.sandbox.set_oddities(Oddities {
            echo: Some(echo),
            data: Some(error(status)),
            ..Oddities::default()
        });
        let probe = "probe = { interval = \"20ms\", deadline = \"1s\" }\n";
        let token =
            |n| format!("[[token]]\nname = \"t{n}\"\nread = [\"a\"]\nwrite = [\"telemetry\"]\n{probe}");
        host.list(&(0..FEW).map(token).collect::<String>());
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        setting.settle();
        setting.apply();
        assert!(!setting.host.sandbox.tokens().is_empty(), "{context}: there is no secret");
        assert_silent(&setting, &context);
    });
}

/// Where a query is answered with 200 and says inside what was wrong.
#[test]
fn an_error_inside_a_success_shows_nothing_either() {
    at_once(echoes().into_iter().filter(|echo| echo.in_results), |echo| {
        let host = Host::new();
        host.sandbox.set_oddities(Oddities { echo: Some(echo.clone()), ..Oddities::default() });
        host.list(
            "[[token]]\nname = \"t0\"\nread = [\"a\"]\nprobe = { interval = \"20ms\", deadline = \"1s\" }\n",
        );
        let setting = Setting::with_daemon(host);
        setting.settle();
        assert!(!setting.host.sandbox.tokens().is_empty());
        assert_silent(&setting, &format!("{echo:?}"));
    });
}

/// Everything else that a text of a server's gets into.
#[test]
fn what_stands_in_other_places_is_not_shown_either() {
    let host = Host::new();
    let secret = host.sandbox.management_token();
    let headers = |location: &str| vec![("location".to_owned(), location.to_owned())];
    let status = |status, location: &str, body: &str| Effect::Status {
        status,
        headers: headers(location),
        body: body.to_owned(),
    };
    let effects = [
        status(308, &format!("https://new.example.com/?token={secret}"), ""),
        status(302, &format!("https://u:{secret}@new.example.com/"), ""),
        status(500, "", &format!("{{\"error\":\"{}{secret}\"}}", "y".repeat(180))),
        status(500, "", &format!("{secret}\n{secret}")),
        status(200, "", &format!("{{\"{secret}\":1}}")),
        status(200, "", &format!("[{{\"id\":\"{secret}\",\"description\":7}}]")),
    ];
    host.list_of(FEW);
    let setting = Setting::by_command(host);
    for effect in effects {
        let context = format!("{effect:?}");
        setting.host.sandbox.fault(Fault::on(None, "/api/v0/", effect));
        assert_ne!(setting.apply().code, None);
        assert_silent(&setting, &context);
        setting.host.sandbox.clear_faults();
    }
}

/// The answer to a creation has the secret in it: whatever else is wrong with that answer.
#[test]
fn an_answer_to_a_creation_that_cannot_be_used_shows_nothing_of_the_secret() {
    let odd = |fields| {
        let row = RowOddity { of: String::new(), only: Some(Answers::Mint), fields, missing: vec![] };
        Oddities { rows: vec![row], ..Oddities::default() }
    };
    let cases = [
        odd(json!({ "id": 5 })),
        odd(json!({ "id": null })),
        odd(json!({ "permissions": "all" })),
        odd(json!({ "createdAt": "yesterday" })),
        odd(json!({ "accountId": "another", "clusterId": "another" })),
    ];
    at_once(cases, |oddities| {
        let context = format!("{:?}", oddities.rows);
        let setting = Setting::with_daemon(odd_host(&Kind::DEDICATED, oddities, "", FEW));
        setting.settle();
        setting.host.shift_clock(SignedDuration::from_mins(11));
        setting.apply();
        assert!(!setting.host.sandbox.tokens().is_empty(), "{context}");
        assert_silent(&setting, &context);
    });
}
