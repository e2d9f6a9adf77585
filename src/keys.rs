//! Keys in the kernel, and rings of them (keyrings(7)): the system calls `add_key` and `keyctl`, as far as Telegraf's
//! `os` store has to do with them.
//!
//! Unsafe, like `sys.rs`, because no safe crate has them: rustix, nix and std have none; `linux-keyutils` (0.2.5) can
//! neither make nor find a ring by its name; `keyutils` (0.4.0) panics on descriptions that others may have written, and
//! leaves copies in memory of what it reads.

use std::{
    ffi::{CStr, CString},
    os::raw::{c_long, c_ulong},
};

use rustix::io::Errno;

/// The longest value of a key, in bytes (`user_preparse` in the kernel's `user_defined.c`).
pub const MAX_VALUE: usize = 32_767;
/// The longest description, with what `keyctl` puts before it, in bytes: of the description itself the kernel takes
/// 4,095.
const MAX_DESCRIBED: usize = 4_096 + 64;
/// The largest ring that is read, in bytes; four for each key. Far more than any quota lets a user have.
const MAX_RING: usize = 1 << 20;

/// A key or a ring, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(i32);

impl Key {
    /// The ring of this thread, which ends with it. Made when something is put into it.
    pub const OF_THREAD: Self = Self(libc::KEY_SPEC_THREAD_KEYRING);
    /// The ring that all processes of this real user have in common.
    pub const OF_USER: Self = Self(libc::KEY_SPEC_USER_KEYRING);
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has a value.
    Value,
    /// It has other keys.
    Ring,
}

impl Kind {
    fn name(self) -> &'static CStr {
        match self {
            Self::Value => c"user",
            Self::Ring => c"keyring",
        }
    }
}

/// Makes a key in a ring. One of the same kind and description that is there gets the value, or if it is a ring makes way
/// for an empty one.
///
/// # Errors
/// `EDQUOT`: the user has too many keys; what add_key(2) says.
pub fn add(kind: Kind, description: &str, value: &[u8], ring: Key) -> Result<Key, Errno> {
    let description = text(description)?;
    // SAFETY: kind and description are C strings, and pointer and length describe `value`; all three outlive the call,
    // which only reads them. The ring is a number. Nothing of ours is kept by the kernel.
    #[expect(unsafe_code, reason = "no safe crate makes a key")]
    let number = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            kind.name().as_ptr(),
            description.as_ptr(),
            value.as_ptr(),
            value.len(),
            ring.0,
        )
    };
    key(outcome(number)?)
}

/// The key of this kind and description that a ring has, or a ring in it; as Telegraf looks for one. One that has expired
/// or was revoked is none.
///
/// # Errors
/// What keyctl_search(3) says.
pub fn search(ring: Key, kind: Kind, description: &str) -> Result<Option<Key>, Errno> {
    let description = text(description)?;
    // SAFETY: both are C strings that outlive the call, which only reads them; 0: found keys are put nowhere else.
    #[expect(unsafe_code, reason = "no safe crate finds a ring")]
    let number = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            c_ulong::from(libc::KEYCTL_SEARCH),
            c_long::from(ring.0),
            kind.name().as_ptr(),
            description.as_ptr(),
            0 as c_long,
        )
    };
    match outcome(number) {
        Ok(number) => key(number).map(Some),
        Err(Errno::NOKEY | Errno::KEYEXPIRED | Errno::KEYREVOKED) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Gives a key another value, in place: whoever reads it gets the one or the other.
///
/// # Errors
/// `EINVAL`: it has more bytes than a page of memory; what keyctl_update(3) says.
pub fn update(key: Key, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: pointer and length describe `value`, which outlives the call; it is only read.
    #[expect(unsafe_code, reason = "no safe crate changes a key without its panics")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            c_ulong::from(libc::KEYCTL_UPDATE),
            c_long::from(key.0),
            value.as_ptr(),
            value.len(),
        )
    };
    outcome(result).map(drop)
}

/// Puts a key into a ring, in place of one of its kind and description.
///
/// # Errors
/// What keyctl_link(3) says.
pub fn link(key: Key, ring: Key) -> Result<(), Errno> {
    of_numbers(libc::KEYCTL_LINK, key, c_ulong::from(ring.0.cast_unsigned()))
}

/// Takes a key out of a ring, or whatever has its kind and description there. It ends with the last ring that it is in.
///
/// # Errors
/// `ENOENT`: the ring does not have it; what keyctl_unlink(3) says.
pub fn unlink(key: Key, ring: Key) -> Result<(), Errno> {
    of_numbers(libc::KEYCTL_UNLINK, key, c_ulong::from(ring.0.cast_unsigned()))
}

/// Sets who may do what with a key (keyctl_setperm(3)).
///
/// # Errors
/// Neither does it belong to this user nor is this the superuser.
pub fn set_permissions(key: Key, permissions: u32) -> Result<(), Errno> {
    of_numbers(libc::KEYCTL_SETPERM, key, c_ulong::from(permissions))
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Whose it is.
    pub uid: u32,
    /// Who may do what with it.
    pub permissions: u32,
    /// What it is called.
    pub description: String,
}

/// What is known of a key.
///
/// # Errors
/// It is not there, or not to be seen; `EBADMSG`: the kernel describes it in words that are not known here.
pub fn describe(key: Key) -> Result<Described, Errno> {
    let mut bytes = [0; MAX_DESCRIBED];
    let length = fill(libc::KEYCTL_DESCRIBE, key, &mut bytes)?;
    // With the NUL at its end.
    let text = bytes.get(..length.saturating_sub(1)).ok_or(Errno::MSGSIZE)?;
    described(text).ok_or(Errno::BADMSG)
}

/// `KIND;UID;GID;PERMISSIONS;DESCRIPTION`, with whatever somebody has written for the last (keyctl_describe(3)).
fn described(text: &[u8]) -> Option<Described> {
    let mut parts = std::str::from_utf8(text).ok()?.splitn(5, ';').skip(1);
    let uid = parts.next()?.parse().ok()?;
    let permissions = u32::from_str_radix(parts.nth(1)?, 16).ok()?;
    Some(Described { uid, permissions, description: parts.next()?.to_owned() })
}

/// Reads a value into this memory, and tells how many bytes it has: where they are more than there is room for, nothing
/// is to be expected there.
///
/// # Errors
/// What keyctl_read(3) says.
pub fn read(key: Key, into: &mut [u8]) -> Result<usize, Errno> {
    fill(libc::KEYCTL_READ, key, into)
}

/// The keys that a ring has.
///
/// # Errors
/// `EMSGSIZE`: more than a quarter of a million; what keyctl_read(3) says.
pub fn members(ring: Key) -> Result<Vec<Key>, Errno> {
    let mut bytes = vec![0; 1 << 10];
    loop {
        let length = read(ring, &mut bytes)?;
        if let Some(read) = bytes.get(..length) {
            let numbers = read.as_chunks().0.iter();
            return Ok(numbers.map(|number| Key(i32::from_ne_bytes(*number))).collect());
        }
        if length > MAX_RING {
            return Err(Errno::MSGSIZE);
        }
        bytes.resize(length, 0);
    }
}

/// Gives this thread a session of its own, as systemd does for a service (`KeyringMode=private`): it no longer possesses
/// what is in the ring of its user. Tests see by it what Telegraf sees.
///
/// # Errors
/// What keyctl_join_session_keyring(3) says.
pub fn begin_session() -> Result<(), Errno> {
    // NULL for a name: none that anybody else could join.
    of_numbers(libc::KEYCTL_JOIN_SESSION_KEYRING, Key(0), 0)
}

/// An operation that takes a key and a number, and no memory.
fn of_numbers(operation: u32, key: Key, number: c_ulong) -> Result<(), Errno> {
    // SAFETY: for the operations that this is called with, the arguments are numbers, and any number will do; or NULL where
    // that is allowed.
    #[expect(unsafe_code, reason = "no safe crate has these without its panics")]
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, c_ulong::from(operation), c_long::from(key.0), number) };
    outcome(result).map(drop)
}

/// An operation that writes into memory, and tells how much there is to write.
fn fill(operation: u32, key: Key, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: pointer and length describe `into`, which the kernel may fill with any bytes; it writes no more than that.
    #[expect(unsafe_code, reason = "no safe crate reads a key into memory that is wiped")]
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            c_ulong::from(operation),
            c_long::from(key.0),
            into.as_mut_ptr(),
            into.len(),
        )
    };
    usize::try_from(outcome(length)?).map_err(|_| Errno::OVERFLOW)
}

fn outcome(result: c_long) -> Result<c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

fn key(number: c_long) -> Result<Key, Errno> {
    i32::try_from(number).map(Key).map_err(|_| Errno::OVERFLOW)
}

fn text(description: &str) -> Result<CString, Errno> {
    CString::new(description).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_key() {
        let of = |permissions, description: &str| Described {
            uid: 998,
            permissions,
            description: description.to_owned(),
        };
        assert_eq!(described(b"user;998;997;3f3f0000;t0"), Some(of(0x3f3f_0000, "t0")));
        assert_eq!(described(b"keyring;998;65534;3f010000;a;b;;c"), Some(of(0x3f01_0000, "a;b;;c")));
        for other in
            [&b""[..], b"user", b"user;998;997;3f3f0000", b"user;x;997;0;t", b"user;1;2;xyz;t", b"\xff"]
        {
            assert_eq!(described(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_describe_a_key_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _whatever = described(&bytes);
        }
    }

    /// In the ring of this test's thread, which nobody else has and which ends with it.
    #[test]
    fn a_key_is_made_found_changed_and_taken_out() {
        let ring = match add(Kind::Ring, "a ring", b"", Key::OF_THREAD) {
            Ok(ring) => ring,
            // In containers, mostly.
            Err(Errno::PERM | Errno::NOSYS | Errno::ACCESS) => return,
            Err(errno) => panic!("{errno}"),
        };
        assert_eq!(search(Key::OF_THREAD, Kind::Ring, "a ring"), Ok(Some(ring)));
        assert_eq!(search(ring, Kind::Value, "t0"), Ok(None));
        let made = add(Kind::Value, "t0", b"one", ring).expect("a key");
        assert_eq!(search(Key::OF_THREAD, Kind::Value, "t0"), Ok(Some(made)));
        assert_eq!(search(Key::OF_THREAD, Kind::Ring, "t0"), Ok(None));
        update(made, b"another").expect("changed");
        let mut value = [0; 16];
        assert_eq!(read(made, &mut value), Ok(7));
        assert_eq!(&value[..7], b"another");
        assert_eq!(read(made, &mut [0; 3]), Ok(7), "what there is no room for is told all the same");
        set_permissions(made, 0x3f3f_0000).expect("its owner's");
        let known = describe(made).expect("described");
        assert_eq!((known.permissions, known.description.as_str()), (0x3f3f_0000, "t0"));
        let more: Vec<Key> =
            (0..300).filter_map(|n| add(Kind::Ring, &format!("{n}"), b"", ring).ok()).collect();
        let members = members(ring).expect("members");
        assert!(members.contains(&made) && more.iter().all(|key| members.contains(key)), "{members:?}");
        assert_eq!(members.len(), more.len() + 1);
        assert_eq!(unlink(made, ring), Ok(()));
        assert_eq!(unlink(made, ring), Err(Errno::NOENT));
        assert_eq!(search(ring, Kind::Value, "t0"), Ok(None));
        assert_eq!(add(Kind::Value, "t0", &vec![0; MAX_VALUE + 1], ring), Err(Errno::INVAL));
        assert_eq!(search(ring, Kind::Value, "a\0b"), Err(Errno::INVAL));
    }
}
