//! Whether standard output was open when the program began.

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// True if the program was started with its standard output closed (`>&-`).
///
/// The start of a Rust program opens `/dev/null` in place of closed standard streams, after which
/// lost output looks like written output; so this is noted before, where the system offers a place.
pub(crate) fn stdout_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
extern "C" fn note() {
    let closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: the dynamic loader, or the start code of a static program, calls each entry of this
// section once before `main`, as a function without a result; it passes arguments that `note` does
// not take, which the C calling convention allows. `note` makes one system call and one atomic
// store: it needs nothing of the standard library that is not set up yet.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;
