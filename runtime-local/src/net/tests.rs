//! Tests with real namespaces: a host, machines around it, networks, and replicas with shims.

#[path = "../../shim/net/mod.rs"]
#[allow(dead_code, reason = "the shim uses the rest")]
pub(super) mod shim_net;

mod lan;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::{NetError, Publication, create_network, host_side, remove_network, republish, restore};
use crate::wire::netplan::{Proto, PublishedPort};
use lan::{Lan, fetch, port, silent};
use shim_net::tests::world::ask;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// Everything that must reach a published port, with bridged frames filtered or not.
fn reaches_from_everywhere(filtered: bool) {
    let Some(lan) = Lan::new() else { return };
    lan.filter_bridged(filtered);
    let (front, back) = (
        lan.network("front", 0, false),
        lan.network("back", 1, false),
    );
    let published = lan.publication(&front, "web", &[port(ANY, 8080)]);
    lan.publish(&published).unwrap();
    let one = lan.replica(&front, "web", 1, &published.ports);
    let two = lan.replica(&front, "web", 2, &published.ports);
    let other = lan.replica(&front, "other", 3, &[]);
    let far = lan.replica(&back, "far", 1, &[]);
    one.serve_tcp();
    two.serve_tcp();

    // Nobody is ready: the port refuses.
    let outside = SocketAddr::from((lan.host_address(), 8080));
    assert_eq!(
        lan.call_outside(outside).unwrap_err(),
        ErrorKind::ConnectionRefused
    );
    one.set_ready(true);
    two.set_ready(true);

    let both: BTreeSet<String> = ["web-1".to_owned(), "web-2".to_owned()].into();
    let names = |answers: Vec<String>| -> BTreeSet<String> {
        answers
            .iter()
            .map(|answer| answer.split(' ').next().unwrap().to_owned())
            .collect()
    };
    let outside_answers: Vec<_> = (0..4).map(|_| lan.call_outside(outside).unwrap()).collect();
    // The caller's own address arrives.
    assert!(
        outside_answers
            .iter()
            .all(|answer| answer.ends_with(" 192.0.2.2"))
    );
    assert_eq!(names(outside_answers), both);
    for address in [LOOPBACK, lan.host_address(), front.config.gateway] {
        let at = SocketAddr::from((address, 8080));
        let answers: Vec<_> = (0..4).map(|_| lan.call_here(at).unwrap()).collect();
        assert!(
            answers.iter().all(|answer| !answer.ends_with(" 127.0.0.1")),
            "{answers:?}"
        );
        assert_eq!(names(answers), both, "from the host by {address}");
    }
    // From the replica itself, its neighbour, and another network, by the host's address.
    for replica in [&one, &other, &far] {
        let answers = replica.inside(move || (0..4).map(|_| fetch(outside).unwrap()).collect());
        assert_eq!(names(answers), both);
    }

    two.set_ready(false);
    let left = (0..4).map(|_| lan.call_outside(outside).unwrap()).collect();
    assert_eq!(names(left), BTreeSet::from(["web-1".to_owned()]));
    lan.unpublish(&published);
    assert_eq!(
        lan.call_outside(outside).unwrap_err(),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    reaches_from_everywhere(false);
}

#[test]
fn published_ports_are_reached_where_bridged_frames_are_filtered() {
    reaches_from_everywhere(true);
}

#[test]
fn a_loopback_port_is_for_the_host_alone() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let published = lan.publication(&front, "web", &[port(LOOPBACK, 8080)]);
    lan.publish(&published).unwrap();
    let one = lan.replica(&front, "web", 1, &published.ports);
    let other = lan.replica(&front, "other", 2, &[]);
    one.serve_tcp();
    one.set_ready(true);
    let local = SocketAddr::from((LOOPBACK, 8080));
    // The replica sees the bridge, not 127.0.0.1: nobody is mistaken for itself.
    assert_eq!(
        lan.call_here(local).unwrap(),
        format!("web-1 {}", front.config.gateway)
    );
    let outside = SocketAddr::from((lan.host_address(), 8080));
    assert_eq!(
        lan.call_outside(outside).unwrap_err(),
        ErrorKind::ConnectionRefused
    );
    let gateway = SocketAddr::from((front.config.gateway, 8080));
    let refused = other.inside(move || fetch(gateway).unwrap_err());
    assert_eq!(refused, ErrorKind::ConnectionRefused);
}

#[test]
fn a_port_of_one_replica_leads_to_no_other() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let own = |host_port| PublishedPort {
        own: true,
        ..port(ANY, host_port)
    };
    let [first, second] = [own(9001), own(9002)].map(|port| {
        let published = lan.publication(&front, "web", &[port]);
        lan.publish(&published).unwrap();
        published
    });
    let one = lan.replica(&front, "web", 1, &first.ports);
    let two = lan.replica(&front, "web", 2, &second.ports);
    for replica in [&one, &two] {
        replica.serve_tcp();
        replica.set_ready(true);
    }
    let ask = |host_port| {
        let at = SocketAddr::from((lan.host_address(), host_port));
        let answers: BTreeSet<_> = (0..6).map(|_| lan.call_outside(at).unwrap()).collect();
        answers.into_iter().collect::<Vec<_>>().join(", ")
    };
    assert_eq!(ask(9001), "web-1 192.0.2.2");
    assert_eq!(ask(9002), "web-2 192.0.2.2");

    // The other's end changes nothing, and one that is not ready has no stand-in.
    two.set_ready(false);
    assert_eq!(ask(9001), "web-1 192.0.2.2");
    let at = SocketAddr::from((lan.host_address(), 9002));
    let refused = lan.call_outside(at).unwrap_err();
    assert_eq!(refused, ErrorKind::ConnectionRefused);
}

#[test]
fn packets_for_loopback_that_come_from_elsewhere_reach_nobody() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let udp = PublishedPort {
        proto: Proto::Udp,
        ..port(LOOPBACK, 8080)
    };
    let published = lan.publication(&front, "web", &[udp]);
    lan.publish(&published).unwrap();
    let one = lan.replica(&front, "web", 1, &published.ports);
    let other = lan.replica(&front, "other", 2, &[]);
    one.set_ready(true);
    let inside = one.inside(|| lan::listen(SocketAddr::from((ANY, 80))));
    let own = SocketAddr::from((LOOPBACK, 9090));
    let host = lan.host.run(move || lan::listen(own));
    let at = SocketAddr::from((LOOPBACK, 8080));
    lan.host.run(move || lan::shout(at));
    assert!(lan::hears(&inside), "the host itself uses the port");

    // Neither the published port nor what listens on the host's loopback.
    for port in [8080, 9090] {
        lan.loopback_attack(port);
        let gateway = front.config.gateway;
        other.inside(move || lan::attack(gateway, port));
    }
    assert!(!lan::hears(&inside) && !lan::hears(&host));
    // The attack is a real one: without our rules it succeeds.
    lan.flush_rules();
    lan.loopback_attack(9090);
    assert!(lan::hears(&host));
}

#[test]
fn many_ports_are_taken_back_with_absent_ones_among_them() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let some = |ports: std::ops::Range<u16>| {
        let ports: Vec<_> = ports.map(|host_port| port(ANY, host_port)).collect();
        lan.publication(&front, "web", &ports)
    };
    lan.publish(&some(8000..9500)).unwrap();
    let other = Publication {
        service: "other".to_owned(),
        ..some(8000..9600)
    };
    let refused = lan.publish(&other).unwrap_err();
    assert!(
        matches!(refused, NetError::PortPublished { .. }),
        "{refused}"
    );
    lan.unpublish(&some(7000..9600));
    lan.publish(&other).unwrap();
    // Those of another service are not taken back.
    lan.unpublish(&some(8000..9600));
    assert!(lan.publish(&some(9599..9600)).is_err());
}

#[test]
fn nobody_speaks_in_the_name_of_another_network() {
    let Some(lan) = Lan::new() else { return };
    let (front, back) = (
        lan.network("front", 0, false),
        lan.network("back", 1, false),
    );
    let evil = lan.replica(&back, "evil", 1, &[]);
    let own = SocketAddr::from((ANY, 9090));
    let host = lan.host.run(move || lan::listen(own));
    let at = SocketAddr::from((lan.host_address(), 9090));
    evil.inside(move || lan::shout(at));
    assert!(lan::hears(&host), "in its own name it is heard");
    for other in [front.address(7), back.config.gateway] {
        evil.inside(move || lan::shout_as(other, at));
        assert!(!lan::hears(&host), "in the name of {other}");
    }
    // The attack is a real one: without our rules it succeeds.
    lan.flush_rules();
    evil.inside(move || lan::shout_as(front.address(7), at));
    assert!(lan::hears(&host));
}

#[test]
fn published_datagrams_move_when_their_replica_ends() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let udp = PublishedPort {
        port: 82,
        proto: Proto::Udp,
        ..port(ANY, 8080)
    };
    let published = lan.publication(&front, "web", &[udp]);
    lan.publish(&published).unwrap();
    let one = lan.replica(&front, "web", 1, &published.ports);
    let two = lan.replica(&front, "web", 2, &published.ports);
    one.serve_udp();
    two.serve_udp();
    one.set_ready(true);
    let at = SocketAddr::from((lan.host_address(), 8080));
    let ask = lan.conversation(at);
    assert_eq!(ask(), "web-1 192.0.2.2");
    two.set_ready(true);
    assert_eq!(ask(), "web-1 192.0.2.2", "a flow stays where it is");
    drop(one);
    assert_eq!(ask(), "web-2 192.0.2.2");
}

#[test]
fn networks_are_islands() {
    for filtered in [false, true] {
        let Some(lan) = Lan::new() else { return };
        lan.filter_bridged(filtered);
        let (front, back) = (
            lan.network("front", 0, false),
            lan.network("back", 1, false),
        );
        let one = lan.replica(&front, "one", 1, &[]);
        let near = lan.replica(&front, "near", 2, &[]);
        let far = lan.replica(&back, "far", 1, &[]);
        one.serve_tcp();
        let at = SocketAddr::from((front.address(1), 80));
        assert!(near.inside(move || fetch(at)).is_ok());
        assert!(lan.call_here(at).is_ok());
        assert!(far.inside(move || silent(at)));
        // Somebody on the wire who knows the way gets nowhere either.
        lan.route_outside(front.config.subnet);
        assert!(lan.silent_outside(at));
    }
}

#[test]
fn the_way_out_wears_the_hosts_address() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let one = lan.replica(&front, "one", 1, &[]);
    lan.serve_outside();
    let at = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 2), 80));
    let answer = one.inside(move || fetch(at).unwrap());
    assert_eq!(answer, "outside 192.0.2.1");
}

#[test]
fn an_internal_network_has_no_way_out_or_in() {
    let Some(lan) = Lan::new() else { return };
    let inner = lan.network("inner", 0, true);
    // Another network, so that the host routes at all.
    let _open = lan.network("open", 1, false);
    let one = lan.replica(&inner, "one", 1, &[]);
    let two = lan.replica(&inner, "two", 2, &[]);
    one.serve_tcp();
    lan.serve_outside();
    let host = lan.listen_on_host(SocketAddr::from((ANY, 9090)));
    let at = SocketAddr::from((inner.address(1), 80));
    assert!(two.inside(move || fetch(at)).is_ok(), "neighbours talk");
    assert!(lan.call_here(at).is_ok(), "the host may look in");
    let out = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 2), 80));
    assert_eq!(
        one.inside(move || fetch(out).unwrap_err()),
        ErrorKind::NetworkUnreachable
    );
    // Not even with a route of its own making.
    let gateway = inner.config.gateway;
    one.inside(move || lan::add_default_route(gateway));
    assert!(one.inside(move || silent(out)));
    let up = SocketAddr::from((gateway, 9090));
    assert!(one.inside(move || silent(up)));
    lan.route_outside(inner.config.subnet);
    assert!(lan.silent_outside(at));
    drop(host);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let taken = lan.listen_on_host(SocketAddr::from((ANY, 8080)));
    let web = lan.publication(&front, "web", &[port(ANY, 8080)]);
    let error = lan.publish(&web).unwrap_err();
    assert!(matches!(error, NetError::PortInUse { .. }), "{error}");
    assert!(error.to_string().contains("0.0.0.0:8080/tcp"), "{error}");
    drop(taken);
    lan.publish(&web).unwrap();
    lan.publish(&web).unwrap();
    for address in [ANY, LOOPBACK] {
        let rival = lan.publication(&front, "rival", &[port(address, 8080)]);
        let error = lan.publish(&rival).unwrap_err();
        assert!(matches!(error, NetError::PortPublished { .. }), "{error}");
    }
    let neighbour = lan.publication(&front, "rival", &[port(LOOPBACK, 8081)]);
    lan.publish(&neighbour).unwrap();
    // While a replica runs, other programs find the port taken.
    let one = lan.replica(&front, "web", 1, &web.ports);
    let bound = lan.host.run(|| TcpListener::bind((ANY, 8080)).map(drop));
    assert_eq!(bound.unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(one);
    lan.unpublish(&neighbour);
    lan.unpublish(&web);
    lan.unpublish(&web);
}

#[test]
fn what_a_lost_shim_left_is_put_right() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let web = lan.publication(&front, "web", &[port(ANY, 8080)]);
    lan.publish(&web).unwrap();
    let one = lan.replica(&front, "web", 1, &web.ports);
    let two = lan.replica(&front, "web", 2, &web.ports);
    one.serve_tcp();
    two.serve_tcp();
    one.set_ready(true);
    two.set_ready(true);
    super::remove_endpoint(&front.zone, "web-2").unwrap();
    let again = web.clone();
    lan.host.run(move || republish(&again)).unwrap();
    let at = SocketAddr::from((lan.host_address(), 8080));
    for _ in 0..4 {
        assert!(lan.call_outside(at).unwrap().starts_with("web-1 "));
    }
    // And what somebody flushed.
    lan.flush_rules();
    assert_eq!(
        lan.call_outside(at).unwrap_err(),
        ErrorKind::ConnectionRefused
    );
    let (networks, published) = (vec![front.config.clone()], vec![web.clone()]);
    lan.host
        .run(move || restore(&networks, &published))
        .unwrap();
    assert!(lan.call_outside(at).unwrap().starts_with("web-1 "));
    // A replica that becomes ready puts them back too.
    lan.flush_rules();
    two.set_ready(true);
    lan.call_outside(at).unwrap();
}

#[test]
fn a_replica_on_two_networks_uses_both() {
    let Some(lan) = Lan::new() else { return };
    let (inner, front) = (
        lan.network("inner", 0, true),
        lan.network("front", 1, false),
    );
    let (store, web) = (lan.service(&inner, "store"), lan.service(&front, "web"));
    let one = lan.replica(&inner, "store", 1, &[]);
    let published = lan.publication(&front, "web", &[port(ANY, 8080)]);
    lan.publish(&published).unwrap();
    let two = lan.replica_on(&[&inner, &front], "web", 2, &published.ports);
    let client = lan.replica(&front, "client", 3, &[]);
    for replica in [&one, &two] {
        replica.serve_tcp();
        replica.set_ready(true);
    }
    two.resolves("store", &[store]);
    two.sees(store, &["store-1"]);
    client.sees(web, &["web-2"]);
    // What it does not share it cannot see, by name or by address.
    assert!(ask(&client, "store").is_empty());
    let at = SocketAddr::from((inner.address(1), 80));
    assert!(client.inside(move || silent(at)));
    // Its way out is the network that has one, and published connections come back by it.
    let outside = SocketAddr::from((lan.host_address(), 8080));
    assert_eq!(lan.call_outside(outside).unwrap(), "web-2 192.0.2.2");
    lan.serve_outside();
    let out = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 2), 80));
    assert!(two.inside(move || fetch(out)).is_ok());
}

#[test]
fn nothing_is_left_of_removed_networks() {
    let Some(lan) = Lan::new() else { return };
    let before = lan.picture();
    let (front, back) = (lan.network("front", 0, false), lan.network("back", 1, true));
    let (one, two) = (front.config.clone(), back.config.clone());
    let again = one.clone();
    lan.host.run(move || create_network(&again)).unwrap();
    let replica = lan.replica(&front, "web", 1, &[]);
    let bridges = lan.host.run(host_side).unwrap().bridges;
    let ports = bridges
        .iter()
        .map(|bridge| bridge.ports.len())
        .sum::<usize>();
    assert_eq!((bridges.len(), ports), (2, 1));
    drop(replica);
    for config in [one.clone(), one, two] {
        lan.host.run(move || remove_network(&config)).unwrap();
    }
    assert_eq!(lan.picture(), before);
}

#[test]
fn routing_stays_off_for_everyone_else() {
    let Some(lan) = Lan::new() else { return };
    let _front = lan.network("front", 0, false);
    assert!(
        lan.routes(),
        "the first network that needs it switches it on"
    );
    // A second wire: the host now routes, but not between these two.
    let at = lan.second_wire();
    lan.route_outside("198.51.100.0/24".parse().unwrap());
    assert!(lan.silent_outside(at));
}

#[test]
fn many_networks_at_once_from_several_callers() {
    let Some(lan) = Lan::new() else { return };
    let before = lan.picture();
    let networks: Vec<_> = (0..24).map(|n| lan.config(&format!("n{n}"), n)).collect();
    let work = |each: fn(&super::NetworkConfig)| {
        let threads: Vec<_> = networks
            .chunks(6)
            .map(|some| (lan.visitor(), some.to_vec()))
            .map(|(visitor, some)| {
                std::thread::spawn(move || visitor.run(move || some.iter().for_each(each)))
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    };
    work(|network| assert!(create_network(network).is_ok()));
    assert_eq!(lan.host.run(host_side).unwrap().bridges.len(), 24);
    work(|network| remove_network(network).unwrap());
    assert_eq!(lan.picture(), before);
}

#[test]
fn the_first_packet_arrives() {
    let Some(lan) = Lan::new() else { return };
    let front = lan.network("front", 0, false);
    let mut replicas = Vec::new();
    let mut slow = 0;
    for n in 1..=20 {
        replicas.push(lan.replica(&front, "web", n, &[]));
        let to = SocketAddr::from((front.address(n), 9));
        let started = Instant::now();
        assert_eq!(lan.call_here(to).unwrap_err(), ErrorKind::ConnectionRefused);
        slow += u32::from(started.elapsed() > Duration::from_millis(900));
    }
    assert_eq!(slow, 0, "first packets were lost and sent again");
}
