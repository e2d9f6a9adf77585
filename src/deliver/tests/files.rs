//! One file of a secret: its bytes, who may read it, and that it is whole at any time.

use super::*;

#[test]
fn a_file_has_the_exact_bytes_and_lets_in_whom_it_should() {
    let folder = folder();
    let path = folder.path().join("secrets");
    let files = Files::open(&path).expect("opened");
    assert_eq!(fs::metadata(&path).expect("made").mode() & 0o7777, 0o755);

    files.put(&name("a"), &secret(CANARY), &readers(&[READER], &[21, 7])).expect("written");
    let file = path.join("a");
    assert_eq!(fs::read(&file).expect("the file"), CANARY.as_bytes());
    assert_eq!(fs::metadata(&file).expect("the file").mode() & 0o7777, 0o640);
    assert_eq!(
        getfacl(&file),
        format!("user::rw- user:{READER}:r-- group::--- group:7:r-- group:21:r-- mask::r-- other::---")
    );

    files.put(&name("b"), &secret(CANARY), &Readers::default()).expect("written");
    assert_eq!(fs::metadata(path.join("b")).expect("the file").mode() & 0o7777, 0o600);
    assert_eq!(getfacl(&path.join("b")), "");
    assert_eq!(entries(&path), ["a", "b"], "nothing else is left there");
}

#[test]
fn other_users_read_what_is_theirs_and_nothing_else() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let files = Files::open(folder.path()).expect("opened");
    let file = folder.path().join("a");
    files.put(&name("a"), &secret(CANARY), &readers(&[READER], &[READER])).expect("written");
    assert_eq!(cat(&file, READER, STRANGER).as_deref(), Some(CANARY.as_bytes()), "by user");
    assert_eq!(cat(&file, STRANGER, READER).as_deref(), Some(CANARY.as_bytes()), "by group");
    assert_eq!(cat(&file, STRANGER, STRANGER), None, "a stranger");
    assert_eq!(cat(&file, STRANGER, 0), None, "the file's own group");

    files.put(&name("a"), &secret(CANARY), &readers(&[STRANGER], &[])).expect("written");
    assert_eq!(cat(&file, READER, READER), None, "who was dropped");
    assert_eq!(cat(&file, STRANGER, STRANGER).as_deref(), Some(CANARY.as_bytes()), "who was added");
}

#[test]
fn access_is_final_before_the_first_byte() {
    let folder = folder();
    let acl = acl::for_readers(&readers(&[READER], &[]), 0).expect("a reader");
    let staged = staged::Staged::create(folder.path(), "a").expect("staged");
    let path = folder.path().join(&entries(folder.path())[0]);
    let created = fs::metadata(&path).expect("the file");
    assert_eq!((created.mode() & 0o7777, created.len()), (0o600, 0));

    acl::set(staged.file(), Some(&acl)).expect("an ACL");
    let before = getfacl(&path);
    assert_eq!((fs::metadata(&path).expect("the file").len(), before.contains("user:65533:r--")), (0, true));

    staged.place("a", CANARY.as_bytes()).expect("placed");
    let placed = fs::metadata(folder.path().join("a")).expect("the file");
    assert_eq!((placed.ino(), placed.len()), (created.ino(), CANARY.len() as u64));
    assert_eq!(getfacl(&folder.path().join("a")), before);
}

#[test]
fn what_is_right_is_not_touched_and_what_was_altered_is_put_back() {
    let folder = folder();
    let files = Files::open(folder.path()).expect("opened");
    let file = folder.path().join("a");
    let readers = readers(&[READER], &[]);
    let put = || files.put(&name("a"), &secret(CANARY), &readers).expect("written");
    let state = || {
        let metadata = fs::metadata(&file).expect("the file");
        (metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.mtime_nsec())
    };
    put();
    let untouched = state();
    put();
    assert_eq!(state(), untouched, "nothing changed, nothing was written");

    let right = |what: &str| {
        assert!(!files.holds(&name("a"), &secret(CANARY), &readers), "{what} is seen");
        put();
        assert_eq!(fs::read(&file).expect("the file"), CANARY.as_bytes(), "{what}");
        assert!(fs::symlink_metadata(&file).expect("the file").is_file(), "{what}");
        assert!(files.holds(&name("a"), &secret(CANARY), &readers), "{what}");
        assert_eq!(entries(folder.path()), ["a"], "{what}");
    };
    fs::write(&file, CANARY.replace('c', "k")).expect("altered");
    right("other content of the same length");
    fs::write(&file, format!("{CANARY}\n")).expect("altered");
    right("a newline");
    fs::write(&file, "").expect("altered");
    right("an empty file");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("altered");
    right("another mode");
    acl::set(fs::File::open(&file).expect("the file"), None).expect("altered");
    right("a missing ACL");
    let wider = acl::for_readers(&super::tests::readers(&[READER, STRANGER], &[]), 0);
    acl::set(fs::File::open(&file).expect("the file"), wider.as_deref()).expect("altered");
    right("one reader too many");
    fs::remove_file(&file).expect("removed");
    right("a missing file");
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), rustix::fs::Mode::RUSR)
        .expect("a pipe");
    fs::rename(folder.path().join("pipe"), &file).expect("put there");
    right("a pipe");
}

#[test]
fn a_folder_s_default_acl_does_not_come_through() {
    let folder = folder();
    let default = acl::for_readers(&readers(&[STRANGER], &[]), 0).expect("a reader");
    let attribute = "system.posix_acl_default";
    rustix::fs::setxattr(folder.path(), attribute, &default, rustix::fs::XattrFlags::empty()).expect("set");
    let files = Files::open(folder.path()).expect("opened");
    files.put(&name("a"), &secret(CANARY), &Readers::default()).expect("written");
    assert_eq!(getfacl(&folder.path().join("a")), "");
    assert!(files.holds(&name("a"), &secret(CANARY), &Readers::default()), "it is not written at every pass");
}

#[test]
fn a_link_is_replaced_and_never_followed() {
    let (folder, elsewhere) = (folder(), folder());
    let target = elsewhere.path().join("target");
    let files = Files::open(folder.path()).expect("opened");
    let file = folder.path().join("a");
    fs::write(&target, CANARY).expect("written");
    fs::set_permissions(&target, Permissions::from_mode(0o600)).expect("as ours would be");
    symlink(&target, &file).expect("a link");
    assert!(!files.holds(&name("a"), &secret(CANARY), &Readers::default()), "it is not taken for ours");
    files.put(&name("a"), &secret("other"), &Readers::default()).expect("written");
    assert!(fs::symlink_metadata(&file).expect("the file").is_file());
    assert_eq!(fs::read_to_string(&target).expect("the target"), CANARY, "the target is as it was");

    fs::remove_file(&file).expect("removed");
    symlink(&target, &file).expect("a link");
    files.withdraw(&name("a")).expect("withdrawn");
    assert!(target.exists() && !files.has(&name("a")));
}

#[test]
fn a_write_that_fails_leaves_nothing_behind_and_names_no_secret() {
    let folder = folder();
    let files = Files::open(folder.path()).expect("opened");
    fs::create_dir(folder.path().join("a")).expect("in the way");
    let error = files.put(&name("a"), &secret(CANARY), &Readers::default()).expect_err("a folder");
    assert_eq!(entries(folder.path()), ["a"]);
    assert_eq!(error.hint().as_deref(), Some("move away what stands there"));
    let text = format!("{error} {error:?} {}", error.source);
    assert!(text.contains("cannot write") && text.contains(folder.path().to_str().expect("text")), "{text}");
    assert!(!text.contains(CANARY), "{text}");

    let empty = files.put(&name("b"), &secret(""), &Readers::default()).expect_err("empty");
    assert!(empty.to_string().contains("empty secret"), "{empty}");
    assert!(!files.has(&name("b")));
}

/// Runs itself once more on a full tmpfs of its own.
#[test]
fn a_full_file_system_leaves_the_old_value_and_nothing_else() {
    const FULL: &str = "INFLUX_TOKEND_TEST_FULL_TMPFS";
    if let Some(path) = env::var_os(FULL).map(PathBuf::from) {
        return on_a_full_file_system(&path);
    }
    if !is_root() {
        return;
    }
    let folder = folder();
    let mount = "mount -t tmpfs -o size=8k,mode=0755 none \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", mount])
        .arg(folder.path())
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", "deliver::tests::files::a_full_file_system_leaves_the_old_value_and_nothing_else"])
        .env(FULL, folder.path())
        .output();
    let Ok(output) = output else {
        assert!(!peers_are_required(), "unshare is missing");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if text.contains("Operation not permitted") && !peers_are_required() {
        return;
    }
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn on_a_full_file_system(path: &Path) {
    let files = Files::open(path).expect("opened");
    files.put(&name("a"), &secret("old"), &Readers::default()).expect("one page");
    let error = fs::write(path.join("filler"), [0; 8192]).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let error = files.put(&name("a"), &secret(CANARY), &Readers::default()).expect_err("no room");
    assert_eq!(error.hint().as_deref(), Some("make room on its file system"));
    assert_eq!(fs::read_to_string(path.join("a")).expect("the file"), "old");
    assert_eq!(entries(path), ["a", "filler"]);
}

#[test]
fn a_start_removes_leftovers_and_nothing_else() {
    let folder = folder();
    let left = ".a.0123456789abcdef.tmp";
    for file in [left, ".hidden", "a", "not-a-name", "unknown"] {
        fs::write(folder.path().join(file), "x").expect("written");
    }
    let mut files = Files::open(folder.path()).expect("opened");
    assert_eq!(entries(folder.path()), [".hidden", "a", "not-a-name", "unknown"]);
    let known = BTreeSet::from([name("a")]);
    let mut strangers = || files.strangers(&known).expect("looked");
    assert_eq!(strangers(), [".hidden", "not-a-name", "unknown"]);
    assert!(strangers().is_empty(), "each is told once");
    fs::write(folder.path().join("new"), "x").expect("written");
    assert_eq!(strangers(), ["new"]);
}

#[test]
fn a_folder_that_cannot_be_used_says_so() {
    let folder = folder();
    let missing = Files::open(&folder.path().join("no/where")).expect_err("no parent");
    assert!(missing.hint().is_some_and(|hint| hint.contains("tmpfiles.d")), "{missing}");
    fs::write(folder.path().join("file"), "").expect("written");
    let file = Files::open(&folder.path().join("file")).expect_err("a file");
    assert!(file.to_string().contains("cannot use"), "{file}");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("open to all");
    let shared = Files::open(folder.path()).expect_err("open to all");
    assert!(shared.source.to_string().contains("others can write"), "{}", shared.source);
}

#[test]
fn a_folder_that_went_away_is_made_again() {
    let folder = folder();
    let path = folder.path().join("secrets");
    let files = Files::open(&path).expect("opened");
    fs::remove_dir(&path).expect("gone");
    files.put(&name("a"), &secret(CANARY), &Readers::default()).expect("written");
    assert_eq!(fs::metadata(&path).expect("made").mode() & 0o7777, 0o755);
}
