//! The status record: what a shim knows about its replica, readable by anyone without asking it.
//!
//! `<run dir>/status` holds exactly [`SIZE`] bytes, replaced by one write at each change (so an
//! inotify watch sees every one). A reader that meets a bad checksum read during a write and
//! reads again. Whether the shim still lives is told by its lock on `<run dir>/lock`, and by its
//! pid and start time; never by the pid alone.

use super::control;

/// Size of the record.
pub const SIZE: usize = 512;
/// The first four bytes.
pub const MAGIC: u32 = 0x4d55_5453;
/// The version of the layout.
pub const VERSION: u32 = 1;
/// Room for the error text.
pub const ERROR_MAX: usize = 160;

const CHECKSUM_AT: usize = SIZE - 8;
const ERROR_AT: usize = 256;

/// Where a replica is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The shim has begun and holds the lock.
    Creating,
    /// The sandbox is being made.
    Starting,
    /// The program runs.
    Running,
    /// The program ended and is waiting for its next start.
    Restarting,
    /// All processes are frozen.
    Paused,
    /// It was asked to end.
    Stopping,
    /// The program ended and is not started again.
    Exited,
    /// The program could not be started; see the error.
    Failed,
}

/// What the health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// There is no check.
    None,
    /// No verdict yet.
    Starting,
    /// The last try succeeded.
    Healthy,
    /// Too many failures in a row.
    Unhealthy,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessId {
    /// Number in the host's pid namespace; 0: none.
    pub pid: u32,
    /// Start time, field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Counts the writes; never goes back, also over an adoption.
    pub sequence: u64,
    /// Counts the starts of the program, from 1.
    pub generation: u64,
    /// Where the replica is.
    pub phase: Phase,
    /// The shim.
    pub shim: ProcessId,
    /// Process 1 of the replica (the program, or the init that runs it).
    pub init: ProcessId,
    /// `/proc/sys/kernel/random/boot_id` without dashes, as bytes.
    pub boot_id: [u8; 16],
    /// Last start, nanoseconds since 1970; 0: never.
    pub started_ns: u64,
    /// Last end, nanoseconds since 1970; 0: never.
    pub finished_ns: u64,
    /// Exit code of the last run, 128 + signal for a signal; `None`: none yet, or unknown.
    pub exit_code: Option<i32>,
    /// Signal that ended the last run; 0: none.
    pub signal: u32,
    /// Whether the kernel killed a process of the last run for want of memory.
    pub oom_killed: bool,
    /// Whether the last run's end was seen but its code could not be learnt.
    pub exit_unknown: bool,
    /// Restarts by policy since the last start by request.
    pub restarts: u32,
    /// Verdict of the health check.
    pub health: HealthState,
    /// Failed tries in a row.
    pub failing_streak: u32,
    /// Whether an end was requested (such a replica is not started again by `UnlessStopped`).
    pub stop_requested: bool,
    /// Whether the replica is published as an endpoint.
    pub ready: bool,
    /// When the next start by policy is due, nanoseconds since 1970; 0: none.
    pub next_start_ns: u64,
    /// The version of the messages that the shim speaks.
    pub speaks: u32,
    /// The version that a library must speak at least for the shim to obey it.
    pub obeys: u32,
    /// Why the start failed, at most [`ERROR_MAX`] bytes.
    pub error: String,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            sequence: 0,
            generation: 0,
            phase: Phase::Creating,
            shim: ProcessId::default(),
            init: ProcessId::default(),
            boot_id: [0; 16],
            started_ns: 0,
            finished_ns: 0,
            exit_code: None,
            signal: 0,
            oom_killed: false,
            exit_unknown: false,
            restarts: 0,
            health: HealthState::None,
            failing_streak: 0,
            stop_requested: false,
            ready: false,
            next_start_ns: 0,
            speaks: control::VERSION,
            obeys: control::OLDEST,
            error: String::new(),
        }
    }
}

/// Why bytes are not a status record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusError {
    /// Not [`SIZE`] bytes, or another magic number.
    NotAStatus,
    /// Written by another version.
    Version(u32),
    /// Read in the middle of a write; read again.
    Torn,
    /// A value this version does not know.
    Unknown(u32),
}

impl core::fmt::Display for StatusError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAStatus => f.write_str("not a status record"),
            Self::Version(found) => write!(f, "status record of version {found}"),
            Self::Torn => f.write_str("status record read during a write"),
            Self::Unknown(found) => write!(f, "unknown value {found} in a status record"),
        }
    }
}

impl std::error::Error for StatusError {}

impl Status {
    /// Turns the record into bytes; an error text that is too long is cut.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut page = Page {
            bytes: [0; SIZE],
            at: 0,
        };
        page.u32(MAGIC);
        page.u32(VERSION);
        page.u64(self.sequence);
        page.u64(self.generation);
        page.u32(self.phase as u32);
        page.u32(self.health as u32);
        page.process(self.shim);
        page.process(self.init);
        page.put(&self.boot_id);
        page.u64(self.started_ns);
        page.u64(self.finished_ns);
        page.u32(u32::from(self.exit_code.is_some()));
        page.u32(self.exit_code.unwrap_or(0).cast_unsigned());
        page.u32(self.signal);
        page.u32(self.restarts);
        page.u32(self.failing_streak);
        page.u32(
            u32::from(self.oom_killed)
                | u32::from(self.exit_unknown) << 1
                | u32::from(self.stop_requested) << 2
                | u32::from(self.ready) << 3,
        );
        page.u64(self.next_start_ns);
        page.u32(self.speaks);
        page.u32(self.obeys);
        page.at = ERROR_AT;
        let text = cut(&self.error, ERROR_MAX).as_bytes();
        page.u32(u32::try_from(text.len()).unwrap_or(0));
        page.put(text);
        let sum = checksum(&page.bytes[..CHECKSUM_AT]);
        page.at = CHECKSUM_AT;
        page.u64(sum);
        page.bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// See [`StatusError`]; on `Torn` read the file again.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatusError> {
        let bytes: [u8; SIZE] = bytes.try_into().map_err(|_| StatusError::NotAStatus)?;
        let mut page = Page { bytes, at: 0 };
        if page.take_u32() != MAGIC {
            return Err(StatusError::NotAStatus);
        }
        page.at = CHECKSUM_AT;
        if page.take_u64() != checksum(&bytes[..CHECKSUM_AT]) {
            return Err(StatusError::Torn);
        }
        page.at = 4;
        match page.take_u32() {
            VERSION => page.status(),
            other => Err(StatusError::Version(other)),
        }
    }

    /// True when new connections may be sent to the replica.
    pub fn serves(&self) -> bool {
        self.phase == Phase::Running && self.ready
    }
}

struct Page {
    bytes: [u8; SIZE],
    at: usize,
}

impl Page {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn process(&mut self, process: ProcessId) {
        self.u64(u64::from(process.pid));
        self.u64(process.start_time);
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        out
    }

    fn take_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn take_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn take_process(&mut self) -> ProcessId {
        let pid = u32::try_from(self.take_u64()).unwrap_or(0);
        ProcessId {
            pid,
            start_time: self.take_u64(),
        }
    }

    fn status(&mut self) -> Result<Status, StatusError> {
        let sequence = self.take_u64();
        let generation = self.take_u64();
        let phase = phase(self.take_u32())?;
        let health = health(self.take_u32())?;
        let shim = self.take_process();
        let init = self.take_process();
        let boot_id = self.take();
        let started_ns = self.take_u64();
        let finished_ns = self.take_u64();
        let has_code = self.take_u32() != 0;
        let code = self.take_u32().cast_signed();
        let signal = self.take_u32();
        let restarts = self.take_u32();
        let failing_streak = self.take_u32();
        let flags = self.take_u32();
        let next_start_ns = self.take_u64();
        // The first shims wrote neither.
        let speaks = self.take_u32().max(1);
        let obeys = self.take_u32().max(1);
        self.at = ERROR_AT;
        let len = self.take_u32() as usize;
        if len > ERROR_MAX {
            return Err(StatusError::NotAStatus);
        }
        let text = &self.bytes[self.at..self.at + len];
        Ok(Status {
            sequence,
            generation,
            phase,
            shim,
            init,
            boot_id,
            started_ns,
            finished_ns,
            exit_code: has_code.then_some(code),
            signal,
            oom_killed: flags & 1 != 0,
            exit_unknown: flags & 2 != 0,
            restarts,
            health,
            failing_streak,
            stop_requested: flags & 4 != 0,
            ready: flags & 8 != 0,
            next_start_ns,
            speaks,
            obeys,
            error: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

fn phase(value: u32) -> Result<Phase, StatusError> {
    const ALL: [Phase; 8] = [
        Phase::Creating,
        Phase::Starting,
        Phase::Running,
        Phase::Restarting,
        Phase::Paused,
        Phase::Stopping,
        Phase::Exited,
        Phase::Failed,
    ];
    ALL.get(value as usize)
        .copied()
        .ok_or(StatusError::Unknown(value))
}

fn health(value: u32) -> Result<HealthState, StatusError> {
    const ALL: [HealthState; 4] = [
        HealthState::None,
        HealthState::Starting,
        HealthState::Healthy,
        HealthState::Unhealthy,
    ];
    ALL.get(value as usize)
        .copied()
        .ok_or(StatusError::Unknown(value))
}

/// FNV-1a over 64 bits: tells a torn record from a whole one, nothing more.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The longest prefix of at most `max` bytes that ends between two characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let status = Status {
            sequence: 7,
            generation: 3,
            phase: Phase::Exited,
            shim: ProcessId {
                pid: 11,
                start_time: 22,
            },
            init: ProcessId {
                pid: 33,
                start_time: 44,
            },
            boot_id: [9; 16],
            started_ns: 5,
            finished_ns: 6,
            exit_code: Some(-1),
            signal: 9,
            oom_killed: true,
            exit_unknown: true,
            restarts: 2,
            health: HealthState::Unhealthy,
            failing_streak: 4,
            stop_requested: true,
            ready: true,
            next_start_ns: 77,
            speaks: 8,
            obeys: 3,
            error: "mount: not permitted".into(),
        };
        assert_eq!(Status::decode(&status.encode()), Ok(status));
    }

    #[test]
    fn a_record_of_the_first_shims_says_that_they_are() {
        let mut bytes = Status::default().encode();
        let versions = 128;
        bytes[versions..versions + 8].fill(0);
        let sum = checksum(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
        let back = Status::decode(&bytes).expect("whole");
        assert_eq!((back.speaks, back.obeys), (1, 1));
    }

    #[test]
    fn a_half_written_record_is_torn_and_a_long_error_is_cut() {
        let status = Status {
            error: "é".repeat(200),
            ..Status::default()
        };
        let mut bytes = status.encode();
        let back = Status::decode(&bytes).expect("whole");
        assert_eq!(back.error.len(), ERROR_MAX);
        bytes[100] ^= 1;
        assert_eq!(Status::decode(&bytes), Err(StatusError::Torn));
        assert_eq!(Status::decode(&bytes[1..]), Err(StatusError::NotAStatus));
    }
}
