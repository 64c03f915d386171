//! Whether anybody still reads standard output.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::exit::Failure;

/// Does the work as long as standard output has a reader: who only waits for something to tell
/// would never find out by writing.
pub(crate) async fn while_read<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = unread() => Err(Failure::Output(io::ErrorKind::BrokenPipe.into())),
    }
}

/// Returns once nobody reads standard output any more; never where it is a file.
async fn unread() {
    let (told, hears) = oneshot::channel();
    // It waits as long as the program lives, and ends with it.
    std::thread::spawn(move || {
        if has_no_reader() {
            let _ = told.send(());
        }
    });
    match hears.await {
        Ok(()) => {}
        Err(_) => std::future::pending().await,
    }
}

fn has_no_reader() -> bool {
    let output = io::stdout();
    loop {
        // Without any wish, only the end of the other side is told.
        let mut wanted = [PollFd::new(&output, PollFlags::empty())];
        match poll(&mut wanted, None) {
            Ok(_) => {
                let found = wanted[0].revents();
                return found.intersects(PollFlags::ERR | PollFlags::HUP);
            }
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
