//! The counters that the compiler puts at every branch when it is asked to; none otherwise.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;

static COUNTERS: OnceLock<&'static [AtomicU8]> = OnceLock::new();

/// One counter for each branch of the program; empty in an ordinary build.
pub(crate) fn counters() -> &'static [AtomicU8] {
    COUNTERS.get().copied().unwrap_or_default()
}

/// Called before `main` by what `-C passes=sancov-module` adds to every object file, each time
/// with the bounds of the whole section.
// SAFETY: LLVM gives the name, and nothing else in the program bears it.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let length = (stop as usize).saturating_sub(start as usize);
    if start.is_null() || length == 0 {
        return;
    }
    // SAFETY: the linker puts the counters between the two, they live as long as the program, and
    // the only other use is one addition at a time by the thread that reads them.
    let counters = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU8>(), length) };
    COUNTERS.get_or_init(|| counters);
}
