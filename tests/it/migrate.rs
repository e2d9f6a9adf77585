//! Stores that move, and stores that are sealed anew: nothing is minted for it, nothing lost by it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use age::secrecy::ExposeSecret as _;

use crate::host::{Host, Ran, files_below};

/// A host with tokens, and a list that names another store.
fn host(tokens: usize) -> Host {
    let host = Host::new();
    host.list_of(tokens);
    host.apply();
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let there = host.path("there").display().to_string();
    host.write("new.toml", &list.replace(&host.path("store").display().to_string(), &there));
    host
}

fn migrate(host: &Host) -> Ran {
    let to = host.path("new.toml").display().to_string();
    host.tokend(&["store", "migrate", "--to", &to])
}

/// What opens each record of a store: the names that this identity has the secret of.
fn opened_by(store: &Path, identity: &age::x25519::Identity) -> Vec<String> {
    let mut names = Vec::new();
    for file in files_below(&store.join("tokens")) {
        let sealed = fs::read(&file).unwrap();
        let decryptor = age::Decryptor::new_buffered(&sealed[..]).unwrap();
        if decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).is_ok() {
            names.push(file.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    names.sort();
    names
}

#[test]
fn everything_moves_and_nothing_is_minted() {
    let host = host(3);
    let before: Vec<_> = host.sandbox.live();
    let mints = host.mints();
    let old = host.tokend(&["status", "--output", "json"]).stdout;
    let ran = migrate(&host);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told = format!("moved 3 records from {:?} to {:?}\nput ", host.path("store"), host.path("there"));
    assert!(ran.stdout.starts_with(&told), "{ran:?}");
    // Whoever still has the old list is told, and mints nothing.
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&format!("was moved: to {}", host.path("there").display())), "{ran:?}");
    assert!(ran.stderr.contains("hint: name that in [store]"), "{ran:?}");
    let left: Vec<_> = files_below(&host.path("store"));
    let left: Vec<_> = left.iter().map(|file| file.file_name().unwrap().to_string_lossy()).collect();
    assert!(left.iter().all(|name| ["moved", "lock"].contains(&&**name)), "{left:?}");
    fs::rename(host.path("new.toml"), host.path("tokens.toml")).unwrap();
    host.apply();
    let now = host.tokend(&["status", "--output", "json"]).stdout;
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["tokens"].clone();
    let ids =
        |text: &str| parsed(text).as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&now), ids(&old));
    assert_eq!((host.mints(), host.sandbox.live()), (mints, before));
    // Once more there is nothing to move.
    let ran = host.tokend(&["plan"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_move_that_is_killed_is_gone_on_with() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut struck, mut begun) = (0, 0);
    for history in 0..20 {
        let host = host(12);
        let (before, mints) = (host.sandbox.live(), host.mints());
        let to = host.path("new.toml").display().to_string();
        let mut command = host.command(&["store", "migrate", "--to", &to]);
        let mut program = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.u64(0..60_000)));
        struck += usize::from(program.try_wait().unwrap().is_none());
        let _ended = program.kill();
        program.wait().unwrap();
        // At most one of the two may be opened; whichever it is, every token is there.
        let lists = ["tokens.toml", "new.toml"].map(|list| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_influx-tokend"));
            command.arg("--config").arg(host.path(list)).args(["apply", "--output", "json"]);
            let is_there =
                host.path(if list == "new.toml" { "there" } else { "store" }).join("tokens").exists();
            is_there && command.output().unwrap().status.success()
        });
        assert_ne!(lists, [true, true], "history {history}");
        begun += usize::from(host.path("there/incoming").exists() || host.path("store/moved").exists());
        assert_eq!(
            (host.mints(), host.sandbox.live()),
            (mints, before.clone()),
            "history {history}: {lists:?}"
        );
        let ran = migrate(&host);
        assert_eq!(ran.code, Some(0), "history {history}: {ran:?}");
        fs::rename(host.path("new.toml"), host.path("tokens.toml")).unwrap();
        host.apply();
        assert_eq!((host.mints(), host.sandbox.live()), (mints, before), "history {history}");
    }
    println!("{struck} kills struck, {begun} of them in between");
    assert!(struck >= 5, "{struck} kills struck only");
}

#[test]
fn what_would_be_lost_or_mixed_up_is_not_moved() {
    let host = host(2);
    let ran = host.tokend(&["store", "migrate", "--to", &host.path("tokens.toml").display().to_string()]);
    assert!(ran.code == Some(2) || ran.code == Some(1), "{ran:?}");
    assert!(ran.stderr.contains("both lists name"), "{ran:?}");
    let daemon = host.daemon();
    daemon.wait_for("ready list=");
    let ran = migrate(&host);
    assert!(ran.code == Some(1) && ran.stderr.contains("is held by process"), "{ran:?}");
    drop(daemon);
    // One that cannot be read would be lost.
    let record = host.path("store/tokens/t1.age");
    let sealed = fs::read(&record).unwrap();
    fs::write(&record, &sealed[..100]).unwrap();
    let ran = migrate(&host);
    assert!(ran.code == Some(1) && ran.stderr.contains("token t1: "), "{ran:?}");
    fs::write(&record, sealed).unwrap();
    // Nor are two stores made one.
    let other = self::host(1);
    let list = fs::read_to_string(other.path("tokens.toml")).unwrap();
    host.write("new.toml", &list);
    let ran = migrate(&host);
    assert!(ran.code == Some(1) && ran.stderr.contains("holds 1 records already"), "{ran:?}");
    host.apply();
    assert_eq!(host.mints(), 2);
}

#[test]
fn sealed_anew_it_is_for_whom_the_list_says() {
    let host = host(2);
    let breakglass = age::x25519::Identity::generate();
    assert!(opened_by(&host.path("store"), &breakglass).is_empty());
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let with = format!("[store]\nrecipients = [\"{}\"]\n", breakglass.to_public());
    host.write("tokens.toml", &list.replace("[store]\n", &with));
    host.apply();
    assert!(opened_by(&host.path("store"), &breakglass).is_empty(), "what is sealed stays as it is");
    let ran = host.tokend(&["store", "reseal"]);
    assert_eq!(
        (ran.code, &*ran.stdout),
        (Some(0), &*format!("sealed 2 records anew in {:?}\n", host.path("store")))
    );
    assert_eq!(opened_by(&host.path("store"), &breakglass), ["t0", "t1"]);
    // And for nobody else any more.
    host.write("tokens.toml", &list);
    assert_eq!(host.tokend(&["store", "reseal"]).code, Some(0));
    assert!(opened_by(&host.path("store"), &breakglass).is_empty());
    host.apply();
    host.assert_settled("t0");
    assert_eq!(host.mints(), 2);
}

#[test]
fn another_identity_takes_the_place_of_the_first() {
    let host = host(2);
    let store = host.path("store");
    let (old, new) = (host.path("old.txt"), age::x25519::Identity::generate());
    fs::rename(store.join("identity.txt"), &old).unwrap();
    fs::write(store.join("identity.txt"), new.to_string().expose_secret()).unwrap();
    fs::set_permissions(store.join("identity.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    let ran = host.tokend(&["store", "reseal"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is sealed for another identity"), "{ran:?}");
    assert!(
        ran.stderr.contains("hint: name the identity that opened it until now with `--opened-by FILE`"),
        "{ran:?}"
    );
    let ran = host.tokend(&["store", "reseal", "--opened-by", &old.display().to_string()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(opened_by(&store, &new), ["t0", "t1"]);
    fs::remove_file(&old).unwrap();
    host.apply();
    host.assert_settled("t1");
    assert_eq!(host.mints(), 2);
}
