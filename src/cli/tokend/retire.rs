//! `influx-tokend retire`: this host gives up its tokens. Those that are its own are revoked, and the store is wiped.

use clap::Args;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Format, Outcome, Output,
    context::{Context, Failure},
};
use crate::{
    cli::ui,
    daemon::{self, Home, HostKeeper},
    lifecycle::plan::{Exemption, ExemptionReason, Retirement},
    model::TokenId,
    operate::{
        command::{Command, Refusal},
        retire::{self, RetireReport},
    },
    store,
};

/// What to confirm.
#[derive(Clone, Debug, Args)]
pub(super) struct Retire {
    /// The digest that `retire` without it prints
    digest: Option<String>,
    /// Revoke this token too, although a clone of this store may use it (repeatable)
    #[arg(long, value_name = "ID")]
    also: Vec<String>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, arguments: &Retire) -> Result<Outcome, Failure> {
    let folder = context.store_folder();
    let state = store::Retired::of(&folder);
    if state == store::Retired::Wholly {
        context.load()?;
        store::wipe_rest(&folder)?;
        return report(
            arguments.output.output,
            &RetireReport { wiped: Some(folder), ..RetireReport::default() },
        );
    }
    let is_begun = state == store::Retired::Begun && !store::is_held(&folder);
    let also: Vec<TokenId> = arguments.also.iter().map(|id| TokenId(id.as_str().into())).collect();
    let place = Place { context, is_begun, also: &also };
    match &arguments.digest {
        None => show(&place, arguments.output.output),
        Some(digest) => carry_out(&place, digest, arguments.output.output),
    }
}

/// Where it is done: by the daemon, or in its stead.
struct Place<'a> {
    context: &'a Context,
    /// By a process that has exited: a daemon that was started since does not open the store.
    is_begun: bool,
    /// Tokens that only a person may add.
    also: &'a [TokenId],
}

impl Place<'_> {
    fn ask<T: DeserializeOwned>(&self, digest: Option<&str>) -> Result<Option<T>, Failure> {
        if self.is_begun {
            return Ok(None);
        }
        self.context.ask(&Command::Retire { digest: digest.map(str::to_owned), also: self.also.to_vec() })
    }

    /// Without a daemon. Makes no store where there is none.
    fn work<T>(
        &self,
        work: impl AsyncFnOnce(&[&HostKeeper], &Home) -> Result<T, Refusal>,
    ) -> Result<T, Failure> {
        let config = self.context.load()?;
        if !store::exists(&config.store.path) {
            return Err(Failure::Usage {
                what: format!("store {:?} does not exist: nothing to retire", config.store.path),
                fix: format!("check that {:?} is this host's list", self.context.list),
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
        None => place.work(async |keepers, home| retire::find(keepers, &home.ledger, place.also).await)?,
    };
    let digest = retire::digest(&found);
    match format {
        Format::Json => ui::print_json(&Shown { retirement: found, digest })?,
        Format::Text => {
            let also: String = place.also.iter().map(|id| format!("--also {id} ")).collect();
            ui::print(&format!("{}to confirm: influx-tokend retire {also}{digest}\n", text(&found)))?;
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
    let mut text = match found.revokes.len() {
        0 => "no token is left to revoke\n".to_owned(),
        _ => "these tokens are revoked, cutting off current users:\n".to_owned(),
    };
    for one in &found.revokes {
        let note = if one.is_recorded { "" } else { ", not in a record" };
        text += &format!("  {} ({} on {}){note}\n", one.name, one.id, one.server);
    }
    if !found.stays.is_empty() {
        text += &format!("these stay, unknown here from then on:\n{}", stays(&found.stays));
    }
    if found.stays.iter().any(|one| one.why == ExemptionReason::Unknown) {
        text += "hint: to revoke one of these too: influx-tokend retire --also ID\n";
    }
    for name in &found.unreadable {
        text += &format!(
            "  {name}: the record cannot be read, its tokens stay unless they are listed above as revoked\n"
        );
    }
    for one in &found.unanswered {
        let (name, server, until) = (&one.name, &one.server, one.until);
        text += &format!(
            "server {server} did not answer a mint for {name}: the store is kept until {until:.0}\n"
        );
    }
    text + "the store and all delivered values are wiped\n"
}

fn stays(stays: &[Exemption]) -> String {
    let line = |one: &Exemption| {
        let why = match one.why {
            ExemptionReason::Imported => "imported, others may use it",
            ExemptionReason::Inherited => "another machine's, or of a former instance",
            ExemptionReason::FormerServer => "its server is not in the list",
            ExemptionReason::Unknown => "not minted here, a clone of this store may use it",
        };
        format!("  {} ({} on {}): {why}\n", one.name, one.id, one.server)
    };
    stays.iter().map(line).collect()
}

fn carry_out(place: &Place<'_>, digest: &str, format: Format) -> Result<Outcome, Failure> {
    let retired: RetireReport = match place.ask(Some(digest))? {
        Some(retired) => retired,
        None => place.work(async |keepers, home| {
            let found = retire::find(keepers, &home.ledger, place.also).await?;
            retire::confirmed(&found, digest)?;
            retire::carry_out(keepers, home, found, |line| ui::note(place.context.program(), &line)).await
        })?,
    };
    report(format, &retired)
}

fn report(format: Format, retired: &RetireReport) -> Result<Outcome, Failure> {
    let revoked = retire::tokens(retired.revoked.len());
    match (format, &retired.wiped) {
        (Format::Json, _) => ui::print_json(retired)?,
        (Format::Text, Some(store)) => {
            let live = if retired.stays.is_empty() { "" } else { "still live:\n" };
            ui::print(&format!(
                "revoked {revoked} and wiped {store:?}; while {:?} exists, nothing is minted for this host\n{live}{}",
                store.join("retired"),
                stays(&retired.stays),
            ))?;
        }
        (Format::Text, None) => ui::print(&format!("revoked {revoked}\n"))?,
    }
    if retired.errors.is_empty() {
        return Ok(Outcome::Done);
    }
    retired.errors.iter().for_each(|error| ui::note("influx-tokend", error));
    if retired.wiped.is_none() {
        ui::note(
            "influx-tokend",
            "hint: run `influx-tokend retire` again for the rest; nothing is minted any more",
        );
    }
    Ok(Outcome::Partly)
}
