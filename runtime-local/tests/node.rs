//! Replicas in the network of their node: what they see, what they may do there, how they go.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::Host;
use unmoor_core::ErrorKind;
use unmoor_core::backend::HealthState;
use unmoor_core::discover::Scope;
use unmoor_core::label::Selector;
use unmoor_core::spec::{Exposed, Health, HealthTest, NetworkMode, Protocol, Published, Service};

const PORT: u16 = 29_481;

fn fetch() -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

fn names(directory: &str) -> String {
    let entries = std::fs::read_dir(directory).expect("listed").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_listens_on_its_node_and_has_no_right_over_its_network() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let line = format!("echo on-node > /www/index.html; exec httpd -f -p {PORT} -h /www");
    let mut spec = Service::new(image).command(["sh", "-c", &line]);
    spec.network_mode = NetworkMode::Host;
    spec.expose.push(Exposed {
        port: PORT,
        protocol: Protocol::Tcp,
    });
    spec.ports.push(Published::tcp(PORT + 1, PORT));
    spec.health = unmoor_core::spec::HealthWish::Check(Health {
        interval: Duration::from_millis(50),
        ..Health::new(HealthTest::Http {
            port: PORT,
            path: "/".to_owned(),
        })
    });
    spec.extra_hosts
        .push(("db".to_owned(), "192.0.2.9".to_owned()));
    let service = host.declare("a", spec).await;
    host.start(&service, 1).await.expect("started");
    let id = host.id("a", 1);
    host.until(&id, |seen| seen.health == HealthState::Healthy)
        .await;
    assert_eq!(fetch().expect("answered"), "on-node");

    let same = |path: &str| {
        std::fs::read_to_string(path)
            .expect("read")
            .trim()
            .to_owned()
    };
    let (_, interfaces) = host.exec(&id, &["ls", "/sys/class/net"]).await;
    assert_eq!(interfaces, names("/sys/class/net"));
    let (_, resolvers) = host.exec(&id, &["cat", "/etc/resolv.conf"]).await;
    assert_eq!(resolvers, same("/etc/resolv.conf"));
    let (_, hosts) = host.exec(&id, &["cat", "/etc/hosts"]).await;
    assert_eq!(hosts, format!("{}\n192.0.2.9\tdb", same("/etc/hosts")));
    let (_, name) = host.exec(&id, &["hostname"]).await;
    assert_eq!(name, same("/proc/sys/kernel/hostname"));

    for refused in [
        "ip link set lo down",
        "ip link add x type dummy",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo x > /sys/class/net/lo/ifalias",
        "mount -t sysfs x /tmp",
        "nc -l -p 1",
    ] {
        let (code, text) = host.exec(&id, &["sh", "-c", refused]).await;
        assert_ne!(code, 0, "{refused}: {text}");
    }
    let (_, groups) = host.exec(&id, &["ls", "/sys/fs/cgroup"]).await;
    assert_ne!(groups, "", "it sees its own cgroups");
    let all = Selector::service(host.stack.clone(), "a".parse().expect("a name"));
    let endpoints = host.backend.endpoints(&all).await.expect("listed");
    let shown: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.replica.is_none())
        .map(|e| (e.address.to_string(), e.port, e.scope.clone(), e.weight))
        .collect();
    let expected = ("127.0.0.1".to_owned(), Some(PORT), Scope::External, 1);
    assert_eq!(shown, [expected], "{endpoints:?}");
    assert!(TcpStream::connect(("127.0.0.1", PORT + 1)).is_err());

    host.kill_shim(&id);
    host.until(&id, |seen| seen.health == HealthState::Healthy)
        .await;
    assert_eq!(host.exec(&id, &["true"]).await.0, 0, "also when adopted");
    host.down().await;
    assert!(fetch().is_err(), "nobody listens any more");
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_of_the_nodes_network_are_refused() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let path = "/proc/sys/net/ipv4/tcp_keepalive_time";
    let before = std::fs::read(path).expect("read");
    let mut spec = Service::new(image);
    spec.network_mode = NetworkMode::Host;
    let name = "net.ipv4.tcp_keepalive_time".to_owned();
    spec.security.sysctls.insert(name, "777".to_owned());
    let service = host.desired("a", spec).await;
    let declare = unmoor_core::backend::Action::EnsureService { service };
    let error = host.apply(declare).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error:?}");
    assert_eq!(std::fs::read(path).expect("read"), before);
    host.down().await;
}
