//! Asking shims whether their address maps have heard of every change; each answers when it has.

use std::path::PathBuf;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::control::Control;
use super::status::is_shim_alive;
use crate::wire::control::{Request, Response};

/// Shims asked at the same time; each costs a descriptor.
const AT_ONCE: usize = 100;

/// Somebody whose address map may lead to what has changed.
#[derive(Debug)]
pub(crate) struct Follower {
    /// The replica.
    pub(crate) replica: String,
    /// Its run directory.
    pub(crate) run: PathBuf,
}

/// What became of the questions, where it is not as hoped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Shims that cannot be asked, being older than the question.
    pub(crate) older: usize,
    /// Replicas whose shim has not answered in time, or could not change its map.
    pub(crate) late: Vec<String>,
}

/// Waits until the shims of these replicas have applied every change made so far.
///
/// A shim that is dead is passed over: nobody can ask it, and its successor reads anew. So is one
/// that does not listen yet: it has not read its zones either.
pub(crate) fn settle(followers: &[Follower], until: Instant) -> Answers {
    let mut answers = Answers::default();
    for some in followers.chunks(AT_ONCE) {
        settle_some(some, until, &mut answers);
    }
    answers
}

/// Asks all of them, then waits for all of them.
fn settle_some(followers: &[Follower], until: Instant, answers: &mut Answers) {
    let mut asked: Vec<(&Follower, Control)> = followers
        .iter()
        .filter_map(|follower| {
            let mut control = Control::try_connect(&follower.run, &follower.replica).ok()?;
            control.send(&Request::Settle, &[]).ok()?;
            Some((follower, control))
        })
        .collect();
    while !asked.is_empty() {
        let Some(ready) = wait(&asked, until) else {
            let late = asked.iter().map(|(follower, _)| follower.replica.clone());
            answers.late.extend(late);
            return;
        };
        for at in ready.into_iter().rev() {
            let (follower, control) = asked.swap_remove(at);
            match control.receive().map(|(_, response, _)| response) {
                Ok(Response::Done) => {}
                Ok(Response::Unsupported) => answers.older += 1,
                Ok(_) => answers.late.push(follower.replica.clone()),
                // It has no room for another client, so it cannot be asked either.
                Err(_) if is_shim_alive(&follower.run) => answers.older += 1,
                Err(_) => {}
            }
        }
    }
}

/// The places of those that have answered, in order; `None` when the time is over.
fn wait(asked: &[(&Follower, Control)], until: Instant) -> Option<Vec<usize>> {
    loop {
        let rest = until.checked_duration_since(Instant::now())?;
        let limit = Timespec::try_from(rest).ok();
        let mut fds: Vec<PollFd<'_>> = asked
            .iter()
            .map(|(_, control)| PollFd::new(control.socket(), PollFlags::IN))
            .collect();
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => {
                let told =
                    |(at, fd): (usize, &PollFd<'_>)| (!fd.revents().is_empty()).then_some(at);
                return Some(fds.iter().enumerate().filter_map(told).collect());
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::thread::JoinHandle;
    use std::time::Duration;

    use rustix::fs::{FlockOperation, flock};
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, socket_with,
    };

    use super::super::control::{receive_frame, send_frame};
    use super::*;
    use crate::wire::control::Incoming;

    /// A shim that holds its lock and treats the first question as told; lives until joined.
    fn shim(
        run: &Path,
        behave: impl FnOnce(&OwnedFd, u32) + Send + 'static,
    ) -> (Follower, JoinHandle<()>) {
        std::fs::create_dir(run).expect("made");
        let lock = File::create(run.join("lock")).expect("made");
        flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("locked");
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let socket = socket.expect("a socket");
        bind(
            &socket,
            &SocketAddrUnix::new(run.join("ctl")).expect("short"),
        )
        .expect("bound");
        listen(&socket, 1).expect("listens");
        let thread = std::thread::spawn(move || {
            let client = accept(&socket).expect("accepted");
            let (frame, _) = receive_frame(&client).expect("asked");
            let Ok(Incoming::Request(number, Request::Settle)) = Request::decode(&frame) else {
                panic!("something else was asked");
            };
            behave(&client, number);
            drop(lock);
        });
        let replica = run.display().to_string();
        let run = run.to_owned();
        (Follower { replica, run }, thread)
    }

    fn answer(response: Response) -> impl FnOnce(&OwnedFd, u32) + Send {
        move |client, number| {
            send_frame(client, &response.encode(number), &[]).expect("answered");
            // Until the asker has gone, so that its lock tells that it lives.
            let _ = receive_frame(client);
        }
    }

    #[test]
    fn every_shim_is_waited_for_but_the_dead_and_those_that_do_not_listen() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (good, one) = shim(&at("good"), answer(Response::Done));
        let (old, two) = shim(&at("old"), answer(Response::Unsupported));
        // Ends without an answer, as one that dies does.
        let (dies, three) = shim(&at("dies"), |_, _| ());
        let replica = "absent".to_owned();
        let absent = Follower {
            replica,
            run: at("absent"),
        };
        let until = Instant::now() + Duration::from_secs(20);
        let mut answers = settle(&[good, old, dies, absent], until);
        // Whether its lock or its socket goes first is the dying shim's affair.
        answers.older = answers.older.min(1);
        assert_eq!((answers.older, answers.late.as_slice()), (1, &[][..]));
        assert!(Instant::now() < until, "nobody was waited for in vain");
        for thread in [one, two, three] {
            thread.join().expect("asked");
        }
    }

    #[test]
    fn a_silent_shim_is_named_when_the_time_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let (silent, thread) = shim(&folder.path().join("silent"), |client, _| {
            let _ = receive_frame(client);
        });
        let late = vec![silent.replica.clone()];
        let answers = settle(&[silent], Instant::now() + Duration::from_millis(50));
        assert_eq!(answers, Answers { older: 0, late });
        thread.join().expect("asked");
    }
}
