//! Lists, tokens and mints with odd fields: a stranger's cost nobody anything, one of ours costs itself alone.

use super::*;

const CREATED: &str = "2029-01-01T00:00:00Z";
const DATE: &str = "date: Mon, 01 Jan 2029 12:00:00 GMT\r\n";

fn label(instance: u8) -> Label {
    Label {
        instance: Instance::from_bits([instance; 16]),
        name: "a".parse().expect("a name"),
        marker: Marker::from_bits([8; 16]),
    }
}

fn at(text: &str) -> Time {
    text.parse().expect("a time")
}

/// A row of ours with these fields beside id and description; a later field of the same name counts first.
fn ours(id: &str, fields: &str) -> String {
    let label = label(7);
    format!(
        r#"{{"id":"{id}","description":"{label}",{fields},"permissions":[{{"action":"read","resource":"a"}}],"createdAt":"{CREATED}"}}"#
    )
}

/// Lists these rows to the instances 6 and 7, to which the token `held` belongs.
async fn listing(rows: &str) -> Result<Listing, ServerError> {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, _) = serve(None, vec![answer("200 OK", DATE, &format!("[{rows}]"))]).await;
    let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
    let ids = BTreeSet::from([TokenId("held".into())]);
    server.list(&Interest { ids: &ids, instances: &[label(7).instance, label(6).instance] }).await
}

async fn mint_of(body: &str) -> Result<Minted, MintError> {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, _) = serve(None, vec![answer("200 OK", DATE, body)]).await;
    let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
    let order = order();
    server.mint(&Order { description: label(7).follow("edge"), ..order }).await
}

fn whats(listing: &Listing) -> Vec<&str> {
    listing.faults.iter().map(|fault| fault.what.as_str()).collect()
}

#[tokio::test]
async fn what_stands_in_a_strangers_row_is_nobodys_business() {
    let theirs = label(1);
    let strangers = [
        "null".to_owned(),
        "7".to_owned(),
        r#""token""#.to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"id":"f","description":null,"permissions":[],"createdAt":"2024-01-01T00:00:00Z"}"#.to_owned(),
        r#"{"id":7,"description":["x"],"permissions":"all","createdAt":{"a":1},"revokedAt":true}"#.to_owned(),
        r#"{"id":"f","description":"d","permissions":[{"action":"own"},7,null],"expiresAt":"9999-12-31T23:59:59Z"}"#.to_owned(),
        r#"{"id":"f","id":"g","description":"\ud800","x":1e9999}"#.to_owned(),
        format!(r#"{{"id":"f","deep":{}{}}}"#, "[".repeat(5000), "]".repeat(5000)),
        format!(r#"{{"id":"f","description":"{theirs}","createdAt":"when"}}"#),
    ];
    let rows = [&strangers[..], &[ours("o", r#""x":1"#)]].concat().join(",");
    let listing = listing(&rows).await.expect("a list");
    assert_eq!((listing.rows, whats(&listing)), (strangers.len() + 1, vec![]));
    assert_eq!(listing.tokens.len(), 1, "those of other hosts are not kept");
    assert_eq!(listing.tokens[0].created_at, Some(at(CREATED)));
    assert_eq!(listing.date, ServerDate::At(at("2029-01-01T12:00:00Z")));
}

#[tokio::test]
async fn a_body_that_is_not_all_text_is_read_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await;
        let body = [br#"[{"id":"f","description":"caf"#.as_slice(), &[0xe9], br#""}]"#].concat();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("sent");
    });
    let listing = list(&config(&format!("http://127.0.0.1:{port}"), folder.path())).await.expect("a list");
    assert_eq!(listing.rows, 1);
}

#[tokio::test]
async fn a_bad_row_of_ours_is_a_fault_of_that_row() {
    let date = Some(at("2029-01-01T12:00:00Z"));
    let expected_time = |name: &str| format!("{name}: expected an RFC 3339 time");
    for (fields, faults, expires_at, revoked_at) in [
        (r#""expiresAt":"soon""#, vec![expected_time("expiresAt")], None, None),
        (r#""expiresAt":1893456000"#, vec![expected_time("expiresAt")], None, None),
        (r#""revokedAt":"yes""#, vec![expected_time("revokedAt")], None, date),
        (r#""revokedAt":true,"expiresAt":{}"#, vec![expected_time("revokedAt")], None, date),
        (r#""expiresAt":"9999-12-31T23:59:59Z","revokedAt":"+10000-01-01T00:00:00Z""#, vec![], None, None),
        (r#""expiresAt":"0001-01-01T00:00:00Z","revokedAt":"1970-01-01T00:00:00Z""#, vec![], None, None),
        (r#""expiresAt":"2020-01-01T00:00:00Z","revokedAt":"2020-01-01T00:00:00Z""#, vec![], None, None),
        (r#""expiresAt":"","revokedAt":null"#, vec![], None, None),
        (
            r#""expiresAt":"2030-01-01t00:00:00.123456789012z","revokedAt":"2029-01-01 02:00:00+01:00""#,
            vec![],
            Some(at("2030-01-01T00:00:00.123456789Z")),
            Some(at("2029-01-01T01:00:00Z")),
        ),
    ] {
        let listing = listing(&ours("o", fields)).await.expect("a list");
        assert_eq!(whats(&listing), faults, "{fields}");
        let row = &listing.tokens[0];
        assert_eq!((row.expires_at, row.revoked_at), (expires_at, revoked_at), "{fields}");
        assert!(listing.faults.iter().all(|fault| fault.label == Some(label(7))), "{fields}");
    }
    let label = label(6);
    for (row, what) in [
        (format!(r#"{{"description":"{label}"}}"#), "id: expected one text"),
        (format!(r#"{{"id":null,"description":"{label}"}}"#), "id: expected one text"),
        (format!(r#"{{"id":7,"description":"{label}"}}"#), "id: expected one text"),
        (format!(r#"{{"id":"a","id":"b","description":"{label}"}}"#), "id: expected one text"),
        (format!(r#"{{"id":"x","\ud800":1,"description":"{label}"}}"#), "row: expected a valid JSON object"),
        (r#"{"id":"held","\ud800":1}"#.to_owned(), "row: expected a valid JSON object"),
    ] {
        let listing = listing(&row).await.expect("a list");
        assert_eq!((whats(&listing), listing.tokens.len()), (vec![what], 0), "{row}");
    }
    let held = r#"{"id":"held","description":"by hand","permissions":"all","createdAt":"x"}"#;
    let listing = listing(held).await.expect("a list");
    let expected =
        ["createdAt: expected an RFC 3339 time", "permissions: expected a list of actions and resources"];
    assert_eq!(whats(&listing), expected);
    assert_eq!((listing.tokens.len(), &listing.tokens[0].grants), (1, &None));
}

#[tokio::test]
async fn a_row_that_is_there_twice_counts_once_or_not_at_all() {
    let (row, other) = (ours("o", r#""x":1"#), ours("o", r#""expiresAt":"2030-01-01T00:00:00Z""#));
    let same = listing(&format!("{row},{row}")).await.expect("a list");
    assert_eq!((same.tokens.len(), whats(&same)), (1, vec![]));
    let more = ours("p", r#""x":1"#);
    let differ = listing(&format!("{row},{more},{other},{row}")).await.expect("a list");
    assert_eq!(differ.tokens.iter().map(|row| &*row.id.0).collect::<Vec<_>>(), ["p"]);
    assert!(whats(&differ).iter().all(|what| what.starts_with("id: expected once")), "{:?}", differ.faults);
    listing(r#"{"id":"f"},{"id":"f","description":"x"}"#).await.expect("strangers may");
}

#[tokio::test]
async fn a_time_without_zone_is_utc_and_is_told() {
    let with = listing(&ours("o", r#""expiresAt":"2030-01-01T00:00:00-00:00""#)).await.expect("a list");
    assert!(!with.zoneless);
    let without = listing(&ours("o", r#""expiresAt":"2030-01-01T00:00:00""#)).await.expect("a list");
    assert!(without.zoneless);
    assert_eq!(without.tokens[0].expires_at, Some(at("2030-01-01T00:00:00Z")));
    let strangers = listing(r#"{"id":"f","createdAt":"2030-01-01T00:00:00"}"#).await.expect("a list");
    assert!(!strangers.zoneless);
}

#[tokio::test]
async fn nothing_is_held_against_a_creation_that_is_yet_to_come() {
    let label = label(7);
    let row = format!(
        r#"{{"id":"o","description":"{label}","permissions":[],"createdAt":"2029-01-01T17:00:00Z","expiresAt":"2029-01-01T15:00:00Z","revokedAt":"2029-01-01T11:59:00Z"}}"#
    );
    let row = &listing(&row).await.expect("a list").tokens[0];
    assert_eq!(row.expires_at, Some(at("2029-01-01T15:00:00Z")));
    assert_eq!(row.revoked_at, Some(at("2029-01-01T11:59:00Z")));
    // Nodes of a cluster differ by some seconds, and round.
    let row = ours("o", r#""revokedAt":"2028-12-31T23:59:30Z""#);
    assert!(listing(&row).await.expect("a list").tokens[0].revoked_at.is_some());
}

#[tokio::test]
async fn what_is_not_a_list_is_refused() {
    for body in ["1", r#""x""#, r#"{"a":1}"#, "[1,2]", r#"["a"]"#, "[{}"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, _) = serve(None, vec![answer("200 OK", "", body)]).await;
        list(&config(&format!("http://127.0.0.1:{port}"), folder.path())).await.expect_err(body);
    }
}

#[tokio::test]
async fn the_string_of_a_new_token_is_lost_over_no_other_field() {
    let kept = label(7).follow("edge");
    let cut: String = kept.chars().take(60).collect();
    let ordered = order().expires_at();
    let created = Some(at(CREATED));
    let told = |text: &str| Some(at(text));
    for (fields, created_at, expires_at, echo, oddities) in [
        (format!(r#""createdAt":"{CREATED}","description":"{kept}""#), created, None, LabelEcho::Kept, 1),
        (format!(r#""createdAt":"{CREATED}","permissions":[]"#), created, None, LabelEcho::Missing, 0),
        (r#""permissions":[],"description":null"#.to_owned(), None, None, LabelEcho::Missing, 1),
        (format!(r#""permissions":[],"createdAt":7,"description":"{cut}""#), None, None, LabelEcho::Lost, 1),
        (
            format!(r#""permissions":[],"createdAt":"{CREATED}","description":"{}""#, kept.to_uppercase()),
            created,
            None,
            LabelEcho::Lost,
            0,
        ),
        (
            format!(r#""permissions":[],"createdAt":"{CREATED}","expiresAt":"x","description":{{}}"#),
            created,
            ordered,
            LabelEcho::Lost,
            1,
        ),
        (
            r#""permissions":[],"createdAt":"9999-12-31T23:59:59Z","expiresAt":"9999-12-31T23:59:59Z""#
                .to_owned(),
            Some(Time::MAX),
            None,
            LabelEcho::Missing,
            0,
        ),
        (
            r#""permissions":[],"createdAt":"2029-01-01T00:00:00","expiresAt":"2029-02-01T00:00:00Z""#
                .to_owned(),
            created,
            told("2029-02-01T00:00:00Z"),
            LabelEcho::Missing,
            0,
        ),
        (
            r#""permissions":[],"createdAt":"2029-01-01T17:00:00Z","expiresAt":"2029-01-01T15:00:00Z""#
                .to_owned(),
            told("2029-01-01T17:00:00Z"),
            told("2029-01-01T15:00:00Z"),
            LabelEcho::Missing,
            0,
        ),
    ] {
        let minted = mint_of(&format!(r#"{{"id":"i","accessToken":"{SECRET}",{fields}}}"#)).await;
        let minted = minted.unwrap_or_else(|error| panic!("{fields}: {error}"));
        assert_eq!(minted.secret.secret().expose(), SECRET, "{fields}");
        assert_eq!(
            (minted.created_at, minted.expires_at, minted.label),
            (created_at, expires_at, echo),
            "{fields}"
        );
        assert_eq!(minted.oddities.len(), oddities, "{fields}: {:?}", minted.oddities);
        assert_eq!(minted.date, ServerDate::At(at("2029-01-01T12:00:00Z")));
    }
    for body in [
        format!(r#"{{"accessToken":"{SECRET}"}}"#),
        format!(r#"{{"id":"","accessToken":"{SECRET}"}}"#),
        format!(r#"{{"id":7,"accessToken":"{SECRET}"}}"#),
        format!(r#"{{"id":"i","id":"j","accessToken":"{SECRET}"}}"#),
        r#"{"id":"i","accessToken":""}"#.to_owned(),
        r#"{"id":"i","accessToken":7}"#.to_owned(),
        format!(r#"["i","{SECRET}"]"#),
    ] {
        let error = mint_of(&body).await.expect_err(&body);
        assert!(matches!(error, MintError::Unknown(_)) && !error.to_string().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn the_times_of_a_new_token_are_told_as_they_are_claimed() {
    let (date, ordered) = ("2029-01-01T12:00:00Z", order().expires_at());
    let missing = Some("createdAt is missing".to_owned());
    let creation = |text: &str| format!(r#""createdAt":"{text}","expiresAt":"2030-01-01T00:00:00Z""#);
    for (fields, created_at, expires_at, oddity) in [
        (creation("0001-01-01T00:00:00Z"), Some("0001-01-01T00:00:00Z"), ordered, None),
        (creation("1970-01-01T00:00:00Z"), Some("1970-01-01T00:00:00Z"), ordered, None),
        (creation("2100-01-01T00:00:00Z"), Some("2100-01-01T00:00:00Z"), ordered, None),
        (creation(""), None, ordered, missing.clone()),
        (r#""createdAt":null,"expiresAt":null"#.to_owned(), None, None, missing.clone()),
        (creation("soon"), None, ordered, Some("createdAt: expected an RFC 3339 time".to_owned())),
    ] {
        let body = format!(r#"{{"id":"i","accessToken":"{SECRET}","permissions":[],{fields}}}"#);
        let minted = mint_of(&body).await.unwrap_or_else(|error| panic!("{fields}: {error}"));
        assert_eq!((minted.created_at, minted.expires_at), (created_at.map(at), expires_at), "{fields}");
        assert_eq!(minted.oddities, oddity.into_iter().collect::<Vec<_>>(), "{fields}");
        assert!(!minted.zoneless);
    }
    let created = format!("createdAt {date}");
    let dated = format!("the answer's Date {date}");
    for (created_at, expires_at, is_never, birth) in [
        (date, "2020-01-01T00:00:00Z", true, &created),
        (date, "1970-01-01T00:00:00Z", true, &created),
        (date, "2028-12-01T12:00:00Z", true, &created),
        (date, date, true, &created),
        (date, "2029-01-01T12:00:01Z", false, &created),
        ("1970-01-01T00:00:00Z", "2020-01-01T00:00:00Z", true, &dated),
        ("2029-01-01T17:00:00Z", "2029-01-01T11:00:00Z", true, &dated),
        ("when", "2020-01-01T00:00:00Z", true, &dated),
    ] {
        let times = format!(r#""createdAt":"{created_at}","expiresAt":"{expires_at}""#);
        let body = format!(r#"{{"id":"i","accessToken":"{SECRET}","permissions":[],{times}}}"#);
        let minted = mint_of(&body).await.unwrap_or_else(|error| panic!("{times}: {error}"));
        let oddity = format!("expiresAt {expires_at} is not after {birth}, read as never");
        assert_eq!(
            (minted.expires_at.is_none(), minted.oddities.contains(&oddity)),
            (is_never, is_never),
            "{times}"
        );
    }
    let zoneless = format!(
        r#"{{"id":"i","accessToken":"{SECRET}","permissions":[],"createdAt":"2029-01-01T12:00:00","expiresAt":null}}"#
    );
    let minted = mint_of(&zoneless).await.expect("minted");
    assert_eq!((minted.zoneless, minted.oddities), (true, vec![]));
}

#[tokio::test]
async fn one_token_is_read_as_in_a_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let id = TokenId("o".into());
    for (body, expected) in [
        (ours("o", r#""revokedAt":"when""#), Some((true, false))),
        (ours("O", r#""expiresAt":"9999-12-31T23:59:59Z""#), Some((false, false))),
        (r#"{"description":null}"#.to_owned(), Some((false, false))),
        (r#"{"id":"p"}"#.to_owned(), None),
        ("[]".to_owned(), None),
    ] {
        let (port, _) = serve(None, vec![answer("200 OK", DATE, &body)]).await;
        let server = connect(&config(&format!("http://127.0.0.1:{port}"), folder.path())).expect("a client");
        for told in [server.get(&id).await.map(Option::unwrap), server.patch(&id, &order().grants).await] {
            match (told, expected) {
                (Ok(row), Some((revoked, expires))) => {
                    assert_eq!(
                        (row.revoked_at.is_some(), row.expires_at.is_some()),
                        (revoked, expires),
                        "{body}"
                    );
                    assert_eq!(row.id, id);
                }
                (Err(error), None) => assert!(matches!(error.kind, ErrorKind::Nonsense(_)), "{error}"),
                (told, _) => panic!("{body}: {told:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_date_that_cannot_be_read_is_not_a_missing_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let unreadable = |text: &str| ServerDate::Unreadable(text.to_owned());
    let long = format!("date: {}\r\n", "yesterday ".repeat(9));
    for (headers, expected) in [
        ("", ServerDate::Absent),
        ("date: yesterday\r\n", unreadable("yesterday")),
        ("date: \r\n", unreadable("")),
        ("date: 2029-01-01T12:00:00Z\r\n", unreadable("2029-01-01T12:00:00Z")),
        (&long, unreadable(&long[6..66])),
        (&format!("date: at {MANAGEMENT}\r\n"), unreadable("…")),
        ("date: ye\u{202e}sterday\r\n", unreadable("yesterday")),
        (DATE, ServerDate::At(at("2029-01-01T12:00:00Z"))),
    ] {
        let (port, _) = serve(None, vec![answer("200 OK", headers, "[]")]).await;
        let listing =
            list(&config(&format!("http://127.0.0.1:{port}"), folder.path())).await.expect("a list");
        assert_eq!(listing.date, expected, "{headers:?}");
    }
}
