//! Stores that are missing, damaged, copied, restored or in use.

use std::{fs, os::unix::fs::PermissionsExt as _};

use influx_tokend::model::RecordVersion;
use jiff::SignedDuration;

use crate::host::{Host, wait_until};

pub(crate) fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_folder(&path, &target) } else { _ = fs::copy(&path, &target).unwrap() }
    }
}

#[test]
fn what_a_person_reads_about_one_bad_record_and_the_others_keep_working() {
    let host = Host::new();
    host.list_of(3);
    host.apply();
    let record = |name: &str| host.path("store/tokens").join(format!("{name}.age"));
    let whole = fs::read(record("t0")).unwrap();
    type Spoil<'a> = Box<dyn Fn() + 'a>;
    let cases: [(&str, Spoil<'_>, &str); 4] = [
        (
            "cut",
            Box::new(|| fs::write(record("t0"), &whole[..whole.len() - 9]).unwrap()),
            "is cut short or altered",
        ),
        ("empty", Box::new(|| fs::write(record("t0"), "").unwrap()), "is cut short or altered"),
        (
            "renamed",
            Box::new(|| _ = fs::copy(record("t1"), record("t0")).unwrap()),
            "holds the record of \"t1\": it was renamed",
        ),
        (
            "of another",
            Box::new(|| fs::write(record("t0"), sealed_for_another()).unwrap()),
            "is sealed for another identity",
        ),
    ];
    for (case, spoil, expected) in cases {
        spoil();
        for arguments in [&["status"][..], &["check"]] {
            let ran = host.tokend(arguments);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains("token t0") && said.contains(expected), "{case}: {ran:?}");
            assert!(said.contains("hint: "), "{case}: {ran:?}");
        }
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(3), "{case}: {ran:?}");
        assert!(ran.stderr.contains("token t0: the record cannot be read"), "{case}: {ran:?}");
        assert_eq!(host.live("t0").len(), 1, "{case}: neither minted anew nor swept");
        host.assert_settled("t1");
        assert_eq!(host.secrets(&["get", "t0"]).code, Some(1), "{case}");
        fs::write(record("t0"), &whole).unwrap();
    }
    host.apply();
    host.assert_settled("t0");
}

fn sealed_for_another() -> Vec<u8> {
    age::encrypt(&age::x25519::Identity::generate().to_public(), b"{}").unwrap()
}

#[test]
fn a_record_of_a_later_version_is_delivered_and_left_alone() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let file = host.path("store/tokens/t0.age");
    let identity: age::x25519::Identity = fs::read_to_string(host.path("store/identity.txt"))
        .unwrap()
        .lines()
        .find(|line| !line.starts_with('#'))
        .unwrap()
        .parse()
        .unwrap();
    let json = String::from_utf8(age::decrypt(&identity, &fs::read(&file).unwrap()).unwrap()).unwrap();
    let with = |version: &str| {
        let written = format!("\"version\":\"{}\"", RecordVersion::CURRENT);
        assert!(json.contains(&written), "{json}");
        let json = json.replace(&written, &format!("\"version\":\"{version}\",\"more\":[1]"));
        fs::write(&file, age::encrypt(&identity.to_public(), json.as_bytes()).unwrap()).unwrap();
    };
    with("1.7");
    let before = fs::read(&file).unwrap();
    host.list("[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\nallow = { users = [\"1\"] }\n");
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("the record has version 1.7"), "{ran:?}");
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("token t0: the record was written by a later influx-tokend"), "{ran:?}");
    assert_eq!(fs::read(&file).unwrap(), before, "not rewritten");
    host.assert_settled("t0");
    with("2.0");
    let ran = host.tokend(&["check"]);
    assert!(ran.stdout.contains("has version 2.0, this program reads 1.x"), "{ran:?}");
}

#[test]
fn a_missing_part_means_unavailable_and_never_empty() {
    for (missing, expected) in
        [("identity.txt", "an instance and no identity"), ("instance", "records and no instance")]
    {
        let host = Host::new();
        host.list_of(1);
        host.apply();
        fs::rename(host.path("store").join(missing), host.path("aside")).unwrap();
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.stderr.contains(expected) && ran.stderr.contains("hint: put it back"),
            "{missing}: {ran:?}"
        );
        assert_eq!(host.sandbox.tokens().len(), 1, "nothing was minted");
        fs::rename(host.path("aside"), host.path("store").join(missing)).unwrap();
        host.apply();
        host.assert_settled("t0");
    }
}

#[test]
fn a_garbled_identity_is_told_by_line_and_not_shown() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    host.write("store/identity.txt", "# a comment\n\nAGE-SECRET-KEY-CANARY\n");
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("line 3 is no identity"), "{ran:?}");
    assert!(!ran.stderr.contains("CANARY"), "{ran:?}");
}

#[test]
fn an_emptied_store_folder_is_a_new_store() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let old = host.live("t0")[0].id.clone();
    fs::remove_dir_all(host.path("store")).unwrap();
    host.apply();
    assert_eq!(host.live_of_any("t0").len(), 2, "what the old instance minted is not ours to end");
    assert!(host.live_of_any("t0").iter().any(|token| token.id == old));
}

#[test]
fn modes_of_everything_in_the_store() {
    let host = Host::new();
    host.list_of(2);
    host.apply();
    for file in crate::host::files_below(&host.path("store")) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    for folder in ["store", "store/tokens"] {
        assert_eq!(fs::metadata(host.path(folder)).unwrap().permissions().mode() & 0o777, 0o700, "{folder}");
    }
    fs::set_permissions(host.path("store"), fs::Permissions::from_mode(0o770)).unwrap();
    let ran = host.tokend(&["apply"]);
    assert!(
        ran.stderr.contains("can be written by others") && ran.stderr.contains("hint: chmod 0700"),
        "{ran:?}"
    );
}

#[test]
fn two_daemons_never_share_a_store() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    daemon.wait_for("promoted");
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    // The daemon cannot be asked here: it answers beside another socket.
    host.write("tokens.toml", &list.replace("/run/secrets.sock", "/run/other.d/secrets.sock"));
    for command in ["apply", "take-over"] {
        let ran = host.tokend(&[command]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(&format!("is held by process {}", daemon.pid().as_raw_pid())), "{ran:?}");
    }
    assert_eq!(host.tokend(&["status"]).code, Some(0), "looking is allowed");
    host.write("tokens.toml", &list);
    assert_eq!(daemon.stop().0, Some(0));
    host.apply();
}

/// A machine-id of its own.
fn with_machine_id(host: &Host, list: &str) {
    host.write("machine-id", "0123456789abcdef0123456789abcdef\n");
    let machine = format!("machine_id = \"{}\"\n", host.path("machine-id").display());
    let text = host.list_text(&host.sandbox.url(), list).replace("[store]\n", &format!("[store]\n{machine}"));
    host.write("tokens.toml", &text);
}

#[test]
fn a_store_on_another_machine_takes_an_instance_of_its_own_and_ends_nothing() {
    let host = Host::new();
    with_machine_id(&host, "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n");
    host.apply();
    let old = host.live("t0")[0].clone();
    copy_folder(&host.path("store"), &host.path("left-behind"));
    host.write("machine-id", "ffffffffffffffffffffffffffffffff\n");
    let ran = host.tokend(&["--log", "warn", "apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("this store comes from another machine"), "{ran:?}");
    let live = host.live_of_any("t0");
    assert_eq!(live.len(), 2);
    assert!(live.iter().any(|token| token.id == old.id), "the other machine's token lives");
    assert_ne!(host.delivered("t0").as_deref(), Some(old.secret.as_str()));
    // The other machine goes on as before: it neither sees a twin nor ends what is not its own.
    let here = host.live("t0")[0].clone();
    fs::rename(host.path("store"), host.path("copied")).unwrap();
    fs::rename(host.path("left-behind"), host.path("store")).unwrap();
    host.write("machine-id", "0123456789abcdef0123456789abcdef\n");
    host.apply();
    assert!(host.live_of_any("t0").iter().any(|token| token.id == here.id), "the copy's token lives");
    assert_eq!(host.delivered("t0").as_deref(), Some(old.secret.as_str()));
}

#[test]
fn a_moved_host_takes_its_tokens_over() {
    let host = Host::new();
    with_machine_id(&host, "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n");
    host.apply();
    assert!(host.tokend(&["take-over"]).stdout.contains("nothing to take over"));
    host.write("machine-id", "ffffffffffffffffffffffffffffffff\n");
    let ran = host.tokend(&["take-over"]);
    assert!(ran.stdout.contains("has taken over 1 token"), "{ran:?}");
    let ran = host.tokend(&["--log", "warn", "apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.stderr.contains("another machine"), "{ran:?}");
    host.assert_settled("t0");
    assert_eq!(host.sandbox.tokens().len(), 1, "nothing was minted anew");
    // Also after it was taken for a copy: then there are two, and both are ours.
    host.write("machine-id", "0123456789abcdef0123456789abcdef\n");
    host.apply();
    assert_eq!(host.live_of_any("t0").len(), 2);
    assert!(host.tokend(&["take-over"]).stdout.contains("has taken over 1 token"));
    host.apply();
}

#[test]
fn a_restored_backup_cuts_nobody_off() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    copy_folder(&host.path("store"), &host.path("backup"));
    let first = host.live("t0")[0].clone();
    host.sandbox.shift_clock(SignedDuration::from_mins(20));
    host.sandbox.revoke(&first.id);
    host.apply();
    let second = host.live("t0")[0].clone();
    // Last week's store, while consumers hold the second token.
    fs::remove_dir_all(host.path("store")).unwrap();
    copy_folder(&host.path("backup"), &host.path("store"));
    host.sandbox.shift_clock(SignedDuration::from_mins(20));
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("{} has this store's label, but is in no record", second.id)),
        "{ran:?}"
    );
    assert!(host.live("t0").iter().any(|token| token.id == second.id), "not ended");
    let delivered = host.delivered("t0").unwrap();
    assert!(host.live("t0").iter().any(|token| token.secret == delivered), "what is delivered works");
    let strays = host.tokend(&["strays"]);
    assert_eq!(strays.code, Some(3));
    assert!(
        strays.stdout.contains(&second.id)
            && strays.stdout.contains("a clone of this host may use that token")
    );
    assert_eq!(host.tokend(&["strays", "--revoke", &first.id]).code, Some(1), "only what is a stray now");
    let ran = host.tokend(&["strays", "--revoke", &second.id]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    host.assert_settled("t0");
}

#[test]
fn another_server_address_waits_for_a_person() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let old = host.live("t0")[0].clone();
    // The same cluster by another name: its list shows our token.
    let port = host.sandbox.address().port();
    let token = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
    host.write("tokens.toml", &host.list_text(&format!("http://localhost:{port}"), token));
    host.apply();
    host.assert_settled("t0");
    assert_eq!(host.sandbox.tokens().len(), 1, "adopted, nothing minted");
    // Another cluster.
    let other = influx_sandbox::Sandbox::start(influx_sandbox::Options {
        management_token: Some(host.sandbox.management_token()),
        ..influx_sandbox::Options::default()
    })
    .unwrap();
    host.write("tokens.toml", &host.list_text(&other.url(), token));
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("the list names another server"), "{ran:?}");
    assert_eq!(other.tokens().len(), 0);
    assert_eq!(host.delivered("t0").as_deref(), Some(old.secret.as_str()), "still delivered");
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the list names another server"), "{ran:?}");
    let shown = host.tokend(&["confirm"]);
    assert_eq!(shown.code, Some(3));
    let digest = shown.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(host.tokend(&["confirm", "000000000000"]).code, Some(1));
    assert_eq!(other.tokens().len(), 0);
    let ran = host.tokend(&["confirm", &digest]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(host.delivered("t0").as_deref(), Some(other.tokens()[0].secret.as_str()));
    assert!(ran.stderr.contains("a server that is not in the list"), "the old one is reported: {ran:?}");
    assert_eq!(host.sandbox.live().len(), 1, "and not ended");
    assert!(host.tokend(&["forget", "t0"]).stdout.contains(&format!("t0: forgot {}", old.id)));
    assert!(!host.tokend(&["apply"]).stderr.contains("a server that is not in the list"));
}

#[test]
fn a_wrapped_identity_opens_the_store_with_its_passphrase() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let clear = fs::read(host.path("store/identity.txt")).unwrap();
    let passphrase = age::secrecy::SecretString::from("canary horse".to_owned());
    let mut recipient = age::scrypt::Recipient::new(passphrase);
    recipient.set_work_factor(4);
    fs::write(host.path("store/identity.age"), age::encrypt(&recipient, &clear).unwrap()).unwrap();
    fs::remove_file(host.path("store/identity.txt")).unwrap();
    let ran = host.tokend(&["apply"]);
    assert!(
        ran.stderr.contains("is wrapped by a passphrase") && ran.stderr.contains("passphrase = {"),
        "{ran:?}"
    );
    host.write("passphrase", "canary horse\n");
    let with = |file: &str| {
        let source = format!("[store]\npassphrase = {{ file = \"{}\" }}\n", host.path(file).display());
        let token = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
        host.write("tokens.toml", &host.list_text(&host.sandbox.url(), token).replace("[store]\n", &source));
    };
    with("passphrase");
    host.apply();
    host.write("wrong", "another canary\n");
    with("wrong");
    let ran = host.tokend(&["apply"]);
    assert!(
        ran.stderr.contains("the passphrase does not open the identity") && !ran.stderr.contains("canary"),
        "{ran:?}"
    );
}

#[test]
fn an_extra_recipient_opens_what_is_sealed() {
    let host = Host::new();
    let other = age::x25519::Identity::generate();
    let store = format!("[store]\nrecipients = [\"{}\"]\n", other.to_public());
    let token = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
    host.write("tokens.toml", &host.list_text(&host.sandbox.url(), token).replace("[store]\n", &store));
    host.apply();
    let sealed = fs::read(host.path("store/tokens/t0.age")).unwrap();
    let json = String::from_utf8(age::decrypt(&other, &sealed).unwrap()).unwrap();
    assert!(json.contains(&host.live("t0")[0].secret));
    let clear = String::from_utf8_lossy(&sealed).into_owned();
    assert!(!clear.contains(&host.live("t0")[0].secret), "on disk it is ciphertext");
}

/// Everything in these folders, and themselves, that does not belong to a user.
fn not_of(uid: u32, folders: &[std::path::PathBuf]) -> Vec<std::path::PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let mut all = Vec::new();
    let mut left = folders.to_vec();
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if metadata.uid() != uid {
            all.push(path);
        }
    }
    all
}

#[test]
fn root_leaves_nothing_of_its_own_in_the_store_of_another() {
    use std::os::unix::fs::chown;
    const OWNER: u32 = 12_345;
    if !rustix::process::geteuid().is_root() {
        return crate::peers::missing("the right to be another user");
    }
    let host = Host::new();
    host.list_of(2);
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::create_dir(host.path("store")).unwrap();
    fs::set_permissions(host.path("store"), fs::Permissions::from_mode(0o700)).unwrap();
    for path in ["store", "run", "management-token"] {
        chown(host.path(path), Some(OWNER), Some(OWNER)).unwrap();
    }
    let folders = [host.path("store"), host.path("run")];
    host.apply();
    assert_eq!(not_of(OWNER, &folders), Vec::<std::path::PathBuf>::new(), "after apply");
    for arguments in [&["rotate", "t0"][..], &["status"], &["plan"], &["check"], &["take-over"], &["confirm"]]
    {
        let ran = host.tokend(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        assert_eq!(not_of(OWNER, &folders), Vec::<std::path::PathBuf>::new(), "after {arguments:?}");
    }
    // What only root may read shows that it is the other user who reads.
    chown(host.path("management-token"), Some(0), Some(0)).unwrap();
    let ran = host.tokend(&["plan"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("management-token"), "{ran:?}");
}

/// Nobody is to hang in the sockets for as long as the store does not open, nor get an empty secret.
#[test]
fn who_asks_while_the_store_does_not_open_hears_that_and_gets_it_later() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    fs::rename(host.path("store/identity.txt"), host.path("identity.txt")).unwrap();
    let daemon = host.daemon();
    daemon.wait_for("has an instance and no identity");
    let asked = host.secrets_by_socket(&["get", "t0"]);
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(asked.stderr.contains("token t0 is not ready: store "), "{asked:?}");
    let status = host.tokend(&["status"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    assert!(
        status.stderr.contains("has an instance and no identity") && status.stderr.contains("hint: "),
        "{status:?}"
    );
    fs::rename(host.path("identity.txt"), host.path("store/identity.txt")).unwrap();
    let waited = host.secrets_by_socket(&["wait", "--timeout", "20s", "t0"]);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    host.assert_settled("t0");
    assert_eq!(host.tokend(&["status"]).code, Some(0));
    assert_eq!(daemon.stop().0, Some(0));
}

/// All or nothing: the tokens of a record that cannot be read are the other machine's as much as the rest.
#[test]
fn a_copy_with_an_unreadable_record_waits_until_it_is_put_back() {
    let host = Host::new();
    with_machine_id(
        &host,
        "overlap = \"0s\"\noverlap_cap = \"1h\"\n[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n\
         [[token]]\nname = \"t1\"\nwrite = [\"telemetry\"]\n",
    );
    host.apply();
    let of_the_other = [host.live("t0")[0].clone(), host.live("t1")[0].clone()];
    let file = host.path("store/tokens/t1.age");
    let sealed = fs::read(&file).unwrap();
    fs::write(&file, "damaged").unwrap();
    host.write("machine-id", "ffffffffffffffffffffffffffffffff\n");
    let instance = fs::read_to_string(host.path("store/instance")).unwrap();
    host.sandbox.clear_requests();
    let daemon = host.daemon();
    daemon
        .wait_for("the tokens of a copied store are set apart all together, and a record cannot be read: t1");
    // What can be read is delivered; nothing is asked of the server.
    wait_until(
        "t0 is delivered",
        || host.delivered("t0").as_deref() == Some(&*of_the_other[0].secret),
        || daemon.log(),
    );
    let status = host.tokend(&["status"]);
    assert!(status.stdout.contains("set apart"), "{status:?}");
    assert_eq!(host.sandbox.requests().len(), 0, "{:?}", host.sandbox.requests());
    assert_eq!(fs::read_to_string(host.path("store/instance")).unwrap(), instance);
    fs::write(&file, sealed).unwrap();
    // It would try by itself, later after each failure.
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    wait_until("both have a token of their own", || host.sandbox.live().len() == 4, || daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
    // Nothing of the other machine's is ever revoked from here.
    host.sandbox.shift_clock(SignedDuration::from_hours(2));
    host.apply();
    for token in of_the_other {
        assert!(host.is_live(&token.id), "{token:?}");
    }
}
