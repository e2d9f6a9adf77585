//! `influx-tokend apply`: one run of what the daemon does, for hosts without it.

use std::collections::BTreeSet;

use super::{
    Format, Outcome,
    context::{Context, Failure},
    once,
};
use crate::{config::Config, daemon::HostKeeper, model::Name};

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let config = context.load()?;
    apply(context, &config, &[], format)
}

/// The same, with a person's word that these names move to another server.
pub(super) fn run_confirmed(
    context: &Context,
    config: &Config,
    confirmed: &[Name],
) -> Result<Outcome, Failure> {
    apply(context, config, confirmed, Format::Text)
}

fn apply(context: &Context, config: &Config, confirmed: &[Name], format: Format) -> Result<Outcome, Failure> {
    context.block_on(async {
        let home = context.open(config).await?;
        if config.specs.is_empty() && !home.ledger.known().is_empty() {
            return Err(Failure::Usage {
                what: "the list asks for no token, and the store has some: that is taken for a slip"
                    .to_owned(),
                fix: format!("put the tokens back into {:?}", context.list),
            });
        }
        let keepers = context.keepers(config, &home)?;
        keepers.iter().for_each(|keeper| keeper.confirm(confirmed.iter().cloned()));
        let all: Vec<&HostKeeper> = keepers.iter().collect();
        let applied = once::run(&context.list, config, &home, &all, &BTreeSet::new()).await?;
        once::print(format, &applied)?;
        applied.outcome()
    })
}
