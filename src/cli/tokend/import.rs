//! `influx-tokend import`: a token that was made by hand.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    os::fd::AsFd as _,
};

use clap::Args;
use zeroize::Zeroizing;

use super::{
    Format, Outcome, Output,
    context::{Context, Failure},
    once,
};
use crate::{
    cli::ui,
    daemon::connect,
    lifecycle::Imported,
    model::{Name, Secret, ServerName, TokenId},
    operate::{
        command::{self, Command, Refusal},
        import::Done,
    },
};

/// More than any id and string have.
const MAX: usize = 64 << 10;

/// What to adopt.
#[derive(Clone, Debug, Args)]
pub(super) struct Import {
    /// What this host calls it from now on
    name: Name,
    /// Not shared: revoke it once replaced
    #[arg(long)]
    exclusive: bool,
    /// The server it lives on, where the list does not have the name and knows several servers
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Import despite different grants; they are changed, or the token is replaced
    #[arg(long)]
    despite_grants: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, arguments: &Import) -> Result<Outcome, Failure> {
    let (id, secret) = if io::stdin().is_terminal() { ask()? } else { parse(&read()?)? };
    let import = command::Import {
        name: arguments.name.clone(),
        server: arguments.server.clone().map(ServerName),
        id,
        secret,
        exclusive: arguments.exclusive,
        despite_grants: arguments.despite_grants,
    };
    let done = match context.ask(&Command::Import(import.clone())) {
        Ok(Some(done)) => Ok(done),
        Ok(None) => here(context, import),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(done) => tell(arguments.output.output, &done),
        // A person has to say which of the two is right.
        Err(Failure::Refused(refusal)) if refusal.waits => {
            ui::error(context.program(), &refusal);
            Ok(Outcome::Waits)
        }
        Err(failure) => Err(failure),
    }
}

/// Without a daemon.
fn here(context: &Context, import: command::Import) -> Result<Done, Failure> {
    let config = context.load()?;
    let server = import.server_in(&config)?;
    let renewed = BTreeSet::from([import.name.clone()]);
    context.block_on(async {
        let home = context.open(&config).await?;
        let keeper = connect(&config, &server, &home)?;
        let imported = keeper.import(&import.order()).await.map_err(Refusal::from)?;
        let applied = if imported.listed {
            Some(once::run(&context.list, &config, &home, &[&keeper], &renewed).await?)
        } else {
            None
        };
        Ok(Done { imported, applied })
    })
}

/// All of standard input, past its buffer in the standard library, which nobody wipes.
fn read() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // At once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX + 64));
    stdin.take(MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX {
        return Err(expected(format!("more than {MAX} bytes")));
    }
    Ok(bytes)
}

/// `ID STRING`, apart by spaces or lines.
fn parse(bytes: &[u8]) -> Result<(TokenId, Secret), Failure> {
    let words: Vec<&[u8]> = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let [id, secret] = words[..] else {
        return Err(expected(ui::count(words.len(), "word")));
    };
    token(id, secret)
}

fn token(id: &[u8], secret: &[u8]) -> Result<(TokenId, Secret), Failure> {
    let text = |bytes: &[u8]| {
        let visible = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
        visible.then(|| std::str::from_utf8(bytes).ok().map(str::to_owned)).flatten()
    };
    match (text(id), text(secret).map(Secret::new)) {
        (Some(id), Some(secret)) => Ok((TokenId(id.into()), secret)),
        _ => Err(expected("something else than visible ASCII".to_owned())),
    }
}

fn expected(found: String) -> Failure {
    Failure::Usage {
        what: format!("expected the token's id and its string on standard input, found {found}"),
        fix: "`influxctl token list` shows the id; the string was shown when the token was made".to_owned(),
    }
}

fn ask() -> Result<(TokenId, Secret), Failure> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(b"id of the token: ").and_then(|()| stderr.flush())?;
    let mut id = String::new();
    io::stdin().lock().take(MAX as u64).read_line(&mut id)?;
    let secret = Zeroizing::new(rpassword::prompt_password("its string (not shown): ")?);
    token(id.trim().as_bytes(), secret.trim().as_bytes())
}

fn tell(format: Format, done: &Done) -> Result<Outcome, Failure> {
    if format == Format::Json {
        ui::print_json(done)?;
        return match &done.applied {
            Some(applied) => once::outcome(applied),
            None => Ok(Outcome::Done),
        };
    }
    let Imported { name, id, server, grants, .. } = &done.imported;
    let mut text = format!("imported {id} on {server} as {name}: {grants}\n");
    if !done.imported.listed {
        text += &format!("it waits until the list asks for {name}\n");
    }
    ui::print(&text)?;
    match &done.applied {
        Some(applied) => once::show(format, applied),
        None => Ok(Outcome::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_a_string_however_they_are_apart() {
        for text in ["id secret", "id\nsecret\n", "  id\t\r\n secret  "] {
            let (id, secret) = parse(text.as_bytes()).expect(text);
            assert_eq!((&*id.0, secret.expose()), ("id", "secret"));
        }
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_shown() {
        for text in ["", "canary", "canary canary canary", "id can\u{e4}ry", "id canary\u{7}"] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("can"), "{text}: {error:?}");
        }
    }
}
