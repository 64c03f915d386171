//! Requests to a shim and its answers, over the socket `<run dir>/ctl` (`SOCK_SEQPACKET`).
//!
//! One packet is one frame: version, number, tag, fields. A client numbers its requests; answers
//! carry the number of the request they belong to, so several can be under way on a connection.
//! A frame with an unknown tag is answered `Unsupported`; fields a reader does not know come last
//! and are passed over, which is how later versions add to a message.
//!
//! ```text
//! Hello                      -> Welcome
//! Stop, Kill                 -> Stopped            when the replica has ended
//! Exec                       -> Started, then Exited on the same connection
//! Attach                     -> Attached           with descriptors
//! everything else            -> Done
//! any of them                -> Refused | Unsupported
//! ```

use super::codec::{CodecError, Reader, Writer};
use super::plan::{Restart, read_restart, write_restart};
use super::report::Failure;

/// The version of the messages this source writes; greater ones add, they never change.
///
/// Tests compile shims of other versions from the same source.
#[allow(
    unexpected_cfgs,
    reason = "the build script sets it for those shims alone"
)]
pub const VERSION: u32 = if cfg!(wire = "older") {
    1
} else if cfg!(wire = "newer") {
    9
} else {
    2
};
/// The version that a library must speak at least to be obeyed by a shim of this source.
#[allow(
    unexpected_cfgs,
    reason = "the build script sets it for those shims alone"
)]
pub const OLDEST: u32 = if cfg!(wire = "newer") { 9 } else { 1 };
/// The longest frame.
pub const FRAME_MAX: usize = 160 * 1024;

/// What is asked of a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Which version do you speak?
    Hello {
        /// The asker's version.
        version: u32,
    },
    /// Send a signal to the program.
    Signal {
        /// Its number.
        signal: u32,
    },
    /// End the program: withdraw it, send the signal, wait, kill. No restart follows.
    Stop {
        /// Signal to begin with; 0: the plan's.
        signal: u32,
        /// Time until SIGKILL; `None`: the plan's.
        grace_ms: Option<u64>,
    },
    /// End the program at once by SIGKILL. No restart follows.
    Kill,
    /// Start the program again after it has ended.
    Start,
    /// Freeze all processes.
    Pause,
    /// Let them go on.
    Resume,
    /// Run another program inside; its stdin, stdout and stderr come as three descriptors,
    /// unless `tty` is set: then the answer brings the terminal's master.
    Exec(Exec),
    /// Send a signal to a program started by `Exec`.
    SignalExec {
        /// Its pid as told in `Started`.
        pid: u32,
        /// The signal's number.
        signal: u32,
    },
    /// Set the size of the program's own terminal.
    ResizeTty {
        /// Lines.
        rows: u16,
        /// Characters a line.
        cols: u16,
    },
    /// Read the stack's network files again.
    Reload {
        /// A new encoded network plan; `None`: only the zone has changed.
        net: Option<Vec<u8>>,
    },
    /// Replace the restart policy.
    SetRestart {
        /// The new policy.
        restart: Restart,
    },
    /// After the replica has ended: remove its cgroups and run files, and exit. The process is
    /// gone a moment after the answer; who must know waits for it by a process descriptor.
    Quit,
    /// Follow the program's output live and, if asked, feed its input.
    Attach {
        /// Whether bytes sent go to the program's stdin (needs `open_stdin` or `tty`).
        stdin: bool,
    },
    /// Close the program's stdin once everything sent has been read.
    CloseStdin,
    /// Keep the replica out of discovery, whatever its health, or let it in again. A start by
    /// request lets it in; so does an adoption.
    Drain {
        /// Whether it is kept out.
        drained: bool,
    },
    /// Answer once the replica's names and address map hold every change of its zones and links
    /// that was made before this was asked.
    Settle,
}

/// A program to run inside a running replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Its arguments.
    pub argv: Vec<String>,
    /// Its environment, `NAME=value`; complete, nothing is added.
    pub env: Vec<String>,
    /// Working directory inside; empty: the plan's.
    pub cwd: String,
    /// User, group and supplementary groups; `None`: the plan's.
    pub user: Option<ExecUser>,
    /// Whether it gets a terminal of its own.
    pub tty: bool,
    /// Size of that terminal, lines and characters; 0 is left as it is.
    pub rows: u16,
    /// See `rows`.
    pub cols: u16,
}

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecUser {
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// Supplementary groups inside.
    pub groups: Vec<u32>,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// The shim speaks this version.
    Welcome {
        /// Version of its messages.
        version: u32,
        /// The shim's pid.
        pid: u32,
    },
    /// Done.
    Done,
    /// The replica has ended.
    Stopped {
        /// Exit code, 128 + signal for a signal; `None`: unknown.
        exit_code: Option<i32>,
    },
    /// The program of an `Exec` runs.
    Started {
        /// Its pid in the host's pid namespace.
        pid: u32,
    },
    /// The program of an `Exec` has ended.
    Exited {
        /// Exit code, 128 + signal for a signal.
        exit_code: i32,
        /// Signal; 0: none.
        signal: u32,
    },
    /// The descriptors that came along: a stream of stdout (to which stdin is written), and a
    /// stream of stderr unless there is a terminal. They end when the program does.
    Attached,
    /// It could not be done.
    Refused(Refusal),
    /// This shim does not know the request.
    Unsupported,
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whether another state of the replica would make it possible.
    pub wrong_phase: bool,
    /// What failed, where.
    pub failure: Failure,
}

/// The version with which a request came.
fn since(tag: u32) -> u32 {
    match tag {
        0..=15 => 1,
        _ => 2,
    }
}

/// Reads only the head of a frame: version, number, tag.
fn head(r: &mut Reader<'_>) -> Result<(u32, u32, u32), CodecError> {
    Ok((r.u32()?, r.u32()?, r.u32()?))
}

/// A request that was read, or why it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A known request with its number.
    Request(u32, Request),
    /// A request this version does not know; answer [`Response::Unsupported`].
    Unknown(u32),
}

impl Request {
    /// Turns the request into a frame.
    pub fn encode(&self, number: u32) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(VERSION).u32(number);
        match self {
            Self::Hello { version } => w.u32(0).u32(*version),
            Self::Signal { signal } => w.u32(1).u32(*signal),
            Self::Stop { signal, grace_ms } => {
                w.u32(2).u32(*signal).option(grace_ms.as_ref(), |w, ms| {
                    w.u64(*ms);
                })
            }
            Self::Kill => w.u32(3),
            Self::Start => w.u32(4),
            Self::Pause => w.u32(5),
            Self::Resume => w.u32(6),
            Self::Exec(exec) => {
                w.u32(7);
                exec.write(&mut w);
                &mut w
            }
            Self::SignalExec { pid, signal } => w.u32(8).u32(*pid).u32(*signal),
            Self::ResizeTty { rows, cols } => w.u32(9).u32(u32::from(*rows)).u32(u32::from(*cols)),
            Self::Reload { net } => w.u32(10).option(net.as_ref(), |w, net| {
                w.bytes(net);
            }),
            Self::SetRestart { restart } => {
                w.u32(11);
                write_restart(&mut w, *restart);
                &mut w
            }
            Self::Quit => w.u32(12),
            Self::Attach { stdin } => w.u32(13).bool(*stdin),
            Self::CloseStdin => w.u32(14),
            Self::Drain { drained } => w.u32(15).bool(*drained),
            Self::Settle => w.u32(16),
        };
        w.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// A frame without a head, or a known request whose fields end early.
    pub fn decode(frame: &[u8]) -> Result<Incoming, CodecError> {
        let r = &mut Reader::new(frame);
        let (_, number, tag) = head(r)?;
        if since(tag) > VERSION {
            return Ok(Incoming::Unknown(number));
        }
        let request = match tag {
            0 => Self::Hello { version: r.u32()? },
            1 => Self::Signal { signal: r.u32()? },
            2 => Self::Stop {
                signal: r.u32()?,
                grace_ms: r.option(Reader::u64)?,
            },
            3 => Self::Kill,
            4 => Self::Start,
            5 => Self::Pause,
            6 => Self::Resume,
            7 => Self::Exec(Exec::read(r)?),
            8 => Self::SignalExec {
                pid: r.u32()?,
                signal: r.u32()?,
            },
            9 => Self::ResizeTty {
                rows: small(r)?,
                cols: small(r)?,
            },
            10 => Self::Reload {
                net: r.option(|r| r.bytes().map(<[u8]>::to_vec))?,
            },
            11 => Self::SetRestart {
                restart: read_restart(r)?,
            },
            12 => Self::Quit,
            13 => Self::Attach { stdin: r.bool()? },
            14 => Self::CloseStdin,
            15 => Self::Drain { drained: r.bool()? },
            16 => Self::Settle,
            _ => return Ok(Incoming::Unknown(number)),
        };
        Ok(Incoming::Request(number, request))
    }
}

impl Exec {
    fn write(&self, w: &mut Writer) {
        for list in [&self.argv, &self.env] {
            w.list(list, |w, item| {
                w.str(item);
            });
        }
        w.str(&self.cwd);
        w.option(self.user.as_ref(), |w, user| {
            w.u32(user.uid).u32(user.gid).list(&user.groups, |w, gid| {
                w.u32(*gid);
            });
        });
        w.bool(self.tty)
            .u32(u32::from(self.rows))
            .u32(u32::from(self.cols));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            argv: r.list(Reader::string)?,
            env: r.list(Reader::string)?,
            cwd: r.string()?,
            user: r.option(|r| {
                Ok(ExecUser {
                    uid: r.u32()?,
                    gid: r.u32()?,
                    groups: r.list(Reader::u32)?,
                })
            })?,
            tty: r.bool()?,
            rows: small(r)?,
            cols: small(r)?,
        })
    }
}

impl Response {
    /// Turns the answer to request `number` into a frame.
    pub fn encode(&self, number: u32) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(VERSION).u32(number);
        match self {
            Self::Welcome { version, pid } => w.u32(0).u32(*version).u32(*pid),
            Self::Done => w.u32(1),
            Self::Stopped { exit_code } => w.u32(2).option(exit_code.as_ref(), |w, code| {
                w.u32(code.cast_unsigned());
            }),
            Self::Started { pid } => w.u32(3).u32(*pid),
            Self::Exited { exit_code, signal } => {
                w.u32(4).u32(exit_code.cast_unsigned()).u32(*signal)
            }
            Self::Attached => w.u32(5),
            Self::Refused(refusal) => {
                w.u32(6).bool(refusal.wrong_phase);
                refusal.failure.write(&mut w);
                &mut w
            }
            Self::Unsupported => w.u32(7),
        };
        w.finish()
    }

    /// Reads a frame: the number of the request it answers, and the answer.
    ///
    /// # Errors
    /// A frame that ends early, or an answer this version does not know.
    pub fn decode(frame: &[u8]) -> Result<(u32, Self), CodecError> {
        let r = &mut Reader::new(frame);
        let (_, number, tag) = head(r)?;
        let response = match tag {
            0 => Self::Welcome {
                version: r.u32()?,
                pid: r.u32()?,
            },
            1 => Self::Done,
            2 => Self::Stopped {
                exit_code: r.option(|r| r.u32().map(u32::cast_signed))?,
            },
            3 => Self::Started { pid: r.u32()? },
            4 => Self::Exited {
                exit_code: r.u32()?.cast_signed(),
                signal: r.u32()?,
            },
            5 => Self::Attached,
            6 => Self::Refused(Refusal {
                wrong_phase: r.bool()?,
                failure: Failure::read(r)?,
            }),
            7 => Self::Unsupported,
            other => return Err(CodecError::Unknown(other)),
        };
        Ok((number, response))
    }
}

fn small(r: &mut Reader<'_>) -> Result<u16, CodecError> {
    let value = r.u32()?;
    u16::try_from(value).map_err(|_| CodecError::Unknown(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Request> {
        vec![
            Request::Hello { version: 9 },
            Request::Signal { signal: 1 },
            Request::Stop {
                signal: 15,
                grace_ms: Some(7),
            },
            Request::Stop {
                signal: 0,
                grace_ms: None,
            },
            Request::Kill,
            Request::Start,
            Request::Pause,
            Request::Resume,
            Request::Exec(Exec {
                argv: vec!["a".into(), "b".into()],
                env: vec!["X=1".into()],
                cwd: "/".into(),
                user: Some(ExecUser {
                    uid: 1,
                    gid: 2,
                    groups: vec![3],
                }),
                tty: true,
                rows: 24,
                cols: 80,
            }),
            Request::SignalExec { pid: 4, signal: 9 },
            Request::ResizeTty { rows: 1, cols: 2 },
            Request::Reload { net: Some(vec![1]) },
            Request::SetRestart {
                restart: Restart::OnFailure { max: 2 },
            },
            Request::Quit,
            Request::Attach { stdin: true },
            Request::CloseStdin,
            Request::Drain { drained: true },
            Request::Settle,
        ]
    }

    #[test]
    fn requests_come_back_and_cuts_are_refused() {
        for request in requests() {
            let frame = request.encode(5);
            assert_eq!(
                Request::decode(&frame),
                Ok(Incoming::Request(5, request.clone()))
            );
            for len in 0..frame.len() {
                assert!(
                    Request::decode(&frame[..len]).is_err(),
                    "{request:?} cut at {len}"
                );
            }
        }
    }

    #[test]
    fn fields_and_requests_of_later_versions_do_no_harm() {
        let mut longer = Request::Kill.encode(6);
        longer.extend([1, 2, 3]);
        assert_eq!(
            Request::decode(&longer),
            Ok(Incoming::Request(6, Request::Kill))
        );
        let mut w = Writer::new();
        w.u32(VERSION + 1).u32(7).u32(1000).u64(1);
        assert_eq!(Request::decode(&w.finish()), Ok(Incoming::Unknown(7)));
    }

    #[test]
    fn responses_come_back() {
        let failure = Failure {
            step: "exec".into(),
            errno: 2,
            detail: "x".into(),
            exit_code: 127,
        };
        for response in [
            Response::Welcome { version: 1, pid: 2 },
            Response::Done,
            Response::Stopped {
                exit_code: Some(-1),
            },
            Response::Stopped { exit_code: None },
            Response::Started { pid: 3 },
            Response::Exited {
                exit_code: 137,
                signal: 9,
            },
            Response::Attached,
            Response::Refused(Refusal {
                wrong_phase: true,
                failure,
            }),
            Response::Unsupported,
        ] {
            assert_eq!(Response::decode(&response.encode(8)), Ok((8, response)));
        }
    }
}
