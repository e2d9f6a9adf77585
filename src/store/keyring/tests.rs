//! A store in a keyring that is played: what it must keep, whatever happens to the keyring or to this process.

use std::{
    collections::BTreeMap,
    future::{Future as _, poll_fn},
    pin::pin,
    sync::{Mutex, MutexGuard, mpsc},
    task::Poll,
};

use super::{
    items::{Fault, Item},
    *,
};
use crate::{
    hint::Hint as _,
    model::{Allow, Credential, Grants, Held, Origin, Product, Secret, ServerKey, Time, TokenId},
    store::{RecordFault, Retired},
};

const CANARY: &str = "canary-0123456789";

/// The items, and after how many more calls there is no keyring any more: as if the process had ended there.
#[derive(Default)]
struct Ring {
    items: BTreeMap<String, Vec<u8>>,
    calls_left: Option<usize>,
    /// What is written last does not stay.
    forgets: bool,
    /// Waited for by every call.
    gate: Option<mpsc::Receiver<()>>,
}

#[derive(Clone, Default)]
struct Played(Arc<Mutex<Ring>>);

impl Played {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().expect("nobody panics with it")
    }

    fn call(&self) -> Result<MutexGuard<'_, Ring>, Fault> {
        let gate = self.ring().gate.take();
        if let Some(gate) = gate {
            let _opened = gate.recv();
        }
        let mut ring = self.ring();
        match &mut ring.calls_left {
            Some(0) => return Err(Fault::Unavailable("it is not there".to_owned())),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(ring)
    }
}

impl Items for Played {
    fn all(&mut self) -> Result<Vec<(String, Item)>, Fault> {
        let ring = self.call()?;
        Ok(ring.items.iter().map(|(name, value)| (name.clone(), Ok(Zeroizing::new(value.clone())))).collect())
    }

    fn get(&mut self, name: &Name) -> Result<Option<Item>, Fault> {
        Ok(self.call()?.items.get(name.as_str()).map(|value| Ok(Zeroizing::new(value.clone()))))
    }

    fn set(&mut self, name: &Name, value: &[u8]) -> Result<(), Fault> {
        let mut ring = self.call()?;
        if !ring.forgets {
            ring.items.insert(name.to_string(), value.to_vec());
        }
        Ok(())
    }

    fn remove(&mut self, name: &Name) -> Result<(), Fault> {
        self.call()?.items.remove(name.as_str());
        Ok(())
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// With one token of this id.
fn record(of: &str, id: &str) -> Record {
    let mut record = Record::new(name(of), Allow::default(), 1);
    record.current = Some(Held {
        id: TokenId(id.into()),
        server: ServerKey::new(Product::Clustered, "https://c"),
        marker: None,
        secret: Credential::Token(Secret::new(CANARY.into())),
        grants: Grants::default(),
        created_at: Time::UNIX_EPOCH,
        expires_at: None,
        claimed_created_at: None,
        was_to_expire_at: None,
        origin: Origin::Minted,
    });
    record
}

struct Place {
    folder: tempfile::TempDir,
    keyring: Played,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), keyring: Played::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    async fn open(&self) -> Result<KeyringStore, StoreError> {
        let options = OpenOptions {
            path: self.path(),
            machine_id: self.folder.path().join("id"),
            purpose: Purpose::Work,
        };
        KeyringStore::over(options, Box::new(self.keyring.clone())).await
    }

    /// One that has these sealed, in this order.
    async fn with(records: &[Record]) -> Self {
        let place = Self::new();
        let store = place.open().await.expect("a store");
        for record in records {
            let read = store.read(&record.name).await.expect("read").map(|stored| stored.revision);
            store.seal(record, read).await.expect("sealed");
        }
        place
    }

    async fn load(&self) -> Result<Records, StoreError> {
        self.open().await?.load().await
    }

    /// The only record there is.
    async fn only(&self) -> Result<Option<Record>, RecordError> {
        let records = self.load().await.expect("a store");
        assert!(records.len() < 2, "{records:?}");
        records.into_values().next().transpose().map(|stored| stored.map(|stored| stored.record))
    }
}

#[tokio::test]
async fn what_is_sealed_is_found_again_and_no_secret_is_beside_it() {
    let place = Place::with(&[record("a", "1"), record("b", "2"), record("a", "3")]).await;
    let records = place.load().await.expect("a store");
    let ids = records
        .values()
        .map(|read| read.as_ref().expect("a record").record.current.as_ref().expect("a token").id.0.clone());
    assert_eq!(ids.collect::<Vec<_>>(), ["3", "2"]);
    for entry in std::fs::read_dir(place.path()).expect("a folder") {
        let content = std::fs::read(entry.expect("a file").path()).expect("read");
        assert!(!String::from_utf8_lossy(&content).contains("canary"));
    }
    let first = place.open().await.expect("a store");
    let held = place.open().await.expect_err("one at a time");
    assert!(held.to_string().contains("is held by process"), "{held}");
    let instances = first.instances().await.expect("instances");
    drop(first);
    assert_eq!(place.open().await.expect("a store").instances().await.expect("instances"), instances);
}

#[tokio::test]
async fn a_crash_at_any_call_leaves_the_old_record_or_the_new_one() {
    let (old, new) = (record("a", "old"), record("a", "new"));
    for before in [None, Some(old)] {
        for calls in 0.. {
            let place = Place::with(before.as_slice()).await;
            let store = place.open().await.expect("a store");
            let read = store.read(&new.name).await.expect("read").map(|stored| stored.revision);
            place.keyring.ring().calls_left = Some(calls);
            let sealed = store.seal(&new, read).await;
            drop(store);
            place.keyring.ring().calls_left = None;
            let found = place.only().await.expect("a record, or none");
            if sealed.is_ok() {
                assert_eq!(found.as_ref(), Some(&new));
                assert!(calls >= 3, "it is read, written, and read back");
                break;
            }
            assert!(found == before || found.as_ref() == Some(&new), "{found:?}");
            // What is there can be written again.
            let store = place.open().await.expect("a store");
            let read = store.read(&new.name).await.expect("read").map(|stored| stored.revision);
            store.seal(&new, read).await.expect("sealed");
            drop(store);
            assert_eq!(place.only().await.expect("a record"), Some(new.clone()));
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_removal_leaves_the_record_or_none() {
    let old = record("a", "old");
    for calls in 0.. {
        let place = Place::with(std::slice::from_ref(&old)).await;
        let store = place.open().await.expect("a store");
        let read = store.read(&old.name).await.expect("read").expect("a record").revision;
        place.keyring.ring().calls_left = Some(calls);
        let removed = store.remove(&old.name, read).await;
        drop(store);
        place.keyring.ring().calls_left = None;
        let found = place.only().await.expect("a record, or none");
        match removed {
            Ok(()) => return assert_eq!(found, None),
            Err(_) => assert!(found.is_none() || found.as_ref() == Some(&old), "{found:?}"),
        }
    }
}

#[tokio::test]
async fn a_keyring_that_was_reset_is_not_taken_for_an_empty_one() {
    let place = Place::with(&[record("a", "1"), record("b", "2")]).await;
    place.keyring.ring().items.clear();
    let error = place.load().await.expect_err("it was reset");
    assert!(error.to_string().contains("has none of this store's 2 items"), "{error}");
    assert!(error.hint().expect("a hint").contains("put the keyring back"));
    // Nor is one that a person's other items are in.
    place.keyring.ring().items.insert("not a name".to_owned(), b"x".to_vec());
    let records = place.load().await.expect("a keyring");
    assert!(records.values().all(Result::is_err), "{records:?}");
}

#[tokio::test]
async fn an_item_that_is_lost_or_from_a_backup_is_a_fault_of_its_name_alone() {
    let place = Place::with(&[record("a", "1"), record("b", "2")]).await;
    let backup = place.keyring.ring().items.clone();
    let store = place.open().await.expect("a store");
    let read = store.read(&name("a")).await.expect("read").map(|stored| stored.revision);
    store.seal(&record("a", "3"), read).await.expect("sealed");
    drop(store);
    let newest = std::mem::replace(&mut place.keyring.ring().items, backup);
    for lost in [false, true] {
        if lost {
            place.keyring.ring().items.remove("a");
        }
        // Looking at it does not make it so.
        for _ in 0..2 {
            let mut records = place.load().await.expect("a store");
            let error = records.remove(&name("a")).expect("known").expect_err("not the one that was sealed");
            let as_expected = match &error.fault {
                RecordFault::Missing { ids } => lost && *ids == [TokenId("3".into())],
                RecordFault::Older { ids } => !lost && *ids == [TokenId("3".into())],
                _ => false,
            };
            assert!(as_expected, "{error:?}");
            assert!(error.hint().expect("a hint").contains("(3) live on their server"), "{error}");
            assert!(records[&name("b")].is_ok());
        }
    }
    place.keyring.ring().items = newest;
    assert!(place.load().await.expect("a store").values().all(Result::is_ok));
}

#[tokio::test]
async fn a_folder_that_is_lost_or_from_a_backup_is_noticed_and_the_keyring_believed() {
    let place = Place::with(&[record("a", "1")]).await;
    let index = std::fs::read(place.path().join("index")).expect("an index");
    let store = place.open().await.expect("a store");
    let read = store.read(&name("a")).await.expect("read").map(|stored| stored.revision);
    store.seal(&record("a", "2"), read).await.expect("sealed");
    store.seal(&record("b", "3"), None).await.expect("sealed");
    drop(store);
    std::fs::write(place.path().join("index"), index).expect("written");
    assert_eq!(place.load().await.expect("a store").values().filter(|read| read.is_ok()).count(), 2);
    for (gone, told) in [
        ("index", "the keyring has 2 items of this folder, and the folder has no index"),
        ("instance", "the keyring has 2 items of this folder, and the folder has no index"),
    ] {
        std::fs::remove_file(place.path().join(gone)).expect("removed");
        let error = place.load().await.expect_err(gone);
        assert!(error.to_string().contains(told), "{gone}: {error}");
    }
    assert_eq!(place.keyring.ring().items.len(), 2, "nothing was made in their place");
}

#[tokio::test]
async fn what_somebody_else_has_written_is_read_again_first() {
    let place = Place::with(&[record("a", "1")]).await;
    let store = place.open().await.expect("a store");
    let read = store.read(&name("a")).await.expect("read").map(|stored| stored.revision);
    let theirs = place.keyring.ring().items["a"].clone();
    let theirs = String::from_utf8(theirs).expect("text").replace("influx-tokend 1 1", "influx-tokend 1 9");
    place.keyring.ring().items.insert("a".to_owned(), theirs.into_bytes());
    let error = store.seal(&record("a", "2"), read).await.expect_err("it is another");
    assert!(matches!(error, SealError::Changed(_)), "{error}");
    let read = store.read(&name("a")).await.expect("read").map(|stored| stored.revision);
    store.seal(&record("a", "2"), read).await.expect("sealed");
    place.keyring.ring().items.insert("a".to_owned(), b"x".to_vec());
    let error = store.read(&name("a")).await.expect_err("no record");
    assert!(error.to_string().contains("none of influx-tokend's"), "{error}");
    let error = store.remove(&name("a"), Revision([3, 0, 0, 0])).await.expect_err("no record");
    assert!(matches!(error, SealError::Changed(_)), "{error}");
}

#[tokio::test]
async fn what_is_not_given_back_is_not_sealed() {
    let place = Place::with(&[]).await;
    let store = place.open().await.expect("a store");
    place.keyring.ring().forgets = true;
    let error = store.seal(&record("a", "1"), None).await.expect_err("it forgets");
    assert!(error.to_string().contains("does not give back what was sealed for a"), "{error}");
}

#[tokio::test]
async fn a_keyring_that_hangs_is_not_available() {
    let place = Place::with(&[record("a", "1")]).await;
    let store = place.open().await.expect("a store");
    let (open, gate) = mpsc::channel();
    place.keyring.ring().gate = Some(gate);
    tokio::time::pause();
    {
        let mut load = pin!(store.load());
        poll_fn(|context| Poll::Ready(load.as_mut().poll(context).is_ready())).await;
        while place.keyring.ring().gate.is_some() {
            std::thread::yield_now();
        }
        let error = load.await.expect_err("it hangs");
        assert!(error.to_string().contains("does not answer within 30 s"), "{error}");
    }
    let error = store.load().await.expect_err("it hangs still");
    assert!(error.to_string().contains("does not answer within 30 s"), "{error}");
    let error = store.seal(&record("b", "2"), None).await.expect_err("it hangs");
    assert!(error.to_string().contains("does not answer within 30 s"), "{error}");
    open.send(()).expect("it waits");
    tokio::time::resume();
    let records = store.load().await.expect("it answers again");
    assert_eq!(records.keys().collect::<Vec<_>>(), [&name("a")], "what was given up is never written");
}

#[tokio::test]
async fn wiped_it_is_retired_and_its_items_are_gone() {
    let place = Place::with(&[record("a", "1")]).await;
    let store = place.open().await.expect("a store");
    store.seal_list("a list").expect("kept");
    assert_eq!(store.accepted_list().expect("read").expect("a list").as_str(), "a list");
    store.begin_to_retire().expect("noted");
    assert_eq!(Retired::of(&place.path()), Retired::Begun);
    store.wipe().await.expect("wiped");
    drop(store);
    assert_eq!(Retired::of(&place.path()), Retired::Wholly);
    assert!(place.keyring.ring().items.is_empty());
    let error = place.open().await.expect_err("it was retired");
    assert!(error.to_string().contains("was retired"), "{error}");
}

#[tokio::test]
async fn neither_kind_of_store_takes_the_folder_of_the_other() {
    let place = Place::with(&[]).await;
    let age = crate::store::age::OpenOptions {
        path: place.path(),
        identity: crate::store::age::IdentitySource::OfStore,
        recipients: vec![],
        machine_id: place.folder.path().join("id"),
        keys: crate::store::age::Keys::default(),
        also_opened_by: None,
        plugins: crate::store::age::Plugins::default(),
        purpose: Purpose::Work,
    };
    let error = crate::store::age::AgeStore::open(age.clone()).expect_err("a keyring's");
    assert!(error.to_string().contains("is the folder of a store in a keyring"), "{error}");
    let other = place.folder.path().join("age");
    drop(crate::store::age::AgeStore::open(crate::store::age::OpenOptions { path: other.clone(), ..age }));
    let options = OpenOptions { path: other, machine_id: "x".into(), purpose: Purpose::Work };
    let error = KeyringStore::over(options, Box::new(Played::default())).await.expect_err("age files");
    assert!(error.to_string().contains("has age files in it"), "{error}");
}
