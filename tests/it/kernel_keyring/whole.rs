//! From a server to the kernel's keyring, with the daemon between.

use crate::{
    host::{Daemon, Host, copy_program, wait_until},
    pickup::holders,
    rings::{OWN, Owner, RING, open_to_all},
};

/// The relay of a host, which runs as this user.
pub(crate) fn relay(host: &Host, owner: &Owner, arguments: &[&str]) -> Daemon {
    open_to_all(host.folder.path());
    let program = host.path("influx-secrets");
    copy_program(env!("CARGO_BIN_EXE_influx-secrets"), &program);
    let mut command = owner.command(&program);
    command.args(["keyring", "--follow"]).args(arguments).arg("--socket").arg(host.path("run/secrets.sock"));
    Daemon::start(command)
}

fn token(name: &str, owner: &Owner, rest: &str) -> String {
    format!(
        "[[token]]\nname = \"{name}\"\nwrite = [\"telemetry\"]\nallow = {{ users = [\"{}\"] }}\n{rest}",
        owner.uid
    )
}

fn has(owner: &Owner, name: &str, value: Option<&str>, relay: &Daemon) {
    wait_until(
        &format!("{name} is in the ring, or not"),
        || owner.value(name).as_deref() == value,
        || format!("{:?}\n{}", owner.names_in(RING), relay.log()),
    );
}

#[test]
fn rotations_arrive_and_what_the_list_takes_back_goes() {
    let Some(owner) = Owner::new() else { return };
    let host = Host::new();
    let lifecycle = "overlap = \"0s\"\noverlap_cap = \"1h\"\ngrace = \"1ms\"\n";
    let (t0, t1) = (token("t0", &owner, "pickup = \"proven\"\n"), token("t1", &owner, ""));
    // One that is nobody's but root's, which the relay is not.
    let t2 = "[[token]]\nname = \"t2\"\nwrite = [\"telemetry\"]\nallow = { users = [\"0\"] }\n";
    host.list(&[lifecycle, &t0, &t1, t2].concat());
    // It begins before there is a daemon.
    let relay = relay(&host, &owner, &["--recheck", "10m"]);
    relay.wait_for("following: the daemon cannot be reached");
    let daemon = host.daemon();
    let live = |name: &str| {
        wait_until(name, || !host.live(name).is_empty(), || daemon.log());
        host.live(name).into_iter().max_by_key(|token| token.created_at).unwrap()
    };
    has(&owner, "t0", Some(&live("t0").secret), &relay);
    has(&owner, "t1", Some(&live("t1").secret), &relay);
    wait_until("t2", || host.delivered("t2").is_some(), || daemon.log());

    let old = live("t0");
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let new = live("t0");
    assert_ne!(new.secret, old.secret);
    has(&owner, "t0", Some(&new.secret), &relay);
    // Who reads the ring nobody knows: the relay has read the new value, and the old token lives on all the same.
    host.apply();
    assert!(host.is_live(&old.id), "a relay proves nothing");
    let (known, _) = holders(&host);
    let said = format!(
        "relay influx-secrets (uid {}, pid {}) handed on generation 1",
        owner.uid,
        relay.pid().as_raw_pid()
    );
    assert_eq!(known, [said]);

    // A restart of the daemon leaves it all as it is.
    assert_eq!(daemon.stop().0, Some(0));
    assert_eq!(owner.value("t0").as_deref(), Some(new.secret.as_str()));
    let daemon = host.daemon();
    daemon.wait_for("ready");
    // What is not this user's any more goes, and what left the list once its grace is over.
    let t1 = t2.replace("t2", "t1");
    host.list(&[lifecycle, &t0, &t1, t2].concat());
    has(&owner, "t1", None, &relay);
    assert!(owner.value("t0").is_some());
    assert_eq!((owner.names_in(OWN), owner.names_in(RING)), (vec!["t0".to_owned()], vec!["t0".to_owned()]));
    // The others stay, and are not there.
    host.list(&[lifecycle, &t1, t2].concat());
    has(&owner, "t0", None, &relay);
    assert!(!host.is_live(&new.id), "not before its token has ended");
    assert_eq!(owner.names_in(RING), [""; 0]);
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("token t1 is out of the ring \"telegraf\": uid"), "{log}");
    assert_eq!(daemon.stop().0, Some(0));
    for secret in [&old.secret, &new.secret] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
}
