//! Tests of lists, down to the byte.

use super::*;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

fn service(name: &str, last: u8, ports: &[(&str, Proto, u16)]) -> ServiceFile {
    let named = |(name, proto, port): &(&str, Proto, u16)| NamedPort {
        name: (*name).to_owned(),
        proto: *proto,
        port: *port,
    };
    ServiceFile {
        name: name.into(),
        vip: Some(ip(last)),
        aliases: vec![format!("{name}.alias")],
        ports: ports.iter().map(named).collect(),
        ..ServiceFile::default()
    }
}

fn replica(service: &str, name: &str, last: u8) -> EndpointFile {
    EndpointFile {
        replica: format!("{service}{last}"),
        service: service.into(),
        address: Some(ip(last)),
        weight: 1,
        names: vec![name.into()],
    }
}

fn view(id: &str, services: &[ServiceFile], replicas: &[EndpointFile]) -> NetworkView {
    NetworkView {
        id: id.into(),
        name: "default".into(),
        services: services
            .iter()
            .map(|s| (s.name.clone(), s.clone()))
            .collect(),
        endpoints: replicas
            .iter()
            .map(|r| (r.replica.clone(), r.clone()))
            .collect(),
    }
}

fn text(from: &Sources<'_>, name: Option<&str>) -> String {
    list(from, name).expect("known").text
}

#[test]
fn a_list_is_the_whole_list_of_a_watch() {
    let views = [view(
        "n1",
        &[
            service("web", 200, &[("http", Proto::Tcp, 80)]),
            service("idle", 201, &[]),
        ],
        &[replica("web", "shop-web-2", 2)],
    )];
    let from = Sources {
        stack: "shop",
        views: &views,
        links: &[],
        far: &[],
    };
    let found = list(&from, None).unwrap();
    let cursor = found.cursor;
    assert!(cursor < 1 << 53);
    let expected = format!(
        "{{\"event\":\"resync\",\"endpoints\":[\
         {{\"stack\":\"shop\",\"service\":\"idle\",\"replica\":null,\"address\":\"10.77.0.201\",\"port\":null,\
         \"protocol\":\"tcp\",\"scope\":{{\"network\":\"default\"}},\"health\":\"notready\",\"weight\":0,\
         \"zone\":null,\"backend\":\"local\"}},\
         {{\"stack\":\"shop\",\"service\":\"web\",\"replica\":null,\"address\":\"10.77.0.200\",\"port\":80,\
         \"protocol\":\"tcp\",\"scope\":{{\"network\":\"default\"}},\"health\":\"ready\",\"weight\":1,\
         \"zone\":null,\"backend\":\"local\"}},\
         {{\"stack\":\"shop\",\"service\":\"web\",\"replica\":{{\"stack\":\"shop\",\"service\":\"web\",\
         \"slot\":2}},\"address\":\"10.77.0.2\",\"port\":80,\"protocol\":\"tcp\",\
         \"scope\":{{\"network\":\"default\"}},\"health\":\"ready\",\"weight\":1,\"zone\":null,\
         \"backend\":\"local\"}}],\"cursor\":{cursor}}}\n"
    );
    assert_eq!(found.text, expected);
    assert_eq!(
        list(&from, None).unwrap(),
        found,
        "the same list, the same cursor"
    );
    let more = [view("n1", &[service("web", 200, &[])], &[])];
    assert_ne!(
        list(
            &Sources {
                views: &more,
                ..from
            },
            None
        )
        .unwrap()
        .cursor,
        cursor
    );
}

#[test]
fn names_are_found_as_names_are() {
    let near = view(
        "n1",
        &[service("web", 200, &[]), service("db", 201, &[])],
        &[],
    );
    let other = view("n2", &[service("web", 100, &[])], &[]);
    let links = [Link {
        alias: "store".into(),
        vip: Some(ip(210)),
        network: "n1".into(),
        service: "db".into(),
    }];
    let views = [near, other];
    let from = Sources {
        stack: "shop",
        views: &views,
        links: &links,
        far: &[],
    };
    let has = |name: &str, last: u8| {
        let text = text(&from, Some(name));
        let count = text.matches("\"address\"").count();
        text.contains(&format!("\"{}\"", ip(last))) && count == 1
    };
    assert!(has("web", 200), "the nearer network");
    assert!(has("WEB", 200) && has("web.alias", 200) && has("db", 201));
    assert!(has("Store", 210), "a link has an address of its own");
    assert_eq!(list(&from, Some("nobody")), None);
    assert_eq!(text(&from, None).matches("\"address\"").count(), 4);
}

#[test]
fn a_link_to_another_stack_shows_what_it_leads_to_and_no_more() {
    let far = Far {
        stack: "other".into(),
        view: view(
            "f1",
            &[service("db", 50, &[("5432", Proto::Tcp, 5432)])],
            &[replica("db", "other-db-1", 51)],
        ),
    };
    let link = |service: &str| Link {
        alias: service.into(),
        vip: Some(ip(50)),
        network: "f1".into(),
        service: service.into(),
    };
    let links = [link("db"), link("gone")];
    let from = Sources {
        stack: "shop",
        views: &[],
        links: &links,
        far: &[far],
    };
    let text = text(&from, None);
    assert!(
        text.contains("\"stack\":\"other\"") && text.contains("\"port\":5432"),
        "{text}"
    );
    assert!(
        text.contains("\"weight\":1") && !text.contains("10.77.0.51"),
        "{text}"
    );
    let gone = list(&from, Some("gone")).unwrap();
    assert!(
        gone.text.contains("\"endpoints\":[]"),
        "it is known, and leads nowhere now"
    );
}

#[test]
fn slots_are_read_from_the_names_that_are_a_replica_s_own() {
    for (name, expected) in [
        ("shop-web-3", Some(3)),
        ("3.web", Some(3)),
        ("shop-web-x", None),
        ("shop-webb-3", None),
        ("other-web-3", None),
        ("web-3", None),
    ] {
        assert_eq!(slot("shop", &replica("web", name, 3)), expected, "{name}");
    }
}

#[test]
fn the_record_of_a_network_tells_its_names() {
    let record = br#"{"stack":"other","name":"back","id":"f1"}"#;
    assert_eq!(text_field(record, "stack").as_deref(), Some("other"));
    assert_eq!(text_field(record, "name").as_deref(), Some("back"));
    for bad in [
        &b"{}"[..],
        br#"{"stack":1}"#,
        br#"{"stack":"a b"}"#,
        b"{\"stack\":\"\xff\"}",
    ] {
        assert_eq!(text_field(bad, "stack"), None);
    }
}
