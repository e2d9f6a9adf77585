//! Telegraf's command line: where it names a configuration.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// An argument as it is, or one that names a configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Argument<'o> {
    Plain(&'o OsStr),
    /// What stands before the path, the equals sign too where there is one; and whether it names a folder.
    Configuration {
        option: &'o OsStr,
        path: &'o Path,
        is_folder: bool,
    },
}

/// As Telegraf reads them: one dash or two, the path behind an equals sign or next. What it fetches stays.
pub(super) fn arguments(all: &[OsString]) -> Vec<Argument<'_>> {
    const OPTIONS: [(&str, bool); 4] =
        [("--config", false), ("-config", false), ("--config-directory", true), ("-config-directory", true)];
    let is_url = |path: &Path| {
        let bytes = path.as_os_str().as_bytes();
        bytes.starts_with(b"http://") || bytes.starts_with(b"https://")
    };
    let mut out = vec![];
    let mut rest = all.iter().map(OsString::as_os_str);
    let mut are_options = true;
    while let Some(argument) = rest.next() {
        are_options &= argument != "--";
        let at =
            argument.as_bytes().iter().position(|byte| *byte == b'=').map_or(argument.len(), |at| at + 1);
        let (option, value) = argument.as_bytes().split_at(at);
        let name = option.strip_suffix(b"=").unwrap_or(option);
        let known = OPTIONS.iter().find(|(known, _)| are_options && known.as_bytes() == name);
        let Some((_, is_folder)) = known else {
            out.push(Argument::Plain(argument));
            continue;
        };
        let is_next = option == name;
        let value = if is_next { rest.next() } else { Some(OsStr::from_bytes(value)) };
        match value.map(Path::new) {
            Some(path) if !is_url(path) => out.push(Argument::Configuration {
                option: OsStr::from_bytes(option),
                path,
                is_folder: *is_folder,
            }),
            Some(url) if is_next => out.extend([Argument::Plain(argument), Argument::Plain(url.as_os_str())]),
            // Telegraf says what is missing.
            _ => out.push(Argument::Plain(argument)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each argument as it is, or `option|path`, with a slash behind a folder's.
    fn read(line: &[&str]) -> Vec<String> {
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        let shown = |argument: Argument<'_>| match argument {
            Argument::Plain(text) => text.to_string_lossy().into_owned(),
            Argument::Configuration { option, path, is_folder } => {
                let slash = if is_folder { "/" } else { "" };
                format!("{}|{}{slash}", option.to_string_lossy(), path.display())
            }
        };
        arguments(&line).into_iter().map(shown).collect()
    }

    #[test]
    fn a_configuration_is_found_however_it_is_written() {
        assert_eq!(
            read(&["--config", "a", "-config", "b", "--config=c", "-config=d=e", "--config-directory", "f"]),
            ["--config|a", "-config|b", "--config=|c", "-config=|d=e", "--config-directory|f/"]
        );
        assert_eq!(read(&["-config-directory=f", "--test"]), ["-config-directory=|f/", "--test"]);
        assert_eq!(read(&["--config", "a", "secrets", "list"]), ["--config|a", "secrets", "list"]);
    }

    #[test]
    fn what_it_fetches_and_what_is_no_configuration_stays() {
        for line in [
            &["--config", "https://h/api/v2/telegrafs/1"][..],
            &["--config=http://h/x"],
            &["--configs", "a"],
            &["config", "a"],
            &["--watch-config", "notify"],
            &["--config-url-retry-attempts=3"],
            &["--", "--config", "a"],
            &["--config"],
            &[],
        ] {
            assert_eq!(read(line), line);
        }
    }
}
