//! Places at which a test may end this process, as a crash would.

/// Ends this process here if the environment names this place: `UNMOOR_FAIL=<place>`.
#[cfg(feature = "failpoints")]
pub(crate) fn failpoint(place: &str) {
    if std::env::var("UNMOOR_FAIL").is_ok_and(|wanted| wanted == place) {
        // Nothing may run any more, no destructor and no handler: as kill -9 by somebody else.
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Nothing: failpoints are not compiled in.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn failpoint(_place: &str) {}

/// The number of the boot that a test pretends to be in.
#[cfg(feature = "failpoints")]
pub(crate) fn pretended_boot() -> Option<String> {
    std::env::var("UNMOOR_BOOT").ok()
}

/// None: failpoints are not compiled in.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn pretended_boot() -> Option<String> {
    None
}
