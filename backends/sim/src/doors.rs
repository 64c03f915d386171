//! Real sockets for published ports, where a world has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use unmoor_core::spec::Protocol;

use crate::model::Reservation;
use crate::world::World;

/// Longest line that is read.
const LINE: usize = 64 * 1024;
/// A client that says nothing is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(1);

type Place = (Protocol, SocketAddr);

/// The open doors of a world: one task for each published port, ended when its port is given up.
#[derive(Debug)]
pub(crate) struct Doors {
    open: Option<Mutex<Tasks>>,
    /// Who answers; set once, when the world is made.
    world: OnceLock<Weak<World>>,
}

#[derive(Debug, Default)]
struct Tasks {
    open: BTreeMap<Place, JoinHandle<()>>,
    /// Told to end; each has its socket until it has.
    closing: Vec<JoinHandle<()>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.open.values().for_each(JoinHandle::abort);
    }
}

fn place(protocol: Protocol, ip: Option<IpAddr>, port: u16) -> Place {
    let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    (protocol, SocketAddr::new(ip, port))
}

impl Doors {
    /// Ports exist in the model only.
    pub(crate) fn none() -> Self {
        Self {
            open: None,
            world: OnceLock::new(),
        }
    }

    /// Ports answer on this machine.
    pub(crate) fn sockets() -> Self {
        Self {
            open: Some(Mutex::new(Tasks::default())),
            ..Self::none()
        }
    }

    /// Says who answers at the doors.
    pub(crate) fn belong_to(&self, world: Weak<World>) {
        // A second world for the same doors cannot be made.
        let _ = self.world.set(world);
    }

    fn tasks(&self) -> Option<MutexGuard<'_, Tasks>> {
        let tasks = self.open.as_ref()?;
        Some(tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a port; false if another program of this machine has it.
    pub(crate) fn take(&self, protocol: Protocol, ip: Option<IpAddr>, port: u16) -> bool {
        let Some(mut tasks) = self.tasks() else {
            return true;
        };
        let place = place(protocol, ip, port);
        if tasks.open.contains_key(&place) {
            return true;
        }
        match self.listen(place) {
            Some((_, task)) => {
                tasks.open.insert(place, task);
                true
            }
            None => false,
        }
    }

    /// Opens a port that the machine chooses; `None` where ports exist in the model only.
    pub(crate) fn take_any(&self, protocol: Protocol, ip: Option<IpAddr>) -> Option<u16> {
        let mut tasks = self.tasks()?;
        let (port, task) = self.listen(place(protocol, ip, 0))?;
        tasks.open.insert(place(protocol, ip, port), task);
        Some(port)
    }

    /// Closes what is not published any more.
    pub(crate) fn keep(&self, published: &[Reservation]) {
        let Some(mut tasks) = self.tasks() else {
            return;
        };
        let wanted: BTreeSet<Place> = published
            .iter()
            .map(|entry| place(entry.protocol, entry.ip, entry.port))
            .collect();
        let gone = tasks
            .open
            .extract_if(.., |known, _| !wanted.contains(known));
        let gone: Vec<JoinHandle<()>> = gone.map(|(_, task)| task).collect();
        gone.iter().for_each(JoinHandle::abort);
        tasks.closing.extend(gone);
    }

    /// Returns once every closed port is free for others.
    pub(crate) async fn settle(&self) {
        let closing = self
            .tasks()
            .map(|mut tasks| std::mem::take(&mut tasks.closing));
        for task in closing.into_iter().flatten() {
            // It was told to end, so that is all it can answer.
            let _ = task.await;
        }
    }

    fn listen(&self, place: Place) -> Option<(u16, JoinHandle<()>)> {
        let world = self.world.get().cloned()?;
        match place.0 {
            Protocol::Tcp => listen_tcp(place.1, world),
            Protocol::Udp => listen_udp(place.1, world),
        }
    }
}

fn listen_tcp(address: SocketAddr, world: Weak<World>) -> Option<(u16, JoinHandle<()>)> {
    let runtime = Handle::try_current().ok()?;
    let listener = std::net::TcpListener::bind(address).ok()?;
    listener.set_nonblocking(true).ok()?;
    let port = listener.local_addr().ok()?.port();
    let listener = tokio::net::TcpListener::from_std(listener).ok()?;
    let task = runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One after the other: the model answers at once, and a slow client has a second.
            let _ = tokio::time::timeout(PATIENCE, serve(stream, port, &world)).await;
        }
    });
    Some((port, task))
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

fn listen_udp(address: SocketAddr, world: Weak<World>) -> Option<(u16, JoinHandle<()>)> {
    let runtime = Handle::try_current().ok()?;
    let socket = std::net::UdpSocket::bind(address).ok()?;
    socket.set_nonblocking(true).ok()?;
    let port = socket.local_addr().ok()?.port();
    let socket = tokio::net::UdpSocket::from_std(socket).ok()?;
    let task = runtime.spawn(async move {
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
    });
    Some((port, task))
}
