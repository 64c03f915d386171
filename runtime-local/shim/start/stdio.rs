//! Standard streams of the program: FIFOs that outlive the shim, or a terminal.
//!
//! The program holds its FIFOs open for reading and writing, so that it never meets a closed
//! pipe: while no shim is there they fill up, and the next shim goes on reading.

use std::os::fd::{AsFd, OwnedFd};

use crate::fault::{Outcome, Step, failure, refuse};
use crate::sys::abi;
use crate::sys::fs::{self, At};
use crate::wire::plan::Plan;

/// The FIFOs' names in the run directory.
pub(crate) const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];

/// The program's ends.
#[derive(Debug)]
pub(crate) struct ProgramEnds {
    /// Input; `None`: `/dev/null`.
    pub(crate) stdin: Option<OwnedFd>,
    /// Output.
    pub(crate) stdout: OwnedFd,
    /// Errors.
    pub(crate) stderr: OwnedFd,
}

/// The shim's ends.
#[derive(Debug)]
pub(crate) struct ShimEnds {
    /// Input, kept open so that the program does not meet its end.
    pub(crate) stdin: Option<OwnedFd>,
    /// Output.
    pub(crate) stdout: OwnedFd,
    /// Errors.
    pub(crate) stderr: OwnedFd,
}

/// Makes the FIFOs, owned by the program's user so that it can open `/dev/stdout` again.
pub(crate) fn create(plan: &Plan, run: &OwnedFd) -> Outcome<()> {
    remove(run);
    let (uid, gid) = (
        outside(plan, plan.process.uid)?,
        outside(plan, plan.process.gid)?,
    );
    for name in wanted(plan) {
        let detail = format!("{}/{name}", plan.run_dir);
        fs::mknod(At::from(run), name, abi::S_IFIFO | 0o600).step("create fifo", &detail)?;
        fs::chown_at(At::from(run), name, uid, gid).step("hand over fifo", &detail)?;
    }
    Ok(())
}

/// Whether all FIFOs are there.
pub(crate) fn exist(plan: &Plan, run: &OwnedFd) -> bool {
    wanted(plan)
        .iter()
        .all(|name| fs::stat_at(At::from(run), name).is_ok())
}

/// Removes the FIFOs; absent ones are fine.
pub(crate) fn remove(run: &OwnedFd) {
    for name in NAMES {
        let _ = fs::unlink(At::from(run), name);
    }
}

fn wanted(plan: &Plan) -> &'static [&'static str] {
    match (plan.process.tty, plan.process.open_stdin) {
        (true, _) => &[],
        (false, true) => &NAMES,
        (false, false) => &NAMES[1..],
    }
}

/// The host's id of an id inside.
pub(crate) fn outside(plan: &Plan, id: u32) -> Outcome<u32> {
    let Some(map) = plan.id_map else {
        return Ok(id);
    };
    if id >= map.size {
        let detail = format!("id {id} is outside the replica's range of {} ids", map.size);
        return Err(refuse("map id", detail));
    }
    map.base
        .checked_add(id)
        .ok_or_else(|| refuse("map id", "the range ends past the last id"))
}

/// Opens the shim's ends; `None` for a program with a terminal.
pub(crate) fn open_shim_ends(plan: &Plan, run: &OwnedFd) -> Outcome<Option<ShimEnds>> {
    if plan.process.tty {
        return Ok(None);
    }
    let open = |name: &str, flags: i32| {
        fs::open(
            At::from(run),
            name,
            flags | abi::O_NONBLOCK | abi::O_NOFOLLOW,
            0,
        )
        .step("open fifo", format_args!("{}/{name}", plan.run_dir))
    };
    // Also for writing: a FIFO without writer would be "ready" all the time between the end of a
    // program's last descriptor and the end of the program.
    let (stdout, stderr) = (open("stdout", abi::O_RDWR)?, open("stderr", abi::O_RDWR)?);
    Ok(Some(ShimEnds {
        stdin: open_input(plan, run)?,
        stdout,
        stderr,
    }))
}

/// Opens the shim's end of the input; `None` for a program without.
///
/// Also for reading: the program's end can be opened whether or not anybody writes.
pub(crate) fn open_input(plan: &Plan, run: &OwnedFd) -> Outcome<Option<OwnedFd>> {
    if plan.process.tty || !plan.process.open_stdin {
        return Ok(None);
    }
    let flags = abi::O_RDWR | abi::O_NONBLOCK | abi::O_NOFOLLOW;
    fs::open(At::from(run), "stdin", flags, 0)
        .map(Some)
        .step("open fifo", format_args!("{}/stdin", plan.run_dir))
}

/// Opens the program's ends; `None` for a program with a terminal.
pub(crate) fn open_program_ends(plan: &Plan, run: &OwnedFd) -> Outcome<Option<ProgramEnds>> {
    if plan.process.tty {
        return Ok(None);
    }
    let open = |name: &str, flags: i32| {
        fs::open(At::from(run), name, flags | abi::O_NOFOLLOW, 0)
            .step("open fifo", format_args!("{}/{name}", plan.run_dir))
    };
    let stdin = plan
        .process
        .open_stdin
        .then(|| open("stdin", abi::O_RDONLY))
        .transpose()?;
    let (stdout, stderr) = (open("stdout", abi::O_RDWR)?, open("stderr", abi::O_RDWR)?);
    Ok(Some(ProgramEnds {
        stdin,
        stdout,
        stderr,
    }))
}

/// Opens the run directory.
pub(crate) fn open_run_dir(path: &str) -> Outcome<OwnedFd> {
    let flags = abi::O_PATH | abi::O_DIRECTORY;
    let run = fs::open(At::Cwd, path, flags, 0).step("open run directory", path)?;
    match fs::stat(run.as_fd()) {
        Ok(found) if found.mode & 0o022 == 0 => Ok(run),
        Ok(_) => Err(refuse(
            "open run directory",
            format_args!("{path} is writable by others"),
        )),
        Err(errno) => Err(failure("open run directory", errno, path)),
    }
}
