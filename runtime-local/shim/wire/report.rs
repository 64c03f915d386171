//! The report: one record on the launcher's pipe that says whether the program was started.
//!
//! The shim writes it and closes the pipe. A pipe that ends without a record means that the shim
//! died before it could say anything.

use super::codec::{CodecError, Reader, Writer};

/// The first four bytes of a report.
pub const MAGIC: u32 = 0x4d55_5052;
/// The version of the encoding.
pub const VERSION: u32 = 1;

/// The step that fails where the kernel does not show a parameter to a replica.
pub const SET_PARAMETER: &str = "set kernel parameter";

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The program has been executed, or (after `--adopt`) the replica is supervised again.
    Started {
        /// The shim, in the host's pid namespace.
        shim_pid: u32,
        /// Process 1 of the replica, in the host's pid namespace; 0: adopted after its end.
        init_pid: u32,
    },
    /// It has not; everything made on the way has been removed again.
    Failed(Failure),
}

/// What went wrong, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step, such as `mount overlay` or `exec /bin/app`.
    pub step: String,
    /// The kernel's answer; 0: not the kernel's.
    pub errno: i32,
    /// What was tried on what.
    pub detail: String,
    /// Exit code for the user: 127 program not found, 126 not executable, 125 the rest.
    pub exit_code: i32,
}

impl Report {
    /// Turns the report into bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(MAGIC).u32(VERSION);
        match self {
            Self::Started { shim_pid, init_pid } => {
                w.u32(0).u32(*shim_pid).u32(*init_pid);
            }
            Self::Failed(failure) => {
                w.u32(1);
                failure.write(&mut w);
            }
        }
        w.finish()
    }

    /// Reads a report.
    ///
    /// # Errors
    /// Bytes that are not a report, are of another version, or end early.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let r = &mut Reader::new(bytes);
        for expected in [MAGIC, VERSION] {
            let found = r.u32()?;
            if found != expected {
                return Err(CodecError::Unknown(found));
            }
        }
        match r.u32()? {
            0 => Ok(Self::Started {
                shim_pid: r.u32()?,
                init_pid: r.u32()?,
            }),
            1 => Failure::read(r).map(Self::Failed),
            other => Err(CodecError::Unknown(other)),
        }
    }
}

impl Failure {
    pub(super) fn write(&self, w: &mut Writer) {
        w.str(&self.step)
            .u32(self.errno.cast_unsigned())
            .str(&self.detail);
        w.u32(self.exit_code.cast_unsigned());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            step: r.string()?,
            errno: r.u32()?.cast_signed(),
            detail: r.string()?,
            exit_code: r.u32()?.cast_signed(),
        })
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.step)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if self.errno != 0 {
            write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))?;
        }
        Ok(())
    }
}
