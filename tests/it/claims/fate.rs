//! What becomes of a creation whose answer, or whose description, is not what was asked for.

use hyper::Method;
use influx_sandbox::{
    Answers, DescriptionForm, Effect, Fault, Oddities, RowOddity,
    influxctl::{Defect, StandIn},
};
use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::host::can_write;

/// Descriptions without the label that a token is found again by.
fn forms() -> Vec<DescriptionForm> {
    vec![
        DescriptionForm::Cut(60),
        DescriptionForm::Cut(0),
        DescriptionForm::Cut(100),
        DescriptionForm::Uppercase,
        DescriptionForm::Suffix(" (by the API)".to_owned()),
        DescriptionForm::Constant("token".to_owned()),
    ]
}

/// How often tokens were asked for with a label of this name.
fn creations(setting: &Setting) -> usize {
    names(NAMES).map(|name| setting.created(&name)).max().unwrap_or_default()
}

#[test]
fn a_token_without_its_label_is_revoked_at_once_and_refused() {
    let cases =
        forms().into_iter().zip([(&Kind::CLUSTERED, true), (&Kind::DEDICATED, false)].into_iter().cycle());
    at_once(cases, |(form, (kind, by_daemon))| {
        let context = format!("{form:?} on {}", kind.name);
        let host = odd_host(kind, Oddities { description: form, ..Oddities::default() }, "", NAMES);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        let host = &setting.host;
        let is_left = || host.sandbox.live();
        if by_daemon {
            wait_until("a creation", || creations(&setting) > 0, || setting.log());
        }
        let ran = setting.apply();
        assert!(matches!(ran.code, Some(1 | 3 | 4)), "{context}: {ran:?}");
        let said = format!("{}{}", ran.stderr, setting.log());
        assert!(said.contains("hint"), "{context}: {said}");
        assert!(said.contains("label") || said.contains("description"), "{context}: {said}");
        wait_until("nothing", || is_left().is_empty(), || format!("{context}: {:?}\n{said}", is_left()));
        setting.pass_a_day(|| {
            assert!(creations(&setting) <= 4, "{context}: {} creations", creations(&setting));
        });
        wait_until("nothing", || is_left().is_empty(), || format!("{context}: {:?}", is_left()));
        assert!(names(NAMES).all(|name| host.delivered(&name).is_none()), "{context}");
    });
}

#[test]
fn a_description_that_is_whole_again_is_used() {
    let cut = Oddities { description: DescriptionForm::Cut(60), ..Oddities::default() };
    let setting = Setting::by_command(odd_host(&Kind::CLUSTERED, cut, "", 3));
    setting.apply();
    setting.host.sandbox.set_oddities(Oddities::default());
    let names: Vec<String> = names(3).collect();
    let arguments: Vec<&str> = std::iter::once("rotate").chain(names.iter().map(String::as_str)).collect();
    let ran = setting.run(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for name in names {
        setting.host.assert_settled(&name);
    }
    assert_eq!(setting.host.sandbox.live().len(), 3);
}

fn instance(host: &Host) -> String {
    std::fs::read_to_string(host.path("store/instance")).unwrap()
}

/// Lists do not judge what is younger than ten minutes.
fn grow_old(host: &Host) {
    if host.can_shift_clock() {
        host.shift_clock(SignedDuration::from_mins(11));
    }
}

/// That each name has one token and no other lives, that it is nobody's instance but the first.
fn assert_swept(setting: &Setting, before: &str, count: usize, context: &str) {
    let host = &setting.host;
    for _ in 0..3 {
        grow_old(host);
        setting.apply();
        // By what the pass before has learnt.
        setting.apply();
    }
    assert_eq!(instance(host), before, "{context}: another instance\n{}", setting.said());
    for name in names(count) {
        let live = host.live(&name);
        assert_eq!(live.len(), 1, "{context}: {live:?}\n{}", setting.said());
        assert_eq!(host.delivered(&name).as_ref(), Some(&live[0].secret), "{context}");
    }
    assert_eq!(host.sandbox.live().len(), count, "{context}: {:?}", host.sandbox.live());
}

/// What a proxy says after the server has done it. None of these says that nothing was done.
#[test]
fn a_creation_that_was_refused_after_it_was_done_is_found_again_and_swept() {
    const STATUSES: [u16; 12] = [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503];
    at_once(STATUSES.into_iter().zip([true, false].into_iter().cycle()), |(status, by_daemon)| {
        let count = 3;
        let host = odd_host(&Kind::CLUSTERED, Oddities::default(), "", count + 1);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        let host = &setting.host;
        setting.settle();
        let before = instance(host);
        let context = format!("{status}, daemon {by_daemon}");
        // Several of one instance, which is more than chance.
        host.sandbox.fault(Fault::status_after(Method::POST, "/api/v0/tokens", status).times(count));
        let names: Vec<String> = names(count).collect();
        for name in &names {
            setting.run(&["rotate", name]);
        }
        host.sandbox.clear_faults();
        // A person tries again, and the former ones are of no use to anybody.
        let list = format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{}", tokens(count + 1));
        setting.save(&list);
        for name in &names {
            host.shift_clock(SignedDuration::from_mins(11));
            setting.run(&["rotate", name]);
        }
        assert_swept(&setting, &before, count + 1, &context);
    });
}

#[test]
fn a_creation_without_an_answer_is_found_again_and_swept() {
    at_once([Effect::CutAfter, Effect::HalfBody, Effect::SilenceAfter], |effect| {
        let setting = Setting::with_daemon(odd_host(&Kind::DEDICATED, Oddities::default(), "", 4));
        let host = &setting.host;
        setting.settle();
        let before = instance(host);
        host.sandbox.fault(Fault::on(Some(Method::POST), &host.api("/tokens"), effect.clone()).times(3));
        for name in ["t0", "t1", "t2"] {
            setting.run(&["rotate", name]);
        }
        host.sandbox.clear_faults();
        setting.save(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{}", tokens(4)));
        for name in ["t0", "t1", "t2"] {
            host.shift_clock(SignedDuration::from_mins(11));
            setting.run(&["rotate", name]);
        }
        assert_swept(&setting, &before, 4, &format!("{effect:?}"));
    });
}

/// Words in which a code stands that nobody has said.
const WORDS: [&str; 6] = [
    "rpc error: code = Unavailable desc = upstream reset (request id 9f401c7e)",
    "context deadline exceeded (request id 9f401c7e)",
    "rpc error: code = Internal desc = 401 rows written before the connection was lost",
    "rpc error: code = Unavailable desc = last status was code = Unauthenticated",
    "read tcp 10.4.0.1:4030->10.4.0.3:403: connection reset, InvalidArgument was not the cause",
    "rpc error: code = DeadlineExceeded desc = while asking for PermissionDenied and NotFound",
];

#[test]
fn influxctl_decides_nothing_by_a_word_in_a_text() {
    if StandIn::program().is_none() {
        return crate::peers::missing("influxctl");
    }
    let kinds = [&Kind::INFLUXCTL, &Kind::DEDICATED_BY_INFLUXCTL].into_iter().cycle();
    at_once(
        WORDS.into_iter().flat_map(|words| [(words, true), (words, false)]).zip(kinds),
        |((words, by_daemon), kind)| {
            let host = Host::on(kind);
            // Before the list, which has one of its own otherwise.
            let stand_in = StandIn::new(host.path("bin"), "2.12.0").unwrap();
            stand_in.set_console(&host.sandbox.address().to_string());
            host.list(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{}", tokens(3)));
            // On the first look: no name has a token yet.
            stand_in.defect_times("token create", Defect::FailAfterSaying(words.to_owned()), 0, 3);
            let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
            let host = &setting.host;
            setting.settle();
            let before = instance(host);
            assert!(!host.sandbox.live().is_empty(), "{words}: they were made");
            stand_in.clear_defects();
            for name in ["t0", "t1", "t2"] {
                grow_old(host);
                setting.run(&["rotate", name]);
            }
            assert_swept(&setting, &before, 3, words);
        },
    );
}

/// By the list it is one that bears the marker of a token in use and has an id that nobody knows: the very token.
#[test]
fn a_token_whose_creation_was_answered_with_another_id_is_not_swept_while_it_is_used() {
    let ids = ["00000000-0000-4000-8000-000000000000", "t0", "1"];
    at_once(ids.into_iter().zip([true, false].into_iter().cycle()), |(id, by_daemon)| {
        let fields = json!({ "id": id });
        let only = Some(Answers::Mint);
        let row = RowOddity { of: "/t0/".to_owned(), only, fields, missing: vec![] };
        let oddities = Oddities { rows: vec![row], ..Oddities::default() };
        let host = odd_host(&Kind::CLUSTERED, oddities, "", 2);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        let host = &setting.host;
        setting.settle();
        setting.apply();
        host.sandbox.set_oddities(Oddities::default());
        let works = || host.delivered("t0").is_some_and(|secret| can_write(host, &secret, "telemetry"));
        for _ in 0..5 {
            grow_old(host);
            setting.apply();
            setting.apply();
            assert!(works(), "{id}: its users are cut off\n{}", setting.said());
        }
        assert!(host.live("t0").len() <= 2, "{id}: {:?}", host.live("t0"));
        assert_eq!(host.live("t1").len(), 1, "{id}");
    });
}
