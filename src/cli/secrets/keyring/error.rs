//! Why the kernel does not take a ring or a key.

use std::{fmt, fs};

use rustix::io::Errno;

use crate::{hint::Hint, keys::MAX_VALUE, model::Name};

/// Where the kernel tells how many keys each user has (proc(5)).
const KEY_USERS: &str = "/proc/key-users";

/// Why the kernel does not take a ring or a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The user has too many keys, or too large ones.
    #[error("cannot {what}: the kernel holds no more keys for user {uid}{}", used.map(|used| format!(", who has {used}")).unwrap_or_default())]
    Quota {
        /// What was to be done.
        what: String,
        /// Whose quota it is.
        uid: u32,
        /// How far it is used, where that can be told.
        used: Option<Used>,
    },
    /// The value is too large.
    #[error("cannot put token {name} into a ring: it has {bytes} bytes, and a key holds {MAX_VALUE} at most")]
    TooLarge {
        /// Which.
        name: Name,
        /// How many.
        bytes: usize,
    },
    /// There is no such thing here, or not for us.
    #[error("cannot {what}: the kernel's keys may not be used here: {errno}")]
    Forbidden {
        /// What was to be done.
        what: String,
        /// `EPERM`, `ENOSYS`.
        errno: Errno,
    },
    /// Something else.
    #[error("cannot {what}: {errno}")]
    Other {
        /// What was to be done.
        what: String,
        /// Why not.
        errno: Errno,
    },
}

impl RingError {
    pub(super) fn new(what: String, errno: Errno) -> Self {
        match errno {
            Errno::DQUOT => {
                let uid = rustix::process::getuid().as_raw();
                let used = fs::read_to_string(KEY_USERS).ok().and_then(|text| Used::of(uid, &text));
                Self::Quota { what, uid, used }
            }
            Errno::PERM | Errno::NOSYS => Self::Forbidden { what, errno },
            errno => Self::Other { what, errno },
        }
    }
}

impl Hint for RingError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Quota { uid, used, .. } => {
                // Root has limits of its own.
                let prefix = if *uid == 0 { "kernel.keys.root_" } else { "kernel.keys." };
                let example = match used {
                    Some(Used { keys: (count, most), .. }) if count >= most => {
                        format!("maxkeys={}", most.saturating_mul(10))
                    }
                    Some(Used { bytes: (_, most), .. }) => format!("maxbytes={}", most.saturating_mul(10)),
                    None => "maxbytes=200000".to_owned(),
                };
                format!(
                    "raise `{prefix}maxkeys` (how many) or `{prefix}maxbytes` (how large, all together), for instance \
                     `sysctl -w {prefix}{example}`, and for good in a file in /etc/sysctl.d; or let this user read \
                     fewer tokens"
                )
            }
            Self::TooLarge { .. } => "deliver it in another way: as a file, or over the socket".to_owned(),
            Self::Forbidden { .. } => {
                "containers forbid it unless told otherwise: the system calls add_key and keyctl \
                                       have to be allowed, for Telegraf too"
                    .to_owned()
            }
            Self::Other { errno: Errno::ACCESS, .. } => {
                "it is somebody else's, who has not let this user in: `keyctl show @u` shows whose".to_owned()
            }
            Self::Other { .. } => return None,
        })
    }
}

/// How much of its quota a user has used: so much of so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    keys: (u64, u64),
    bytes: (u64, u64),
}

impl Used {
    /// `UID: USAGE KEYS/INSTANTIATED KEYS/MAX BYTES/MAX`, a line for each user.
    fn of(uid: u32, text: &str) -> Option<Self> {
        let of_user = |line: &str| {
            let (who, rest) = line.split_once(':')?;
            (who.trim().parse() == Ok(uid)).then(|| rest.to_owned())
        };
        let line = text.lines().find_map(of_user)?;
        let mut parts = line.split_whitespace().skip(2).map(|part| {
            let (used, most) = part.split_once('/')?;
            Some((used.parse().ok()?, most.parse().ok()?))
        });
        Some(Self { keys: parts.next()??, bytes: parts.next()?? })
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, bytes } = self;
        write!(f, "{} of {} keys and {} of {} bytes", keys.0, keys.1, bytes.0, bytes.1)
    }
}

/// A text that no ring is called.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli::secrets) enum NotARing {
    #[error("a ring has a name")]
    Empty,
    #[error("the name of a ring has at most {max} bytes here, this one has {len}")]
    TooLong { len: usize, max: usize },
    #[error("the kernel keeps names of rings that begin with a dot for itself")]
    Dot,
    #[error("the name of a ring has no {0:?} in it")]
    Character(char),
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "    0:    24 23/23 16/1000000 304/25000000\n  998:   203 203/203 200/200 17812/20000\n\
                        65534:     1 1/1 1/200 9/20000\n";

    #[test]
    fn how_much_a_user_has_used() {
        let used = Used::of(998, SEEN).expect("a line");
        assert_eq!(used.to_string(), "200 of 200 keys and 17812 of 20000 bytes");
        assert_eq!(Used::of(98, SEEN), None);
        for other in ["", "998", "998: 1 2/2", "998: 1 2/2 3/4 5", "998: 1 2/2 x/4 5/6"] {
            assert_eq!(Used::of(998, other), None, "{other:?}");
        }
    }

    #[test]
    fn a_quota_is_told_with_the_settings_that_raise_it() {
        let hint = |uid, used| RingError::Quota { what: String::new(), uid, used }.hint().expect("a hint");
        for (uid, used, said) in [
            (998, Used::of(998, SEEN), "`sysctl -w kernel.keys.maxkeys=2000`"),
            (65534, Used::of(65534, SEEN), "`sysctl -w kernel.keys.maxbytes=200000`"),
            (998, None, "`kernel.keys.maxkeys` (how many) or `kernel.keys.maxbytes` (how large"),
            (0, None, "`kernel.keys.root_maxkeys` (how many) or `kernel.keys.root_maxbytes`"),
        ] {
            assert!(hint(uid, used).contains(said), "{}", hint(uid, used));
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_told_as_it_is() {
        let error = |errno| RingError::new("open the ring \"telegraf\"".to_owned(), errno);
        let told = |errno| format!("{} | {}", error(errno), error(errno).hint().unwrap_or_default());
        assert!(
            told(Errno::PERM)
                .starts_with("cannot open the ring \"telegraf\": the kernel's keys may not be used")
        );
        assert!(told(Errno::NOSYS).contains("add_key and keyctl have to be allowed"));
        assert!(told(Errno::ACCESS).contains("somebody else's"));
        assert!(told(Errno::DQUOT).contains("the kernel holds no more keys for user"));
        assert!(told(Errno::NOMEM).starts_with("cannot open the ring \"telegraf\": "));
    }
}
