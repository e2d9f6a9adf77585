//! What delivered secrets lie on. They are in clear: they belong into memory that never reaches a disk (rule 18).

use std::{fs, io, path::Path};

/// The file systems that people may have chosen (statfs(2), linux/magic.h).
const FILE_SYSTEMS: [(u32, &str); 13] = [
    (TMPFS, "tmpfs"),
    (RAMFS, "ramfs"),
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0x794c_7630, "overlayfs"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
    (0x4d44, "vfat"),
];
const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;

/// The kind of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Medium(u32);

impl Medium {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        // The kernel's magic numbers have 32 bits; the field's type is another one on each architecture.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 bits")]
        let magic = rustix::fs::statfs(folder)?.f_type as u32;
        Ok(Self(magic))
    }

    /// Memory alone: nothing there ever waits for a disk, unless it was swapped out.
    pub(super) fn is_memory(self) -> bool {
        matches!(self.0, TMPFS | RAMFS)
    }

    /// As people call it.
    pub(super) fn name(self) -> String {
        let known = FILE_SYSTEMS.iter().find(|(magic, _)| *magic == self.0);
        known.map_or_else(|| format!("a file system of type {:#x}", self.0), |(_, name)| (*name).to_owned())
    }

    /// How secrets in it may reach a disk in clear.
    pub(super) fn leak(self) -> Option<String> {
        match self.0 {
            RAMFS => None,
            TMPFS => {
                let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
                let swap = clear_swap(&swaps, is_encrypted)?;
                Some(format!("is on tmpfs, which may be swapped out to {swap:?}, not known to be encrypted"))
            }
            _ => {
                Some(format!("is on {}, not on tmpfs: delivered secrets lie on a disk in clear", self.name()))
            }
        }
    }
}

/// The first swap space of `/proc/swaps` that is neither memory itself nor encrypted.
fn clear_swap(swaps: &str, is_encrypted: impl Fn(&str) -> bool) -> Option<&str> {
    let paths = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    paths.filter(|path| !path.starts_with("/dev/zram")).find(|path| !is_encrypted(path))
}

/// Whether a block device is dm-crypt; one stacked on top of it is not seen through.
fn is_encrypted(path: &str) -> bool {
    let Ok(device) = fs::canonicalize(path) else { return false };
    let Some(node) = device.file_name() else { return false };
    let uuid = Path::new("/sys/class/block").join(node).join("dm/uuid");
    // DM_UUID, as cryptsetup sets it: CRYPT-LUKS2-…, CRYPT-PLAIN-….
    fs::read_to_string(uuid).is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_swap_in_clear_is_told() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let line = |path: &str| format!("{path}                             partition\t8388604\t\t0\t\t-2\n");
        let crypt = |path: &str| path == "/dev/dm-1";
        assert_eq!(clear_swap("", crypt), None);
        assert_eq!(clear_swap(head, crypt), None);
        let safe = head.to_owned() + &line("/dev/zram0") + &line("/dev/dm-1");
        assert_eq!(clear_swap(&safe, crypt), None);
        for clear in ["/dev/dm-0", "/dev/sda2", "/swapfile"] {
            assert_eq!(clear_swap(&(safe.clone() + &line(clear)), crypt), Some(clear));
        }
    }

    #[test]
    fn memory_is_told_from_disks() {
        assert!(Medium(TMPFS).is_memory() && Medium(RAMFS).is_memory());
        assert_eq!(Medium(RAMFS).leak(), None);
        let disk = Medium(0xef53);
        assert!(!disk.is_memory());
        assert!(disk.leak().is_some_and(|leak| leak.contains("ext4")));
        assert!(Medium(0x1234).name().contains("0x1234"));
        let proc = Medium::of(Path::new("/proc")).expect("a file system");
        assert!(!proc.is_memory());
    }
}
