//! How the suite reaches what is published to the outside.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use unmoor_core::spec::Protocol;

/// Longest wait for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A way to published ports.
#[async_trait]
pub trait Dial: Send + Sync + Debug {
    /// Connects, sends a line, and reads the answer to its end.
    ///
    /// # Errors
    /// What the connection gives; an empty answer is `UnexpectedEof`.
    async fn ask(&self, protocol: Protocol, to: SocketAddr, line: &str) -> io::Result<String>;
}

/// Ordinary sockets of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sockets;

#[async_trait]
impl Dial for Sockets {
    async fn ask(&self, protocol: Protocol, to: SocketAddr, line: &str) -> io::Result<String> {
        // An endpoint on every address is tried on this machine's own.
        let to = match to.ip() {
            ip if ip.is_unspecified() => {
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), to.port())
            }
            _ => to,
        };
        let answer = match protocol {
            Protocol::Tcp => tokio::time::timeout(PATIENCE, ask_tcp(to, line)).await,
            Protocol::Udp => tokio::time::timeout(PATIENCE, ask_udp(to, line)).await,
        };
        let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer)
    }
}

async fn ask_tcp(to: SocketAddr, line: &str) -> io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(to).await?;
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn ask_udp(to: SocketAddr, line: &str) -> io::Result<String> {
    let any: SocketAddr = if to.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    socket.send(line.as_bytes()).await?;
    let mut buffer = vec![0; 65536];
    let count = socket.recv(&mut buffer).await?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}
