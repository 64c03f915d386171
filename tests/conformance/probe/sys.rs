//! The few calls of the C library that the probe needs: signals taken one by one.

/// A set of signals; 128 bytes in every C library for Linux.
#[repr(C)]
struct SignalSet([u64; 16]);

unsafe extern "C" {
    fn sigemptyset(set: *mut SignalSet) -> i32;
    fn sigaddset(set: *mut SignalSet, signal: i32) -> i32;
    fn pthread_sigmask(how: i32, set: *const SignalSet, old: *mut SignalSet) -> i32;
    fn sigwait(set: *const SignalSet, signal: *mut i32) -> i32;
}

/// SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM.
const TAKEN: [i32; 6] = [1, 2, 3, 10, 12, 15];
const SIG_BLOCK: i32 = 0;

fn taken() -> SignalSet {
    let mut set = SignalSet([0; 16]);
    // SAFETY: `set` is a valid place for a set of signals.
    unsafe { sigemptyset(&raw mut set) };
    for signal in TAKEN {
        // SAFETY: `set` was made empty above, and the numbers are signals.
        unsafe { sigaddset(&raw mut set, signal) };
    }
    set
}

/// Holds the signals back, in this thread and all that it starts, until they are asked for.
///
/// The first process of a pid namespace gets no signal that it neither handles nor holds back.
pub(crate) fn hold_signals() {
    let set = taken();
    // SAFETY: `set` is initialised; the former mask is not asked for.
    unsafe { pthread_sigmask(SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for the next signal.
pub(crate) fn next_signal() -> i32 {
    let set = taken();
    let mut signal = 0;
    loop {
        // SAFETY: `set` is initialised and its signals are held back; `signal` is a valid place.
        let failed = unsafe { sigwait(&raw const set, &raw mut signal) };
        if failed == 0 {
            return signal;
        }
    }
}
