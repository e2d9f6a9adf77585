//! The secrets socket, as its callers see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http_body_util::BodyExt as _;
use hyper::{Method, Request};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::*;
use crate::{
    deliver::{Readers, access::NOBODY},
    model::{Secret, Time},
};

// Nobody's on any host.
const TELEGRAF: u32 = 70_998;
const GRAFANA: u32 = 71_001;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn peer(uid: u32, groups: &[u32], unit: Option<&str>) -> Peer {
    Peer::for_tests(uid, groups, unit)
}

fn allow(users: &[u32], units: &[&str]) -> Allow {
    Allow {
        users: users.iter().map(ToString::to_string).collect(),
        groups: vec![],
        units: units.iter().map(|&unit| unit.to_owned()).collect(),
    }
}

/// A desk with `edge` for Telegraf and its unit, `dash` for Grafana, and `late` for Telegraf, which is not ready.
struct Desk {
    secrets: Arc<Secrets>,
    stop: watch::Sender<bool>,
}

impl Desk {
    fn new() -> Self {
        let resolver = Arc::new(Mutex::new(Resolver::new(Nss)));
        let served = Arc::new(Served::new(7));
        let desk = Self {
            secrets: Arc::new(Secrets::new(served, Arc::default(), resolver)),
            stop: watch::Sender::new(false),
        };
        desk.put("edge", Some((3, "edge-secret")), &allow(&[TELEGRAF], &["telegraf.service"]));
        desk.put("dash", Some((1, "dash-\"secret\"")), &allow(&[GRAFANA], &[]));
        desk.put("late", None, &allow(&[TELEGRAF], &[]));
        desk
    }

    fn put(&self, token: &str, value: Option<(u64, &str)>, allow: &Allow) -> bool {
        let readers = self.secrets.resolver.lock().expect("free").resolve(allow, Instant::now());
        let value = value.map(|(generation, secret)| (generation, Secret::new(secret.to_owned())));
        let value = value.as_ref().map(|(generation, secret)| (*generation, secret));
        self.secrets.served.put(&name(token), value, &readers)
    }

    fn caller(&self, peer: Peer) -> Caller {
        self.secrets.caller(peer)
    }

    async fn ask(&self, caller: &Caller, method: Method, target: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(target).body(()).expect("a request");
        let answer = self.secrets.answer(caller, &request, &self.stop.subscribe()).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn get(&self, caller: &Caller, target: &str) -> (u16, String) {
        self.ask(caller, Method::GET, target).await
    }

    async fn get_json(&self, caller: &Caller, target: &str) -> Json {
        let (status, body) = self.get(caller, target).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

#[tokio::test]
async fn every_format_has_what_the_caller_may_read_and_nothing_else() {
    let desk = Desk::new();
    let telegraf = desk.caller(peer(TELEGRAF, &[], None));
    let whole = json!({ "edge": "edge-secret", "dash": false, "late": false });
    let kv_v2 = desk.get_json(&telegraf, "/v1/influx/data/tokens?version=0").await;
    assert_eq!(kv_v2["data"]["data"], whole);
    let metadata = kv_v2["data"]["metadata"].as_object().expect("metadata");
    let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
    assert_eq!(keys, ["created_time", "custom_metadata", "deletion_time", "destroyed", "version"]);
    assert_eq!(desk.get_json(&telegraf, "/v1/influx/tokens").await["data"], whole);
    assert_eq!(desk.get_json(&telegraf, "/v1/json").await, json!({ "edge": "edge-secret" }));
    assert_eq!(desk.get(&telegraf, "/v1/secret/edge").await, (200, "edge-secret".to_owned()));
    let changes = desk.get_json(&telegraf, "/v1/changes").await;
    assert_eq!(changes["changed"], json!({ "edge": 3, "late": 0 }));
    // A secret that wants escaping in JSON is itself again.
    let grafana = desk.caller(peer(GRAFANA, &[], None));
    assert_eq!(desk.get_json(&grafana, "/v1/json").await, json!({ "dash": "dash-\"secret\"" }));
}

#[tokio::test]
async fn what_is_not_to_be_had_is_an_error_that_says_why_and_what_to_do() {
    let desk = Desk::new();
    let telegraf = desk.caller(peer(TELEGRAF, &[], Some("telegraf.service")));
    let (status, body) = desk.get(&telegraf, "/v1/secret/dash").await;
    assert_eq!(status, 403);
    let error: Json = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        error["errors"][0],
        "uid 70998 in telegraf.service may not read token dash; to let it, add users = [\"70998\"] to its `allow`"
    );
    desk.secrets.explain(Box::new(|name| (name.as_str() == "late").then(|| "still probed".to_owned())));
    let (status, body) = desk.get(&telegraf, "/v1/secret/late").await;
    assert_eq!((status, body.as_str()), (503, r#"{"errors":["token late is not ready: still probed"]}"#));
    for unknown in ["nope", "no-name", "", "a/b", "%65dge"] {
        assert_eq!(desk.get(&telegraf, &format!("/v1/secret/{unknown}")).await.0, 404, "{unknown}");
    }
    let (status, body) = desk.get(&telegraf, "/v1/other/data/tokens").await;
    assert_eq!(status, 404);
    assert!(body.contains("mount_path"), "{body}");
}

#[tokio::test]
async fn who_may_read_nothing_learns_no_names() {
    let desk = Desk::new();
    let stranger = desk.caller(peer(1234, &[5, 6], Some("other.service")));
    for target in
        ["/v1/influx/data/tokens", "/v1/influx/tokens", "/v1/json", "/v1/changes", "/v1/secret/nope"]
    {
        let (status, body) = desk.get(&stranger, target).await;
        assert_eq!(status, 403, "{target}");
        assert!(body.contains("may read none of these tokens"), "{body}");
        assert!(!["edge", "dash", "late"].iter().any(|name| body.contains(name)), "{body}");
    }
    let one = desk.get(&stranger, "/v1/secret/edge").await;
    assert_eq!(one, desk.get(&stranger, "/v1/secret/nope").await, "not even that there is one");
    // A service whose user comes and goes is named by its unit.
    let dynamic = desk.caller(peer(61_200, &[], Some("edge.service")));
    let (_, body) = desk.get(&dynamic, "/v1/json").await;
    assert!(body.contains(r#"add units = [\"edge.service\"] to a token's `allow`"#), "{body}");
}

#[tokio::test]
async fn it_is_read_only_but_for_a_login_that_lets_in_nobody() {
    let desk = Desk::new();
    let stranger = desk.caller(peer(1234, &[], None));
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
        for target in ["/v1/influx/data/tokens", "/v1/influx/tokens", "/v1/secret/edge", "/v1/changes"] {
            let answer = desk.ask(&stranger, method.clone(), target).await;
            assert_eq!(answer, (405, r#"{"errors":["read-only"]}"#.to_owned()), "{method} {target}");
        }
    }
    let (status, body) = desk.ask(&stranger, Method::PUT, "/v1/auth/approle/login").await;
    let body: Json = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["auth"]["lease_duration"]), (200, &json!(0)));
    assert!(body["auth"]["client_token"].is_string());
    assert_eq!(desk.get(&stranger, "/v1/json").await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_as_they_come() {
    let desk = Desk::new();
    let telegraf = desk.caller(peer(TELEGRAF, &[], None));
    let first = desk.get_json(&telegraf, "/v1/changes").await;
    let cursor = first["cursor"].as_str().expect("a cursor").to_owned();
    let target = format!("/v1/changes?cursor={cursor}");
    // Nothing happens: an empty answer, after a minute.
    let before = tokio::time::Instant::now();
    let nothing = desk.get_json(&telegraf, &target).await;
    assert_eq!(before.elapsed(), Duration::from_secs(60));
    assert_eq!(nothing, json!({ "cursor": cursor, "changed": {}, "gone": [] }));
    // What is not the caller's wakes nobody; what is, does.
    let (told, ()) = tokio::join!(desk.get_json(&telegraf, &target), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        desk.put("dash", Some((2, "x")), &allow(&[GRAFANA], &[]));
        tokio::time::sleep(Duration::from_secs(1)).await;
        desk.put("late", Some((1, "late-secret")), &allow(&[TELEGRAF], &[]));
    });
    assert_eq!(told["changed"], json!({ "late": 1 }));
    // A name that has become the caller's is a change, and so is one that has no value any more.
    let target = format!("/v1/changes?cursor={}", told["cursor"].as_str().expect("a cursor"));
    desk.put("dash", Some((2, "x")), &allow(&[GRAFANA, TELEGRAF], &[]));
    desk.put("edge", None, &allow(&[TELEGRAF], &[]));
    let told = desk.get_json(&telegraf, &target).await;
    assert_eq!(told["changed"], json!({ "dash": 2, "edge": 0 }));
    let target = format!("/v1/changes?cursor={}", told["cursor"].as_str().expect("a cursor"));
    // As is one that is not the caller's any more: which it is told once, and nobody who never could read it.
    let (told, ()) = tokio::join!(desk.get_json(&telegraf, &target), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        desk.put("dash", Some((2, "x")), &allow(&[GRAFANA], &[]));
        desk.put("dash", Some((3, "x")), &allow(&[GRAFANA, GRAFANA + 1], &[]));
    });
    assert_eq!((&told["changed"], &told["gone"]), (&json!({}), &json!(["dash"])));
    let stranger = desk.caller(peer(GRAFANA + 1, &[], None));
    let theirs = desk.get_json(&stranger, &target).await;
    assert_eq!((&theirs["changed"], &theirs["gone"]), (&json!({ "dash": 3 }), &json!([])));
    // And back.
    desk.put("dash", Some((2, "x")), &allow(&[GRAFANA, TELEGRAF], &[]));
    let target = format!("/v1/changes?cursor={}", told["cursor"].as_str().expect("a cursor"));
    let told = desk.get_json(&telegraf, &target).await;
    assert_eq!((&told["changed"], &told["gone"]), (&json!({ "dash": 2 }), &json!([])));
    // Another process's cursor, and nonsense, mean all.
    for cursor in ["0000000000000008.1", "x", "", "0000000000000007.x"] {
        let all = desk.get_json(&telegraf, &format!("/v1/changes?cursor={cursor}")).await;
        assert_eq!(all["changed"], json!({ "dash": 2, "edge": 0, "late": 1 }), "{cursor:?}");
    }
    // Who waits is answered when the daemon stops.
    let target = format!("/v1/changes?cursor={}", told["cursor"].as_str().expect("a cursor"));
    let before = tokio::time::Instant::now();
    let (told, ()) = tokio::join!(desk.get_json(&telegraf, &target), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        desk.stop.send_replace(true);
    });
    assert_eq!((before.elapsed(), &told["changed"]), (Duration::from_secs(1), &json!({})));
}

#[tokio::test]
async fn a_connection_sees_every_change_at_once() {
    let desk = Desk::new();
    let telegraf = desk.caller(peer(TELEGRAF, &[], None));
    for generation in 4..100 {
        let secret = format!("secret-{generation}");
        assert!(desk.put("edge", Some((generation, &secret)), &allow(&[TELEGRAF], &[])));
        assert!(!desk.put("edge", Some((generation, &secret)), &allow(&[TELEGRAF], &[])), "nothing new");
        assert_eq!(desk.get_json(&telegraf, "/v1/json").await, json!({ "edge": secret }));
    }
    let view = desk.secrets.view(&telegraf);
    let again = desk.secrets.served.view(&peer(TELEGRAF, &[], None));
    assert!(Arc::ptr_eq(&view, &again), "rendered once for all who may read the same");
}

#[tokio::test]
async fn names_that_are_gone_are_forgotten_and_new_ones_are_not_ready() {
    let desk = Desk::new();
    let served = &desk.secrets.served;
    let telegraf = allow(&[TELEGRAF], &[]);
    let (edge, new) = (name("edge"), name("new"));
    let names = BTreeMap::from([(&edge, &telegraf), (&new, &telegraf)]);
    let without = served.without_value(&names).expect("something is new");
    assert_eq!(without, [(new.clone(), telegraf.clone())]);
    let readers = Arc::new(Readers { uids: BTreeSet::from([TELEGRAF]), ..Readers::default() });
    served.expect(&[edge, new.clone()].into(), vec![(new, readers)]);
    let caller = desk.caller(peer(TELEGRAF, &[], None));
    let whole = desk.get_json(&caller, "/v1/influx/tokens").await;
    assert_eq!(whole["data"], json!({ "edge": "edge-secret", "new": false }));
}

#[tokio::test]
async fn last_reads_are_remembered_by_name() {
    let desk = Desk::new();
    assert!(desk.secrets.last_reads().is_empty());
    let telegraf = desk.caller(peer(TELEGRAF, &[], Some("telegraf.service")));
    desk.get(&telegraf, "/v1/influx/data/tokens").await;
    let grafana = desk.caller(peer(GRAFANA, &[], None));
    desk.get(&grafana, "/v1/secret/dash").await;
    desk.get(&grafana, "/v1/secret/edge").await;
    let last = desk.secrets.last_reads();
    assert_eq!(
        last.keys().map(Name::as_str).collect::<Vec<_>>(),
        ["dash", "edge"],
        "what was refused is no read"
    );
    assert_eq!((last["edge"].by.as_str(), last["edge"].generation), ("telegraf.service (uid 70998)", 3));
    assert_eq!(last["dash"].by, "uid 71001");
}

proptest! {
    /// Whatever the table and the caller: a body has the secrets of all its names and of no other, and every name.
    #[test]
    fn nobody_gets_what_is_somebody_elses(
        tokens in prop::collection::btree_map("[a-z]{1,3}", (any::<bool>(), prop::collection::vec(0_u32..6, 0..3), any::<bool>()), 0..80),
        uid in 1_u32..6,
        groups in prop::collection::vec(0_u32..6, 0..3),
    ) {
        let served = Served::new(1);
        let caller = peer(uid, &groups, None);
        let mut may_read = BTreeMap::new();
        for (text, (is_ready, ids, by_group)) in &tokens {
            let ids: BTreeSet<u32> = ids.iter().copied().collect();
            let readers = if *by_group {
                Readers { gids: ids.clone(), ..Readers::default() }
            } else {
                Readers { uids: ids.clone(), ..Readers::default() }
            };
            let secret = Secret::new(format!("secret-of-{text}."));
            served.put(&name(text), is_ready.then_some((1, &secret)), &Arc::new(readers));
            let admitted = if *by_group { groups.iter().any(|gid| ids.contains(gid)) } else { ids.contains(&uid) };
            may_read.insert(text.clone(), admitted && *is_ready);
        }
        let view = served.view(&caller);
        let wanted: serde_json::Map<String, Json> = may_read
            .iter()
            .map(|(text, ready)| (text.clone(), if *ready { json!(format!("secret-of-{text}.")) } else { json!(false) }))
            .collect();
        let body: Json = serde_json::from_slice(&view.kv_v1()).expect("JSON");
        prop_assert_eq!(&body["data"], &Json::Object(wanted.clone()));
        let flat: Json = serde_json::from_slice(&view.flat()).expect("JSON");
        let ready: serde_json::Map<String, Json> = wanted.into_iter().filter(|(_, value)| value.is_string()).collect();
        prop_assert_eq!(flat, Json::Object(ready));
    }
}

#[test]
fn any_match_suffices_and_nobody_never_matches() {
    let mut resolver = Resolver::new(Nss);
    let mut resolve = |allow: &Allow| resolver.resolve(allow, Instant::now());
    let by = |users: &[&str], groups: &[&str], units: &[&str]| Allow {
        users: users.iter().map(|&text| text.to_owned()).collect(),
        groups: groups.iter().map(|&text| text.to_owned()).collect(),
        units: units.iter().map(|&text| text.to_owned()).collect(),
    };
    let readers = resolve(&by(&["998"], &["50"], &["telegraf@*.service", "x.service"]));
    assert!(readers.admit(&peer(998, &[], None)));
    assert!(readers.admit(&peer(5, &[50], None)));
    assert!(readers.admit(&peer(5, &[], Some("telegraf@a.service"))));
    assert!(readers.admit(&peer(5, &[], Some("x.service"))));
    for (uid, groups, unit) in [
        (5, &[][..], None),
        (5, &[998][..], Some("telegraf.service")),
        (50, &[51][..], Some("xx.service")),
        (5, &[][..], Some("x.service.d")),
        (5, &[][..], Some("X.service")),
        (NOBODY, &[NOBODY][..], Some("user@998.service")),
    ] {
        assert!(!readers.admit(&peer(uid, groups, unit)), "{uid} {groups:?} {unit:?}");
    }
    // Root may, whatever stands there.
    assert!(Readers::default().admit(&peer(0, &[], None)));
    assert!(!resolve(&by(&["65534"], &["65534"], &[])).admit(&peer(NOBODY, &[NOBODY], None)));
}

#[test]
fn who_keeps_asking_in_vain_is_told_of_once_a_minute_or_when_it_is_something_else() {
    let consumer = Reads::default().consumer(Who::of(&peer(TELEGRAF, &[], None)));
    let at = |second: i64| Time::from_second(1_800_000_000 + second).expect("a time");
    let one = || vec![name("a")];
    assert!(consumer.is_denied(one(), at(0)));
    assert!(!consumer.is_denied(one(), at(59)));
    assert!(consumer.is_denied(vec![name("a"), name("b")], at(59)), "something else");
    assert!(consumer.is_denied(one(), at(60)));
    assert!(!consumer.is_denied(one(), at(119)));
    assert!(consumer.is_denied(one(), at(120)));
    // A clock that was set back tells once more rather than never again.
    assert!(consumer.is_denied(one(), at(-3600)));
}

#[test]
fn a_consumer_is_its_user_and_unit_whatever_its_process() {
    let reads = Reads::default();
    let first = reads.consumer(Who::of(&peer(TELEGRAF, &[], Some("telegraf.service"))));
    assert!(Arc::ptr_eq(&first, &reads.consumer(Who::of(&peer(TELEGRAF, &[5], Some("telegraf.service"))))));
    for (uid, unit) in
        [(TELEGRAF, None), (TELEGRAF, Some("other.service")), (GRAFANA, Some("telegraf.service"))]
    {
        assert!(!Arc::ptr_eq(&first, &reads.consumer(Who::of(&peer(uid, &[], unit)))), "{uid} {unit:?}");
    }
}

#[test]
fn what_is_not_ones_own_is_news_once() {
    let consumer = Reads::default().consumer(Who::of(&peer(TELEGRAF, &[], None)));
    let names = |texts: &[&str]| -> Arc<[Name]> { texts.iter().map(|text| name(text)).collect() };
    assert!(consumer.is_news(&names(&["a"])));
    assert!(!consumer.is_news(&names(&["a"])), "the same, rendered anew");
    assert!(consumer.is_news(&names(&["a", "b"])));
    assert!(consumer.is_news(&names(&[])));
    assert!(!consumer.is_news(&names(&[])));
}

#[tokio::test]
async fn who_reads_a_value_is_known_and_who_asks_for_names_alone_is_not() {
    let desk = Desk::new();
    let book = &desk.secrets.book;
    book.promote(&name("edge"), 3, true, None);
    let (reader, _lives) = Peer::living_for_tests(TELEGRAF, Some("telegraf.service"), 1);
    let (follower, _lives) = Peer::living_for_tests(TELEGRAF, None, 2);
    let (stranger, _lives) = Peer::living_for_tests(1234, None, 3);
    let [reader, follower, stranger] = [reader, follower, stranger].map(|peer| desk.caller(peer));
    for target in ["/v1/changes", "/v1/secret/late", "/v1/secret/dash", "/v1/secret/nope", "/v1/other"] {
        desk.get(&follower, target).await;
    }
    desk.ask(&follower, Method::PUT, "/v1/auth/approle/login").await;
    for target in ["/v1/json", "/v1/influx/tokens", "/v1/secret/edge"] {
        desk.get(&stranger, target).await;
    }
    assert!(book.holders(&name("edge"), 4).known.is_empty());
    for (generation, target) in
        (3..).zip(["/v1/secret/edge", "/v1/json", "/v1/influx/tokens", "/v1/influx/data/tokens"])
    {
        book.promote(&name("edge"), generation, true, None);
        let text = format!("edge-{generation}");
        desk.put("edge", Some((generation, &text)), &allow(&[TELEGRAF], &[]));
        assert_eq!(desk.get(&reader, target).await.0, 200);
        let known = book.holders(&name("edge"), generation + 1).known;
        let wanted = format!("telegraf.service (uid {TELEGRAF}, pid 1) has generation {generation}");
        assert_eq!(known, [wanted].into(), "{target}");
    }
}

#[tokio::test]
async fn who_says_that_it_hands_on_what_it_reads_is_taken_at_its_word() {
    let desk = Desk::new();
    let book = &desk.secrets.book;
    book.promote(&name("edge"), 3, true, None);
    let (relay, lives) = Peer::living_for_tests(TELEGRAF, None, 1);
    let relay = desk.caller(relay);
    for target in ["/v1/secret/edge", "/v1/json"] {
        let request = Request::get(target).header("X-Influx-Secrets", "relay").body(()).expect("a request");
        assert_eq!(desk.secrets.answer(&relay, &request, &desk.stop.subscribe()).await.status(), 200);
    }
    drop(lives);
    let known = book.holders(&name("edge"), 4).known;
    assert_eq!(
        known,
        [format!("relay influx-secrets (uid {TELEGRAF}, pid 1) handed on generation 3")].into()
    );
}

/// Processes that read for the first time just when another value is promoted: where nobody is known to hold the value
/// before, nobody gets it any more.
#[test]
fn no_former_value_is_handed_out_once_nobody_was_known_to_hold_it() {
    const ROUNDS: u64 = 1_000;
    let desk = Desk::new();
    let edge = name("edge");
    let (least, start) = (std::sync::atomic::AtomicU64::new(0), std::sync::Barrier::new(3));
    let read = |caller: &Caller, whole: bool| {
        start.wait();
        let generation = if whole {
            let view = desk.secrets.hand_out(caller, false);
            view.ready().iter().find(|(name, _)| *name == edge).map(|(_, generation)| *generation)
        } else {
            match desk.secrets.hand_out_one(caller, false, &edge) {
                One::Ready(value) => Some(value.generation),
                _ => None,
            }
        };
        (generation, least.load(std::sync::atomic::Ordering::SeqCst))
    };
    let mut proven = 0;
    for generation in 4..4 + ROUNDS {
        let readers = [1, 2].map(|pid| Peer::living_for_tests(TELEGRAF, None, pid));
        let [(one, _one_lives), (other, _other_lives)] = readers;
        let (one, other) = (desk.caller(one), desk.caller(other));
        std::thread::scope(|scope| {
            let readers = [scope.spawn(|| read(&one, true)), scope.spawn(|| read(&other, false))];
            start.wait();
            desk.secrets.book.promote(&edge, generation, true, None);
            desk.put("edge", Some((generation, "x")), &allow(&[TELEGRAF], &[]));
            if desk.secrets.book.holders(&edge, generation).known.is_empty() {
                proven += 1;
                least.store(generation, std::sync::atomic::Ordering::SeqCst);
            }
            for (read, least) in readers.map(|reader| reader.join().expect("it reads")) {
                assert!(read.is_some_and(|read| read >= least), "generation {read:?} after {least}");
            }
        });
        desk.secrets.book.forget(&edge, generation);
    }
    assert!(proven > 0, "somebody has always been first");
}
