//! The oddities, as they are on the wire: a test that is about one sees it.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use hyper::Method;
use influx_sandbox::{
    Answers, DateHeader, DescriptionForm, Echo, Effect, Fault, Gzip, Misbehaviour, Oddities, Options,
    Redirect, RowOddity, Sandbox, TimeForm, TimeOddity,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

const MINT: &str =
    "{\"description\":\"a long one\",\"permissions\":[{\"action\":\"write\",\"resource\":\"telemetry\"}]}";

fn odd(oddities: Oddities) -> Sandbox {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    sandbox.set_oddities(oddities);
    sandbox
}

/// The head and the body of an answer.
fn ask(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(sandbox.address()).unwrap();
    let (token, length) = (sandbox.management_token(), body.len());
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let body = answer.get(end + 4..).unwrap_or_default().to_vec();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), body)
}

fn json_of(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Value {
    serde_json::from_slice(&ask(sandbox, method, path, body).1).unwrap()
}

fn minted(sandbox: &Sandbox) -> Value {
    json_of(sandbox, "POST", "/api/v0/tokens", MINT)
}

fn listed(sandbox: &Sandbox) -> Value {
    json_of(sandbox, "GET", "/api/v0/tokens", "")
}

#[test]
fn rows_have_other_times_and_fields() {
    let row = RowOddity {
        of: "long".to_owned(),
        only: Some(Answers::List),
        fields: json!({ "permissions": null }),
        missing: vec!["description".to_owned()],
    };
    let sandbox = odd(Oddities {
        created_at: Some(TimeOddity::Shift(SignedDuration::from_hours(-5))),
        expires_at: Some(TimeOddity::Constant(json!(7))),
        revoked_at: Some(TimeOddity::Constant(json!("0001-01-01T00:00:00Z"))),
        rows: vec![row],
        strangers: vec![json!("a stranger")],
        ..Oddities::default()
    });
    let minted = minted(&sandbox);
    assert_eq!((&minted["expiresAt"], &minted["revokedAt"]), (&json!(7), &json!("0001-01-01T00:00:00Z")));
    assert!(minted["permissions"].is_array());
    let token = &sandbox.live()[0];
    let shown: jiff::Timestamp = minted["createdAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(token.created_at.duration_since(shown), SignedDuration::from_hours(5));
    let list = listed(&sandbox);
    assert_eq!((&list[0]["permissions"], list[0].get("description")), (&Value::Null, None));
    assert_eq!(list[1], "a stranger");
    // What is shown is not what is.
    sandbox.revoke(&token.id);
    assert_ne!(listed(&sandbox)[0]["revokedAt"], "0001-01-01T00:00:00Z");
    sandbox.set_oddities(Oddities { hidden: vec!["long".to_owned()], ..Oddities::default() });
    assert_eq!(listed(&sandbox), json!([]));
}

#[test]
fn times_have_other_forms() {
    let sandbox = odd(Oddities::default());
    minted(&sandbox);
    let at = sandbox.live()[0].created_at;
    let shown = |times| {
        sandbox.set_oddities(Oddities { times, ..Oddities::default() });
        listed(&sandbox)[0]["createdAt"].clone()
    };
    for form in [
        TimeForm::Utc,
        TimeForm::Offset(330),
        TimeForm::UnknownOffset,
        TimeForm::Lowercase,
        TimeForm::Nanoseconds,
    ] {
        let shown: jiff::Timestamp = shown(form).as_str().unwrap().parse().unwrap();
        assert_eq!(shown, at, "{form:?}");
    }
    assert!(shown(TimeForm::Offset(330)).as_str().unwrap().ends_with("+05:30"));
    assert!(!shown(TimeForm::NoZone).as_str().unwrap().contains('Z'));
    assert!(shown(TimeForm::SpaceNoZone).as_str().unwrap().contains(' '));
    assert_eq!(shown(TimeForm::UnixSeconds), at.as_second());
    assert_eq!(shown(TimeForm::UnixMilliseconds), at.as_millisecond().to_string());
    assert!(shown(TimeForm::Rfc2822).as_str().unwrap().ends_with(" GMT"));
}

#[test]
fn the_date_is_another_or_none() {
    let date = |date| {
        let (head, _) = ask(&odd(Oddities { date, ..Oddities::default() }), "GET", "/api/v0/tokens", "");
        head.lines().find_map(|line| line.strip_prefix("date: ").map(str::to_owned))
    };
    let read = |text: Option<String>| httpdate::parse_http_date(&text.unwrap()).unwrap();
    let (now, later) = (date(DateHeader::Right), date(DateHeader::Shift(SignedDuration::from_hours(8))));
    let apart = read(later).duration_since(read(now)).unwrap().as_secs();
    assert!((28_790..28_810).contains(&apart), "{apart}");
    assert_eq!(date(DateHeader::Text("yesterday".to_owned())).as_deref(), Some("yesterday"));
    assert_eq!(date(DateHeader::Absent), None);
}

#[test]
fn bodies_and_addresses_are_others() {
    let sandbox = odd(Oddities {
        gzip: Some(Gzip::Always),
        content_type: Some("text/html".to_owned()),
        ..Oddities::default()
    });
    let (head, body) = ask(&sandbox, "GET", "/api/v0/tokens", "");
    assert!(head.contains("content-encoding: gzip") && head.contains("content-type: text/html"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "[]");
    let redirect = Some(Redirect { status: 308, to: "https://new.example.com".to_owned() });
    sandbox.set_oddities(Oddities { redirect, data: Some(Effect::CutBefore), ..Oddities::default() });
    let (head, _) = ask(&sandbox, "GET", "/api/v0/tokens", "");
    assert!(
        head.starts_with("HTTP/1.1 308") && head.contains("https://new.example.com/api/v0/tokens"),
        "{head}"
    );
    assert_eq!(ask(&sandbox, "POST", "/api/v2/write?bucket=telemetry", "").0, "");
    assert_eq!(sandbox.struck().get("redirect"), Some(&1));
}

#[test]
fn descriptions_are_altered_and_secrets_repeated() {
    for (description, kept) in [
        (DescriptionForm::Cut(6), "a long"),
        (DescriptionForm::Uppercase, "A LONG ONE"),
        (DescriptionForm::Suffix("!".to_owned()), "a long one!"),
        (DescriptionForm::Constant("x".to_owned()), "x"),
    ] {
        let sandbox = odd(Oddities { description, ..Oddities::default() });
        assert_eq!(minted(&sandbox)["description"], kept);
        assert_eq!(sandbox.live()[0].description, kept);
    }
    let echo = Some(Echo { before: "bad: ".to_owned(), skip: 7, ..Echo::default() });
    let sandbox = odd(Oddities { echo, ..Oddities::default() });
    sandbox.fault(Fault::status(Method::GET, "/api/v0/tokens", 500));
    let expected = format!("bad: {}", sandbox.management_token());
    assert_eq!(listed(&sandbox)["message"], expected);
}

#[test]
fn each_request_may_meet_something_else() {
    let sandbox = odd(Oddities::default());
    let mut asked = 0;
    sandbox.draw_oddities(move |method, path| {
        assert_eq!((method, path), (&Method::POST, "/api/v0/tokens"));
        asked += 1;
        let fault = Effect::StatusAfter { status: 502, headers: vec![], body: String::new() };
        let effects = if asked == 1 { vec![fault] } else { vec![] };
        Misbehaviour { oddities: Oddities { date: DateHeader::Absent, ..Oddities::default() }, effects }
    });
    let statuses: Vec<String> =
        (0..2).map(|_| ask(&sandbox, "POST", "/api/v0/tokens", MINT).0[9..12].to_owned()).collect();
    assert_eq!(statuses, ["502", "200"]);
    assert_eq!(sandbox.live().len(), 2, "each was made");
    assert_eq!((sandbox.struck()["Date"], sandbox.struck()["another status after the effect"]), (2, 1));
}
