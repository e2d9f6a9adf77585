//! `influx-tokend store`: what is done with the store as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    Outcome,
    context::{Context, Failure},
};
use crate::{cli::ui, config::Config, daemon};

/// What to do with it.
#[derive(Clone, Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Move everything to the store that another list names, and wipe this one; nothing is minted
    Migrate {
        /// A list whose [store] says where to, and of which kind; it is put in place of the list afterwards
        #[arg(long, value_name = "LIST")]
        to: PathBuf,
    },
    /// Seal every record anew, after `recipients` or the identity were changed
    Reseal {
        /// The identity that opened the store until now, where that was changed
        #[arg(long, value_name = "FILE")]
        opened_by: Option<PathBuf>,
    },
}

pub(super) fn run(context: &Context, store: Store) -> Result<Outcome, Failure> {
    match store.what {
        What::Migrate { to } => migrate(context, &to),
        What::Reseal { opened_by } => reseal(context, opened_by),
    }
}

fn migrate(context: &Context, to: &PathBuf) -> Result<Outcome, Failure> {
    // Read as whoever runs this, who may become somebody else for the store.
    let target = Config::load(to, &context.config)?.store;
    let source = context.load()?.store;
    if source.path == target.path {
        return Err(Failure::Usage {
            what: format!("both lists name {:?} as the folder of the store", source.path),
            fix: format!("name another `path` in the [store] of {to:?}"),
        });
    }
    let moved = context.block_on(async { Ok(daemon::migrate(&source, &target).await?) })?;
    ui::print(&format!(
        "moved {} from {:?} to {:?}\nput {to:?} in place of {:?} before the daemon is started\n",
        ui::count(moved, "record"),
        source.path,
        target.path,
        context.list,
    ))?;
    Ok(Outcome::Done)
}

fn reseal(context: &Context, opened_by: Option<PathBuf>) -> Result<Outcome, Failure> {
    let store = context.load()?.store;
    let sealed = context.block_on(async { Ok(daemon::reseal(&store, opened_by).await?) })?;
    match sealed {
        Some(records) => {
            ui::print(&format!("sealed {} anew in {:?}\n", ui::count(records, "record"), store.path))?
        }
        None => ui::print("a keyring seals by itself: nothing to do\n")?,
    }
    Ok(Outcome::Done)
}
