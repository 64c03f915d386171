//! Tests of the answers, down to the byte.

use std::net::Ipv4Addr;

use super::super::names::{NetworkView, Zone};
use super::super::netplan::Proto;
use super::super::zone::{EndpointFile, Mode, NamedPort, ServiceFile};
use super::{Outcome, Transport, answer, fail, question};

fn zone(replicas: u8) -> Zone {
    let mut view = NetworkView {
        id: "n".into(),
        name: "net".into(),
        ..NetworkView::default()
    };
    for (name, mode) in [("web", Mode::Stable), ("rr", Mode::Replicas)] {
        let file = ServiceFile {
            name: name.into(),
            vip: Some(Ipv4Addr::new(10, 201, 0, 130)),
            mode,
            aliases: vec![format!("{name}-alias")],
            ports: ["http", "www"]
                .map(|port| NamedPort {
                    name: port.into(),
                    proto: Proto::Tcp,
                    port: 80,
                })
                .into(),
        };
        view.services.insert(name.into(), file);
    }
    for last in 1..=replicas {
        let file = EndpointFile {
            replica: format!("rr-{last}"),
            service: "rr".into(),
            address: Some(Ipv4Addr::new(10, 201, 0, last)),
            weight: 1,
            names: vec![format!("rr-{last}")],
        };
        view.endpoints.insert(file.replica.clone(), file);
    }
    let mut zone = Zone::build(&[view], &[]);
    zone.forward = true;
    zone.subnets = vec![(Ipv4Addr::new(10, 201, 0, 0).to_bits(), 0xffff_ff00)];
    zone
}

fn query(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let extra = u8::from(edns.is_some());
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, extra];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    if let Some(size) = edns {
        bytes.extend_from_slice(&[0, 0, 41]);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    }
    bytes
}

fn ask(query: &[u8], zone: &Zone) -> (Outcome, Vec<u8>) {
    let mut out = [0xee; 4096];
    let outcome = answer(query, zone, Transport::Udp, &mut out);
    let len = if let Outcome::Answer(len) = outcome {
        len
    } else {
        0
    };
    (outcome, out[..len].to_vec())
}

#[test]
fn an_address_answer_is_byte_exact() {
    let (_, out) = ask(&query("wEb", 1, None), &zone(0));
    let expected: Vec<u8> = [
        &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..],
        b"\x03wEb\x00\x00\x01\x00\x01",
        &[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 201, 0, 130],
    ]
    .concat();
    assert_eq!(out, expected);
}

#[test]
fn other_kinds_of_a_known_name_are_empty() {
    for kind in [28, 15, 16, 65] {
        let (_, out) = ask(&query("web", kind, None), &zone(0));
        assert_eq!((out[3] & 0x0f, out[7]), (0, 0));
    }
}

#[test]
fn unknown_names_are_forwarded_or_denied() {
    let mut zone = zone(0);
    assert_eq!(
        ask(&query("example.org", 1, None), &zone).0,
        Outcome::Forward
    );
    assert_eq!(
        ask(&query("7.0.0.8.in-addr.arpa", 12, None), &zone).0,
        Outcome::Forward
    );
    zone.forward = false;
    assert_eq!(ask(&query("example.org", 1, None), &zone).1[3] & 0x0f, 3);
}

#[test]
fn reverse_names_of_our_own_addresses_stay_here() {
    let zone = zone(2);
    let (_, out) = ask(&query("2.0.201.10.in-addr.arpa", 12, None), &zone);
    assert!(out.ends_with(b"\x04rr-2\x00"), "{out:?}");
    let (_, out) = ask(&query("99.0.201.10.in-addr.arpa", 12, None), &zone);
    assert_eq!(out[3] & 0x0f, 3);
}

#[test]
fn services_have_ports_and_replicas() {
    let zone = zone(2);
    for (name, port) in [
        ("_http._tcp.rr", 80),
        ("_WWW._tcp.rr", 80),
        ("_http._tcp.rr-alias", 80),
        ("_http._tcp.rr.net", 80),
        ("_8080._tcp.rr", 8080),
        // A port with two names is one.
        ("rr", 80),
    ] {
        let (_, out) = ask(&query(name, 33, None), &zone);
        assert_eq!(out[7], 2, "{name}");
        let port = u16::to_be_bytes(port);
        let expected = [&[0, 0, 0, 1][..], &port, b"\x04rr-2\x00"].concat();
        assert!(out.ends_with(&expected), "{name}: {out:?}");
    }
    // Neither a port of another protocol nor one that nobody has named is made up.
    for name in ["_http._udp.rr", "_smtp._tcp.rr"] {
        let (outcome, out) = ask(&query(name, 33, None), &zone);
        let answered = matches!(outcome, Outcome::Answer(_)) && out[7] > 0;
        assert!(!answered, "{name}: {out:?}");
    }
}

#[test]
fn long_answers_are_cut_and_say_so() {
    let zone = zone(100);
    let (_, out) = ask(&query("rr", 1, None), &zone);
    assert!(out.len() <= 512 && out[2] & 2 != 0 && out[7] > 25);
    let (_, out) = ask(&query("rr", 1, Some(4096)), &zone);
    assert!(out.len() <= 1232 && out[2] & 2 != 0);
    // The OPT record is there in spite of the cut.
    assert_eq!(out[11], 1);
    assert_eq!(out[out.len() - 11..out.len() - 8], [0, 0, 41]);
    let mut long = [0; 4096];
    let tcp = answer(&query("rr", 1, None), &zone, Transport::Tcp, &mut long);
    assert_eq!((long[7], long[2] & 2), (100, 0));
    assert_eq!(tcp, Outcome::Answer(12 + 4 + 4 + 100 * 16));
}

#[test]
fn malformed_questions_get_an_error_or_nothing() {
    let zone = zone(1);
    assert_eq!(ask(&[0; 11], &zone).0, Outcome::Drop);
    let mut reply = query("web", 1, None);
    reply[2] |= 0x80;
    assert_eq!(ask(&reply, &zone).0, Outcome::Drop);
    let mut update = query("web", 1, None);
    update[2] |= 5 << 3;
    assert_eq!(ask(&update, &zone).1[3] & 0x0f, 4);
    let mut two = query("web", 1, None);
    two[5] = 2;
    assert_eq!(ask(&two, &zone).1[3] & 0x0f, 1);
    // A pointer to itself, forwards, into the header, and a reserved label type.
    for pointer in [[0xc0, 12], [0xc0, 40], [0xc0, 0], [0x80, 1]] {
        let mut looped = query("web", 1, None);
        looped[12..14].copy_from_slice(&pointer);
        assert_eq!(ask(&looped, &zone).1[3] & 0x0f, 1, "{pointer:?}");
    }
    let mut version = query("web", 1, Some(1232));
    let at = version.len() - 5;
    version[at] = 1;
    let (_, out) = ask(&version, &zone);
    assert_eq!(
        out[out.len() - 6],
        1,
        "extended code says that the version is not ours"
    );
}

#[test]
fn the_longest_name_passes_and_a_longer_one_does_not() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert!(question(&query(&longest, 1, None)).is_some());
    let longer = format!("{label}.{label}.{label}.{}", "a".repeat(62));
    assert!(question(&query(&longer, 1, None)).is_none());
}

#[test]
fn random_bytes_never_break_it() {
    let zone = zone(5);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seed = query("_http._tcp.rr", 33, Some(4096));
    let mut out = [0; 1232];
    for round in 0..200_000 {
        let mut bytes = seed.clone();
        for _ in 0..1 + next() % 8 {
            let at = usize::try_from(next()).unwrap_or(0) % bytes.len();
            bytes[at] = next().to_le_bytes()[0];
        }
        bytes.truncate(usize::try_from(next() % 64).unwrap_or(0) + round % 2 * 8);
        let outcome = answer(&bytes, &zone, Transport::Udp, &mut out);
        if let Outcome::Answer(len) = outcome {
            assert!(len <= out.len() && out[2] & 0x80 != 0 && out[..2] == bytes[..2]);
        }
        fail(&bytes, &mut out);
    }
}
