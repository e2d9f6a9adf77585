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
    operate::{applied::Applied, command::Command, confirm::Confirmed},
};

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let applied = match context.ask(&Command::Apply)? {
        Some(applied) => applied,
        None => {
            let config = context.load()?;
            here(context, &config, &Confirmed::default())?
        }
    };
    once::tell(format, &applied)
}

/// Without a daemon; with a person's word for what is not done without one.
pub(super) fn here(context: &Context, config: &Config, confirmed: &Confirmed) -> Result<Applied, Failure> {
    context.block_on(async {
        let home = context.open(config).await?;
        if config.specs.is_empty() && !home.ledger.known().is_empty() {
            return Err(Failure::Usage {
                what: "the list asks for no token, and the store has some: that is taken for a slip"
                    .to_owned(),
                fix: format!(
                    "put the tokens back into {:?}; `influx-tokend retire` ends them all",
                    context.list
                ),
            });
        }
        let keepers = context.keepers(config, &home)?;
        let all: Vec<&HostKeeper> = keepers.iter().collect();
        confirmed.tell(&all);
        once::run(&context.list, config, &home, &all, &BTreeSet::new()).await
    })
}
