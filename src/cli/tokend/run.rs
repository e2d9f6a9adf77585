//! `influx-tokend run`: the daemon in the foreground.

use super::{
    Outcome,
    context::{Context, Failure},
};
use crate::daemon::{self, End};

pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    context.make_parents()?;
    let end =
        context.block_on(async { Ok(daemon::run(context.list.clone(), context.config.clone()).await?) })?;
    match end {
        End::Stopped => Ok(Outcome::Done),
        End::WantsRestart => Err(Failure::Several("the management token is refused".to_owned())),
    }
}
