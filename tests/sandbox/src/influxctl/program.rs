//! Where the stand-in's program is: `cargo test --test it` alone does not build it.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::SystemTime,
};

/// Beside the test's own program, built if it is missing or older than what it is made of.
pub(super) fn find() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| found_or_built(&beside_tests()?)).as_deref()
}

/// `target/debug/influxctl` for `target/debug/deps/it-0123456789abcdef`.
fn beside_tests() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let folder = own.parent()?;
    let folder = if folder.ends_with("deps") { folder.parent()? } else { folder };
    Some(folder.join("influxctl"))
}

fn found_or_built(program: &Path) -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let built = modified(program);
    if built.is_none() || newest(&sources) > built {
        build(program.parent()?);
    }
    program.is_file().then(|| program.to_owned())
}

/// Into the folder of this profile (`target/debug`). Whether it succeeds is seen by what is there afterwards.
fn build(folder: &Path) {
    let (Some(cargo), Some(target), Some(profile)) =
        (env::var_os("CARGO"), folder.parent(), folder.file_name())
    else {
        return;
    };
    let profile = if profile == "debug" { OsStr::new("dev") } else { profile };
    let _status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "influx-sandbox", "--bin", "influxctl"])
        .arg("--target-dir")
        .arg(target)
        .arg("--profile")
        .arg(profile)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .status();
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The latest change of a file below a folder.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?;
    let changed = |path: PathBuf| if path.is_dir() { newest(&path) } else { modified(&path) };
    entries.flatten().map(|entry| changed(entry.path())).max().flatten()
}
