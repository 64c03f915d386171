//! The kernel as the shim sees it: thin, typed wrappers around system calls.
//!
//! All `unsafe` of the shim's own code is here. Every wrapper takes borrowed data, hands out
//! owned descriptors, and returns the kernel's error number unchanged.

pub(crate) mod abi;
pub(crate) mod fs;
pub(crate) mod mount;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod rights;
pub(crate) mod socket;
pub(crate) mod tty;

use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd};

use abi::c_long;

/// The kernel's error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const NOENT: Self = Self(2);
    pub(crate) const SRCH: Self = Self(3);
    pub(crate) const INTR: Self = Self(4);
    pub(crate) const IO: Self = Self(5);
    pub(crate) const AGAIN: Self = Self(11);
    pub(crate) const CONNRESET: Self = Self(104);
    pub(crate) const ACCES: Self = Self(13);
    pub(crate) const EXIST: Self = Self(17);
    pub(crate) const NOTDIR: Self = Self(20);
    pub(crate) const INVAL: Self = Self(22);
    pub(crate) const NOSYS: Self = Self(38);
    pub(crate) const LOOP: Self = Self(40);
    pub(crate) const INPROGRESS: Self = Self(115);

    fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(5))
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(Self::IO.0))
    }
}

/// What a system call answers.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// An argument of a system call: a number or an address.
pub(crate) trait Arg {
    fn arg(self) -> c_long;
}

macro_rules! number_args {
    ($($kind:ty),*) => {$(
        impl Arg for $kind {
            #[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation,
                reason = "the kernel reads the register as the type it expects")]
            fn arg(self) -> c_long {
                self as c_long
            }
        }
    )*};
}

number_args!(i32, u32, i64, u64, usize);

impl<T> Arg for *const T {
    fn arg(self) -> c_long {
        self.expose_provenance().arg()
    }
}

impl<T> Arg for *mut T {
    fn arg(self) -> c_long {
        self.expose_provenance().arg()
    }
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// Makes a system call with up to six arguments, missing ones as 0.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for what the kernel reads or
/// writes, and no descriptor closed that someone still owns.
pub(crate) unsafe fn call(number: c_long, args: [c_long; 6]) -> Result<c_long> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the caller vouches for the arguments; unused ones are ignored by the kernel.
    let result = unsafe { syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// `sys!(number, args...)`: a system call with missing arguments as 0; unsafe like [`call`].
macro_rules! sys {
    ($number:expr $(, $arg:expr)* $(,)?) => {{
        let given: &[$crate::sys::abi::c_long] = &[$($crate::sys::Arg::arg($arg)),*];
        let mut args = [0; 6];
        args[..given.len()].copy_from_slice(given);
        $crate::sys::call($number, args)
    }};
}
pub(crate) use sys;

/// Takes ownership of a descriptor that a system call has just returned.
fn owned(result: c_long) -> Result<OwnedFd> {
    let raw = i32::try_from(result).map_err(|_| Errno::IO)?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Text for the kernel; a zero byte within is refused.
pub(crate) fn c_text(text: impl AsRef<[u8]>) -> Result<CString> {
    CString::new(text.as_ref()).map_err(|_| Errno::INVAL)
}

/// Repeats a call for as long as a signal interrupts it.
fn again<T>(mut each: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match each() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
