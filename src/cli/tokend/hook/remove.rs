//! `influx-tokend hook remove`: a service is left alone again.

use clap::Args;

use super::{
    super::context::{Context, Failure},
    Outcome,
};
use crate::{
    cli::ui,
    model::Unit,
    operate::hook::HookError,
    systemctl::{self, SystemctlError},
};

/// Whose.
#[derive(Clone, Debug, Args)]
pub(super) struct Remove {
    /// The service
    unit: Unit,
}

pub(super) fn run(context: &Context, remove: &Remove) -> Result<Outcome, Failure> {
    let (hooks, unit) = (context.hooks(), &remove.unit);
    // The file first: without it the rest does nothing, and the daemon waits for nobody.
    let was_there = hooks.remove(unit).map_err(HookError::io("remove the hook", hooks.file(unit)))?;
    if !was_there {
        return Err(HookError::NoHook(unit.clone()).into());
    }
    ui::print(&format!("{unit} has no hook any more\n"))?;
    let path = unit.hook_path();
    match context.block_on(async { Ok(systemctl::disable(&path).await) })? {
        Ok(()) => Ok(Outcome::Done),
        Err(SystemctlError::Absent) => {
            ui::note(
                context.program(),
                &format!("systemctl is not here; on the host: systemctl disable --now '{path}'"),
            );
            Ok(Outcome::Waits)
        }
        Err(error) => Err(HookError::of(unit)(error).into()),
    }
}
