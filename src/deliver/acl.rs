//! POSIX access control lists, as the `system.posix_acl_access` attribute holds them (acl(5), linux/posix_acl_xattr.h).

use std::{io, os::fd::AsFd};

use rustix::{
    fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr},
    io::Errno,
};

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

/// The attribute that lets the owner write and the readers read. `None` where there are no readers but the owner:
/// the mode alone says that. The kernel wants the entries in this order, ids ascending.
pub(super) fn for_readers(readers: &Readers, owner: u32) -> Option<Vec<u8>> {
    let uids = readers.uids.iter().filter(|uid| **uid != owner);
    if uids.clone().next().is_none() && readers.gids.is_empty() {
        return None;
    }
    let mut entries = vec![(USER_OBJ, READ | WRITE, UNDEFINED)];
    entries.extend(uids.map(|uid| (USER, READ, *uid)));
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

/// Gives an open file this list, or none: a folder may have a default one that new files inherit.
pub(super) fn set(file: impl AsFd, acl: Option<&[u8]>) -> io::Result<()> {
    match acl {
        Some(acl) => fsetxattr(file, ATTRIBUTE, acl, XattrFlags::empty())?,
        None => match fremovexattr(file, ATTRIBUTE) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        },
    }
    Ok(())
}

/// Whether an open file has exactly this list, or none.
pub(super) fn is(file: impl AsFd, acl: Option<&[u8]>) -> bool {
    let expected = acl.unwrap_or_default();
    // A longer one does not fit and is an error, which says enough.
    let mut bytes = vec![0; expected.len().max(1)];
    match fgetxattr(file, ATTRIBUTE, &mut bytes[..]) {
        Ok(length) => acl.is_some() && bytes[..length] == *expected,
        Err(Errno::NODATA | Errno::OPNOTSUPP) => acl.is_none(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_attribute_is_what_getfacl_reads() {
        let readers =
            Readers { uids: BTreeSet::from([998, 1000]), gids: BTreeSet::from([997]), ..Readers::default() };
        let acl = for_readers(&readers, 1000).expect("readers");
        #[rustfmt::skip]
        let expected = [
            2, 0, 0, 0,
            1, 0, 6, 0, 255, 255, 255, 255,  // user::rw-
            2, 0, 4, 0, 230, 3, 0, 0,        // user:998:r--
            4, 0, 0, 0, 255, 255, 255, 255,  // group::---
            8, 0, 4, 0, 229, 3, 0, 0,        // group:997:r--
            16, 0, 4, 0, 255, 255, 255, 255, // mask::r--
            32, 0, 0, 0, 255, 255, 255, 255, // other::---
        ];
        assert_eq!(acl, expected);
    }

    #[test]
    fn the_owner_alone_needs_none() {
        let owner = Readers { uids: BTreeSet::from([7]), ..Readers::default() };
        assert_eq!(for_readers(&owner, 7), None);
        assert_eq!(for_readers(&Readers::default(), 7), None);
        assert!(for_readers(&owner, 8).is_some());
    }
}
