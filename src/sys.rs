//! The few system calls that no safe crate has, each with its reason: with those of `keys.rs` the only unsafe code of the
//! project.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// What systemd-timesyncd leaves when it has set the clock, until the next boot (systemd-timesyncd.service(8)).
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

/// Whether the kernel's clock is synchronised, as NTP daemons tell it. In containers and virtual machines it may
/// say no although the host keeps the time; where the kernel may not be asked (`ProtectClock=`), systemd-timesyncd is.
#[must_use]
pub fn clock_is_synchronised() -> bool {
    // SAFETY: `timex` is plain data for which zero bytes are valid; with modes = 0 the call only reads the clock's
    // state into it.
    #[expect(unsafe_code, reason = "neither rustix nor std wraps adjtimex")]
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex.status)
    };
    if state < 0 {
        return std::path::Path::new(TIMESYNCD).exists();
    }
    state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

/// The most supplementary groups that a process can have (credentials(7), Linux 2.6.4 and later).
const MAX_GROUPS: usize = 65_536;

/// The supplementary groups that the peer of a Unix socket had when it connected (`SO_PEERGROUPS`, Linux 4.13).
///
/// # Errors
/// The kernel does not tell.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        match socket_option(socket, libc::SO_PEERGROUPS, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && groups.len() < MAX_GROUPS => {
                groups.resize(MAX_GROUPS, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A pidfd of the process that was the peer of a Unix socket when it connected (`SO_PEERPIDFD`, Linux 6.5). Unlike its
/// number, which another process may have by now, it cannot stand for another.
///
/// # Errors
/// `ENOPROTOOPT` on older kernels; the process is gone.
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut fd = [-1_i32];
    match socket_option(socket, libc::SO_PEERPIDFD, &mut fd)? {
        // SAFETY: the call succeeded and filled the value: a new file descriptor that nobody else knows.
        #[expect(unsafe_code, reason = "the option gives a bare number")]
        1 if fd[0] >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd[0]) }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A file descriptor of which can be waited for that there is something to read; of a pidfd, that its process has ended.
///
/// # Errors
/// It cannot be waited for.
///
/// # Panics
/// Outside of a runtime.
pub fn to_be_read(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open, and stays the same one, until it is dropped, here with the value that owns it.
    #[expect(unsafe_code, reason = "the safe way is deprecated, for it takes what nobody owns")]
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(registered?)
}

/// Fills `values` with a `SOL_SOCKET` option and tells how many there are.
fn socket_option<T: Plain>(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    values: &mut [T],
) -> io::Result<usize> {
    let size = size_of::<T>();
    let mut length =
        libc::socklen_t::try_from(size_of_val(values)).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and the length describe `values`, which the kernel may fill with any bytes; it writes no
    // more than `length`, and sets that to what it wrote.
    #[expect(unsafe_code, reason = "no safe crate has these options")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(length as usize / size) } else { Err(io::Error::last_os_error()) }
}

/// Values of which every combination of bits is one.
trait Plain {}
impl Plain for u32 {}
impl Plain for i32 {}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd as _, unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_peer_is_known_by_its_groups_and_its_process() {
        let (here, _there) = UnixStream::pair().expect("a pair");
        let groups = peer_groups(here.as_fd()).expect("groups");
        let own: Vec<u32> =
            rustix::process::getgroups().expect("groups").iter().map(|gid| gid.as_raw()).collect();
        assert_eq!(groups, own);
        match peer_pidfd(here.as_fd()) {
            Ok(pidfd) => {
                let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
                let wanted = format!("Pid:\t{}\n", std::process::id());
                assert!(info.as_ref().is_ok_and(|info| info.contains(&wanted)), "{info:?}");
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT), "an older kernel"),
        }
    }
}
