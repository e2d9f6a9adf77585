//! What a ledger has in memory, over a store whose writes fail or take their time.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::*;
use crate::{
    lifecycle::{Clock as _, SystemClock},
    model::{Allow, Instance},
};

/// Records as a disk has them.
#[derive(Debug, Default)]
struct Disk {
    records: Mutex<BTreeMap<Name, (Record, u64)>>,
    unreadable: Mutex<BTreeSet<Name>>,
    renewed: AtomicUsize,
    seals: AtomicUsize,
    /// Of the next write all is done but the last fsync.
    fails: Mutex<bool>,
    /// A write waits for this once it has begun.
    gate: Option<Arc<Notify>>,
}

impl Disk {
    fn revision(count: u64) -> Revision {
        Revision([0, count, 0, 0])
    }

    fn fault(name: &Name) -> RecordError {
        let fault = RecordFault::Damaged("damaged".into());
        RecordError { name: name.clone(), file: PathBuf::from("file"), fault }
    }

    fn with(names: [&str; 2]) -> Self {
        let records = names.map(|name| (self::name(name), (record(name), 0)));
        Self { records: Mutex::new(records.into()), ..Self::default() }
    }
}

impl Store for Arc<Disk> {
    async fn load(&self) -> Result<crate::store::Records, StoreError> {
        let names: Vec<Name> = lock(&self.records).keys().cloned().collect();
        let mut records = crate::store::Records::new();
        for name in names {
            let read = self.read(&name).await.map(|read| read.expect("it is there"));
            records.insert(name, read);
        }
        Ok(records)
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        if lock(&self.unreadable).contains(name) {
            return Err(Disk::fault(name));
        }
        let stored = |(record, count): &(Record, u64)| Stored {
            record: Arc::new(record.clone()),
            revision: Disk::revision(*count),
        };
        Ok(lock(&self.records).get(name).map(stored))
    }

    async fn seal(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let count = u64::try_from(self.seals.fetch_add(1, Ordering::SeqCst)).expect("a few") + 1;
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        let before = lock(&self.records).insert(record.name.clone(), (record.clone(), count));
        assert_eq!(before.map(|(_, count)| Disk::revision(count)), read, "it was read as it is");
        if std::mem::take(&mut *lock(&self.fails)) {
            let (path, what) = (PathBuf::from("folder"), "cannot be synchronised".to_owned());
            return Err(StoreError { path, what, fix: None, source: None }.into());
        }
        Ok(Disk::revision(count))
    }

    async fn remove(&self, name: &Name, _: Revision) -> Result<(), SealError> {
        lock(&self.records).remove(name);
        Ok(())
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        Ok(Instances { current: Instance::from_bits([0; 16]), former: vec![] })
    }

    async fn renew_instance(&self) -> Result<Instances, StoreError> {
        self.renewed.fetch_add(1, Ordering::SeqCst);
        Ok(Instances { current: Instance::from_bits([1; 16]), former: vec![Instance::from_bits([0; 16])] })
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn record(text: &str) -> Record {
    Record::new(name(text), Allow::default(), 0)
}

fn event() -> Vec<Event> {
    vec![Event::Allowed(Arc::new(Allow { users: vec!["somebody".into()], ..Allow::default() }))]
}

#[tokio::test]
async fn a_write_that_failed_at_its_last_fsync_is_written_again_whole() {
    let disk = Arc::new(Disk::with(["a", "b"]));
    let ledger = Ledger::open(disk.clone()).await.expect("a store");
    *lock(&disk.fails) = true;
    let name = name("a");
    let apply = || ledger.apply(&name, None, event(), SystemClock.moment());
    apply().await.expect_err("the power may take it");
    assert_eq!(disk.seals.load(Ordering::SeqCst), 1);
    // What is there is what it should be: it is written all the same.
    apply().await.expect("it is durable now");
    assert_eq!(disk.seals.load(Ordering::SeqCst), 2);
    apply().await.expect("nothing changes");
    assert_eq!(disk.seals.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_no_write_and_lets_nobody_in_before() {
    let gate = Arc::new(Notify::new());
    let disk = Arc::new(Disk { gate: Some(gate.clone()), ..Disk::with(["a", "b"]) });
    let ledger = Ledger::open(disk.clone()).await.expect("a store");
    let name = name("a");
    {
        let applying = ledger.apply(&name, None, event(), SystemClock.moment());
        tokio::pin!(applying);
        // The write has begun, and its caller goes away.
        while disk.seals.load(Ordering::SeqCst) == 0 {
            assert!(futures_util::poll!(applying.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let after = ledger.apply(&name, None, vec![Event::Removed], SystemClock.moment());
    tokio::pin!(after);
    for _ in 0..10 {
        assert!(futures_util::poll!(after.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.seals.load(Ordering::SeqCst), 1, "the name is still locked");
    let both = async {
        let record = after.await.expect("sealed").expect("a record");
        assert!(record.removed.is_some() && record.allow.users == ["somebody"], "{record:?}");
    };
    let open = async {
        loop {
            gate.notify_one();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = both => {}
        () = open => {}
    }
    assert_eq!(ledger.record(&name).expect("a record").allow.users, ["somebody"], "memory has both");
}

#[tokio::test]
async fn the_tokens_of_a_copy_are_set_apart_all_together_once_each_record_can_be_read() {
    let disk = Arc::new(Disk::with(["a", "b"]));
    lock(&disk.unreadable).insert(name("b"));
    let ledger = Ledger::open(disk.clone()).await.expect("a store");
    let now = SystemClock.moment();
    let error = ledger.disown(&now).await.expect_err("b cannot be read");
    assert!(error.to_string().ends_with("a record cannot be read: b"), "{error}");
    assert!(ledger.is_shared());
    assert_eq!((disk.seals.load(Ordering::SeqCst), disk.renewed.load(Ordering::SeqCst)), (0, 0));
    lock(&disk.unreadable).clear();
    ledger.disown(&now).await.expect("it was put back");
    assert!(!ledger.is_shared());
    assert_eq!(disk.renewed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_event_that_is_not_allowed_seals_nothing_of_its_list() {
    let disk = Arc::new(Disk::with(["a", "b"]));
    let ledger = Ledger::open(disk.clone()).await.expect("a store");
    let events = [event(), vec![Event::PutBack]].concat();
    let error = ledger.apply(&name("a"), None, events, SystemClock.moment()).await.expect_err("it is there");
    assert_eq!(error.to_string(), "token a: put back is not allowed: it did not leave the list");
    assert_eq!(disk.seals.load(Ordering::SeqCst), 0);
    assert_eq!(ledger.record(&name("a")).expect("a record").allow, Arc::default());
}
