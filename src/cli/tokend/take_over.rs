//! `influx-tokend take-over`: this machine takes the place of the one that the store was made on (rule 13).

use super::{
    Outcome,
    context::{Context, Failure},
};
use crate::{cli::ui, daemon};

pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let config = context.load()?;
    context.block_on(async {
        let names = daemon::take_over(&config).await?;
        ui::print(&match names {
            0 => "this machine is the one that the store belongs to: nothing to take over\n".to_owned(),
            names => format!(
                "this machine has taken over {names} tokens; make sure that the other does not use them\n"
            ),
        })?;
        Ok(Outcome::Done)
    })
}
