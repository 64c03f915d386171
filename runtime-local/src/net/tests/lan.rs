//! A host on a wire with another machine, and networks of its own.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::super::netlink::Netlink;
use super::super::{
    NetError, NetworkConfig, Publication, Subnet, create_network, publish, unpublish, veth_name,
    write_service,
};
use super::shim_net::tests::PATIENCE;
use super::shim_net::tests::world::{Replica, Space, may_make_namespaces};
use crate::wire::codec::{Reader, Writer};
use crate::wire::netlink::{
    Batch, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, add_address, carries, dump, get_link, set_up,
};
use crate::wire::netplan::{Attachment, NetPlan, Proto, PublishedPort};
use crate::wire::nft::Change;
use crate::wire::zone::ServiceFile;

/// How long a call waits for somebody who is to be out of reach.
pub(super) const SOON: Duration = Duration::from_millis(800);

/// Asks a service and waits for it.
pub(super) fn fetch(address: SocketAddr) -> Result<String, ErrorKind> {
    fetch_within(address, PATIENCE)
}

/// True if calls get no answer at all, not even a refusal.
pub(super) fn silent(address: SocketAddr) -> bool {
    fetch_within(address, SOON) == Err(ErrorKind::TimedOut)
}

fn fetch_within(address: SocketAddr, wait: Duration) -> Result<String, ErrorKind> {
    let mut stream = TcpStream::connect_timeout(&address, wait).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(wait)).unwrap();
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|error| error.kind())?;
    Ok(text)
}

/// A port that leads to port 80 of a service.
pub(super) fn port(host_ip: Ipv4Addr, host_port: u16) -> PublishedPort {
    let (proto, network) = (Proto::Tcp, String::new());
    PublishedPort {
        host_ip,
        host_port,
        port: 80,
        proto,
        network,
        own: false,
    }
}

/// A network that is there.
pub(super) struct Network {
    pub(super) id: String,
    pub(super) config: NetworkConfig,
    pub(super) zone: PathBuf,
}

impl Network {
    /// The address of its n-th replica.
    pub(super) fn address(&self, n: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.config.subnet.base().to_bits() + 10 + u32::from(n))
    }
}

/// The host, the machine outside, and the folder of state.
pub(super) struct Lan {
    pub(super) host: Space,
    outside: Space,
    others: Mutex<Vec<Space>>,
    folder: PathBuf,
}

impl Lan {
    /// None where the caller may not make namespaces.
    pub(super) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !may_make_namespaces() {
            return None;
        }
        let n = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("unmoor-lan-{}-{n}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let (host, outside) = (Space::new(), Space::new());
        wire(&host, "wan0", &outside, "eth0", Ipv4Addr::new(192, 0, 2, 1));
        Some(Self {
            host,
            outside,
            others: Mutex::default(),
            folder,
        })
    }

    pub(super) fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 1)
    }

    /// Bridged frames pass the host's rules, or not.
    pub(super) fn filter_bridged(&self, filtered: bool) {
        self.host.run(move || {
            let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            match fs::write(path, if filtered { "1" } else { "0" }) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            }
        });
    }

    pub(super) fn config(&self, id: &str, n: u8) -> NetworkConfig {
        let subnet = Subnet::new(Ipv4Addr::new(10, 201, n, 0), 24).unwrap();
        NetworkConfig {
            bridge: super::super::bridge_name(&self.folder, id),
            subnet,
            gateway: subnet.gateway(),
            internal: false,
            mtu: 1500,
        }
    }

    pub(super) fn network(&self, id: &str, n: u8, internal: bool) -> Network {
        let config = NetworkConfig {
            internal,
            ..self.config(id, n)
        };
        let wanted = config.clone();
        self.host.run(move || create_network(&wanted)).unwrap();
        Network {
            id: id.to_owned(),
            config,
            zone: self.folder.join(id),
        }
    }

    /// True when the host routes packets.
    pub(super) fn routes(&self) -> bool {
        let now = || fs::read("/proc/sys/net/ipv4/ip_forward").unwrap();
        self.host.run(now).first() == Some(&b'1')
    }

    pub(super) fn publication(
        &self,
        network: &Network,
        service: &str,
        ports: &[PublishedPort],
    ) -> Publication {
        let lead = |port: &PublishedPort| PublishedPort {
            network: network.id.clone(),
            ..port.clone()
        };
        Publication {
            service: service.to_owned(),
            ports: ports.iter().map(lead).collect(),
            zones: vec![(network.id.clone(), network.zone.clone())],
        }
    }

    pub(super) fn publish(&self, publication: &Publication) -> Result<(), NetError> {
        let publication = publication.clone();
        self.host.run(move || publish(&publication))
    }

    pub(super) fn unpublish(&self, publication: &Publication) {
        let publication = publication.clone();
        self.host
            .run(move || unpublish(&publication.service, &publication.ports))
            .unwrap();
    }

    pub(super) fn replica(
        &self,
        network: &Network,
        service: &str,
        n: u8,
        ports: &[PublishedPort],
    ) -> Replica {
        self.replica_on(&[network], service, n, ports)
    }

    /// A replica on several networks, nearest first.
    pub(super) fn replica_on(
        &self,
        networks: &[&Network],
        service: &str,
        n: u8,
        ports: &[PublishedPort],
    ) -> Replica {
        let replica = format!("{service}-{n}");
        let links = self.folder.join(format!("run-{replica}"));
        fs::create_dir_all(&links).unwrap();
        let attach = |network: &&Network| Attachment {
            network: network.id.clone(),
            network_name: network.id.clone(),
            zone_dir: network.zone.to_str().unwrap().to_owned(),
            bridge: network.config.bridge.clone(),
            host_if: veth_name(network.address(n)),
            address: network.address(n),
            prefix: network.config.subnet.prefix(),
            gateway: Some(network.config.gateway),
            mtu: network.config.mtu,
            internal: network.config.internal,
            names: vec![replica.clone()],
        };
        let plan = NetPlan {
            replica: replica.clone(),
            service: service.to_owned(),
            attachments: networks.iter().map(attach).collect(),
            links: links.join("links").to_str().unwrap().to_owned(),
            upstreams: Vec::new(),
            ports: ports.to_vec(),
            weight: 1,
        };
        // As it travels to the shim.
        let mut writer = Writer::new();
        plan.encode(&mut writer);
        let plan = NetPlan::decode(&mut Reader::new(&writer.finish())).unwrap();
        Replica::start(&self.host, plan)
    }

    /// Declares a service on a network; its stable address.
    pub(super) fn service(&self, network: &Network, name: &str) -> Ipv4Addr {
        let vip = network.config.subnet.stable().base();
        let file = ServiceFile {
            name: name.to_owned(),
            vip: Some(vip),
            ..ServiceFile::default()
        };
        write_service(&network.zone, &file).unwrap();
        vip
    }

    pub(super) fn call_outside(&self, address: SocketAddr) -> Result<String, ErrorKind> {
        self.outside.run(move || fetch(address))
    }

    /// Asks by datagrams that all come from one port outside.
    pub(super) fn conversation(&self, address: SocketAddr) -> impl Fn() -> String + use<> {
        let socket = self
            .outside
            .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        move || {
            socket.send_to(b"hello", address).unwrap();
            let mut buffer = [0; 64];
            let len = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..len]).into_owned()
        }
    }

    pub(super) fn silent_outside(&self, address: SocketAddr) -> bool {
        self.outside.run(move || silent(address))
    }

    pub(super) fn call_here(&self, address: SocketAddr) -> Result<String, ErrorKind> {
        self.host.run(move || fetch(address))
    }

    /// The machine outside learns that the host leads to a subnet.
    pub(super) fn route_outside(&self, subnet: Subnet) {
        let to = subnet.to_string();
        self.outside
            .run(move || ip(&["route", "add", &to, "via", "192.0.2.1"]));
    }

    /// The machine outside tells each caller on port 80 who calls.
    pub(super) fn serve_outside(&self) {
        self.outside
            .run(|| serve(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80))));
    }

    /// A program on the host; dropping it frees the port.
    pub(super) fn listen_on_host(&self, address: SocketAddr) -> TcpListener {
        self.host.run(move || TcpListener::bind(address).unwrap())
    }

    /// Sends a packet for 127.0.0.1 to the host over the wire.
    pub(super) fn loopback_attack(&self, port: u16) {
        // Even a host whose administrator let such packets in is not to be reached.
        self.host
            .run(|| fs::write("/proc/sys/net/ipv4/conf/wan0/route_localnet", "1").unwrap());
        self.outside
            .run(move || attack(Ipv4Addr::new(192, 0, 2, 1), port));
    }

    /// Another machine on another wire of the host, with a service; its address.
    pub(super) fn second_wire(&self) -> SocketAddr {
        let other = Space::new();
        wire(
            &self.host,
            "wan1",
            &other,
            "eth0",
            Ipv4Addr::new(198, 51, 100, 1),
        );
        let address = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 2), 80));
        other.run(move || {
            serve(address);
            ip(&["route", "add", "default", "via", "198.51.100.1"]);
        });
        self.others.lock().unwrap().push(other);
        address
    }

    /// Another caller in the host's namespace.
    pub(super) fn visitor(&self) -> Space {
        Space::beside(&self.host)
    }

    pub(super) fn flush_rules(&self) {
        self.host.run(|| {
            let mut change = Change::new("unmoor", None);
            change.del_table();
            Netlink::netfilter()
                .unwrap()
                .change(&change.finish())
                .unwrap();
        });
    }

    /// Everything of the host that a network may change.
    pub(super) fn picture(&self) -> Vec<Vec<u8>> {
        self.host.run(|| {
            let route = Netlink::route().unwrap();
            let mut found = Vec::new();
            for kind in [RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE] {
                let mut batch = Batch::new();
                dump(&mut batch, kind);
                // Names and addresses; counters and times may differ.
                let seen = route.collect(&batch.finish(), |message| match kind {
                    RTM_GETLINK => message
                        .attrs(16)
                        .find(3)
                        .map(<[u8]>::to_vec)
                        .into_iter()
                        .collect(),
                    RTM_GETADDR => message
                        .attrs(8)
                        .find(1)
                        .map(<[u8]>::to_vec)
                        .into_iter()
                        .collect(),
                    _ => vec![message.payload.to_vec()],
                });
                found.extend(seen.unwrap());
            }
            let rules = Netlink::netfilter().unwrap().keys("bridges").unwrap();
            found.push(format!("{rules:?}").into_bytes());
            found.push(fs::read("/proc/sys/net/ipv4/ip_forward").unwrap());
            found
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Joins two machines: the first gets `address`, the second the one behind it.
fn wire(
    one: &Space,
    one_name: &'static str,
    two: &Space,
    two_name: &'static str,
    address: Ipv4Addr,
) {
    let tid = two.tid.to_string();
    one.run(move || {
        ip(&[
            "link", "add", one_name, "type", "veth", "peer", "name", two_name, "netns", &tid,
        ]);
        configure(one_name, address);
    });
    two.run(move || configure(two_name, Ipv4Addr::from_bits(address.to_bits() + 1)));
    one.run(move || settle(one_name));
    two.run(move || settle(two_name));
}

fn configure(name: &str, address: Ipv4Addr) {
    let route = Netlink::route().unwrap();
    let index = route.interface(name).unwrap().unwrap();
    let mut batch = Batch::new();
    set_up(&mut batch, 1);
    set_up(&mut batch, index);
    add_address(&mut batch, index, address, 24);
    route.change(&batch.finish()).unwrap();
}

/// Waits until an interface carries packets.
fn settle(name: &str) {
    let route = Netlink::route().unwrap();
    let index = route.interface(name).unwrap().unwrap();
    let mut batch = Batch::new();
    get_link(&mut batch, index);
    let question = batch.finish();
    while !route
        .collect(&question, |answer| vec![carries(answer, index)])
        .unwrap()
        .contains(&true)
    {
        thread::yield_now();
    }
}

pub(super) fn add_default_route(gateway: Ipv4Addr) {
    ip(&["route", "add", "default", "via", &gateway.to_string()]);
}

fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let caller = stream.peer_addr().unwrap().ip();
            let _ = write!(stream, "outside {caller}");
        }
    });
}

/// Sends to 127.0.0.1 by way of another machine, as a neighbour with bad intentions would.
pub(super) fn attack(gateway: Ipv4Addr, port: u16) {
    fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
    // What usually keeps such packets at home; gone after the first time.
    for own in ["127.0.0.0/8", "127.0.0.1"] {
        let args = ["route", "del", "table", "local", "local", own];
        let _ = Command::new("ip").args(args).output();
    }
    ip(&[
        "route",
        "replace",
        "127.0.0.0/8",
        "via",
        &gateway.to_string(),
        "dev",
        "eth0",
    ]);
    shout(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
}

/// Sends a datagram.
pub(super) fn shout(address: SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.send_to(b"hello", address).unwrap();
}

/// Sends a datagram from an address that is none of the sender's.
pub(super) fn shout_as(other: Ipv4Addr, address: SocketAddr) {
    ip(&["address", "replace", &format!("{other}/32"), "dev", "lo"]);
    let socket = UdpSocket::bind((other, 0)).unwrap();
    socket.send_to(b"hello", address).unwrap();
}

/// A socket for [`hears`].
pub(super) fn listen(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// True if a datagram arrives soon.
pub(super) fn hears(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 16]).is_ok()
}

fn ip(args: &[&str]) {
    let status = Command::new("ip")
        .args(args)
        .status()
        .expect("iproute2 is installed");
    assert!(status.success(), "ip {}", args.join(" "));
}
