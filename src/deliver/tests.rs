//! Delivered files, as their readers and the operator see them.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::*;
use crate::model::Secret;

mod files;

const CANARY: &str = "canary-3f9c";
/// Two uids and two gids that are nobody's, and outside the range of `DynamicUser=`.
const READER: u32 = 65_533;
const STRANGER: u32 = 65_532;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn readers(uids: &[u32], gids: &[u32]) -> Readers {
    Readers {
        uids: uids.iter().copied().collect(),
        gids: gids.iter().copied().collect(),
        ..Readers::default()
    }
}

fn allow(uid: u32) -> Allow {
    Allow { users: vec![uid.to_string()], groups: vec![], units: vec![] }
}

/// A folder that all may enter: in memory, where the system has such a place, as in production.
fn folder() -> TempDir {
    let parent = ["/dev/shm", "/run"].into_iter().map(PathBuf::from).find(|parent| {
        let writable = tempfile::tempdir_in(parent).is_ok();
        writable && medium::Medium::of(parent).is_ok_and(medium::Medium::is_memory)
    });
    let folder = tempfile::tempdir_in(parent.unwrap_or_else(env::temp_dir)).expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("entered by all");
    folder
}

fn entries(folder: &Path) -> Vec<String> {
    let mut entries: Vec<String> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    entries.sort();
    entries
}

/// What `getfacl --numeric --omit-header` prints, decoded here once more.
fn getfacl(path: &Path) -> String {
    let mut bytes = [0; 1024];
    let Ok(length) = rustix::fs::getxattr(path, "system.posix_acl_access", &mut bytes[..]) else {
        return String::new();
    };
    let (version, entries) = bytes[..length].split_at(4);
    assert_eq!(version, 2_u32.to_le_bytes());
    let line = |entry: &[u8]| {
        let id = u32::from_le_bytes(entry[4..8].try_into().expect("four bytes"));
        let kind = match (entry[0], id) {
            (1, u32::MAX) => "user:".to_owned(),
            (2, id) => format!("user:{id}"),
            (4, u32::MAX) => "group:".to_owned(),
            (8, id) => format!("group:{id}"),
            (16, u32::MAX) => "mask:".to_owned(),
            (32, u32::MAX) => "other:".to_owned(),
            other => panic!("no entry has {other:?}"),
        };
        let bit = |bit, letter| if entry[2] & bit == 0 { '-' } else { letter };
        format!("{kind}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x'))
    };
    entries.chunks(8).map(line).collect::<Vec<_>>().join(" ")
}

fn peers_are_required() -> bool {
    env::var_os("INFLUX_TOKEND_REQUIRE_PEERS").is_some_and(|value| value == "1")
}

/// Whether this test can be other users.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || !peers_are_required(), "this test needs root to be other users");
    is_root
}

/// What `cat` of another user prints; `None` where it is not let in.
fn cat(path: &Path, uid: u32, gid: u32) -> Option<Vec<u8>> {
    let output =
        Command::new("cat").arg(path).uid(uid).gid(gid).stdin(Stdio::null()).output().expect("cat runs");
    output.status.success().then_some(output.stdout)
}

async fn deliver(
    deliveries: &Deliveries,
    generation: u64,
    text: Option<&str>,
    keep_newer: bool,
) -> Result<(), DeliverError> {
    deliver_with(deliveries, generation, text, |delivery| Delivery { keep_newer, ..delivery }).await
}

async fn deliver_with(
    deliveries: &Deliveries,
    generation: u64,
    text: Option<&str>,
    with: impl FnOnce(Delivery<'_>) -> Delivery<'_>,
) -> Result<(), DeliverError> {
    let credential = text.map(|text| Credential::Token(secret(text)));
    let (name, allow) = (name("a"), allow(READER));
    let secret = credential.as_ref();
    let delivery = Delivery {
        name: &name,
        generation,
        secret,
        allow: &allow,
        keep_newer: false,
        fresh: true,
        oldest: 0,
    };
    deliveries.deliver(with(delivery)).await?;
    deliveries.note().await.expect("noted");
    Ok(())
}

#[tokio::test]
async fn a_value_comes_is_replaced_and_goes() {
    let run = folder();
    let secrets = run.path().join("secrets");
    let deliveries =
        Deliveries::open(Some(secrets.clone()), run.path(), Memory::new(1)).await.expect("opened");
    let generations = || fs::read_to_string(run.path().join("daemon/generations")).expect("generations");
    deliver(&deliveries, 1, Some("one"), false).await.expect("delivered");
    assert_eq!(
        (fs::read_to_string(secrets.join("a")).expect("a"), generations()),
        ("one".into(), "a 1\n".into())
    );
    let inode = fs::metadata(secrets.join("a")).expect("a").ino();
    deliver(&deliveries, 1, Some("one"), false).await.expect("there already");
    assert_eq!(fs::metadata(secrets.join("a")).expect("a").ino(), inode);

    fs::write(secrets.join("a"), "two").expect("altered");
    deliver(&deliveries, 1, Some("one"), false).await.expect("put back");
    assert_eq!(fs::read_to_string(secrets.join("a")).expect("a"), "one");

    deliver(&deliveries, 2, Some("two"), false).await.expect("delivered");
    assert_eq!(
        (fs::read_to_string(secrets.join("a")).expect("a"), generations()),
        ("two".into(), "a 2\n".into())
    );
    deliver(&deliveries, 2, None, false).await.expect("withdrawn");
    assert!(!secrets.join("a").exists());
    assert_eq!(deliveries.delivered().await, BTreeMap::new());
    fs::write(secrets.join("a"), "two").expect("put back by somebody");
    deliver(&deliveries, 2, None, false).await.expect("withdrawn again");
    assert!(!secrets.join("a").exists());
}

/// Whether this is what the socket has of the token.
fn serves(deliveries: &Deliveries, value: Option<(u64, &str)>) -> bool {
    let value = value.map(|(generation, text)| (generation, secret(text)));
    let value = value.as_ref().map(|(generation, secret)| (*generation, secret));
    let readers = Arc::new(Readers { allow: allow(READER), ..readers(&[READER], &[]) });
    deliveries.memory.served.holds(&name("a"), value, &readers).is_some()
}

#[tokio::test]
async fn an_older_value_waits_for_a_list_where_a_newer_one_is_delivered() {
    let run = folder();
    let secrets = run.path().join("secrets");
    let open = || Deliveries::open(Some(secrets.clone()), run.path(), Memory::new(1));
    deliver(&open().await.expect("opened"), 7, Some("new"), true).await.expect("delivered");

    let deliveries = open().await.expect("opened by the next process");
    assert_eq!(deliveries.delivered().await, BTreeMap::from([(name("a"), 7)]));
    for older in [Some("old"), None] {
        deliver(&deliveries, 5, older, true).await.expect("held back");
        assert_eq!(fs::read_to_string(secrets.join("a")).expect("a"), "new");
        assert_eq!(deliveries.delivered().await, BTreeMap::from([(name("a"), 7)]));
        // Who asks for it gets neither: the newer one is in its file alone.
        assert!(serves(&deliveries, None));
    }
    deliver(&deliveries, 5, Some("old"), false).await.expect("a list was read");
    assert!(serves(&deliveries, Some((5, "old"))));
    assert_eq!(fs::read_to_string(secrets.join("a")).expect("a"), "old");
    assert_eq!(deliveries.delivered().await, BTreeMap::from([(name("a"), 5)]));
}

#[tokio::test]
async fn an_older_value_is_better_than_none() {
    let run = folder();
    let secrets = run.path().join("secrets");
    let deliveries =
        Deliveries::open(Some(secrets.clone()), run.path(), Memory::new(1)).await.expect("opened");
    deliver(&deliveries, 7, Some("new"), true).await.expect("delivered");
    fs::remove_file(secrets.join("a")).expect("removed by somebody");
    deliver(&deliveries, 5, Some("old"), true).await.expect("delivered");
    assert_eq!(fs::read_to_string(secrets.join("a")).expect("a"), "old");
}

#[tokio::test]
async fn what_grants_nothing_is_told_per_name() {
    let run = folder();
    let deliveries =
        Deliveries::open(Some(run.path().join("secrets")), run.path(), Memory::new(1)).await.expect("opened");
    let credential = Credential::Token(secret(CANARY));
    let (name, allow) = (name("a"), Allow { users: vec!["65534".into()], ..allow(READER) });
    let delivery = Delivery {
        name: &name,
        generation: 1,
        secret: Some(&credential),
        allow: &allow,
        keep_newer: false,
        fresh: true,
        oldest: 0,
    };
    deliveries.deliver(delivery).await.expect("delivered, to nobody");
    let warned = deliveries.ways.lock().await.warned[&name].clone();
    assert_eq!(warned.warnings.iter().map(|warning| warning.why).collect::<Vec<_>>(), [Why::Nobody]);
    assert_eq!(getfacl(&run.path().join("secrets/a")), "");
    let allow = super::tests::allow(READER);
    deliveries.deliver(Delivery { allow: &allow, ..delivery }).await.expect("delivered");
    assert!(deliveries.ways.lock().await.warned.is_empty());
}

#[tokio::test]
async fn of_two_values_the_later_one_stays_even_if_nobody_waits_for_the_first() {
    let run = folder();
    let secrets = run.path().join("secrets");
    let deliveries =
        Deliveries::open(Some(secrets.clone()), run.path(), Memory::new(1)).await.expect("opened");
    for round in 0..50 {
        let mut first = Box::pin(deliver(&deliveries, 2 * round, Some("first"), false));
        let _begun = std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx))).await;
        drop(first);
        deliver(&deliveries, 2 * round + 1, Some("second"), false).await.expect("delivered");
        assert_eq!(fs::read_to_string(secrets.join("a")).expect("a"), "second");
    }
}

/// As a former process has promoted it.
fn sealed(delivery: Delivery<'_>) -> Delivery<'_> {
    Delivery { fresh: false, ..delivery }
}

#[tokio::test]
async fn readers_are_known_from_the_first_value_on_that_this_process_promoted() {
    let run = folder();
    let secrets = run.path().join("secrets");
    let open = || Deliveries::open(Some(secrets.clone()), run.path(), Memory::new(1));
    let known_from = async |deliveries: &Deliveries| deliveries.holders(&name("a"), 9).await.complete_from;

    let first = open().await.expect("opened");
    assert_eq!(known_from(&first).await, None);
    deliver(&first, 1, None, false).await.expect("there is none yet");
    assert_eq!(known_from(&first).await, None);
    deliver(&first, 1, Some("one"), false).await.expect("the first ever");
    deliver(&first, 1, Some("one"), false).await.expect("there already");
    fs::write(secrets.join("a"), "altered").expect("altered");
    deliver_with(&first, 1, Some("one"), sealed).await.expect("the same value, put back");
    assert_eq!(known_from(&first).await, Some(1));

    let second = open().await.expect("opened by the next process");
    deliver_with(&second, 1, Some("one"), sealed).await.expect("as it was");
    assert_eq!(known_from(&second).await, Some(2));
    deliver(&second, 2, Some("two"), false).await.expect("promoted");
    assert_eq!(known_from(&second).await, Some(2));

    // A backup is restored, and what was delivered as the second is another value now.
    let third = open().await.expect("opened by the next process");
    deliver(&third, 2, Some("another"), false).await.expect("promoted");
    assert_eq!(known_from(&third).await, Some(3));
    deliver(&third, 3, Some("three"), false).await.expect("promoted");
    assert_eq!(known_from(&third).await, Some(3));
    deliver_with(&third, 3, Some("three"), |delivery| Delivery { oldest: 4, ..delivery })
        .await
        .expect("the same");
    assert_eq!(known_from(&third).await, Some(4), "who held what has ended is forgotten");
}

#[tokio::test]
async fn the_generations_of_many_deliveries_are_written_once() {
    let run = folder();
    let deliveries =
        Deliveries::open(Some(run.path().join("secrets")), run.path(), Memory::new(1)).await.expect("opened");
    let (allow, credential) = (allow(READER), Credential::Token(secret(CANARY)));
    let names: Vec<Name> = (10..90).map(|n| name(&format!("t{n}"))).collect();
    for name in &names {
        let secret = Some(&credential);
        let delivery = Delivery {
            name,
            generation: 1,
            secret,
            allow: &allow,
            keep_newer: false,
            fresh: true,
            oldest: 0,
        };
        assert_eq!(deliveries.deliver(delivery).await.expect("delivered"), Delivered::Unnoted);
    }
    let file = run.path().join("daemon/generations");
    assert!(!file.exists(), "it has not been asked for");
    deliveries.note().await.expect("noted");
    assert_eq!(fs::read_to_string(&file).expect("generations").lines().count(), names.len());
    let written = fs::metadata(&file).expect("generations").ino();
    deliveries.note().await.expect("nothing to note");
    assert_eq!(fs::metadata(&file).expect("generations").ino(), written);
}
