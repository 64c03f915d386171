//! Sockets: the control socket, pairs, descriptors sent along, connections for health checks.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use super::abi::{
    AF_INET, AF_INET6, AF_UNIX, IoVec, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_NOSIGNAL,
    MSG_PEEK, MSG_TRUNC, MsgHdr, SCM_RIGHTS, SO_ERROR, SO_PEERCRED, SO_SNDBUF, SO_SNDBUFFORCE,
    SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET, c_int, nr,
};
use super::{Errno, Result, again, owned, sys};

/// The most descriptors one message may bring.
const FDS_MAX: usize = 16;
/// Header of one control message: length, level, kind.
const CMSG_HEADER: usize = 16;
const CMSG_SPACE: usize = CMSG_HEADER + FDS_MAX * 4;

/// What kind of pair.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pair {
    /// Messages keep their bounds.
    Packets,
    /// Bytes.
    Stream,
}

/// Two connected sockets.
pub(crate) fn pair(kind: Pair) -> Result<(OwnedFd, OwnedFd)> {
    let kind = match kind {
        Pair::Packets => SOCK_SEQPACKET,
        Pair::Stream => SOCK_STREAM,
    };
    let mut ends: [c_int; 2] = [-1; 2];
    let number = nr::SOCKETPAIR;
    // SAFETY: two numbers are written.
    unsafe { sys!(number, AF_UNIX, kind | SOCK_CLOEXEC, 0, ends.as_mut_ptr()) }?;
    Ok((owned(i64::from(ends[0]))?, owned(i64::from(ends[1]))?))
}

/// A listening socket for packets at a path of at most 107 bytes.
pub(crate) fn listen(path: &str) -> Result<OwnedFd> {
    let kind = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
    // SAFETY: takes no memory.
    let socket = unsafe { sys!(nr::SOCKET, AF_UNIX, kind, 0) }.and_then(owned)?;
    let mut address = [0_u8; 110];
    if path.len() > 107 {
        return Err(Errno(36));
    }
    address[..2].copy_from_slice(&1_u16.to_le_bytes());
    address[2..2 + path.len()].copy_from_slice(path.as_bytes());
    let raw = socket.as_raw_fd();
    // SAFETY: the address is readable and as long as said.
    unsafe { sys!(nr::BIND, raw, address.as_ptr(), path.len() + 3) }?;
    // SAFETY: takes no memory.
    unsafe { sys!(nr::LISTEN, raw, 16) }?;
    Ok(socket)
}

/// Accepts one connection.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    let (address, len) = (null_mut::<u8>(), null_mut::<u32>());
    let flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    // SAFETY: the peer's address is not asked for.
    again(|| unsafe { sys!(nr::ACCEPT4, listener.as_raw_fd(), address, len, flags) })
        .and_then(owned)
}

/// The user at the other end of a local connection.
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> Result<u32> {
    let mut cred = [0_u32; 3];
    let mut len: u32 = 12;
    let (fd, out, len) = (socket.as_raw_fd(), cred.as_mut_ptr(), &raw mut len);
    // SAFETY: the structure is pid, uid, gid: twelve bytes, as said.
    unsafe { sys!(nr::GETSOCKOPT, fd, SOL_SOCKET, SO_PEERCRED, out, len) }?;
    Ok(cred[1])
}

/// Lets a socket take long packets; a bound below the wish is not an error.
pub(crate) fn widen(socket: BorrowedFd<'_>, bytes: u32) {
    let fd = socket.as_raw_fd();
    for option in [SO_SNDBUFFORCE, SO_SNDBUF] {
        // SAFETY: four bytes are read, as said.
        if unsafe { sys!(nr::SETSOCKOPT, fd, SOL_SOCKET, option, &raw const bytes, 4) }.is_ok() {
            return;
        }
    }
}

/// Sends one message, with descriptors if there are any.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: c_int,
) -> Result<usize> {
    let mut control = [0_u64; CMSG_SPACE / 8];
    let count = fds.len().min(FDS_MAX);
    let used = CMSG_HEADER + count * 4;
    control[0] = used as u64;
    control[1] =
        u64::from(SOL_SOCKET.cast_unsigned()) | u64::from(SCM_RIGHTS.cast_unsigned()) << 32;
    for (index, fd) in fds.iter().take(count).enumerate() {
        let number = u64::from(fd.as_raw_fd().cast_unsigned());
        control[2 + index / 2] |= number << (32 * (index % 2));
    }
    let mut iov = IoVec {
        base: bytes.as_ptr().cast_mut(),
        len: bytes.len(),
    };
    let message = MsgHdr {
        name: null_mut(),
        name_len: 0,
        iov: &raw mut iov,
        iov_len: 1,
        control: if count == 0 {
            null_mut()
        } else {
            control.as_mut_ptr().cast()
        },
        control_len: if count == 0 {
            0
        } else {
            used.next_multiple_of(8)
        },
        flags: 0,
    };
    let (fd, message) = (socket.as_raw_fd(), &raw const message);
    // SAFETY: sendmsg only reads; header, bytes and control data outlive the call.
    again(|| unsafe { sys!(nr::SENDMSG, fd, message, flags | MSG_NOSIGNAL) })
        .map(|len| usize::try_from(len).unwrap_or(0))
}

/// Lets go of descriptors whose closing waits for the kernel: for a grace period of its own, or for
/// a disk.
///
/// They are put into a socket that nobody can reach any more. The kernel closes what is in such a
/// socket when it tidies up, which it does at once; before Linux 6.9 it does so in this process,
/// and then this is no faster than closing them.
pub(crate) fn give_away(fds: Vec<OwnedFd>) {
    for some in fds.chunks(FDS_MAX - 2) {
        // What cannot be given away is closed when it is dropped.
        let Ok((one, other)) = pair(Pair::Stream) else {
            return;
        };
        let ends = [&one, &other];
        let all: Vec<_> = some.iter().chain(ends).map(AsFd::as_fd).collect();
        let _ = send(one.as_fd(), b"-", &all, MSG_DONTWAIT);
    }
}

/// A received message.
#[derive(Debug)]
pub(crate) struct Received {
    /// Number of bytes; 0: the other end is closed.
    pub(crate) len: usize,
    /// Descriptors that came along, close-on-exec.
    pub(crate) fds: Vec<OwnedFd>,
    /// Whether the message was longer than the buffer, or brought more descriptors than allowed.
    pub(crate) cut: bool,
}

/// How long the next message is; waits for nothing.
pub(crate) fn next_len(socket: BorrowedFd<'_>) -> Result<usize> {
    let mut iov = IoVec {
        base: null_mut(),
        len: 0,
    };
    let mut message = MsgHdr {
        name: null_mut(),
        name_len: 0,
        iov: &raw mut iov,
        iov_len: 1,
        control: null_mut(),
        control_len: 0,
        flags: 0,
    };
    let flags = MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT;
    let (fd, header) = (socket.as_raw_fd(), &raw mut message);
    // SAFETY: there is no room for anything, so nothing but the header is written.
    let len = again(|| unsafe { sys!(nr::RECVMSG, fd, header, flags) })?;
    Ok(usize::try_from(len).unwrap_or(0))
}

/// Receives one message.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: c_int) -> Result<Received> {
    let mut control = [0_u64; CMSG_SPACE / 8];
    let mut iov = IoVec {
        base: buffer.as_mut_ptr(),
        len: buffer.len(),
    };
    let mut message = MsgHdr {
        name: null_mut(),
        name_len: 0,
        iov: &raw mut iov,
        iov_len: 1,
        control: control.as_mut_ptr().cast(),
        control_len: CMSG_SPACE,
        flags: 0,
    };
    let (fd, header) = (socket.as_raw_fd(), &raw mut message);
    // SAFETY: header, buffer and control space are writable and as long as said.
    let len = again(|| unsafe { sys!(nr::RECVMSG, fd, header, flags | MSG_CMSG_CLOEXEC) })?;
    Ok(Received {
        len: usize::try_from(len).unwrap_or(0),
        fds: descriptors(&control, message.control_len),
        cut: message.flags & (MSG_TRUNC | MSG_CTRUNC) != 0,
    })
}

/// The descriptors within received control data.
fn descriptors(control: &[u64], len: usize) -> Vec<OwnedFd> {
    let bytes: Vec<u8> = control
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .take(len)
        .collect();
    let mut fds = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + CMSG_HEADER) {
        let size = number(&header[..8]);
        let rights = number(&header[8..12]) == 1 && number(&header[12..16]) == 1;
        let Some(content) = bytes.get(at + CMSG_HEADER..at + size.max(CMSG_HEADER)) else {
            break;
        };
        for raw in content.chunks_exact(4).filter(|_| rights) {
            let raw = i32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
            // SAFETY: the kernel has just installed this descriptor for us.
            fds.push(unsafe { OwnedFd::from_raw_fd(raw) });
        }
        at += size.max(CMSG_HEADER).next_multiple_of(8);
    }
    fds
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// A TCP socket, in this process's network namespace, that begins to connect.
pub(crate) fn begin_connect(address: SocketAddr) -> Result<OwnedFd> {
    let (family, bytes) = socket_address(address);
    let kind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    // SAFETY: takes no memory.
    let socket = unsafe { sys!(nr::SOCKET, family, kind, 0) }.and_then(owned)?;
    let (fd, at, len) = (socket.as_raw_fd(), bytes.as_ptr(), bytes.len());
    // SAFETY: the address is readable and as long as said.
    match again(|| unsafe { sys!(nr::CONNECT, fd, at, len) }) {
        Ok(_) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

fn socket_address(address: SocketAddr) -> (c_int, Vec<u8>) {
    match address {
        SocketAddr::V4(v4) => {
            let mut bytes = 2_u16.to_le_bytes().to_vec();
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
            (AF_INET, bytes)
        }
        SocketAddr::V6(v6) => {
            let mut bytes = 10_u16.to_le_bytes().to_vec();
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_le_bytes());
            (AF_INET6, bytes)
        }
    }
}

/// How a connection that was begun has ended up.
pub(crate) fn connect_result(socket: BorrowedFd<'_>) -> Result<()> {
    let mut error: c_int = 0;
    let mut len: u32 = 4;
    let (fd, out, len) = (socket.as_raw_fd(), &raw mut error, &raw mut len);
    // SAFETY: four bytes are written, as said.
    unsafe { sys!(nr::GETSOCKOPT, fd, SOL_SOCKET, SO_ERROR, out, len) }?;
    if error == 0 {
        Ok(())
    } else {
        Err(Errno(error))
    }
}

/// One request about a network interface: name, then 24 bytes of request or answer.
fn interface(name: &str, request: u64, content: &mut [u8; 24]) -> Result<()> {
    let kind = SOCK_DGRAM | SOCK_CLOEXEC;
    // SAFETY: takes no memory.
    let socket = unsafe { sys!(nr::SOCKET, AF_INET, kind, 0) }.and_then(owned)?;
    let mut ifreq = [0_u8; 40];
    ifreq[..name.len().min(15)].copy_from_slice(&name.as_bytes()[..name.len().min(15)]);
    ifreq[16..].copy_from_slice(content);
    // SAFETY: an ifreq is forty bytes, read and written in place.
    unsafe { sys!(nr::IOCTL, socket.as_raw_fd(), request, ifreq.as_mut_ptr()) }?;
    content.copy_from_slice(&ifreq[16..]);
    Ok(())
}

/// Brings up an interface of this process's network namespace.
pub(crate) fn bring_up(name: &str) -> Result<()> {
    let mut content = [0; 24];
    interface(name, super::abi::SIOCGIFFLAGS, &mut content)?;
    let flags = u16::from_le_bytes([content[0], content[1]]) | super::abi::IFF_UP;
    content[..2].copy_from_slice(&flags.to_le_bytes());
    interface(name, super::abi::SIOCSIFFLAGS, &mut content)
}

/// The IPv4 address of an interface of this process's network namespace.
pub(crate) fn address_of(name: &str) -> Result<std::net::Ipv4Addr> {
    let mut content = [0; 24];
    interface(name, super::abi::SIOCGIFADDR, &mut content)?;
    Ok(std::net::Ipv4Addr::new(
        content[4], content[5], content[6], content[7],
    ))
}
