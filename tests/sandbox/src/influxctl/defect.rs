//! What goes wrong with a call, and the way of one from its start to its end.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, Write as _},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Failure, arguments::Line, output::Form, print, settings::Settings, verbs};

/// What hangs ends some day, so that a test that fails leaves nothing behind for long.
const HANGING: Duration = Duration::from_secs(120);

/// One thing that is wrong. Several of one verb go together: a shape and a warning before it, say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Defect {
    /// A table, whatever `--format` says.
    Table,
    /// This on stdout, before what was asked for.
    WarningBefore(String),
    /// Asks on stdout, and waits for a line on stdin; ends without having done anything if there is none.
    Prompt,
    /// It is done, and half of the output printed.
    CutOutput,
    /// It is not done, and fails.
    FailBefore,
    /// It is done, and fails without output.
    FailAfter,
    /// It is done, and fails without output, with this on stderr.
    FailAfterSaying(String),
    /// It is done and told, and fails.
    FailAfterOutput,
    /// It is not done, and never ends.
    Hang,
    /// It is done, and never ends, without output.
    HangAfter,
    /// It is done, and ten megabytes of white space are printed before the output.
    TenMegabytes,
    /// It is done, and what is printed is no text.
    Garbage,
    /// It is done and told, and a child that lives on keeps stdout and stderr open.
    ChildKeepsPipe,
    /// The verb is unknown.
    NoSuchVerb,
    /// The server takes the management token for none.
    Unauthorized,
    /// This on stdout and nothing else; nothing is done.
    Says(String),
    /// Another form of the JSON.
    Shape(Shape),
}

/// A form of the JSON. Of each kind the last one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// The key of the secret in what `token create` prints, which is not documented: `token` without this.
    SecretNamed(String),
    /// What was created within `{"token": …}`.
    Wrapped,
    /// What was created in an array.
    InArray,
    /// Two strings that look like the secret.
    TwoSecrets,
    /// No id of what was created.
    NoId,
    /// No secret of what was created.
    NoSecret,
    /// `"permissions": {}`, as the sample for Clustered has it, where it is the default.
    PermissionsObject,
    /// An array of `{id, action, resource}`, as the sample for Dedicated has it, where it is the default.
    PermissionsRows,
    /// Such an array with every action `read`, as that sample has it even for a token that writes.
    PermissionsRead,
    /// Times in RFC 3339.
    TimesText,
    /// Times as protobuf has them, the default since 2.10.0: `{"seconds": n, "nanos": n}`, without what is zero.
    TimesProtobuf,
    /// No times, the default before.
    TimesMissing,
    /// What has no time has the epoch in RFC 3339, as the sample of the table of management tokens.
    TimesEpoch,
}

/// Does what the line says, with these defects.
pub(super) fn carry_out(settings: &Settings, line: &Line, defects: &[Defect]) -> Result<(), Failure> {
    for defect in defects {
        match defect {
            Defect::Hang => return Err(hang()),
            Defect::FailBefore => return Err(Failure::new("failed on demand")),
            Defect::NoSuchVerb => {
                return Err(Failure::no_such_verb(line.verb.name.rsplit(' ').next().unwrap_or_default()));
            }
            Defect::Unauthorized => return Err(Failure::new(super::server::UNAUTHORIZED)),
            Defect::Says(text) => {
                print(text);
                return Ok(());
            }
            Defect::Prompt => confirm("continue?")?,
            _ => {}
        }
    }
    let form = Form::new(settings.version, line, defects);
    let output = verbs::run(settings, line, &form)?;
    tell(settings, output.into_bytes(), defects)
}

fn tell(settings: &Settings, output: Vec<u8>, defects: &[Defect]) -> Result<(), Failure> {
    let mut output = output;
    for defect in defects {
        match defect {
            Defect::HangAfter => return Err(hang()),
            Defect::FailAfter => return Err(Failure::new("failed on demand")),
            Defect::FailAfterSaying(text) => return Err(Failure::new(text)),
            Defect::WarningBefore(text) => output = [text.as_bytes(), b"\n", &output].concat(),
            Defect::CutOutput => output.truncate(output.len() / 2),
            Defect::TenMegabytes => output = [&vec![b' '; 10 << 20], &output[..]].concat(),
            Defect::Garbage => output = b"\x00\xff\xfe{[\x1b[2J\xc3\x28".to_vec(),
            Defect::ChildKeepsPipe => leave_child(settings)?,
            _ => {}
        }
    }
    print(output);
    if defects.contains(&Defect::FailAfterOutput) {
        return Err(Failure::new("failed on demand"));
    }
    Ok(())
}

/// A line that begins with `y`, or the end.
pub(super) fn confirm(question: &str) -> Result<(), Failure> {
    print(format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim().to_lowercase().starts_with('y') {
        return Ok(());
    }
    Err(Failure::new("aborted"))
}

/// Why it ends, when it does.
pub(super) fn hang() -> Failure {
    sleep(HANGING);
    Failure::new("gave up waiting")
}

fn leave_child(settings: &Settings) -> Result<(), Failure> {
    let left = || {
        // The environment may be empty, PATH too.
        let child =
            Command::new("/bin/sleep").arg(HANGING.as_secs().to_string()).stdin(Stdio::null()).spawn()?;
        let mut file = OpenOptions::new().append(true).create(true).open(&settings.written.children)?;
        writeln!(file, "{}", child.id())
    };
    left().map_err(|error: io::Error| Failure::new(format!("/bin/sleep: {error}")))
}
