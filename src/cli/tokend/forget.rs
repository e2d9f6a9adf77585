//! `influx-tokend forget`: tokens on a server that the list does not name any more.

use clap::Args;

use super::{
    Outcome,
    context::{Context, Failure},
};
use crate::{
    cli::ui,
    model::{Name, Record, ServerKey},
};

/// What to forget.
#[derive(Clone, Debug, Args)]
pub(super) struct Forget {
    /// Names whose tokens on former servers are forgotten
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Name>,
}

pub(super) fn run(context: &Context, forget: &Forget) -> Result<Outcome, Failure> {
    let config = context.load()?;
    let named: Vec<ServerKey> = config.servers.values().map(crate::config::ServerConfig::key).collect();
    context.block_on(async {
        let home = context.open(&config).await?;
        let mut text = String::new();
        for name in &forget.names {
            let Some(record) = home.ledger.record(name) else {
                return Err(Failure::Usage {
                    what: format!("the store has no token {name}"),
                    fix: "`influx-tokend status` shows the names".to_owned(),
                });
            };
            let ids = on_former_servers(&record, &named);
            if ids.is_empty() {
                text += &format!("{name}: has no token on a former server\n");
                continue;
            }
            home.ledger
                .change(name, || (*record).clone(), |record| drop_former(record, &named))
                .await
                .map_err(|error| Failure::Several(error.to_string()))?;
            text += &format!("{name}: forgot {}\n", ids.join(", "));
        }
        ui::print(&text)?;
        Ok(Outcome::Done)
    })
}

fn on_former_servers(record: &Record, named: &[ServerKey]) -> Vec<String> {
    let retiring = record.retiring.iter().map(|retiring| (&retiring.held.id, &retiring.held.server));
    let ended = record.ended.iter().map(|ended| (&ended.id, &ended.server));
    retiring
        .chain(ended)
        .filter(|(_, server)| !named.contains(server))
        .map(|(id, _)| id.to_string())
        .collect()
}

/// The current token stays: it is what consumers have.
fn drop_former(record: &mut Record, named: &[ServerKey]) {
    record.retiring.retain(|retiring| named.contains(&retiring.held.server));
    record.ended.retain(|ended| named.contains(&ended.server));
    record.intents.retain(|intent| named.contains(&intent.server));
}
