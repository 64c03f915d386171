//! A tiny init: process 1 of a replica that asked for one.
//!
//! It forwards signals to the program, collects orphans, and ends as the program ends.

use std::os::fd::BorrowedFd;

use crate::fault::{Outcome, Step};
use crate::sys::poll::{self, Sender};
use crate::sys::process::{self, Side};
use crate::sys::{abi, rights};

/// May signal the program, whatever user that runs as; nothing else.
const CAP_KILL: u64 = 1 << 5;

/// The number at which init keeps the shim's end of the program's terminal, so that the terminal
/// outlives the shim; a shim that adopts the replica takes a copy.
pub(crate) const TERMINAL: i32 = 3;

/// Splits the process: the child returns and becomes the program, the parent stays as init.
pub(crate) fn split(master: Option<BorrowedFd<'_>>) -> Outcome<()> {
    let all = !0;
    poll::block_only(all).step("start init", "block signals")?;
    match process::clone(0, None).step("start init", "")? {
        Side::Child => poll::block_only(0).step("start init", "unblock signals"),
        Side::Parent(program, _) => serve(program, master),
    }
}

fn serve(program: i32, master: Option<BorrowedFd<'_>>) -> ! {
    // The socket to the shim goes too: its end must mean that the program was executed.
    let kept = master.is_some_and(|master| process::dup_to(master, TERMINAL).is_ok());
    let _ = process::keep_only(if kept { &[TERMINAL] } else { &[] });
    let _ = rights::set_name("unmoor-init");
    let _ = rights::set_no_new_privileges();
    let _ = rights::limit_bounding(CAP_KILL);
    let _ = rights::set_capabilities(CAP_KILL, CAP_KILL, 0);
    loop {
        match poll::wait_signal(!0) {
            Ok((abi::SIGCHLD, _)) => collect(program),
            // What the kernel sends, such as a terminal's interrupt, reaches the program too.
            Ok((_, Sender::Kernel)) | Err(_) => {}
            Ok((signal, Sender::Process)) => {
                let _ = process::signal_child(program, signal);
            }
        }
    }
}

fn collect(program: i32) {
    while let Ok(Some((pid, ended))) = process::reap(-1) {
        if pid == program {
            process::exit(ended.code);
        }
    }
}
