//! The last steps before the program: user, capabilities, seccomp, search in `PATH`, exec.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use crate::fault::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Outcome, Step, failure, refuse};
use crate::sys::poll::{self, Disposition};
use crate::sys::{Errno, abi, fs, process, rights, tty};
use crate::wire::plan::Capabilities;
use crate::wire::report::Failure;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and everything it is to be.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) env: &'a [String],
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: &'a [u32],
    pub(crate) caps: Capabilities,
    pub(crate) no_new_privs: bool,
    pub(crate) seccomp: &'a [u8],
}

/// Makes the three descriptors stdin, stdout and stderr; a terminal also becomes the session's.
pub(crate) fn take_streams(streams: [BorrowedFd<'_>; 3], is_terminal: bool) -> Outcome<()> {
    if is_terminal {
        tty::control(streams[0]).step("take terminal", "")?;
    }
    for (number, stream) in (0..).zip(streams) {
        process::dup_to(stream, number).step("set standard stream", number)?;
    }
    Ok(())
}

/// Forgets how the shim treats signals; what it handles rather than ignores, exec resets.
pub(crate) fn reset_signals() {
    for signal in IGNORED_SIGNALS {
        poll::set_disposition(signal, Disposition::Default);
    }
    let _ = poll::block_only(0);
}

/// What the shim ignores: what ends a session must not end a replica, and a reader that has gone
/// is an error of its write.
pub(crate) const IGNORED_SIGNALS: [u32; 7] = [
    abi::SIGHUP,
    abi::SIGINT,
    abi::SIGQUIT,
    abi::SIGUSR1,
    abi::SIGUSR2,
    abi::SIGPIPE,
    abi::SIGTERM,
];

impl Program<'_> {
    /// Becomes the program; returns only if that fails.
    ///
    /// `report` stays open until the program is executed.
    pub(crate) fn execute(&self, report: &impl AsFd) -> Failure {
        match self.prepare(report) {
            Ok(()) => self.exec(),
            Err(failure) => failure,
        }
    }

    fn prepare(&self, report: &impl AsFd) -> Outcome<()> {
        use std::os::fd::AsRawFd;
        process::keep_only(&[0, 1, 2, report.as_fd().as_raw_fd()]).step("close descriptors", "")?;
        fs::umask(0o022);
        self.take_rights()?;
        reset_signals();
        Ok(())
    }

    /// Gives up what the program is not to have; the order is what the kernel demands.
    fn take_rights(&self) -> Outcome<()> {
        let caps = self.caps;
        rights::limit_bounding(caps.bounding).step("limit capabilities", "bounding set")?;
        if !self.no_new_privs {
            // A filter without no_new_privs needs rights that the next steps take away.
            self.load_filter()?;
        }
        rights::set_groups(self.groups).step("set groups", format_args!("{:?}", self.groups))?;
        rights::set_keep_capabilities().step("set user", "keep capabilities")?;
        rights::set_user(self.uid, self.gid)
            .step("set user", format_args!("{}:{}", self.uid, self.gid))?;
        rights::set_capabilities(caps.effective, caps.permitted, caps.inheritable)
            .step("set capabilities", format_args!("{:#x}", caps.permitted))?;
        rights::set_ambient(caps.ambient).step(
            "set ambient capabilities",
            format_args!("{:#x}", caps.ambient),
        )?;
        if self.no_new_privs {
            rights::set_no_new_privileges().step("set no_new_privs", "")?;
            self.load_filter()?;
        }
        Ok(())
    }

    fn load_filter(&self) -> Outcome<()> {
        if self.seccomp.is_empty() {
            return Ok(());
        }
        rights::set_seccomp(self.seccomp).step(
            "load seccomp filter",
            format_args!("{} bytes", self.seccomp.len()),
        )
    }

    fn exec(&self) -> Failure {
        let Some(name) = self.argv.first().filter(|name| !name.is_empty()) else {
            return Failure {
                exit_code: EXIT_NOT_FOUND,
                ..refuse("exec", "no program given")
            };
        };
        let (Ok(argv), Ok(env)) = (texts(self.argv), texts(self.env)) else {
            return refuse("exec", "an argument or variable holds a zero byte");
        };
        let (argv, env) = (pointers(&argv), pointers(&env));
        let mut last = Errno::NOENT;
        for path in candidates(name, self.env) {
            let Ok(path) = CString::new(path) else {
                continue;
            };
            match process::exec(&path, &argv, &env) {
                // Another directory of PATH may have it.
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCES => last = Errno::ACCES,
                other => {
                    last = other;
                    break;
                }
            }
        }
        let exit_code = if last == Errno::NOENT {
            EXIT_NOT_FOUND
        } else {
            EXIT_NOT_EXECUTABLE
        };
        Failure {
            exit_code,
            ..failure("exec", last, name)
        }
    }
}

/// Where a program may be: itself when it has a slash, else in each directory of `PATH`.
fn candidates(name: &str, env: &[String]) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="));
    let path = path.unwrap_or(DEFAULT_PATH);
    // An empty entry means the working directory, as everywhere.
    let join = |dir: &str| {
        if dir.is_empty() {
            format!("./{name}")
        } else {
            format!("{dir}/{name}")
        }
    };
    path.split(':').map(join).collect()
}

fn texts(items: &[String]) -> Result<Vec<CString>, std::ffi::NulError> {
    items
        .iter()
        .map(|item| CString::new(item.as_str()))
        .collect()
}

fn pointers(items: &[CString]) -> Vec<*const u8> {
    let end = std::iter::once(std::ptr::null());
    items
        .iter()
        .map(|item| item.as_ptr().cast())
        .chain(end)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_slash_is_looked_up_in_the_last_path_given() {
        let env = [
            "PATH=/a".to_owned(),
            "X=1".to_owned(),
            "PATH=/b::/c".to_owned(),
        ];
        assert_eq!(candidates("x", &env), ["/b/x", "./x", "/c/x"]);
        assert_eq!(candidates("./x", &env), ["./x"]);
        assert_eq!(candidates("x", &[])[0], "/usr/local/sbin/x");
    }
}
