//! `influx-tokend hook add`: a service is reloaded or restarted from now on.

use std::{collections::BTreeSet, path::Path};

use clap::Args;

use super::{
    super::context::{Context, Failure},
    Outcome,
};
use crate::{
    cli::ui,
    config::Config,
    model::{Hook, HookAction, Name, Unit},
    operate::{
        command::Command,
        hook::{self, Choice, HookError},
        status::HostStatus,
    },
    paths::Paths,
    systemctl::{self, SystemctlError},
};

/// What to add.
#[derive(Clone, Debug, Args)]
pub(super) struct Add {
    /// The service that reads the tokens
    unit: Unit,
    /// A token that it reads; more are added to those it follows already
    #[arg(long = "token", value_name = "NAME", num_args = 1.., required = true)]
    tokens: Vec<Name>,
    /// Reload it; without this and --restart, what its program can take is found out
    #[arg(long, conflicts_with = "restart")]
    reload: bool,
    /// Restart it
    #[arg(long)]
    restart: bool,
}

pub(super) fn run(context: &Context, add: &Add) -> Result<Outcome, Failure> {
    let hooks = context.hooks();
    let tokens: BTreeSet<Name> = add.tokens.iter().cloned().collect();
    // Not `context.load()`: this goes on as root.
    let config = Config::load(&context.list, &context.config)?;
    hook::check_names(&config, &context.list, &tokens)?;
    let chosen = match (add.reload, add.restart) {
        (true, _) => Some(HookAction::Reload),
        (_, true) => Some(HookAction::Restart),
        _ => None,
    };
    let choice = context.block_on(async { Ok(hook::choose(&add.unit, chosen).await?) })?;
    let hook = hook::add(&hooks, &add.unit, tokens, choice.action)?;
    tell(context, &hook, &choice)?;
    put_in_force(context, &add.unit)
}

fn tell(context: &Context, hook: &Hook, choice: &Choice) -> Result<(), Failure> {
    let names: Vec<&str> = hook.tokens.iter().map(Name::as_str).collect();
    let (unit, action) = (&hook.unit, choice.action.word());
    ui::print(&format!(
        "{unit}: {action} whenever there is a new value of {} ({})\n",
        names.join(", "),
        choice.why
    ))?;
    let note = |line: &str| ui::note(context.program(), line);
    choice.warning.iter().for_each(|warning| note(&format!("warning: {warning}")));
    let usual = Paths::of_the_system();
    if context.list != usual.list || context.run_folder() != usual.socket.parent().unwrap_or(Path::new("/")) {
        note(&format!(
            "the shipped units follow {} with {}; give them a drop-in with PathChanged={} and ExecStart=… --config {}",
            usual.socket.with_file_name("daemon/generations").display(),
            usual.list.display(),
            context.hooks().generations_file().display(),
            context.list.display(),
        ));
    }
    Ok(())
}

/// Has systemd follow the generations, and the service told once: nobody knows which value it holds.
fn put_in_force(context: &Context, unit: &Unit) -> Result<Outcome, Failure> {
    let (path, service) = (unit.hook_path(), unit.hook_service());
    match context.block_on(async { Ok(systemctl::enable(&path).await) })? {
        Ok(()) => {}
        Err(SystemctlError::Absent) => {
            let line = format!("systemctl is not here; on the host: systemctl enable --now '{path}'");
            ui::note(context.program(), &line);
            return Ok(Outcome::Waits);
        }
        Err(error) => return Err(HookError::of(unit)(error).into()),
    }
    match context.block_on(async { Ok(systemctl::start(&service).await) })? {
        Ok(()) => Ok(Outcome::Done),
        Err(error) => {
            ui::warning(context.program(), &HookError::of(unit)(error));
            // A daemon that is asked looks at the hooks, and tries this one again each minute.
            let _looked = context.ask::<HostStatus>(&Command::Status);
            Ok(Outcome::Partly)
        }
    }
}
