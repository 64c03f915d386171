//! Launching a shim and hearing how it went. The launched process returns at once and goes on in
//! the background, so nothing is left to be reaped here.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use super::install::Program;
use crate::error::LocalError;
use crate::wire::plan::Plan;
use crate::wire::report::Report;

/// Longest wait for a start; filling a new volume from its image is part of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Read at once of a report.
const CHUNK: usize = 4096;

/// A shim that has been launched and has not yet said how it went.
#[derive(Debug)]
pub(crate) struct Launching {
    replica: String,
    report: File,
}

/// Launches a shim for the plan. What is done until [`Launching::wait`] overlaps with the start.
pub(crate) fn launch(program: &Program, plan: &Plan) -> Result<Launching, LocalError> {
    let failed = |source: std::io::Error| {
        LocalError::io("launch the shim of", Path::new(&plan.replica), source)
    };
    let file = memory(&plan.encode()).map_err(failed)?;
    let mut command = program.command();
    command.args(["0", "1"]).stdin(file);
    start(command, &plan.replica).map_err(failed)
}

/// Launches a successor for a shim that has died.
pub(crate) fn adopt(
    program: &Program,
    directory: &Path,
    replica: &str,
) -> Result<Launching, LocalError> {
    let failed = |source: std::io::Error| {
        LocalError::io("launch a new shim for", Path::new(replica), source)
    };
    let mut command = program.command();
    command
        .arg("--adopt")
        .arg(directory)
        .arg("1")
        .stdin(Stdio::null());
    start(command, replica).map_err(failed)
}

fn memory(content: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(
        "unmoor-plan",
        MemfdFlags::CLOEXEC,
    )?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn start(mut command: Command, replica: &str) -> std::io::Result<Launching> {
    command.arg0(format!("unmoor-shim {replica}"));
    let (report, theirs) = std::io::pipe()?;
    // Nobody may hear from a shim on the caller's terminal: it outlives the caller.
    command.stdout(theirs).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // Ours of the copies of the report's end: without this the pipe would never end.
    drop(command);
    child.wait()?;
    let report = File::from(std::os::fd::OwnedFd::from(report));
    Ok(Launching {
        replica: replica.to_owned(),
        report,
    })
}

impl Launching {
    /// Waits until the program runs, or has failed to.
    ///
    /// # Errors
    /// `Shim` with the step that failed; everything made on the way is gone then.
    pub(crate) fn wait(mut self) -> Result<(), LocalError> {
        let mut bytes = Vec::new();
        loop {
            self.listen()?;
            let before = bytes.len();
            bytes.resize(before + CHUNK, 0);
            let count = self.report.read(&mut bytes[before..]).map_err(|source| {
                LocalError::io("hear from the shim of", Path::new(&self.replica), source)
            })?;
            bytes.truncate(before + count);
            // The shim has more to do than to close its end: a whole report is enough.
            if count == 0 || Report::decode(&bytes).is_ok() {
                break;
            }
        }
        let replica = self.replica;
        if bytes.is_empty() {
            let problem = "ended before it could say anything".to_owned();
            return Err(LocalError::Protocol { replica, problem });
        }
        match Report::decode(&bytes) {
            Ok(Report::Started { .. }) => Ok(()),
            Ok(Report::Failed(failure)) => Err(LocalError::Shim { replica, failure }),
            Err(error) => {
                let problem = format!("sent a report that cannot be read: {error}");
                Err(LocalError::Protocol { replica, problem })
            }
        }
    }

    /// Waits until the shim speaks; one that is frozen must not freeze its launcher.
    fn listen(&self) -> Result<(), LocalError> {
        let limit = Timespec::try_from(PATIENCE).ok();
        let mut fds = [PollFd::new(&self.report, PollFlags::IN)];
        loop {
            match poll(&mut fds, limit.as_ref()) {
                Ok(0) => {
                    let problem = format!("has said nothing for {} s", PATIENCE.as_secs());
                    return Err(LocalError::Protocol {
                        replica: self.replica.clone(),
                        problem,
                    });
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(source) => {
                    let what = Path::new(&self.replica);
                    return Err(LocalError::io("wait for the shim of", what, source));
                }
            }
        }
    }
}
