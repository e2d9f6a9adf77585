//! `influx-tokend strays`: live tokens that bear this store's label but are in no record (rule 3).

use clap::Args;
use serde::Serialize;

use super::{
    Format, Outcome, Output,
    context::{Context, Failure, Onlooker, onlookers},
};
use crate::{
    cli::ui,
    model::{Name, ServerName, Time, TokenId},
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

/// One of them.
#[derive(Debug, Serialize)]
struct Stray {
    id: TokenId,
    server: ServerName,
    name: Name,
    created_at: Option<Time>,
    expires_at: Option<Time>,
    /// The instance in its label is one that this store had before.
    former_instance: bool,
}

pub(super) fn run(context: &Context, strays: &Strays) -> Result<Outcome, Failure> {
    let config = context.load()?;
    context.block_on(async {
        let keepers = onlookers(&config).await?;
        let mut found = Vec::new();
        for (server, keeper) in &keepers {
            found.extend(find(server, keeper).await?);
        }
        if strays.revoke.is_empty() {
            match strays.output.output {
                Format::Json => ui::print_json(&found)?,
                Format::Text => ui::print(&table(&found))?,
            }
            return Ok(if found.is_empty() { Outcome::Done } else { Outcome::Waits });
        }
        revoke(&keepers, &found, &strays.revoke).await
    })
}

async fn find(server: &ServerName, keeper: &Onlooker) -> Result<Vec<Stray>, Failure> {
    let (_, listing) = keeper.look().await?;
    let found = keeper.unrecorded(&listing).into_iter().map(|(row, label, former_instance)| Stray {
        id: row.id.clone(),
        server: server.clone(),
        name: label.name.clone(),
        created_at: row.created_at,
        expires_at: row.expires_at,
        former_instance,
    });
    Ok(found.collect())
}

/// Ends those that were named, and only those that are strays now.
async fn revoke(
    keepers: &[(ServerName, Onlooker)],
    found: &[Stray],
    ids: &[String],
) -> Result<Outcome, Failure> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut text = format!("on {host}, {:.0}:\n", Time::now());
    for id in ids {
        let Some(stray) = found.iter().find(|stray| stray.id.0 == *id) else {
            return Err(Failure::Usage {
                what: format!(
                    "{id:?} is not a live token of this store that is in no record; nothing more was ended"
                ),
                fix: "`influx-tokend strays` lists them".to_owned(),
            });
        };
        let keeper = keepers.iter().find(|(name, _)| *name == stray.server).map(|(_, keeper)| keeper);
        if let Some(keeper) = keeper {
            keeper.end_unrecorded(&stray.id).await?;
            text += &format!("  ended {} ({} on {})\n", stray.id, stray.name, stray.server);
        }
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
