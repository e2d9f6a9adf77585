//! `influx-tokend forget`: tokens on a server that the list does not name any more.

use clap::Args;

use super::{
    Outcome,
    context::{Context, Failure},
};
use crate::{
    cli::ui,
    model::Name,
    operate::{
        command::Command,
        forget::{Forgotten, forget},
    },
};

/// What to forget.
#[derive(Clone, Debug, Args)]
pub(super) struct Forget {
    /// Names whose tokens on former servers are forgotten
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Name>,
}

pub(super) fn run(context: &Context, arguments: &Forget) -> Result<Outcome, Failure> {
    let names = &arguments.names;
    let forgotten = match context.ask(&Command::Forget { names: names.clone() })? {
        Some(forgotten) => forgotten,
        None => here(context, names)?,
    };
    let mut text = String::new();
    for Forgotten { name, ids } in forgotten {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        text += &match ids.as_slice() {
            [] => format!("{name}: has no token on a former server\n"),
            ids => format!("{name}: forgot {}\n", ids.join(", ")),
        };
    }
    ui::print(&text)?;
    Ok(Outcome::Done)
}

/// Without a daemon.
fn here(context: &Context, names: &[Name]) -> Result<Vec<Forgotten>, Failure> {
    let config = context.load()?;
    context.block_on(async {
        let home = context.open(&config).await?;
        Ok(forget(&config, &home.ledger, names).await?)
    })
}
