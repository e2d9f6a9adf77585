//! What both programs do before they touch a secret.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump of this process: neither to a file nor to a handler, which the limit alone does not stop. Also keeps
/// other processes of the same user from reading its memory.
///
/// # Errors
/// The system refuses; secrets may then reach a dump.
pub fn harden_process() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A second lock on the same door. A unit that forbids the call sets the limit itself.
    let _otherwise_set = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    Ok(())
}
