//! `influx-tokend confirm`: a person says that tokens really move to another server (rule 12).

use std::collections::BTreeMap;

use clap::Args;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{
    Outcome,
    context::{Context, Failure, onlookers},
};
use crate::{
    cli::ui,
    lifecycle::plan::Matter,
    model::{Name, ServerKey, ServerName},
};

/// What to confirm.
#[derive(Clone, Debug, Args)]
pub(super) struct Confirm {
    /// The digest that `confirm` without it prints
    digest: Option<String>,
}

/// Which names move, from where, to which server of the list.
type Moves = BTreeMap<Name, (ServerKey, ServerName)>;

pub(super) fn run(context: &Context, confirm: &Confirm) -> Result<Outcome, Failure> {
    let config = context.load()?;
    let moves = context.block_on(async {
        let mut moves = Moves::new();
        for (server, keeper) in onlookers(&config).await? {
            for finding in keeper.look().await?.0.findings {
                if let (Some(name), Matter::ServerChanged { from }) = (finding.name, finding.matter) {
                    moves.insert(name, (from, server.clone()));
                }
            }
        }
        Ok(moves)
    })?;
    if moves.is_empty() {
        ui::print("nothing waits for a confirmation\n")?;
        return Ok(Outcome::Done);
    }
    let digest = digest(&moves);
    match &confirm.digest {
        None => {
            let mut text =
                "these names get a new token on another server; their old ones are kept and reported:\n"
                    .to_owned();
            for (name, (from, to)) in &moves {
                text += &format!("  {name}: from {from} to {} ({to})\n", config.servers[to].key());
            }
            ui::print(&format!("{text}to confirm: influx-tokend confirm {digest}\n"))?;
            Ok(Outcome::Waits)
        }
        Some(given) if *given == digest => {
            let names: Vec<Name> = moves.into_keys().collect();
            super::apply::run_confirmed(context, &config, &names)
        }
        Some(_) => Err(Failure::Usage {
            what: "that is not what would be done now".to_owned(),
            fix: "run `influx-tokend confirm` to see what it is, and its digest".to_owned(),
        }),
    }
}

/// So that nobody confirms something else than what was shown.
fn digest(moves: &Moves) -> String {
    let mut hash = Sha256::new();
    for (name, (from, to)) in moves {
        hash.update(format!("{name}\n{from}\n{to}\n"));
    }
    HEXLOWER.encode(&hash.finalize()[..6])
}
