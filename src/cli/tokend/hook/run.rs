//! `influx-tokend hook run`: what a hook's service does.

use clap::Args;

use super::{
    super::context::{Context, Failure},
    Outcome,
};
use crate::{cli::ui, model::Unit, operate::hook};

/// Whose.
#[derive(Clone, Debug, Args)]
pub(super) struct Run {
    /// The service that reads the tokens
    unit: Unit,
}

pub(super) fn run(context: &Context, run: &Run) -> Result<Outcome, Failure> {
    let tell = |line: String| ui::note(context.program(), &line);
    context.block_on(async { Ok(hook::run(&context.hooks(), &run.unit, tell).await?) })?;
    Ok(Outcome::Done)
}
