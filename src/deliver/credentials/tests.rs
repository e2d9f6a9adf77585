//! Credentials, as systemd gets them: over one end of a pair of sockets, with a peer that is whoever a test says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Instant,
};

use proptest::prelude::*;
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, time};

use super::*;
use crate::{
    deliver::{
        Memory,
        access::{Nss, Resolver},
        lock,
    },
    model::{Allow, Secret},
};

const UNIT: &str = "telegraf.service";
const EDGE: &str = "1f/unit/telegraf.service/telegraf.edge";
/// The most that systemd takes, sealed or not (systemd.exec(5): 1 MB; and an eighth more is seen to be read).
const MOST_TAKEN: usize = (1 << 20) + (128 << 10);

/// A host with `edge` for Telegraf's unit, `late` as well, which is not ready, and `other` for other units.
struct Desk {
    memory: Memory,
    stop: watch::Sender<bool>,
    resolver: Mutex<Resolver<Nss>>,
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn of_units(units: &[&str]) -> Allow {
    // Root may read everything, and asks for every unit.
    let users = ["0", "root"].map(str::to_owned).to_vec();
    Allow { users, groups: vec![], units: units.iter().map(|&unit| unit.to_owned()).collect() }
}

impl Desk {
    fn new() -> Self {
        let resolver = Mutex::new(Resolver::new(Nss));
        let desk = Self { memory: Memory::new(7), stop: watch::Sender::new(false), resolver };
        desk.put("edge", Some((3, "edge-secret")), &[UNIT]);
        desk.put("late", None, &["telegraf*.service"]);
        desk.put("other", Some((1, "other-secret")), &["other.service", "telegraf.service.service"]);
        desk.memory.served.complete();
        desk
    }

    fn put(&self, token: &str, value: Option<(u64, &str)>, units: &[&str]) {
        let (name, allow) = (name(token), of_units(units));
        let readers = lock(&self.resolver).resolve(&allow, Instant::now());
        if let Some((generation, _)) = value {
            self.memory.book.promote(&name, generation, true, None);
        }
        let value = value.map(|(generation, secret)| (generation, Secret::new(secret.to_owned())));
        let value = value.as_ref().map(|(generation, secret)| (*generation, secret));
        self.memory.served.put(&name, value, &readers);
    }

    /// What somebody gets to read.
    async fn ask(&self, peer: Peer, address: &str) -> Vec<u8> {
        let (here, mut there) = UnixStream::pair().expect("a pair");
        let mut read = Vec::new();
        let reading = async {
            there.shutdown().await.expect("it says nothing");
            // As systemd reads: until the end, or until it is too much.
            (&mut there).take(MOST_TAKEN as u64 + 1).read_to_end(&mut read).await.expect("read");
            drop(there);
        };
        tokio::join!(self.answer(peer, address, here), reading);
        read
    }

    async fn answer(&self, peer: Peer, address: &str, stream: UnixStream) {
        let asked = Asked { peer, address: address.as_bytes().to_vec(), is_begun: false };
        self.memory
            .credentials()
            .answer_to(&asked, Connection::accepted(stream), self.stop.subscribe())
            .await;
    }

    fn refused(&self) -> Vec<(String, String, String)> {
        let all = self.memory.credentials().refused().into_iter();
        all.map(|Refused { by, credential, why, .. }| (by, credential, why)).collect()
    }
}

fn systemd(unit: &str) -> Peer {
    Peer::for_tests(0, &[], Some(unit))
}

/// That it is no secret to systemd.
fn assert_refused(read: &[u8]) {
    assert!(
        read.len() > MOST_TAKEN,
        "{} bytes, of which the first are {:?}",
        read.len(),
        &read[..read.len().min(40)]
    );
    let text = std::str::from_utf8(&read[..200]).expect("text");
    assert!(text.starts_with("refused by influx-tokend"), "{text}");
    assert!(!String::from_utf8_lossy(read).contains("-secret"));
}

#[tokio::test(start_paused = true)]
async fn a_unit_gets_its_secret_to_the_byte() {
    let desk = Desk::new();
    for address in [EDGE, "0123456789abcdef/unit/telegraf.service/edge"] {
        assert_eq!(desk.ask(systemd(UNIT), address).await, b"edge-secret", "{address}");
    }
    let read = desk.memory.secrets().last_reads();
    assert_eq!(read[&name("edge")].by, "telegraf.service (credential)");
    assert_eq!(read[&name("edge")].generation, 3);
    assert_eq!(desk.refused(), []);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_systemd_or_not_the_unit_gets_nothing() {
    let desk = Desk::new();
    for (peer, address, by, why) in [
        (
            Peer::for_tests(1000, &[0], Some(UNIT)),
            EDGE,
            "telegraf.service (uid 1000)",
            "only systemd asks here",
        ),
        (
            systemd("other.service"),
            EDGE,
            "other.service (uid 0)",
            "in the name of telegraf.service, and runs in other",
        ),
        (systemd("user@0.service"), EDGE, "user@0.service (uid 0)", "runs in user@0.service"),
        (Peer::for_tests(0, &[], None), EDGE, "uid 0", "in which unit it runs is not known"),
        (systemd(UNIT), "", "telegraf.service (uid 0)", "does not say for which unit"),
        (
            systemd(UNIT),
            "telegraf.service/edge",
            "telegraf.service (uid 0)",
            "the name \"telegraf.service/edge\"",
        ),
        (
            systemd(UNIT),
            "1/unit/telegraf.service/edge/",
            "telegraf.service (uid 0)",
            "expected RANDOM/unit/UNIT/ID",
        ),
        (systemd(UNIT), "1/unit/telegraf.service/edge-writer", UNIT, "only letters, digits and underscores"),
        (systemd(UNIT), "1/unit/telegraf.service/nope", UNIT, "there is no token nope"),
        (systemd(UNIT), "1/unit/telegraf.service/telegraf.other", UNIT, "may not read token other"),
        (systemd("a.service"), "1/unit/a.service/edge", "a.service", "may not read token edge"),
    ] {
        let desk_before = desk.refused().len();
        assert_refused(&desk.ask(peer, address).await);
        let refused = desk.refused();
        let told = refused.iter().any(|(whom, _, told)| whom == by && told.contains(why));
        assert!(told && refused.len() >= desk_before, "{address:?}: {refused:?}");
    }
    assert!(desk.memory.secrets().last_reads().is_empty(), "nobody has read anything");
    assert_eq!(desk.memory.book.holders(&name("edge"), 4).known, BTreeSet::new());
    // In the same place the one that may is given it, and what was refused to it is not told any more.
    assert_eq!(desk.ask(systemd("other.service"), "1/unit/other.service/other").await, b"other-secret");
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_what_to_do_until_it_is_given() {
    let desk = Desk::new();
    assert_refused(&desk.ask(systemd("a.service"), "1/unit/a.service/edge").await);
    let refused = desk.memory.credentials().refused();
    assert_eq!((refused.len(), refused[0].credential.as_str()), (1, "edge"));
    assert_eq!(
        refused[0].hint.as_deref(),
        Some(
            "to let it, write in its [[token]]: allow = { users = [\"0\", \"root\"], units = [\"telegraf.service\", \
             \"a.service\"] }"
        )
    );
    desk.put("edge", Some((3, "edge-secret")), &["?.service"]);
    assert_eq!(desk.ask(systemd("a.service"), "1/unit/a.service/edge").await, b"edge-secret");
    assert_eq!(desk.refused(), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ready_is_waited_for() {
    let desk = Desk::new();
    let begun = time::Instant::now();
    let (read, ()) = tokio::join!(desk.ask(systemd(UNIT), "1/unit/telegraf.service/late"), async {
        time::sleep(WAIT - Duration::from_secs(1)).await;
        desk.put("edge", Some((4, "another-secret")), &[UNIT]);
        desk.put("late", Some((1, "late-secret")), &[UNIT]);
    });
    assert_eq!(read, b"late-secret");
    assert_eq!(begun.elapsed(), WAIT - Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_become_ready_is_refused() {
    let desk = Desk::new();
    desk.memory.secrets().explain(Box::new(|_| Some("still probed".to_owned())));
    let begun = time::Instant::now();
    assert_refused(&desk.ask(systemd(UNIT), "1/unit/telegraf.service/late").await);
    assert_eq!(begun.elapsed(), WAIT);
    let why = "token late has not become ready in 60 s: still probed".to_owned();
    assert_eq!(desk.refused(), [(UNIT.to_owned(), "late".to_owned(), why)]);
    // An empty one is not ready either.
    desk.put("late", Some((1, "")), &[UNIT]);
    assert_refused(&desk.ask(systemd(UNIT), "1/unit/telegraf.service/late").await);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_refused_when_it_may_not_read_any_more_and_when_the_daemon_stops() {
    let desk = Desk::new();
    let (read, ()) = tokio::join!(desk.ask(systemd(UNIT), "1/unit/telegraf.service/late"), async {
        time::sleep(Duration::from_secs(1)).await;
        desk.put("late", None, &["other.service"]);
    });
    assert_refused(&read);
    desk.put("late", None, &[UNIT]);
    let (read, ()) = tokio::join!(desk.ask(systemd(UNIT), "1/unit/telegraf.service/late"), async {
        time::sleep(Duration::from_secs(1)).await;
        desk.stop.send_replace(true);
    });
    assert_refused(&read);
    assert!(desk.refused()[0].2.contains("the daemon stops"), "{:?}", desk.refused());
    // What is ready is given even then.
    assert_eq!(desk.ask(systemd(UNIT), EDGE).await, b"edge-secret");
}

#[tokio::test(start_paused = true)]
async fn who_has_ended_is_not_waited_with() {
    let desk = Desk::new();
    let begun = time::Instant::now();
    let (peer, lives) = Peer::living_for_tests(0, Some(UNIT), 12);
    let (read, ()) = tokio::join!(desk.ask(peer, "1/unit/telegraf.service/late"), async {
        time::sleep(Duration::from_secs(1)).await;
        drop(lives);
    });
    // Somebody else holds its connection: not even the end of it is given.
    assert_refused(&read);
    assert_eq!((begun.elapsed(), desk.refused()), (Duration::from_secs(1), vec![]));
    let (peer, lives) = Peer::living_for_tests(0, Some(UNIT), 13);
    drop(lives);
    assert_refused(&desk.ask(peer, EDGE).await);
}

#[tokio::test(start_paused = true)]
async fn before_the_store_is_open_a_name_may_still_come() {
    let desk = Desk::new();
    let memory = Memory::new(8);
    let early = Desk { memory, stop: watch::Sender::new(false), resolver: Mutex::new(Resolver::new(Nss)) };
    let (read, ()) = tokio::join!(early.ask(systemd(UNIT), EDGE), async {
        time::sleep(Duration::from_secs(1)).await;
        early.put("other", Some((1, "other-secret")), &[UNIT]);
        time::sleep(Duration::from_secs(1)).await;
        early.put("edge", Some((1, "edge-secret")), &[UNIT]);
    });
    assert_eq!(read, b"edge-secret");
    let begun = time::Instant::now();
    let (read, ()) = tokio::join!(early.ask(systemd(UNIT), "1/unit/telegraf.service/nope"), async {
        time::sleep(Duration::from_secs(5)).await;
        early.memory.served.complete();
    });
    assert_refused(&read);
    assert_eq!(begun.elapsed(), Duration::from_secs(5), "it is known now that there is none");
    drop(desk);
}

#[tokio::test(start_paused = true)]
async fn a_large_secret_comes_whole_to_one_who_reads_slowly() {
    let desk = Desk::new();
    let secret = "x".repeat(900_000);
    desk.put("edge", Some((4, &secret)), &[UNIT]);
    let (here, mut there) = UnixStream::pair().expect("a pair");
    let mut read = Vec::new();
    tokio::join!(desk.answer(systemd(UNIT), EDGE, here), async {
        let mut piece = [0; 64 << 10];
        loop {
            time::sleep(Duration::from_secs(30)).await;
            match there.read(&mut piece).await.expect("read") {
                0 => break,
                length => read.extend_from_slice(&piece[..length]),
            }
        }
    });
    assert!(read == secret.as_bytes(), "{} bytes", read.len());
}

#[tokio::test(start_paused = true)]
async fn what_a_unit_was_given_it_holds_for_good() {
    let desk = Desk::new();
    let holders = |generation| desk.memory.book.holders(&name("edge"), generation).known;
    for _ in 0..3 {
        desk.ask(systemd(UNIT), EDGE).await;
    }
    assert_eq!(holders(3), BTreeSet::new(), "it is the current one");
    desk.put("edge", Some((4, "another-secret")), &[UNIT]);
    let known = BTreeSet::from([
        "telegraf.service (credential) was given generation 3, which it keeps while it runs".to_owned(),
    ]);
    assert_eq!(holders(4), known);
    // Started anew it has the new one; what was done with the old one before nobody knows.
    assert_eq!(desk.ask(systemd(UNIT), EDGE).await, b"another-secret");
    assert_eq!(holders(4), known);
    desk.memory.book.forget(&name("edge"), 4);
    assert_eq!(holders(4), BTreeSet::new(), "the old one has ended");
}

/// The connection is the same one in the next process, and so is what was done to it.
#[tokio::test(start_paused = true)]
async fn what_a_former_process_has_left_is_answered_and_never_twice() {
    let desk = Desk::new();
    let take_up = |stream: std::os::unix::net::UnixStream| {
        let (connection, is_begun) =
            Connection::of_left(Left::new("credential-1", stream).expect("ours")).expect("usable");
        let asked = Asked { peer: systemd(UNIT), address: EDGE.as_bytes().to_vec(), is_begun };
        let (credentials, stop) = (desk.memory.credentials(), desk.stop.subscribe());
        async move { credentials.answer_to(&asked, connection, stop).await }
    };
    let read = |mut there: UnixStream| async {
        let mut read = Vec::new();
        there.shutdown().await.expect("it says nothing");
        there.take(MOST_TAKEN as u64 + 20).read_to_end(&mut read).await.expect("read");
        read
    };
    let (here, there) = UnixStream::pair().expect("a pair");
    let (read_whole, ()) = tokio::join!(read(there), take_up(here.into_std().expect("a stream")));
    assert_eq!(read_whole, b"edge-secret");

    // Killed when half of the secret had been written.
    let (here, there) = UnixStream::pair().expect("a pair");
    let kept = here.into_std().expect("a stream");
    let of_the_former = UnixStream::from_std(kept.try_clone().expect("another")).expect("a stream");
    let mut former = Connection::accepted(of_the_former);
    former.begin();
    former.write_for_tests(b"edge-se").await;
    let (refused, ()) = tokio::join!(read(there), take_up(kept));
    assert!(refused.len() > MOST_TAKEN && refused.starts_with(b"edge-serefused"), "{}", refused.len());
    assert!(desk.refused()[0].2.contains("was killed while it answered"));
    assert!(
        Left::new("influx-tokend.socket", UnixStream::pair().expect("a pair").0.into_std().expect("one"))
            .is_none()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nobody_gets_a_secret_by_what_it_calls_itself(
        address in prop_oneof!["[ -~]{0,107}", "[0-9a-f]{1,16}/unit/[a-z.]{1,20}/[a-z._]{1,20}"],
        unit in prop_oneof![Just("other.service".to_owned()), "[a-z]{1,8}\\.service"],
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().expect("a runtime").block_on(async {
            let desk = Desk::new();
            let read = desk.ask(systemd(&unit), &address).await;
            let is_its = unit == "other.service" && address.contains("/unit/other.service/");
            if !is_its || read != b"other-secret" {
                assert_refused(&read);
            }
        });
    }
}

/// How a table of names looks to who asks without one of them.
#[tokio::test(start_paused = true)]
async fn names_that_are_expected_are_waited_for() {
    let desk = Desk::new();
    let (late, allow) = (name("late"), of_units(&[UNIT]));
    desk.memory.expect(&BTreeMap::from([(&late, &allow)])).await;
    assert_refused(&desk.ask(systemd(UNIT), EDGE).await);
    assert!(desk.refused()[0].2.contains("there is no token edge"));
}
