//! The few system calls that no safe crate has: the only unsafe code of the project, each with its reason.

/// Whether the kernel's clock is synchronised, as NTP daemons tell it. In containers and virtual machines it may
/// say no although the host keeps the time.
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
    state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}
