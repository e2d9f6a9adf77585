//! Root becomes the user whose store it is: what root would write there, the daemon could not read or replace.

use std::{ffi::OsString, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::context::Failure;
use crate::harden::harden_process;

/// Takes on the user that a store's folder belongs to, with that user's groups, where root runs this; does nothing
/// where there is no store yet, or it is root's. The system changes one thread at a time and others inherit from it:
/// to be called while there is but one.
pub(super) fn become_owner_of(store: &Path) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Ok(());
    }
    // Where it cannot be looked at, opening it says why.
    let Ok(folder) = fs::metadata(store) else { return Ok(()) };
    if folder.uid() == geteuid().as_raw() {
        return Ok(());
    }
    take_on(folder.uid(), folder.gid()).map_err(|source| Failure::Owner {
        store: store.to_owned(),
        uid: folder.uid(),
        source,
    })
}

/// A user that no database knows has the folder's group and no other.
fn take_on(uid: u32, folder_gid: u32) -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has several threads"));
    }
    let user = uzers::get_user_by_uid(uid);
    let gid = user.as_ref().map_or(folder_gid, uzers::User::primary_group_id);
    let name: Option<OsString> = user.map(|user| user.name().to_owned());
    let groups = name.and_then(|name| uzers::get_user_groups(&name, gid)).unwrap_or_default();
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(group.gid())).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // The user last: nobody else may change groups.
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // Another user may mean another answer to whether a core may be dumped.
    harden_process()
}
