//! A host namespace with a bridge, and replicas: each a namespace, a shim and a folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::sys::{self, Epoll, READ};
use super::super::zones::tests::use_up_inotify;
use super::super::{
    Discovery, NetError, NetService, child_setup, host_setup, host_teardown, nl::Netlink,
};
use super::{PATIENCE, who};
use crate::wire::netlink::{Batch, add_address, add_bridge, mac_of, set_up};
use crate::wire::netplan::{Attachment, NetPlan};
use crate::wire::nft::Change;
use crate::wire::zone::{Link, Mode, ServiceFile};

/// What the replicas of these tests know, and the stack they are of.
pub(crate) const TOKEN: &str = "4f1c7a9e4f1c7a9e";
pub(crate) const STACK: &str = "shop";
/// The service whose shims have no inotify descriptor.
pub(crate) const NO_INOTIFY: &str = "pipes";

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own.
pub(crate) struct Space {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    netns: File,
    pub(crate) tid: i32,
}

impl Space {
    pub(crate) fn new() -> Self {
        Self::with(sys::new_netns)
    }

    /// Another thread in the same network namespace.
    #[allow(dead_code, reason = "for tests of the library")]
    pub(crate) fn beside(other: &Self) -> Self {
        let netns = other.netns.try_clone().unwrap();
        Self::with(move || sys::enter_netns(netns.as_fd()))
    }

    fn with(enter: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Self {
        let (jobs, work) = channel::<Job>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            enter().unwrap();
            let netns = File::open("/proc/thread-self/ns/net").unwrap();
            let me = fs::read_link("/proc/thread-self").unwrap();
            let tid = me.file_name().unwrap().to_str().unwrap().parse().unwrap();
            tell.send((netns, tid)).unwrap();
            work.into_iter().for_each(|job| job());
        });
        let (netns, tid) = told.recv().unwrap();
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
            netns,
            tid,
        }
    }

    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let job = move || drop(tell.send(work()));
        self.jobs.as_ref().unwrap().send(Box::new(job)).unwrap();
        told.recv().expect("the work panicked")
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

enum Command {
    Ready(bool),
    Reload,
    Stop,
}

/// The thread that plays a replica's shim.
struct Shim {
    commands: Sender<(Command, Sender<Result<(), NetError>>)>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Shim {
    fn start(host: &Space, plan: NetPlan, netns: File) -> Self {
        let (commands, todo) = channel::<(Command, Sender<Result<(), NetError>>)>();
        let (wake, mut woken) = UnixStream::pair().unwrap();
        let home = host.netns.try_clone().unwrap();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            sys::enter_netns(home.as_fd()).unwrap();
            if plan.service == NO_INOTIFY {
                use_up_inotify();
            }
            let discovery = Discovery::new(TOKEN, STACK);
            let mut service = NetService::open(&plan, discovery, netns.as_fd()).unwrap();
            tell.send(()).unwrap();
            let epoll = Epoll::new().unwrap();
            epoll.add(&woken, READ, 1).unwrap();
            let fd = service.fds()[0];
            epoll.add(&Raw(fd), READ, 2).unwrap();
            let mut tokens = [0; 16];
            loop {
                let count = epoll.ready(&mut tokens, Duration::from_secs(1));
                if tokens[..count].contains(&2) {
                    service.on_ready(fd);
                }
                if !tokens[..count].contains(&1) {
                    continue;
                }
                woken.read_exact(&mut [0; 1]).unwrap();
                let (command, reply) = todo.recv().unwrap();
                let result = match command {
                    Command::Ready(ready) => service.set_ready(ready),
                    Command::Reload => service.reload(),
                    Command::Stop => {
                        service.set_ready(false).unwrap();
                        drop(service);
                        host_teardown(&plan).unwrap();
                        reply.send(Ok(())).unwrap();
                        return;
                    }
                };
                reply.send(result).unwrap();
            }
        });
        told.recv().expect("the shim did not start");
        Self {
            commands,
            wake,
            thread: Some(thread),
        }
    }

    fn tell(&self, command: Command) {
        let (reply, replied) = channel();
        self.commands.send((command, reply)).unwrap();
        (&self.wake).write_all(&[1]).unwrap();
        replied.recv().unwrap().unwrap();
    }
}

struct Raw(i32);

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> i32 {
        self.0
    }
}

/// A fake replica.
pub(crate) struct Replica {
    space: Space,
    shim: Shim,
    plan: NetPlan,
}

impl Replica {
    /// Starts a replica as its shim would.
    pub(crate) fn start(host: &Space, plan: NetPlan) -> Self {
        let space = Space::new();
        let (tid, for_host, for_child) = (space.tid, plan.clone(), plan.clone());
        let netns = space.netns.try_clone().unwrap();
        let started = Instant::now();
        host.run(move || host_setup(&for_host, tid, netns.as_fd()))
            .unwrap();
        let made = started.elapsed();
        space.run(move || child_setup(&for_child)).unwrap();
        let set = started.elapsed();
        let shim = Shim::start(host, plan.clone(), space.netns.try_clone().unwrap());
        let all = started.elapsed();
        println!(
            "{}: {made:?}, {:?}, {:?}",
            plan.replica,
            set - made,
            all - set
        );
        Self { space, shim, plan }
    }

    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.space.run(work)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.shim.tell(Command::Ready(ready));
    }

    pub(crate) fn reload(&self) {
        self.shim.tell(Command::Reload);
    }

    fn greeting(&self) -> String {
        self.plan.attachments[0].names[0].clone()
    }

    /// Tells each caller on port 80 who serves and who calls.
    pub(crate) fn serve_tcp(&self) {
        let name = self.greeting();
        self.inside(move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let caller = stream.peer_addr().unwrap().ip();
                    let _ = write!(stream, "{name} {caller}");
                }
            });
        });
    }

    /// Sends back what comes on port 81.
    pub(crate) fn echo_tcp(&self) {
        self.inside(move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 81)).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    thread::spawn(move || {
                        std::io::copy(&mut stream.try_clone().unwrap(), &mut stream)
                    });
                }
            });
        });
    }

    /// Tells each caller on UDP port 82 who serves and who calls.
    pub(crate) fn serve_udp(&self) {
        let name = self.greeting();
        self.inside(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 82)).unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, caller)) = socket.recv_from(&mut buffer) {
                    let text = format!("{name} {}", caller.ip());
                    socket.send_to(text.as_bytes(), caller).unwrap();
                }
            });
        });
    }

    /// Waits until calls of an address reach these replicas and no other.
    pub(crate) fn sees(&self, address: Ipv4Addr, names: &[&str]) {
        let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.until(move || {
            let calls = (0..wanted.len().max(1) * 2).map(|_| who(address));
            let seen: BTreeSet<String> = calls
                .flatten()
                .map(|text| text.split(' ').next().unwrap_or_default().to_owned())
                .collect();
            if seen == wanted {
                Ok(())
            } else {
                Err(format!("{seen:?}, not {wanted:?}"))
            }
        });
    }

    /// Waits until an address and port take connections.
    pub(crate) fn connects(&self, address: Ipv4Addr, port: u16) {
        self.until(move || {
            let address = SocketAddr::from((address, port));
            let connected = TcpStream::connect_timeout(&address, PATIENCE);
            connected.map(drop).map_err(|error| error.to_string())
        });
    }

    pub(crate) fn resolves(&self, name: &str, addresses: &[Ipv4Addr]) {
        let (name, addresses) = (name.to_owned(), addresses.to_vec());
        self.until(move || {
            let found = query(&name, false);
            if found == addresses {
                Ok(())
            } else {
                Err(format!("{name}: {found:?}"))
            }
        });
    }

    fn until(&self, check: impl Fn() -> Result<(), String> + Send + 'static) {
        let result = self.inside(move || {
            let started = Instant::now();
            loop {
                match check() {
                    Err(_) if started.elapsed() < PATIENCE => thread::yield_now(),
                    result => return result,
                }
            }
        });
        result.unwrap();
    }

    pub(crate) fn link(&self, links: &[Link]) {
        let hidden = format!("{}.new", self.plan.links);
        fs::write(&hidden, Link::format_all(links)).unwrap();
        fs::rename(&hidden, &self.plan.links).unwrap();
        // As the library does, for those without inotify.
        let pipe = format!("{}.wake", self.plan.links);
        if Path::new(&pipe).exists() {
            fs::write(pipe, [1]).unwrap();
        }
    }

    pub(crate) fn flush_rules(&self) {
        self.inside(|| {
            let netlink = Netlink::netfilter().unwrap();
            let mut change = Change::new("unmoor", None);
            change.del_table();
            netlink.change(&change.finish()).unwrap();
        });
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.shim.tell(Command::Stop);
            let _ = self.shim.thread.take().map(JoinHandle::join);
            let ep = format!(
                "{}/ep/{}",
                self.plan.attachments[0].zone_dir, self.plan.replica
            );
            assert!(!Path::new(&ep).exists());
        }
    }
}

/// Only root may make namespaces and interfaces without a user namespace.
pub(crate) fn may_make_namespaces() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    if !root {
        unmoor_tools::skipped("it needs root to make network namespaces");
    }
    root
}

/// A host with one network.
pub(crate) struct World {
    host: Arc<Space>,
    folder: PathBuf,
    id: String,
    internal: bool,
    upstream: Arc<AtomicUsize>,
    /// The host's resolvers.
    pub(crate) servers: Vec<&'static str>,
}

impl World {
    pub(crate) fn new(id: &str) -> Option<Self> {
        Self::with(id, false)
    }

    pub(crate) fn internal(id: &str) -> Option<Self> {
        Self::with(id, true)
    }

    fn with(id: &str, internal: bool) -> Option<Self> {
        if !may_make_namespaces() {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("unmoor-net-{id}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for part in ["svc", "ep"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let host = Arc::new(Space::new());
        let bridge = format!("um-{id}");
        let upstream = Arc::new(AtomicUsize::new(0));
        let counter = upstream.clone();
        host.run(move || {
            let route = Netlink::route().unwrap();
            let mut batch = Batch::new();
            set_up(&mut batch, 1);
            add_bridge(
                &mut batch,
                &bridge,
                mac_of(Ipv4Addr::new(10, 77, 0, 1)),
                1500,
            );
            route.change(&batch.finish()).unwrap();
            let mut batch = Batch::new();
            let index = route.interface(&bridge).unwrap();
            add_address(&mut batch, index, Ipv4Addr::new(10, 77, 0, 1), 24);
            route.change(&batch.finish()).unwrap();
            resolver(counter);
        });
        Some(Self {
            host,
            folder,
            id: id.to_owned(),
            internal,
            upstream,
            servers: vec!["127.0.0.53:53"],
        })
    }

    pub(crate) fn upstream_saw(&self) -> usize {
        self.upstream.load(Ordering::SeqCst)
    }

    pub(crate) fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    pub(crate) fn service(&self, name: &str, last: u8, mode: Mode) -> Ipv4Addr {
        let vip = self.address(last);
        let file = ServiceFile {
            name: name.into(),
            vip: (mode == Mode::Stable).then_some(vip),
            mode,
            ..ServiceFile::default()
        };
        let hidden = self.folder.join(format!("svc/.{name}"));
        fs::write(&hidden, file.format()).unwrap();
        fs::rename(hidden, self.folder.join("svc").join(name)).unwrap();
        vip
    }

    fn plan(&self, service: &str, n: u32, last: u8) -> NetPlan {
        let replica = format!("{service}-{n}");
        let run = self.folder.join(format!("run-{replica}"));
        fs::create_dir_all(&run).unwrap();
        NetPlan {
            replica: replica.clone(),
            service: service.into(),
            attachments: vec![Attachment {
                network: format!("n-{}", self.id),
                network_name: "world".into(),
                zone_dir: self.folder.to_str().unwrap().into(),
                bridge: format!("um-{}", self.id),
                host_if: format!("uv-{last}"),
                address: self.address(last),
                prefix: 24,
                gateway: Some(self.address(1)),
                mtu: 1500,
                internal: self.internal,
                names: vec![replica],
            }],
            links: run.join("links").to_str().unwrap().into(),
            upstreams: self
                .servers
                .iter()
                .map(|server| server.parse().unwrap())
                .collect(),
            ports: Vec::new(),
            weight: 1,
        }
    }

    /// Runs in the host's namespace.
    pub(crate) fn on_host<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.host.run(work)
    }

    pub(crate) fn replica(&self, service: &str, n: u32, last: u8) -> Replica {
        Replica::start(&self.host, self.plan(service, n, last))
    }

    /// A replica without a network has loopback, and a service that has nothing to do.
    pub(crate) fn lonely(&self) {
        let space = Space::new();
        let plan = NetPlan {
            attachments: Vec::new(),
            ..self.plan("alone", 1, 9)
        };
        let (tid, for_host) = (space.tid, plan.clone());
        let netns = space.netns.try_clone().unwrap();
        let theirs = space.netns.try_clone().unwrap();
        self.host
            .run(move || host_setup(&for_host, tid, theirs.as_fd()))
            .unwrap();
        space.run(move || {
            child_setup(&plan).unwrap();
            TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).unwrap();
            let discovery = Discovery::new(TOKEN, STACK);
            let mut service = NetService::open(&plan, discovery, netns.as_fd()).unwrap();
            service.on_ready(service.fds()[0]);
            service.set_ready(true).unwrap();
            service.reload().unwrap();
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Answers 192.0.2.7 to every question on 127.0.0.53, and nothing on 127.0.0.54.
fn resolver(counter: Arc<AtomicUsize>) {
    let answer = |query: &[u8]| {
        let mut out = query.to_vec();
        out[2] |= 0x80;
        out[3] = 0x80;
        out[7] = 1;
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
        out
    };
    let silent = UdpSocket::bind("127.0.0.54:53").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.53:53").unwrap();
    let streams = TcpListener::bind("127.0.0.53:53").unwrap();
    let count = counter.clone();
    thread::spawn(move || {
        let _silent = silent;
        let mut buffer = [0; 1500];
        while let Ok((len, asker)) = datagrams.recv_from(&mut buffer) {
            count.fetch_add(1, Ordering::SeqCst);
            datagrams.send_to(&answer(&buffer[..len]), asker).unwrap();
        }
    });
    thread::spawn(move || {
        for stream in streams.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut query).unwrap();
            let answer = answer(&query);
            let len = u16::try_from(answer.len()).unwrap();
            stream.write_all(&len.to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
}

pub(crate) fn ask(replica: &Replica, name: &str) -> Vec<Ipv4Addr> {
    let name = name.to_owned();
    replica.inside(move || query(&name, false))
}

pub(crate) fn ask_tcp(replica: &Replica, name: &str) -> Vec<Ipv4Addr> {
    let name = name.to_owned();
    replica.inside(move || query(&name, true))
}

/// The addresses in the answer of 127.0.0.11, as a replica's own resolver would ask.
fn query(name: &str, stream: bool) -> Vec<Ipv4Addr> {
    let mut question = vec![0x47, 0x11, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let server = (Ipv4Addr::new(127, 0, 0, 11), 53);
    let answer = if stream {
        let mut connection = TcpStream::connect(server).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let len = u16::try_from(question.len()).unwrap().to_be_bytes();
        connection
            .write_all(&[&len[..], &question].concat())
            .unwrap();
        let mut len = [0; 2];
        connection.read_exact(&mut len).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
        connection.read_exact(&mut answer).unwrap();
        answer
    } else {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&question).unwrap();
        let mut answer = vec![0; 1500];
        let len = socket.recv(&mut answer).unwrap();
        answer.truncate(len);
        answer
    };
    assert_eq!(answer[..2], [0x47, 0x11]);
    let records = answer[question.len()..].chunks(16);
    let mut found: Vec<_> = records
        .take(usize::from(answer[7]))
        .map(|record| Ipv4Addr::new(record[12], record[13], record[14], record[15]))
        .collect();
    found.sort();
    found
}
