//! Who may read, while no pass gets anywhere.

use super::*;

/// A token that users 1234 and 1235 may read, or one of them, or neither.
fn read_by(name: &str, users: &str) -> String {
    format!("[[token]]\nname = \"{name}\"\nwrite = [\"telemetry\"]\nallow = {{ users = [{users}] }}\n")
}

/// Who may read is as the last list says that had the name, although no pass has got anywhere since.
#[test]
fn a_reader_dropped_in_an_outage_is_not_let_in_again_when_the_name_leaves_the_list() {
    let names = |by: [&str; 3]| -> String {
        ["t0", "t1", "t2"].iter().zip(by).map(|(name, users)| read_by(name, users)).collect()
    };
    let running = Running::new(&names(["\"1234\"", "\"1234\"", "\"1234\""]));
    let host = &running.host;
    let has = |name: &str, uid: u32| host.has_reader(name, uid);
    running.wait_for("t2", || has("t2", 1234));
    host.assert_settled("t2");
    host.sandbox.set_management_token("another");
    running.assert_away("list tokens: 401: unauthorized");

    running.save(&names(["\"1235\"", "\"1234\"", "\"1234\""]));
    running.wait_for("another reader", || has("t0", 1235) && !has("t0", 1234));
    // The names are gone through in their order: what is seen of the last tells of all.
    running.save(&[read_by("t1", "\"1234\""), read_by("t2", "\"1235\"")].concat());
    running.wait_for("the next list", || has("t2", 1235));
    assert!(has("t0", 1235) && !has("t0", 1234), "{}", running.daemon.log());

    // Where the daemon has not been running, too.
    let Running { host, daemon, asker: _asker } = running;
    assert_eq!(daemon.stop().0, Some(0));
    host.write("tokens.toml", &text(&host, &[read_by("t1", "\"1235\""), read_by("t2", "\"1235\"")].concat()));
    let running = Running::of(host);
    let has = |name: &str, uid: u32| running.host.has_reader(name, uid);
    running.wait_for("another reader", || has("t1", 1235));
    running.save(&read_by("t2", "\"1234\""));
    running.wait_for("the next list", || has("t2", 1234));
    for name in ["t0", "t1"] {
        assert!(has(name, 1235) && !has(name, 1234), "{name}: {}", running.daemon.log());
    }
    running.stop();
}
