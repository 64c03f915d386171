//! A command running inside a replica: its streams, its end, its death with the session.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use unmoor_core::backend::{ExecOutput, ExecSession};
use unmoor_core::{Error, ErrorKind, Result};

use super::control::{Control, PROMPT, accept, decode, receive_frame, send_frame, silence};
use crate::error::LocalError;
use crate::wire::control::{Exec, Request, Response};
use crate::wire::report::Failure;

/// Bytes taken from a stream at a time.
const CHUNK: usize = 64 * 1024;
/// The byte by which a terminal's user ends the input.
pub(crate) const END_OF_INPUT: u8 = 4;
const SIGKILL: u32 = 9;

/// A command running inside a replica.
#[derive(Debug)]
pub(crate) struct Session {
    replica: String,
    control: AsyncFd<OwnedFd>,
    pid: u32,
    stdin: Option<AsyncFd<OwnedFd>>,
    stdout: Option<AsyncFd<OwnedFd>>,
    stderr: Option<AsyncFd<OwnedFd>>,
    terminal: bool,
    exit: Option<i32>,
    queue: VecDeque<ExecOutput>,
    finished: bool,
}

/// What the streams of a command without a terminal lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// This session.
    Pipes { stdin: bool },
    /// Nobody.
    Nowhere,
}

/// Our ends and the program's ends of its streams.
struct Streams {
    ours: [Option<OwnedFd>; 3],
    theirs: Vec<OwnedFd>,
}

impl Session {
    /// Starts a command.
    ///
    /// # Errors
    /// `WrongPhase` if the replica does not run.
    pub(crate) async fn start(
        run: &Path,
        replica: &str,
        exec: Exec,
        stdin: bool,
    ) -> std::result::Result<Self, LocalError> {
        let (mut session, refused) = Self::open(run, replica, exec, Ends::Pipes { stdin }).await?;
        if let Some(failure) = refused {
            let text = format!("{failure}\n");
            let told = ExecOutput::Stderr(text.into_bytes());
            session.queue.push_back(told);
            (session.stdout, session.stderr, session.stdin) = (None, None, None);
            session.exit = Some(failure.exit_code);
        }
        Ok(session)
    }

    /// Starts a command that nobody follows, and leaves it to itself.
    ///
    /// # Errors
    /// As [`start`](Self::start), and if it cannot be executed or is not there.
    pub(crate) async fn leave(
        run: &Path,
        replica: &str,
        exec: Exec,
    ) -> std::result::Result<(), LocalError> {
        let (mut session, refused) = Self::open(run, replica, exec, Ends::Nowhere).await?;
        // What is over for this session is not ended with it.
        session.exit = Some(0);
        match refused {
            None => Ok(()),
            Some(failure) => Err(LocalError::Shim {
                replica: session.replica.clone(),
                failure,
            }),
        }
    }

    /// Asks for a command; with why, if it cannot be executed or is not there.
    async fn open(
        run: &Path,
        replica: &str,
        exec: Exec,
        ends: Ends,
    ) -> std::result::Result<(Self, Option<Failure>), LocalError> {
        let (run, replica) = (PathBuf::from(run), replica.to_owned());
        let terminal = exec.tty;
        let asked = move || ask(&run, &replica, exec, ends);
        let asked = tokio::task::spawn_blocking(asked);
        let (control, number, streams) = asked
            .await
            .map_err(|_| LocalError::Lost("starts a command"))??;
        let replica = control.replica().to_owned();
        let control = watched(control.into_socket())?;
        let mut session = Self {
            replica,
            control,
            pid: 0,
            stdin: None,
            stdout: None,
            stderr: None,
            terminal,
            exit: None,
            queue: VecDeque::new(),
            finished: false,
        };
        let [input, output, errors] = streams;
        session.stdin = input.map(watched).transpose()?;
        session.stdout = output.map(watched).transpose()?;
        session.stderr = errors.map(watched).transpose()?;
        let stdin = ends == Ends::Pipes { stdin: true };
        let begun = tokio::time::timeout(PROMPT, session.begin(number, stdin)).await;
        let refused = begun.map_err(|_| silence(&session.replica, PROMPT))??;
        Ok((session, refused))
    }

    /// Waits until the command runs, or has failed to; with why, if the program is at fault.
    async fn begin(
        &mut self,
        number: u32,
        stdin: bool,
    ) -> std::result::Result<Option<Failure>, LocalError> {
        loop {
            let (answers, response, descriptors) = self.receive().await?;
            if answers != number {
                continue;
            }
            match response {
                Response::Started { pid } => {
                    self.pid = pid;
                    if self.terminal {
                        self.take_terminal(descriptors, stdin)?;
                    }
                    return Ok(None);
                }
                Response::Refused(refusal) if matches!(refusal.failure.exit_code, 126 | 127) => {
                    return Ok(Some(refusal.failure));
                }
                other => {
                    accept(other, &self.replica)?;
                }
            }
        }
    }

    fn take_terminal(
        &mut self,
        mut descriptors: Vec<OwnedFd>,
        stdin: bool,
    ) -> std::result::Result<(), LocalError> {
        let Some(master) = descriptors.pop() else {
            let problem = "sent no terminal".to_owned();
            return Err(LocalError::Protocol {
                replica: self.replica.clone(),
                problem,
            });
        };
        if stdin {
            let copy = master.try_clone();
            let copy = copy.map_err(|e| LocalError::io("copy", Path::new("a terminal"), e))?;
            self.stdin = Some(watched(copy)?);
        }
        self.stdout = Some(watched(master)?);
        Ok(())
    }

    async fn receive(&self) -> std::result::Result<(u32, Response, Vec<OwnedFd>), LocalError> {
        let lost = |source: std::io::Error| {
            LocalError::io("hear from the shim of", Path::new(&self.replica), source)
        };
        loop {
            let mut ready = self.control.readable().await.map_err(lost)?;
            match receive_frame(self.control.get_ref()) {
                Ok((frame, descriptors)) => {
                    let (number, response) = decode(&frame, &self.replica)?;
                    return Ok((number, response, descriptors));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(lost(error.into())),
            }
        }
    }

    /// What the streams hold after the command's end; somebody else may keep them open.
    fn drain(&mut self) {
        for (stream, wrap) in [
            (
                self.stdout.take(),
                ExecOutput::Stdout as fn(Vec<u8>) -> ExecOutput,
            ),
            (self.stderr.take(), ExecOutput::Stderr),
        ] {
            let Some(stream) = stream else { continue };
            while let Ok(Some(bytes)) = take(stream.get_ref()) {
                if bytes.is_empty() {
                    break;
                }
                self.queue.push_back(wrap(bytes));
            }
        }
    }
}

/// Sends the request; the answer is awaited elsewhere.
fn ask(
    run: &Path,
    replica: &str,
    exec: Exec,
    ends: Ends,
) -> std::result::Result<(Control, u32, [Option<OwnedFd>; 3]), LocalError> {
    let mut control = Control::connect(run, replica)?;
    let failed = |source: Errno| LocalError::io("make pipes for", Path::new(replica), source);
    let streams = if exec.tty {
        Streams {
            ours: [None, None, None],
            theirs: Vec::new(),
        }
    } else {
        match ends {
            Ends::Pipes { stdin } => pipes(stdin).map_err(failed)?,
            Ends::Nowhere => nowhere().map_err(failed)?,
        }
    };
    let theirs: Vec<_> = streams.theirs.iter().map(AsFd::as_fd).collect();
    let number = control.send(&Request::Exec(exec), &theirs)?;
    Ok((control, number, streams.ours))
}

fn nowhere() -> rustix::io::Result<Streams> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let copy = || rustix::io::fcntl_dupfd_cloexec(&null, 0);
    let theirs = vec![copy()?, copy()?, copy()?];
    Ok(Streams {
        ours: [None, None, None],
        theirs,
    })
}

fn pipes(stdin: bool) -> rustix::io::Result<Streams> {
    let (input, our_input) = if stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (read, Some(write))
    } else {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        (null, None)
    };
    let (our_output, output) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_errors, errors) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(Streams {
        ours: [our_input, Some(our_output), Some(our_errors)],
        theirs: vec![input, output, errors],
    })
}

/// A descriptor that never blocks and whose readiness can be awaited.
pub(crate) fn watched(fd: OwnedFd) -> std::result::Result<AsyncFd<OwnedFd>, LocalError> {
    let failed = |source: std::io::Error| LocalError::io("watch", Path::new("a stream"), source);
    let flags = fcntl_getfl(&fd).map_err(|e| failed(e.into()))?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(|e| failed(e.into()))?;
    crate::sys::watched(fd).map_err(failed)
}

/// What can be read now: `None` if nothing, empty at the end.
fn take(fd: &OwnedFd) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; CHUNK];
    loop {
        match rustix::io::read(fd, bytes.as_mut_slice()) {
            Ok(count) => {
                bytes.truncate(count);
                return Ok(Some(bytes));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            // A terminal whose other side is closed.
            Err(Errno::IO) => return Ok(Some(Vec::new())),
            Err(error) => return Err(error),
        }
    }
}

/// Waits for a stream: its bytes, empty at its end. Pending for ever if it is closed.
pub(crate) async fn read_stream(stream: Option<&AsyncFd<OwnedFd>>) -> std::io::Result<Vec<u8>> {
    let Some(stream) = stream else {
        return std::future::pending().await;
    };
    loop {
        let mut ready = stream.readable().await?;
        match take(stream.get_ref())? {
            Some(bytes) => return Ok(bytes),
            None => ready.clear_ready(),
        }
    }
}

/// Writes as much as there is room for, and waits until there is some.
///
/// Between the write and the answer nothing is awaited, so nothing can be lost there.
pub(crate) async fn write_some(stream: &AsyncFd<OwnedFd>, bytes: &[u8]) -> std::io::Result<usize> {
    while !bytes.is_empty() {
        let mut ready = stream.writable().await?;
        match rustix::io::write(stream.get_ref(), bytes) {
            Ok(count) => return Ok(count),
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(0)
}

enum Event {
    Stdout(std::io::Result<Vec<u8>>),
    Stderr(std::io::Result<Vec<u8>>),
    Answer(std::result::Result<(u32, Response, Vec<OwnedFd>), LocalError>),
}

#[async_trait]
impl ExecSession for Session {
    async fn next(&mut self) -> Result<Option<ExecOutput>> {
        loop {
            if let Some(output) = self.queue.pop_front() {
                return Ok(Some(output));
            }
            if self.finished {
                return Ok(None);
            }
            if let Some(code) = self.exit {
                self.drain();
                self.queue.push_back(ExecOutput::Exited(code));
                self.finished = true;
                continue;
            }
            let event = tokio::select! {
                bytes = read_stream(self.stdout.as_ref()) => Event::Stdout(bytes),
                bytes = read_stream(self.stderr.as_ref()) => Event::Stderr(bytes),
                answer = self.receive() => Event::Answer(answer),
            };
            match event {
                Event::Stdout(Ok(bytes)) if !bytes.is_empty() => {
                    return Ok(Some(ExecOutput::Stdout(bytes)));
                }
                Event::Stdout(_) => self.stdout = None,
                Event::Stderr(Ok(bytes)) if !bytes.is_empty() => {
                    return Ok(Some(ExecOutput::Stderr(bytes)));
                }
                Event::Stderr(_) => self.stderr = None,
                Event::Answer(answer) => {
                    if let Response::Exited { exit_code, .. } = answer?.1 {
                        self.exit = Some(exit_code);
                    }
                }
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let closed =
            || Error::new(ErrorKind::WrongPhase, "its standard input is closed").on(&self.replica);
        let stdin = self.stdin.as_ref().ok_or_else(closed)?;
        let written = write_some(stdin, bytes).await;
        written.map_err(|error| closed().because(error))
    }

    async fn close_stdin(&mut self) -> Result<()> {
        if self.terminal && self.stdin.is_some() {
            self.write_all(&[END_OF_INPUT]).await?;
        }
        self.stdin = None;
        Ok(())
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let Some(terminal) = self.stdout.as_ref().filter(|_| self.terminal) else {
            let text = "the command has no terminal";
            return Err(Error::new(ErrorKind::WrongPhase, text).on(&self.replica));
        };
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(terminal.get_ref(), size).map_err(|error| {
            Error::new(ErrorKind::Internal, "set the terminal's size")
                .on(&self.replica)
                .because(std::io::Error::from(error))
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.exit.is_none() && self.pid == 0 {
            // It may have begun without anybody having heard it yet. If not, the shim finds nobody
            // here, and does not begin it or ends it.
            while let Ok((frame, _)) = receive_frame(self.control.get_ref()) {
                match decode(&frame, &self.replica) {
                    Ok((_, Response::Started { pid })) => self.pid = pid,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
        if self.exit.is_none() && self.pid != 0 {
            let kill = Request::SignalExec {
                pid: self.pid,
                signal: SIGKILL,
            };
            // If the shim is gone so is the command, or the next shim ends it with the replica.
            let _ = send_frame(self.control.get_ref(), &kill.encode(u32::MAX), &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shim_that_says_nothing_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let kind = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let deaf = socket_with(AddressFamily::UNIX, kind.0, kind.1, None).expect("a socket");
        let address = SocketAddrUnix::new(dir.path().join("ctl")).expect("an address");
        bind(&deaf, &address).expect("bound");
        listen(&deaf, 1).expect("listens");
        let exec = Exec {
            argv: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: String::new(),
            user: None,
            tty: false,
            rows: 0,
            cols: 0,
        };
        let started = Session::start(dir.path(), "s-a-1", exec, false).await;
        let error = started.expect_err("no answer").to_string();
        assert!(error.contains("has not answered for 30 s"), "{error}");
    }
}
