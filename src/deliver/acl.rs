//! POSIX access control lists, as the `system.posix_acl_access` attribute holds them (acl(5), linux/posix_acl_xattr.h).

use std::{io, os::fd::AsFd};

use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};

use super::access::Readers;

const ATTRIBUTE: &str = "system.posix_acl_access";
const VERSION: u32 = 2;
const UNDEFINED: u32 = u32::MAX;
const READ: u16 = 4;
const WRITE: u16 = 2;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The attribute that lets the owner write and the readers read. `None` where there are no readers: the mode alone
/// says that.
pub(super) fn for_readers(readers: &Readers) -> Option<Vec<u8>> {
    if readers.uids.is_empty() && readers.gids.is_empty() {
        return None;
    }
    let mut entries = vec![(USER_OBJ, READ | WRITE, UNDEFINED)];
    entries.extend(readers.uids.iter().map(|uid| (USER, READ, *uid)));
    entries.push((GROUP_OBJ, 0, UNDEFINED));
    entries.extend(readers.gids.iter().map(|gid| (GROUP, READ, *gid)));
    entries.extend([(MASK, READ, UNDEFINED), (OTHER, 0, UNDEFINED)]);
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    Some(bytes)
}

/// Gives an open file this list, or none.
pub(super) fn set(file: impl AsFd, acl: Option<&[u8]>) -> io::Result<()> {
    match acl {
        Some(acl) => fsetxattr(file, ATTRIBUTE, acl, XattrFlags::empty())?,
        None => match fremovexattr(file, ATTRIBUTE) {
            Ok(()) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        },
    }
    Ok(())
}

/// The list of an open file, if it has one.
pub(super) fn get(file: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    // 64 KiB is the most an attribute can have.
    let mut bytes = vec![0; 4096];
    loop {
        match fgetxattr(&file, ATTRIBUTE, &mut bytes[..]) {
            Ok(length) => {
                bytes.truncate(length);
                return Ok(Some(bytes));
            }
            Err(rustix::io::Errno::RANGE) if bytes.len() < 1 << 16 => bytes.resize(1 << 16, 0),
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
