//! The package on a real systemd, which is PID 1 of namespaces of its own, over a copy of this machine that is thrown
//! away. What is looked at there is in `tests/systemd/driver`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::peers::{find, missing};

#[test]
fn the_package_does_on_a_host_what_it_should() {
    let Some(material) = material() else { return };
    let results = TempDir::new().unwrap();
    let output = Command::new(of_this_tree("tests/systemd/boot"))
        .arg(material.path())
        .arg(results.path())
        .arg("780")
        .output()
        .unwrap();
    let log = fs::read_to_string(results.path().join("log")).unwrap_or_default();
    println!("{log}");
    let said = String::from_utf8_lossy(&output.stderr);
    let journal = || fs::read_to_string(results.path().join("journal")).unwrap_or_default();
    assert!(output.status.success(), "{said}\n{log}\n{}", journal());
    // That it got to its end.
    assert!(log.lines().last().is_some_and(|line| line.contains("passed, 0 failed")), "{log}");
}

/// What the driver wants to find beside it; `None`, and said, where something is missing.
fn material() -> Option<TempDir> {
    if !rustix::process::geteuid().is_root() {
        missing("root, to boot a systemd");
        return None;
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        missing("systemd");
        return None;
    }
    let programs = [
        "unshare",
        "nsenter",
        "dpkg-deb",
        "script",
        "dbus-daemon",
        "dbus-send",
        "gnome-keyring-daemon",
        "python3",
    ];
    for program in programs {
        find(program, "")?;
    }
    let telegraf = find("telegraf", "TELEGRAF")?;
    let sandbox = Path::new(env!("CARGO_BIN_EXE_influx-tokend")).with_file_name("influx-sandbox");
    if !sandbox.is_file() {
        missing("influx-sandbox, which `cargo test --workspace` builds,");
        return None;
    }
    let Some(package) = env::var_os("INFLUX_TOKEND_DEB").map(PathBuf::from) else {
        missing("INFLUX_TOKEND_DEB, a package that `cargo deb` has built,");
        return None;
    };
    let folder = TempDir::new().unwrap();
    let files = [
        (of_this_tree("tests/systemd/driver"), "driver"),
        (of_this_tree("tests/systemd/credentials"), "credentials"),
        (of_this_tree("README.md"), "README.md"),
        (of_this_tree("docs/agents.md"), "agents.md"),
        (package, "influx-tokend.deb"),
        (sandbox, "influx-sandbox"),
        (telegraf, "telegraf"),
    ];
    for (file, name) in files {
        fs::copy(&file, folder.path().join(name)).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    }
    Some(folder)
}

fn of_this_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
