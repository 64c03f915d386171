//! The loop: waits for descriptors and times, and hands each to who deals with it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::log::Stream;
use super::shim::{Foreign, Shim};
use crate::sys::abi::{POLLIN, POLLOUT, PollFd};
use crate::sys::{poll, process};

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Children,
    Listener,
    Client(u64),
    Output(Stream),
    Speaker(u64),
    Sink,
    Launch,
    Job(usize),
    Probe,
    Foreign,
    Net(RawFd),
}

/// How long after work its memory is given back: soon, and not between two pieces of it.
const REST_MS: u64 = 200;

/// Serves until the shim is told to quit; returns its exit code.
pub(super) fn serve(mut shim: Shim) -> i32 {
    let mut fds = Vec::new();
    let mut sources = Vec::new();
    let mut rest = Rest::begin();
    while !shim.is_done() {
        collect(&shim, &mut fds, &mut sources);
        let now = poll::monotonic_ms();
        let due = [shim.next_due_ms(), rest.due_ms];
        let due = due.into_iter().flatten().min();
        let wait = due.map(|due| due.saturating_sub(now));
        let ready = poll::poll(&mut fds, wait).unwrap_or(0);
        if ready > 0 {
            dispatch(&mut shim, &fds, &sources);
            rest.note(&fds, &sources);
        }
        let now = poll::monotonic_ms();
        shim.on_time(now);
        rest.on_time(now);
    }
    shim.exit_code()
}

/// Gives memory back some time after work that takes much: a start, a request, a change of names.
struct Rest {
    due_ms: Option<u64>,
}

impl Rest {
    fn begin() -> Self {
        Self {
            due_ms: Some(poll::monotonic_ms() + REST_MS),
        }
    }

    fn note(&mut self, fds: &[PollFd], sources: &[Source]) {
        let is_work = |source: &Source| {
            matches!(
                source,
                Source::Launch | Source::Client(_) | Source::Job(_) | Source::Net(_)
            )
        };
        let ready = fds.iter().zip(sources).filter(|(fd, _)| fd.revents != 0);
        if ready.into_iter().any(|(_, source)| is_work(source)) {
            *self = Self::begin();
        }
    }

    fn on_time(&mut self, now: u64) {
        if self.due_ms.is_some_and(|due| due <= now) {
            self.due_ms = None;
            process::release_memory();
        }
    }
}

fn collect(shim: &Shim, fds: &mut Vec<PollFd>, sources: &mut Vec<Source>) {
    fds.clear();
    sources.clear();
    let mut add = |fd: BorrowedFd<'_>, events: i16, source: Source| {
        fds.push(PollFd {
            fd: fd.as_raw_fd(),
            events,
            revents: 0,
        });
        sources.push(source);
    };
    add(shim.children.as_fd(), POLLIN, Source::Children);
    // Before anything else that may end the replica: what it has said, and who asks.
    for (stream, fd) in shim.streams.sources().filter(|_| shim.has_output()) {
        add(fd, POLLIN, Source::Output(stream));
    }
    add(shim.control.listener(), POLLIN, Source::Listener);
    for (id, fd) in shim.control.clients() {
        add(fd, POLLIN, Source::Client(id));
    }
    for (id, fd) in shim.streams.speakers() {
        add(fd, POLLIN, Source::Speaker(id));
    }
    if let Some(fd) = shim.streams.full_sink() {
        add(fd, POLLOUT, Source::Sink);
    }
    if let Some(launch) = shim.launch() {
        add(launch.sync(), POLLIN, Source::Launch);
    }
    for (index, job) in shim.jobs.iter().enumerate() {
        if let Some(sync) = &job.sync {
            add(sync.as_fd(), POLLIN, Source::Job(index));
        }
    }
    if let Some(run) = shim.running() {
        match run.foreign {
            Some(Foreign::Running) => add(run.pidfd.as_fd(), POLLIN, Source::Foreign),
            // Without a wish the kernel still says when its parent has collected it.
            Some(Foreign::Ended { .. }) => add(run.pidfd.as_fd(), 0, Source::Foreign),
            None => {}
        }
        if let Some(probe) = &run.probe {
            let (fd, events) = probe.wanted();
            add(fd, events, Source::Probe);
        }
    }
    for fd in shim.net_fds() {
        fds.push(PollFd {
            fd: *fd,
            events: POLLIN,
            revents: 0,
        });
        sources.push(Source::Net(*fd));
    }
}

fn dispatch(shim: &mut Shim, fds: &[PollFd], sources: &[Source]) {
    let mut children = false;
    for (entry, source) in fds.iter().zip(sources) {
        if entry.revents == 0 {
            continue;
        }
        match *source {
            // Last: what a process has said comes before its end.
            Source::Children => children = true,
            Source::Output(stream) => shim.on_output(stream),
            Source::Listener => shim.control.accept(),
            Source::Client(id) => shim.on_client(id),
            Source::Speaker(id) => shim.streams.listen(id),
            Source::Sink => shim.streams.feed(),
            Source::Launch => shim.on_launch(),
            Source::Job(index) => shim.on_job(index),
            Source::Probe => shim.on_probe(),
            Source::Foreign => shim.on_foreign_end(poll::monotonic_ms()),
            Source::Net(fd) => shim.on_net(fd),
        }
    }
    if children {
        shim.on_children();
    }
    shim.settle_jobs();
}
