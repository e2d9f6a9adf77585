//! `influx-tokend strays`: live tokens that bear this store's label but are in no record (rule 3).

use clap::Args;

use super::{
    Format, Outcome, Output,
    context::{Context, Failure, Onlooker, onlookers},
};
use crate::{
    cli::ui,
    model::{Time, TokenId},
    operate::{
        command::Command,
        strays::{self, Stray},
    },
};

/// What to do about strays.
#[derive(Clone, Debug, Args)]
pub(super) struct Strays {
    /// End these. Whoever uses one, a clone of this host perhaps, is cut off
    #[arg(long, value_name = "ID", num_args = 1..)]
    revoke: Vec<String>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, arguments: &Strays) -> Result<Outcome, Failure> {
    let revoke: Vec<TokenId> = arguments.revoke.iter().cloned().map(TokenId).collect();
    let found = match context.ask(&Command::Strays { revoke: revoke.clone() })? {
        Some(found) => found,
        None => here(context, &revoke)?,
    };
    if !revoke.is_empty() {
        return told(&found);
    }
    match arguments.output.output {
        Format::Json => ui::print_json(&found)?,
        Format::Text => ui::print(&table(&found))?,
    }
    Ok(if found.is_empty() { Outcome::Done } else { Outcome::Waits })
}

/// Without a daemon.
fn here(context: &Context, revoke: &[TokenId]) -> Result<Vec<Stray>, Failure> {
    let config = context.load()?;
    context.block_on(async {
        let keepers = onlookers(&config).await?;
        let keepers: Vec<&Onlooker> = keepers.iter().collect();
        if revoke.is_empty() {
            Ok(strays::find(&keepers).await?)
        } else {
            Ok(strays::revoke(&keepers, revoke).await?)
        }
    })
}

fn told(ended: &[Stray]) -> Result<Outcome, Failure> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut text = format!("on {host}, {:.0}:\n", Time::now());
    for stray in ended {
        text += &format!("  ended {} ({} on {})\n", stray.id, stray.name, stray.server);
    }
    ui::print(&text)?;
    Ok(Outcome::Done)
}

fn table(strays: &[Stray]) -> String {
    if strays.is_empty() {
        return "no strays\n".to_owned();
    }
    let mut table = ui::table(&["ID", "SERVER", "NAME", "CREATED", "EXPIRES", "INSTANCE"]);
    let time = |at: Option<Time>| at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
    for stray in strays {
        table.add_row(vec![
            stray.id.to_string(),
            stray.server.to_string(),
            stray.name.to_string(),
            time(stray.created_at),
            time(stray.expires_at),
            if stray.former_instance { "former" } else { "this" }.to_owned(),
        ]);
    }
    format!(
        "{table}\nbefore ending one with `influx-tokend strays --revoke ID`: a clone of this host may be using it\n"
    )
}
