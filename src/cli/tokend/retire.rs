//! `influx-tokend retire`: this host gives up its tokens. All that are this instance's end, and the store is wiped.

use clap::Args;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Format, Outcome, Output,
    context::{Context, Failure},
};
use crate::{
    cli::ui,
    daemon::{self, Home, HostKeeper},
    lifecycle::plan::{Retirement, Stays},
    operate::{
        command::{Command, Refusal},
        retire::{self, Retired},
    },
    store,
};

/// What to confirm.
#[derive(Clone, Debug, Args)]
pub(super) struct Retire {
    /// The digest that `retire` without it prints
    digest: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, arguments: &Retire) -> Result<Outcome, Failure> {
    let folder = context.store_folder();
    let state = store::Retired::of(&folder);
    if state == store::Retired::Wholly {
        context.load()?;
        store::wipe_rest(&folder)?;
        return tell(arguments.output.output, &Retired { wiped: Some(folder), ..Retired::default() });
    }
    let is_begun = state == store::Retired::Begun && !store::is_held(&folder);
    let place = Place { context, is_begun };
    match &arguments.digest {
        None => show(&place, arguments.output.output),
        Some(digest) => carry_out(&place, digest, arguments.output.output),
    }
}

/// Where it is done: by the daemon, or in its stead.
struct Place<'a> {
    context: &'a Context,
    /// By a process that has ended: a daemon that was started since does not open the store.
    is_begun: bool,
}

impl Place<'_> {
    fn ask<T: DeserializeOwned>(&self, digest: Option<&str>) -> Result<Option<T>, Failure> {
        if self.is_begun {
            return Ok(None);
        }
        self.context.ask(&Command::Retire { digest: digest.map(str::to_owned) })
    }

    /// Without a daemon. Makes no store where there is none.
    fn work<T>(
        &self,
        work: impl AsyncFnOnce(&[&HostKeeper], &Home) -> Result<T, Refusal>,
    ) -> Result<T, Failure> {
        let config = self.context.load()?;
        if !store::exists(&config.store.path) {
            return Err(Failure::Usage {
                what: format!("there is no store in {:?}: nothing to retire", config.store.path),
                fix: format!("see that {:?} is this host's list", self.context.list),
            });
        }
        self.context.block_on(async {
            let home = daemon::open_to_retire(&config, daemon::memory()).await?;
            home.set_specs(config.specs.clone());
            let keepers = self.context.keepers(&config, &home)?;
            Ok(work(&keepers.iter().collect::<Vec<_>>(), &home).await?)
        })
    }
}

fn show(place: &Place<'_>, format: Format) -> Result<Outcome, Failure> {
    let found: Retirement = match place.ask(None)? {
        Some(found) => found,
        None => place.work(async |keepers, home| retire::find(keepers, &home.ledger).await)?,
    };
    let digest = retire::digest(&found);
    match format {
        Format::Json => ui::print_json(&Shown { retirement: found, digest })?,
        Format::Text => {
            ui::print(&format!("{}to confirm: influx-tokend retire {digest}\n", text(&found)))?;
        }
    }
    Ok(Outcome::Waits)
}

/// What is shown to programs.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    retirement: Retirement,
    digest: String,
}

fn text(found: &Retirement) -> String {
    let mut text = match found.ends.len() {
        0 => "no token is left to end\n".to_owned(),
        _ => "these tokens end, whoever uses them is cut off:\n".to_owned(),
    };
    for one in &found.ends {
        let note =
            if one.is_recorded { "" } else { ", is in no record: a clone of this host may be using it" };
        text += &format!("  {} ({} on {}){note}\n", one.name, one.id, one.server);
    }
    if !found.stays.is_empty() {
        text += "these live on, and are not known here any more:\n";
    }
    for one in &found.stays {
        let why = match one.why {
            Stays::Imported => "imported, others may use it",
            Stays::Inherited => "another machine's, or of a former instance",
            Stays::FormerServer => "the list does not name its server",
        };
        text += &format!("  {} ({} on {}): {why}\n", one.name, one.id, one.server);
    }
    for name in &found.unreadable {
        text += &format!("  {name}: its record cannot be read, a token imported for it would live on\n");
    }
    for one in &found.unanswered {
        let (name, server, until) = (&one.name, &one.server, one.until);
        text += &format!(
            "server {server} did not answer a mint for {name}: the store is kept until {until:.0}\n"
        );
    }
    text + "the store is wiped, and so is all that is delivered\n"
}

fn carry_out(place: &Place<'_>, digest: &str, format: Format) -> Result<Outcome, Failure> {
    let retired: Retired = match place.ask(Some(digest))? {
        Some(retired) => retired,
        None => place.work(async |keepers, home| {
            let found = retire::find(keepers, &home.ledger).await?;
            retire::confirmed(&found, digest)?;
            retire::carry_out(keepers, home, found, |line| ui::note(place.context.program(), &line)).await
        })?,
    };
    tell(format, &retired)
}

fn tell(format: Format, retired: &Retired) -> Result<Outcome, Failure> {
    match (format, &retired.wiped) {
        (Format::Json, _) => ui::print_json(retired)?,
        (Format::Text, Some(store)) => ui::print(&format!(
            "ended {} tokens and wiped {store:?}; while {:?} is there, nothing is minted for this host\n",
            retired.ended.len(),
            store.join("retired"),
        ))?,
        (Format::Text, None) => ui::print(&format!("ended {} tokens\n", retired.ended.len()))?,
    }
    if retired.errors.is_empty() {
        return Ok(Outcome::Done);
    }
    retired.errors.iter().for_each(|error| ui::note("influx-tokend", error));
    if retired.wiped.is_none() {
        ui::note(
            "influx-tokend",
            "hint: nothing is minted any more; run `influx-tokend retire` again for the rest",
        );
    }
    Ok(Outcome::Partly)
}
