//! Sockets, timers and watches of the network module: the only `unsafe` code of this folder.

use core::ffi::{c_char, c_int, c_uint, c_void};
use std::ffi::CString;
use std::io;
use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

unsafe extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
    fn connect(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
    fn send(fd: c_int, bytes: *const c_void, len: usize, flags: c_int) -> isize;
    fn recv(fd: c_int, bytes: *mut c_void, len: usize, flags: c_int) -> isize;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: c_uint)
    -> c_int;
    fn recvmmsg(fd: c_int, list: *mut MMsg, len: c_uint, flags: c_int, wait: *mut c_void) -> c_int;
    fn sendmmsg(fd: c_int, list: *mut MMsg, len: c_uint, flags: c_int) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn ioctl(fd: c_int, request: core::ffi::c_ulong, arg: *mut c_void) -> c_int;
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut EpollEvent) -> c_int;
    fn epoll_wait(epoll: c_int, events: *mut EpollEvent, len: c_int, wait: c_int) -> c_int;
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    fn timerfd_settime(fd: c_int, flags: c_int, new: *const [u64; 4], old: *mut c_void) -> c_int;
    fn inotify_init1(flags: c_int) -> c_int;
    fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int;
    fn mkfifo(path: *const c_char, mode: c_uint) -> c_int;
    fn getrandom(bytes: *mut c_void, len: usize, flags: c_uint) -> isize;
    fn read(fd: c_int, bytes: *mut c_void, len: usize) -> isize;
}

const AF_INET: c_int = 2;
const AF_INET6: c_int = 10;
const AF_NETLINK: c_int = 16;
const SOCK_STREAM: c_int = 1;
const SOCK_DGRAM: c_int = 2;
const SOCK_RAW: c_int = 3;
const SOCK_CLOEXEC: c_int = 0o2_000_000;
const SOCK_NONBLOCK: c_int = 0o4000;
const SOL_SOCKET: c_int = 1;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_TRUNC: c_int = 0x20;
const MSG_NOSIGNAL: c_int = 0x4000;
const CLONE_NEWNET: c_int = 0x4000_0000;

/// Netlink for links, addresses and routes.
pub(super) const ROUTE: c_int = 0;
/// Netlink for firewall rules and connection tracking.
pub(super) const NETFILTER: c_int = 12;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn owned(result: c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn len_of<T>() -> c_uint {
    c_uint::try_from(size_of::<T>()).expect("kernel structures are small")
}

fn make_socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { socket(domain, kind | SOCK_CLOEXEC, protocol) })
}

fn set_option<T>(fd: &OwnedFd, name: c_int, value: &T) -> io::Result<()> {
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: the kernel reads one `T`, which the reference keeps alive.
    check(unsafe { setsockopt(fd.as_raw_fd(), SOL_SOCKET, name, value, len_of::<T>()) })?;
    Ok(())
}

/// Opens a netlink socket in the calling thread's network namespace.
pub(super) fn netlink(protocol: c_int) -> io::Result<OwnedFd> {
    const SO_SNDBUFFORCE: c_int = 32;
    const SO_RCVBUF: c_int = 8;
    let fd = make_socket(AF_NETLINK, SOCK_RAW, protocol)?;
    // A change of many rules is one message; who may not raise the limit keeps the usual one.
    let _ = set_option(&fd, SO_SNDBUFFORCE, &(4_i32 << 20));
    let _ = set_option(&fd, SO_RCVBUF, &(1_i32 << 20));
    Ok(fd)
}

/// Has every change of a link told on a netlink socket; twice is fine.
pub(super) fn follow_links(fd: &OwnedFd) -> io::Result<()> {
    const SOL_NETLINK: c_int = 270;
    const ADD_MEMBERSHIP: c_int = 1;
    let group = 1_i32;
    let value = (&raw const group).cast();
    let len = len_of::<i32>();
    // SAFETY: the kernel reads one number, which lives until the call returns.
    check(unsafe { setsockopt(fd.as_raw_fd(), SOL_NETLINK, ADD_MEMBERSHIP, value, len) })?;
    Ok(())
}

/// Sends bytes on a connected or netlink socket.
pub(super) fn send_bytes(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = MSG_NOSIGNAL;
    // SAFETY: the slice is valid for its length.
    check_len(unsafe { send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Receives bytes; never waits. The length may exceed the buffer: then the rest is lost.
pub(super) fn receive(fd: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    let flags = MSG_DONTWAIT | MSG_TRUNC;
    // SAFETY: the slice is valid for writing its length.
    check_len(unsafe {
        recv(
            fd.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            flags,
        )
    })
}

/// Receives part of a stream; never waits.
pub(super) fn receive_some(fd: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice is valid for writing its length.
    let n = unsafe {
        recv(
            fd.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            MSG_DONTWAIT,
        )
    };
    check_len(n)
}

/// Moves the calling thread into a network namespace.
pub(super) fn enter_netns(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { setns(fd.as_raw_fd(), CLONE_NEWNET) })?;
    Ok(())
}

/// The number of an interface in the namespace of `fd`, any socket.
pub(super) fn interface_index(fd: &OwnedFd, name: &str) -> io::Result<u32> {
    const SIOCGIFINDEX: core::ffi::c_ulong = 0x8933;
    let mut request = [0_u8; 40];
    if name.len() > 15 {
        return Err(io::Error::from_raw_os_error(22));
    }
    request[..name.len()].copy_from_slice(name.as_bytes());
    let pointer = request.as_mut_ptr().cast();
    // SAFETY: the request is as long as `struct ifreq`, and the name in it ends with a zero.
    check(unsafe { ioctl(fd.as_raw_fd(), SIOCGIFINDEX, pointer) })?;
    Ok(u32::from_ne_bytes([
        request[16],
        request[17],
        request[18],
        request[19],
    ]))
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Inet4 {
    family: u16,
    port: [u8; 2],
    address: [u8; 4],
    zero: [u8; 8],
}

impl Inet4 {
    fn new(address: SocketAddrV4) -> Self {
        Self {
            family: 2,
            port: address.port().to_be_bytes(),
            address: address.ip().octets(),
            zero: [0; 8],
        }
    }
}

#[repr(C)]
struct Inet6 {
    family: u16,
    port: [u8; 2],
    flow: u32,
    address: [u8; 16],
    scope: u32,
}

/// A socket connected to a server, or, for a stream, on the way there; never waits.
pub(super) fn connected(stream: bool, server: SocketAddr) -> io::Result<OwnedFd> {
    const EINPROGRESS: i32 = 115;
    let domain = if server.is_ipv4() { AF_INET } else { AF_INET6 };
    let kind = if stream { SOCK_STREAM } else { SOCK_DGRAM };
    let fd = make_socket(domain, kind | SOCK_NONBLOCK, 0)?;
    let result = match server {
        SocketAddr::V4(server) => {
            let address = Inet4::new(server);
            let pointer = std::ptr::from_ref(&address).cast();
            // SAFETY: the address lives until the call returns and is as long as said.
            check(unsafe { connect(fd.as_raw_fd(), pointer, len_of::<Inet4>()) })
        }
        SocketAddr::V6(server) => {
            let address = Inet6 {
                family: 10,
                port: server.port().to_be_bytes(),
                flow: 0,
                address: server.ip().octets(),
                scope: server.scope_id(),
            };
            let pointer = std::ptr::from_ref(&address).cast();
            // SAFETY: the address lives until the call returns and is as long as said.
            check(unsafe { connect(fd.as_raw_fd(), pointer, len_of::<Inet6>()) })
        }
    };
    match result {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(fd),
    }
}

#[repr(C)]
struct Filter {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Filter,
}

/// Takes a port of the host without listening on it, so that others find it taken.
///
/// Our own replicas of one service share it; packets that reach it are dropped unread.
pub(super) fn reserve(stream: bool, address: SocketAddrV4) -> io::Result<OwnedFd> {
    const SO_REUSEPORT: c_int = 15;
    const SO_ATTACH_FILTER: c_int = 26;
    let kind = if stream { SOCK_STREAM } else { SOCK_DGRAM };
    let fd = make_socket(AF_INET, kind, 0)?;
    set_option(&fd, SO_REUSEPORT, &1_i32)?;
    if !stream {
        let refuse = Filter {
            code: 0x06,
            jt: 0,
            jf: 0,
            k: 0,
        };
        set_option(
            &fd,
            SO_ATTACH_FILTER,
            &Program {
                len: 1,
                filter: &raw const refuse,
            },
        )?;
    }
    let address = Inet4::new(address);
    let pointer = std::ptr::from_ref(&address).cast();
    // SAFETY: the address lives until the call returns and is as long as said.
    check(unsafe { bind(fd.as_raw_fd(), pointer, len_of::<Inet4>()) })?;
    Ok(fd)
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct IoVec {
    base: *mut c_void,
    len: usize,
}

/// The kernel's `struct msghdr` on 64-bit machines.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct MsgHdr {
    name: *mut c_void,
    name_len: u32,
    iov: *mut IoVec,
    iov_len: usize,
    control: *mut c_void,
    control_len: usize,
    flags: c_int,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct MMsg {
    header: MsgHdr,
    len: c_uint,
}

const _: () = assert!(size_of::<MMsg>() == 64 && offset_of!(MMsg, len) == 56);

/// How many datagrams are taken at once.
pub(super) const BURST: usize = 8;
/// Room for each of them.
pub(super) const ROOM: usize = 1280;

/// Datagrams received at once, who sent them, and the answers to them.
#[derive(Debug)]
pub(super) struct Burst {
    names: [Inet4; BURST],
    /// Received bytes.
    pub(super) input: [[u8; ROOM]; BURST],
    /// How many were received; more than [`ROOM`] means that the rest is lost.
    pub(super) input_len: [usize; BURST],
    /// Bytes to send.
    pub(super) output: [[u8; ROOM]; BURST],
    /// How many to send; 0 means nothing.
    pub(super) output_len: [usize; BURST],
}

impl Burst {
    /// Empty room for a burst.
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            names: [Inet4::default(); BURST],
            input: [[0; ROOM]; BURST],
            input_len: [0; BURST],
            output: [[0; ROOM]; BURST],
            output_len: [0; BURST],
        })
    }

    /// Who sent the n-th datagram.
    pub(super) fn sender(&self, n: usize) -> SocketAddrV4 {
        let name = &self.names[n];
        SocketAddrV4::new(Ipv4Addr::from(name.address), u16::from_be_bytes(name.port))
    }

    /// Receives as many datagrams as are waiting, and returns how many.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let mut vectors: [IoVec; BURST] = std::array::from_fn(|n| IoVec {
            base: self.input[n].as_mut_ptr().cast(),
            len: ROOM,
        });
        let mut list: [MMsg; BURST] = std::array::from_fn(|n| MMsg {
            header: header(&mut self.names[n], &mut vectors[n]),
            len: 0,
        });
        let count = c_uint::try_from(BURST).expect("small");
        let flags = MSG_DONTWAIT | MSG_TRUNC;
        let nobody = std::ptr::null_mut();
        // SAFETY: every header points to one name and one vector, every vector to one buffer of
        // its length; all of them outlive the call and no two overlap.
        let got =
            check(unsafe { recvmmsg(fd.as_raw_fd(), list.as_mut_ptr(), count, flags, nobody) })?;
        let got = usize::try_from(got).unwrap_or(0);
        for (len, message) in self.input_len.iter_mut().zip(&list[..got]) {
            *len = message.len as usize;
        }
        self.output_len = [0; BURST];
        Ok(got)
    }

    /// Sends the answers; what the socket does not take is lost, as datagrams may be.
    pub(super) fn reply(&mut self, fd: BorrowedFd<'_>) {
        let mut vectors: [IoVec; BURST] = std::array::from_fn(|n| IoVec {
            base: self.output[n].as_mut_ptr().cast(),
            len: self.output_len[n].min(ROOM),
        });
        let mut count = 0;
        let empty = MsgHdr {
            name: std::ptr::null_mut(),
            name_len: 0,
            iov: std::ptr::null_mut(),
            iov_len: 0,
            control: std::ptr::null_mut(),
            control_len: 0,
            flags: 0,
        };
        let mut list = [MMsg {
            header: empty,
            len: 0,
        }; BURST];
        for n in (0..BURST).filter(|n| self.output_len[*n] > 0) {
            list[count].header = header(&mut self.names[n], &mut vectors[n]);
            count += 1;
        }
        let mut sent = 0;
        while sent < count {
            let rest = &mut list[sent..count];
            let len = c_uint::try_from(rest.len()).expect("small");
            // SAFETY: as for receiving; the kernel only reads the names and the buffers.
            let n = unsafe { sendmmsg(fd.as_raw_fd(), rest.as_mut_ptr(), len, MSG_DONTWAIT) };
            // An error is about the first one alone.
            sent += usize::try_from(n).unwrap_or(1).max(1);
        }
    }
}

fn header(name: &mut Inet4, vector: &mut IoVec) -> MsgHdr {
    MsgHdr {
        name: std::ptr::from_mut(name).cast(),
        name_len: len_of::<Inet4>(),
        iov: vector,
        iov_len: 1,
        control: std::ptr::null_mut(),
        control_len: 0,
        flags: 0,
    }
}

#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
#[derive(Clone, Copy)]
struct EpollEvent {
    events: u32,
    data: u64,
}

/// Readable, or the other side is gone.
pub(super) const READ: u32 = 0x1;
/// Writable.
pub(super) const WRITE: u32 = 0x4;

/// Waits for many descriptors; is itself one that can be waited for.
#[derive(Debug)]
pub(super) struct Epoll(pub(super) OwnedFd);

impl Epoll {
    /// Starts with none.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        owned(unsafe { epoll_create1(SOCK_CLOEXEC) }).map(Self)
    }

    /// Adds a descriptor; `token` comes back with its events.
    pub(super) fn add(&self, fd: &impl AsRawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(1, fd, events, token)
    }

    /// Changes what a descriptor is waited for.
    pub(super) fn change(&self, fd: &impl AsRawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(3, fd, events, token)
    }

    fn control(&self, op: c_int, fd: &impl AsRawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = EpollEvent {
            events,
            data: token,
        };
        // SAFETY: the event lives until the call returns.
        check(unsafe { epoll_ctl(self.0.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    /// The tokens of descriptors that are ready, or that become so within `wait`.
    pub(super) fn ready(&self, tokens: &mut [u64; 16], wait: Duration) -> usize {
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        let mut events = [EpollEvent { events: 0, data: 0 }; 16];
        // SAFETY: the array has room for the 16 events asked for.
        let n = unsafe { epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 16, wait) };
        let n = usize::try_from(n).unwrap_or(0);
        for (token, event) in tokens.iter_mut().zip(&events[..n]) {
            *token = event.data;
        }
        n
    }
}

/// A timer that becomes readable when it is due.
#[derive(Debug)]
pub(super) struct Timer(pub(super) OwnedFd);

impl Timer {
    /// A timer that is not set.
    pub(super) fn new() -> io::Result<Self> {
        const CLOCK_MONOTONIC: c_int = 1;
        // SAFETY: takes no pointers.
        owned(unsafe { timerfd_create(CLOCK_MONOTONIC, SOCK_CLOEXEC | SOCK_NONBLOCK) }).map(Self)
    }

    /// Becomes due once, after `wait`.
    pub(super) fn set(&self, wait: Duration) {
        let nanos = u64::from(wait.subsec_nanos()).max(u64::from(wait.is_zero()));
        let spec = [0, 0, wait.as_secs(), nanos];
        // SAFETY: the kernel reads the four numbers, which live until the call returns.
        unsafe {
            timerfd_settime(self.0.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut());
        }
    }
}

/// Reads what is there, for descriptors that are no sockets.
pub(super) fn read_bytes(fd: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice is valid for writing its length.
    check_len(unsafe { read(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) })
}

/// Something was renamed into, out of, or removed from a folder.
pub(super) const CHANGED: u32 = 0x40 | 0x80 | 0x200;

/// A descriptor that tells of changes in folders; there are only so many for each user.
pub(super) fn inotify() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { inotify_init1(SOCK_CLOEXEC | SOCK_NONBLOCK) })
}

/// Watches a folder; returns the number that its events carry.
pub(super) fn watch(fd: &OwnedFd, path: &str) -> io::Result<i32> {
    const ONLY_FOLDERS: u32 = 0x0100_0000;
    let path = CString::new(path)?;
    // SAFETY: the path ends with a zero and lives until the call returns.
    check(unsafe { inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), CHANGED | ONLY_FOLDERS) })
}

/// Makes a named pipe for the owner alone.
pub(super) fn make_fifo(path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: the path ends with a zero and lives until the call returns.
    check(unsafe { mkfifo(path.as_ptr(), 0o600) })?;
    Ok(())
}

/// Two bytes that nobody can guess.
pub(super) fn random_u16() -> io::Result<u16> {
    let mut bytes = [0; 2];
    // SAFETY: the array is valid for writing its length.
    let n = unsafe { getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if check_len(n)? == bytes.len() {
        Ok(u16::from_ne_bytes(bytes))
    } else {
        random_u16()
    }
}

/// Moves the calling thread into a new network namespace.
#[cfg(test)]
pub(super) fn new_netns() -> io::Result<()> {
    unsafe extern "C" {
        fn unshare(kind: c_int) -> c_int;
    }
    // SAFETY: takes no pointers.
    check(unsafe { unshare(CLONE_NEWNET) })?;
    Ok(())
}
