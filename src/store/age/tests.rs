//! A store in a folder of its own.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{
    hint::Hint as _,
    model::{
        Allow, Credential, Grants, Held, Name, Origin, Product, Record, Secret, ServerKey, Time, TokenId,
    },
    store::{Purpose, RecordFault, SealError, Store as _, Stored},
};

const CANARY: &str = "canary-0123456789";

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn record(of: &str) -> Record {
    let mut record = Record::new(name(of), Allow::default(), 1);
    record.current = Some(Held {
        id: TokenId("id".into()),
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

fn options(path: &Path) -> OpenOptions {
    OpenOptions {
        path: path.join("store"),
        identity: IdentitySource::OfStore,
        recipients: vec![],
        machine_id: path.join("machine-id"),
        keys: Keys::default(),
        also_opened_by: None,
        plugins: Plugins::default(),
        purpose: Purpose::Work,
    }
}

fn open(path: &Path) -> AgeStore {
    AgeStore::open(options(path)).expect("a store")
}

fn reader(path: &Path) -> AgeReader {
    AgeReader::open(&path.join("store"), &IdentitySource::OfStore, &mut Keys::default(), Plugins::default())
        .expect("a reader")
}

fn read(path: &Path, of: &str) -> Option<Stored> {
    reader(path).read(&name(of)).expect("readable")
}

#[test]
fn what_is_sealed_is_read_and_nothing_of_it_is_in_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let revision = store.seal_record(&record("a"), None).expect("sealed");
    let stored = read(folder.path(), "a").expect("there");
    assert_eq!((stored.record, stored.revision), (record("a"), revision));
    let bytes = fs::read(folder.path().join("store/tokens/a.age")).expect("a file");
    assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
    assert!(!format!("{store:?} {:?}", reader(folder.path())).contains(CANARY));
    assert_eq!(read(folder.path(), "b"), None);
}

#[test]
fn a_record_is_replaced_only_by_who_has_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let first = store.seal_record(&record("a"), None).expect("sealed");
    assert!(
        matches!(store.seal_record(&record("a"), None), Err(SealError::Changed(_))),
        "it is there already"
    );
    let second = store.seal_record(&record("a"), Some(first)).expect("sealed");
    assert!(
        matches!(store.seal_record(&record("a"), Some(first)), Err(SealError::Changed(_))),
        "it has changed"
    );
    // Somebody puts another file into its place.
    let file = folder.path().join("store/tokens/a.age");
    fs::copy(&file, folder.path().join("copy"))
        .and_then(|_| fs::rename(folder.path().join("copy"), &file))
        .expect("moved");
    assert!(matches!(store.seal_record(&record("a"), Some(second)), Err(SealError::Changed(_))));
    assert_eq!(
        fs::read_dir(folder.path().join("store/tokens")).expect("a folder").count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let error = AgeStore::open(options(folder.path())).expect_err("held");
    assert!(error.to_string().contains(&format!("is held by process {}", std::process::id())), "{error}");
    drop(store);
    open(folder.path());
}

#[test]
fn a_first_start_that_was_cut_off_is_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let at = |file: &str| folder.path().join("store").join(file);
    // Cut off after the instance was drawn and the identity made; or in the middle of a wipe, which goes the same way back.
    fs::rename(at("instance"), at(".instance.first")).expect("renamed");
    let drawn = fs::read(at(".instance.first")).expect("drawn");
    drop(open(folder.path()));
    assert_eq!(fs::read(at("instance")).expect("in place"), drawn);
    // Cut off before the identity was made.
    fs::rename(at("instance"), at(".instance.first")).expect("renamed");
    fs::remove_file(at("identity.txt")).expect("removed");
    drop(open(folder.path()));
    assert!(at("identity.txt").exists() && at("instance").exists() && !at(".instance.first").exists());
    // An identity alone is a store that has lost something.
    fs::remove_file(at("instance")).expect("removed");
    let error = AgeStore::open(options(folder.path())).expect_err("incomplete");
    assert!(error.to_string().contains("an identity and no instance"), "{error}");
}

#[test]
fn leftovers_are_removed_and_what_others_put_there_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let tokens = folder.path().join("store/tokens");
    for file in [".a.age.0123456789abcdef", "notes.txt", "b.age.bak", ".hidden"] {
        fs::write(tokens.join(file), "x").expect("written");
    }
    drop(open(folder.path()));
    let mut left: Vec<String> = fs::read_dir(&tokens)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, [".hidden", "b.age.bak", "notes.txt"]);
    assert_eq!(reader(folder.path()).names().expect("names"), []);
}

#[test]
fn an_identity_from_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = age::x25519::Identity::generate();
    let text = format!("# mine\n{}\n", age::secrecy::ExposeSecret::expose_secret(&identity.to_string()));
    let file = folder.path().join("identity");
    fs::write(&file, &text).expect("written");
    for source in [IdentitySource::File(file), IdentitySource::Text(Secret::new(text))] {
        let given = OpenOptions { identity: source, ..options(folder.path()) };
        let store = AgeStore::open(given.clone()).expect("a store");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let there = runtime.block_on(store.read(&name("a"))).expect("readable").map(|stored| stored.revision);
        store.seal_record(&record("a"), there).expect("sealed");
        assert!(!folder.path().join("store/identity.txt").exists(), "none is made beside it");
        let sealed = fs::read(folder.path().join("store/tokens/a.age")).expect("a file");
        assert!(age::decrypt(&identity, &sealed).is_ok());
    }
    let missing =
        OpenOptions { identity: IdentitySource::File(folder.path().join("none")), ..options(folder.path()) };
    assert!(AgeStore::open(missing).expect_err("no file").to_string().contains("cannot read the identity"));
}

/// As a plugin's identity does, only that this one needs no plugin.
#[test]
fn an_identity_that_is_wrapped_for_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let sealed = open(folder.path()).seal_record(&record("a"), None).expect("sealed");
    let at = |file: &str| folder.path().join("store").join(file);
    let outer = age::x25519::Identity::generate();
    let wrapped =
        age::encrypt(&outer.to_public(), &fs::read(at("identity.txt")).expect("clear")).expect("wrapped");
    fs::write(at("identity.age"), wrapped).expect("written");
    fs::remove_file(at("identity.txt")).expect("removed");
    let error = AgeStore::open(options(folder.path())).expect_err("wrapped");
    assert!(error.to_string().contains("is wrapped for another identity"), "{error}");
    assert!(error.hint().expect("a hint").contains("unwrap = {"));
    let with = |identity: &age::x25519::Identity| {
        let text = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
        let keys = Keys { passphrase: None, identity: Some(Secret::new(text)) };
        AgeStore::open(OpenOptions { keys, ..options(folder.path()) })
    };
    with(&outer).expect("opened").seal_record(&record("a"), Some(sealed)).expect("sealed");
    let error = with(&age::x25519::Identity::generate()).expect_err("another");
    assert!(error.to_string().contains("does not open the identity"), "{error}");
}

#[test]
fn a_plugin_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    fs::write(folder.path().join("store/identity.txt"), "AGE-PLUGIN-NOSUCHPLUGIN-1S9DDET\n")
        .expect("written");
    let error = AgeStore::open(options(folder.path())).expect_err("no plugin");
    assert!(error.to_string().contains("age plugin \"nosuchplugin\""), "{error}");
    assert!(error.hint().expect("a hint").contains("age-plugin-nosuchplugin"));
}

#[test]
fn many_records_are_read_and_one_bad_one_among_them_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    for n in 0..100 {
        store.seal_record(&record(&format!("t{n}")), None).expect("sealed");
    }
    fs::write(folder.path().join("store/tokens/t7.age"), "nonsense").expect("written");
    let records = reader(folder.path()).load().expect("readable");
    assert_eq!(records.len(), 100);
    assert_eq!(records.values().filter(|stored| stored.is_err()).count(), 1);
    assert!(records[&name("t7")].as_ref().expect_err("bad").hint().is_some());
}

#[test]
fn a_file_that_cannot_be_a_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    store.seal_record(&record("a"), None).expect("sealed");
    let file = folder.path().join("store/tokens/a.age");
    let fault = || reader(folder.path()).read(&name("a")).expect_err("no record").fault;
    fs::File::create(&file).and_then(|file| file.set_len(1 << 30)).expect("a large file");
    assert!(matches!(fault(), RecordFault::TooLarge(_)));
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("a folder");
    assert!(matches!(fault(), RecordFault::Unreadable(_)));
    fs::remove_dir(&file).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &file).expect("a link");
    assert!(matches!(fault(), RecordFault::Unreadable(_)), "links are not followed");
}

#[test]
fn others_cannot_look_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    store.seal_record(&record("a"), None).expect("sealed");
    store.seal_list("list").expect("sealed");
    let mode = |file: &str| {
        fs::metadata(folder.path().join("store").join(file)).expect("there").permissions().mode() & 0o777
    };
    for file in ["identity.txt", "instance", "list", "lock", "tokens/a.age"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    assert_eq!((mode("."), mode("tokens")), (0o700, 0o700));
    assert_eq!(store.accepted_list().expect("readable").as_deref().map(String::as_str), Some("list"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_lies_in_a_record_is_an_error_and_no_more(bytes: Vec<u8>, keep in 0_usize..400, flip in 0_usize..400) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        store.seal_record(&record("a"), None).expect("sealed");
        let file = folder.path().join("store/tokens/a.age");
        let whole = fs::read(&file).expect("a file");
        let mut altered = whole.clone();
        let at = flip % altered.len();
        altered[at] ^= 1;
        for spoilt in [bytes, whole[..keep.min(whole.len() - 1)].to_vec(), altered] {
            fs::write(&file, spoilt).expect("written");
            let error = reader(folder.path()).read(&name("a")).expect_err("spoilt");
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains(CANARY));
        }
    }

    #[test]
    fn every_name_has_a_record(text in "[A-Za-z0-9_]{1,128}") {
        let folder = tempfile::tempdir().expect("a folder");
        open(folder.path()).seal_record(&record(&text), None).expect("sealed");
        prop_assert_eq!(reader(folder.path()).names().expect("names"), vec![name(&text)]);
        prop_assert_eq!(read(folder.path(), &text).expect("there").record, record(&text));
    }
}

#[test]
fn a_retired_store_is_opened_by_nobody_but_who_goes_on_to_retire_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let store = open(folder.path());
    store.seal_record(&record("a"), None).expect("sealed");
    store.seal_list("[server]").expect("sealed");
    assert_eq!(crate::store::Retired::of(&path), crate::store::Retired::No);
    store.begin_to_retire().expect("begun");
    drop(store);
    assert_eq!(crate::store::Retired::of(&path), crate::store::Retired::Begun);
    let refused = AgeStore::open(options(folder.path())).expect_err("it is being retired");
    assert!(refused.to_string().contains("is being retired"), "{refused}");
    let refused = AgeReader::open(&path, &IdentitySource::OfStore, &mut Keys::default(), Plugins::default());
    assert!(refused.expect_err("nor read").to_string().contains("is being retired"));

    let store =
        AgeStore::open(OpenOptions { purpose: Purpose::Retire, ..options(folder.path()) }).expect("a store");
    store.wipe().expect("wiped");
    drop(store);
    assert_eq!(crate::store::Retired::of(&path), crate::store::Retired::Wholly);
    crate::store::wipe_rest(&path).expect("once more");
    let mut left: Vec<_> =
        fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "retired", "tokens"]);
    let refused = AgeStore::open(options(folder.path())).expect_err("it was retired");
    assert!(refused.hint().is_some_and(|hint| hint.starts_with("remove ")), "{refused}");
    fs::remove_file(path.join("retired")).expect("there");
    open(folder.path());
}
