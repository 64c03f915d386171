//! Real sockets for published ports, where a world has them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError, Weak};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use unmoor_core::spec::Protocol;

use crate::model::Reservation;
use crate::world::World;

/// Longest line that is read.
const LINE: usize = 64 * 1024;

type Place = (Protocol, SocketAddr);

/// The open doors of a world: one task for each published port, ended when its port is given up.
#[derive(Debug)]
pub(crate) struct Doors {
    open: Option<Mutex<BTreeMap<Place, Door>>>,
}

#[derive(Debug)]
struct Door(JoinHandle<()>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Doors {
    /// Ports exist in the model only.
    pub(crate) fn none() -> Self {
        Self { open: None }
    }

    /// Ports answer on this machine.
    pub(crate) fn sockets() -> Self {
        Self {
            open: Some(Mutex::new(BTreeMap::new())),
        }
    }

    pub(crate) fn are_real(&self) -> bool {
        self.open.is_some()
    }

    /// Opens what is published and not open, closes what is open and not published.
    ///
    /// A port that another program has stays closed: who connects meets that program, as on any
    /// machine where the port was taken first.
    pub(crate) fn follow(&self, published: &[Reservation], world: &Weak<World>) {
        let Some(open) = &self.open else { return };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeMap<Place, u16> = published
            .iter()
            .map(|entry| {
                let ip = entry.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                (
                    (entry.protocol, SocketAddr::new(ip, entry.port)),
                    entry.port,
                )
            })
            .collect();
        open.retain(|place, _| wanted.contains_key(place));
        for (place, port) in wanted {
            if open.contains_key(&place) {
                continue;
            }
            let world = world.clone();
            let task = match place.0 {
                Protocol::Tcp => listen_tcp(place.1, port, world),
                Protocol::Udp => listen_udp(place.1, port, world),
            };
            if let Some(task) = task {
                open.insert(place, Door(task));
            }
        }
    }
}

fn listen_tcp(address: SocketAddr, port: u16, world: Weak<World>) -> Option<JoinHandle<()>> {
    let runtime = Handle::try_current().ok()?;
    let listener = std::net::TcpListener::bind(address).ok()?;
    listener.set_nonblocking(true).ok()?;
    let listener = tokio::net::TcpListener::from_std(listener).ok()?;
    Some(runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One after the other: the model answers at once, and a slow client has a second.
            let limit = std::time::Duration::from_secs(1);
            let _ = tokio::time::timeout(limit, serve(stream, port, &world)).await;
        }
    }))
}

async fn serve(
    stream: tokio::net::TcpStream,
    port: u16,
    world: &Weak<World>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while line.len() < LINE {
        let bytes = stream.fill_buf().await?;
        if bytes.is_empty() {
            break;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(bytes.len(), |at| at + 1);
        line.extend_from_slice(&bytes[..count]);
        stream.consume(count);
        if end.is_some() {
            break;
        }
    }
    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
    let Some(world) = world.upgrade() else {
        return Ok(());
    };
    let answer = world.with(|model| model.knock(Protocol::Tcp, port, &text));
    // What is refused in the model is a connection that ends without a word.
    if let Ok(answer) = answer {
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
    stream.get_mut().shutdown().await
}

fn listen_udp(address: SocketAddr, port: u16, world: Weak<World>) -> Option<JoinHandle<()>> {
    let runtime = Handle::try_current().ok()?;
    let socket = std::net::UdpSocket::bind(address).ok()?;
    socket.set_nonblocking(true).ok()?;
    let socket = tokio::net::UdpSocket::from_std(socket).ok()?;
    Some(runtime.spawn(async move {
        let mut buffer = vec![0; LINE];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..count])
                .trim_end()
                .to_owned();
            let Some(world) = world.upgrade() else { return };
            let answer = world.with(|model| model.knock(Protocol::Udp, port, &text));
            if let Ok(answer) = answer {
                let _ = socket.send_to(answer.as_bytes(), from).await;
            }
        }
    }))
}
