//! Odd bodies, types and addresses, and numbers of our own that no server would bear.

use influx_sandbox::{Gzip, Oddities, Redirect};

use super::*;

const FEW: usize = 3;

#[test]
fn a_server_that_compresses_unless_it_is_asked_not_to_is_used() {
    at_once([(&Kind::CLUSTERED, true), (&Kind::DEDICATED, false)], |(kind, by_daemon)| {
        let oddities = Oddities { gzip: Some(Gzip::UnlessRefused), ..Oddities::default() };
        let host = odd_host(kind, oddities, "", FEW);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        setting.settle();
        setting.must_apply();
        setting.assert_first(FEW, kind.name);
    });
}

#[test]
fn a_server_that_compresses_all_the_same_is_used_or_named() {
    let oddities = Oddities { gzip: Some(Gzip::Always), ..Oddities::default() };
    let setting = Setting::by_command(odd_host(&Kind::CLUSTERED, oddities, "", FEW));
    let ran = setting.apply();
    if ran.code == Some(0) {
        return setting.assert_first(FEW, "gzip");
    }
    assert!(ran.stderr.contains("gzip") && ran.stderr.contains("hint"), "{ran:?}");
    assert!(!ran.stderr.contains("not JSON"), "{ran:?}");
    assert_eq!(setting.host.sandbox.tokens().len(), 0);
}

#[test]
fn json_by_another_name_is_used_or_the_name_is_told() {
    let kinds = ["text/html", "text/html; charset=utf-8", "text/plain", "application/octet-stream", ""];
    at_once(kinds.into_iter().zip([true, false].into_iter().cycle()), |(kind, by_daemon)| {
        let oddities = Oddities { content_type: Some(kind.to_owned()), ..Oddities::default() };
        let host = odd_host(&Kind::CLUSTERED, oddities, "", FEW);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        setting.settle();
        let ran = setting.apply();
        if ran.code == Some(0) {
            return setting.assert_first(FEW, kind);
        }
        assert!(ran.stderr.contains(kind) && ran.stderr.contains("hint"), "{kind}: {ran:?}");
        assert!(!ran.stderr.contains("an HTML page"), "{kind}: {ran:?}");
        assert_eq!(setting.host.sandbox.tokens().len(), 0, "{kind}");
    });
}

/// The url to write is that of the server, not of what was asked for.
#[test]
fn a_redirect_is_followed_by_a_person_only_and_the_hint_leads_there() {
    let bases = ["https://new.example.com", "https://new.example.com/influx", "http://127.0.0.1:1"];
    let cases = [301, 302, 303, 307, 308].into_iter().zip(bases.into_iter().cycle());
    at_once(cases.zip([&Kind::CLUSTERED, &Kind::DEDICATED].into_iter().cycle()), |((status, to), kind)| {
        let redirect = Some(Redirect { status, to: to.to_owned() });
        let setting =
            Setting::by_command(odd_host(kind, Oddities { redirect, ..Oddities::default() }, "", FEW));
        let ran = setting.apply();
        assert_eq!(ran.code, Some(1), "{status}: {ran:?}");
        assert!(ran.stderr.contains(&status.to_string()), "{status}: {ran:?}");
        let hints: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("hint")).collect();
        assert!(hints.iter().any(|hint| hint.contains(to)), "{status}: {ran:?}");
        let is_url = |hint: &&str| hint.contains("/api/v0");
        assert!(!hints.iter().any(is_url), "{status}: {ran:?}");
        assert_eq!(setting.host.sandbox.tokens().len(), 0, "{status}");
    });
}

/// As it stands in a list.
#[test]
fn durations_that_no_server_would_bear_are_faults_of_the_list() {
    let host = Host::new();
    let list = |top: &str, lifecycle: &str| {
        let text = host.list_text(&host.sandbox.url(), &format!("{lifecycle}{}", tokens(1)));
        let text = if lifecycle.contains("probe") {
            text.replace("probe = { interval = \"20ms\" }\n", "")
        } else {
            text
        };
        host.write("tokens.toml", &format!("{top}{text}"));
    };
    let cases = [
        ("reconcile = \"15ms\"\n", "", "reconcile", false),
        ("reconcile = \"0s\"\n", "", "reconcile", false),
        ("reconcile = \"9s\"\n", "", "reconcile", false),
        ("reconcile = \"10s\"\n", "", "reconcile", true),
        ("reconcile = \"36501d\"\n", "", "reconcile", false),
        ("", "lifetime = \"59s\"\n", "lifetime", false),
        ("", "lifetime = \"36501d\"\n", "lifetime", false),
        ("", "probe = { interval = \"9ms\" }\n", "interval", false),
        ("", "probe = { interval = \"10ms\" }\n", "interval", true),
        ("", "overlap = \"0s\"\noverlap_cap = \"0s\"\n", "overlap", true),
    ];
    for (top, lifecycle, key, is_right) in cases {
        list(top, lifecycle);
        let ran = host.tokend(&["check"]);
        let context = format!("{top}{lifecycle}: {ran:?}");
        assert_eq!(ran.code == Some(0), is_right, "{context}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        if !is_right {
            assert!(said.contains(key) && !said.contains("malformed"), "{context}");
        }
    }
}
