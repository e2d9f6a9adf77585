//! `influx-tokend apply`: what is due, now: by the daemon, or in its stead.

use std::collections::BTreeSet;

use super::{
    Format, Outcome,
    context::{Context, Failure},
    once,
};
use crate::{
    config::Config,
    daemon::HostKeeper,
    operate::{applied::ApplyReport, command::Command, confirm::Approval},
};

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let applied = match context.ask(&Command::Apply)? {
        Some(applied) => applied,
        None => {
            let config = context.load()?;
            here(context, &config, &Approval::default())?
        }
    };
    once::show(format, &applied)
}

/// Without a daemon; with a person's word for what is not done without one.
pub(super) fn here(context: &Context, config: &Config, approval: &Approval) -> Result<ApplyReport, Failure> {
    context.block_on(async {
        let home = context.open(config).await?;
        if config.specs.is_empty() && !home.ledger.known().is_empty() {
            return Err(Failure::Usage {
                what: "the list has no token, but the store has some: refused as a probable mistake"
                    .to_owned(),
                fix: format!(
                    "put the tokens back into {:?}, or run `influx-tokend retire` to revoke them all",
                    context.list
                ),
            });
        }
        let keepers = context.keepers(config, &home)?;
        let all: Vec<&HostKeeper> = keepers.iter().collect();
        approval.pass_to(&all);
        once::run(&context.list, config, &home, &all, &BTreeSet::new()).await
    })
}
