//! `influx-tokend strays`: live tokens that bear this store's label but are in no record (rule 3).

use clap::Args;

use super::{
    Format, Outcome, Output,
    context::{Context, Failure, Onlooker, onlookers},
};
use crate::{
    cli::ui,
    model::{Name, Time, TokenId},
    operate::{
        command::Command,
        strays::{self, Separation, Stray},
    },
};

/// What to do about strays.
#[derive(Clone, Debug, Args)]
pub(super) struct Strays {
    /// Revoke these, cutting off their users: a clone of this host, perhaps
    #[arg(long, value_name = "ID", num_args = 1..)]
    revoke: Vec<String>,
    /// Another machine uses a copy of this store: take a new instance, replace all tokens here, revoke none
    #[arg(long, conflicts_with = "revoke")]
    separate: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, arguments: &Strays) -> Result<Outcome, Failure> {
    if arguments.separate {
        return separate(context, arguments.output.output);
    }
    let revoke: Vec<TokenId> = arguments.revoke.iter().map(|id| TokenId(id.as_str().into())).collect();
    let found = match context.ask(&Command::Strays { revoke: revoke.clone() })? {
        Some(found) => found,
        None => here(context, &revoke)?,
    };
    if !revoke.is_empty() {
        return show_revoked(&found);
    }
    match arguments.output.output {
        Format::Json => ui::print_json(&found)?,
        Format::Text => ui::print(&table(&found))?,
    }
    Ok(if found.is_empty() { Outcome::Done } else { Outcome::Waits })
}

fn separate(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let by_daemon: Option<Separation> = context.ask(&Command::Separate)?;
    let has_daemon = by_daemon.is_some();
    let separation = match by_daemon {
        Some(separation) => separation,
        None => separate_here(context)?,
    };
    match format {
        Format::Json => ui::print_json(&separation)?,
        Format::Text => ui::print(&separation_text(&separation))?,
    }
    if !has_daemon && !separation.shared.is_empty() {
        ui::note(context.program(), "hint: run `influx-tokend apply` to replace the shared tokens");
    }
    Ok(Outcome::Done)
}

/// Without a daemon.
fn separate_here(context: &Context) -> Result<Separation, Failure> {
    let config = context.load()?;
    context.block_on(async {
        let home = context.open(&config).await?;
        let keepers = context.keepers(&config, &home)?;
        let keepers: Vec<_> = keepers.iter().collect();
        let unknown = strays::unknown(&keepers, &home.ledger).await?;
        Ok(strays::separate(&home.ledger, unknown).await?)
    })
}

fn separation_text(Separation { unknown, shared }: &Separation) -> String {
    let mut text = format!("on {}, {:.0}: took a new instance, revoked nothing\n", host(), Time::now());
    for Stray { id, name, server, .. } in unknown {
        text += &format!("  of the other machine: {id} ({name} on {server})\n");
    }
    if !shared.is_empty() {
        let names: Vec<&str> = shared.iter().map(Name::as_str).collect();
        text += &format!("  shared with it, to be replaced here: {}\n", names.join(", "));
    }
    text
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
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

fn show_revoked(revoked: &[Stray]) -> Result<Outcome, Failure> {
    let mut text = format!("on {}, {:.0}:\n", host(), Time::now());
    for stray in revoked {
        text += &format!("  revoked {} ({} on {})\n", stray.id, stray.name, stray.server);
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
    let mut text = format!(
        "{table}\nbefore you run `influx-tokend strays --revoke ID`: a clone of this host may use that token\n"
    );
    if strays.iter().any(|stray| !stray.former_instance) {
        text += "if another machine uses a copy of this store: run `influx-tokend strays --separate`\n";
    }
    text
}
