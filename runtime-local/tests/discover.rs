//! Discovery on a real host: what cannot be read, and what a service sees of it from inside.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use support::Host;
use unmoor_core::ErrorKind;
use unmoor_core::backend::Action;
use unmoor_core::clock::SystemClock;
use unmoor_core::discover::{Endpoint, EndpointEvent};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::spec::{Link, Published, Service};

fn slots(list: &[Endpoint]) -> BTreeSet<u32> {
    let replicas = list.iter().filter_map(|e| e.replica.as_ref());
    replicas.map(|id| id.slot).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_be_read_hides_no_other_and_is_not_taken_for_gone() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let service = host.declare("web", Service::new(image)).await;
    for slot in [1, 2] {
        host.start(&service, slot).await.expect("started");
    }
    let selector = Selector::stack(host.stack.clone());
    let clock = Arc::new(SystemClock::new());
    let watch = Arc::clone(&host.backend).watch(&selector, None, clock);
    let mut watch = watch.await.expect("watched");
    let mut held = Vec::new();
    let mut next = async |held: &mut Vec<Endpoint>| {
        let limit = Duration::from_secs(10);
        let event = tokio::time::timeout(limit, watch.next()).await;
        let event = event.expect("in time").expect("it goes on");
        event.inspect(|event| event.clone().apply_to(held))
    };
    next(&mut held).await.expect("the whole list");
    assert_eq!(slots(&held), BTreeSet::from([1, 2]));

    let status = host
        .root()
        .join("run")
        .join(host.key(&host.id("web", 2)))
        .join("status");
    let aside = status.with_extension("aside");
    std::fs::rename(&status, &aside).expect("moved");
    std::fs::write(&status, vec![0x55; 8192]).expect("damaged");
    let listed = host.backend.endpoints(&selector).await.expect("listed");
    assert_eq!(slots(&listed), BTreeSet::from([1]), "the other is there");
    let unread = &listed.unreadable;
    assert_eq!(unread.len(), 1);
    assert_eq!(unread[0].what, Selector::replica(&host.id("web", 2)));
    let kind = loop {
        if let Err(error) = next(&mut held).await {
            break error.kind();
        }
    };
    assert_eq!(kind, ErrorKind::Corrupt);
    assert_eq!(slots(&held), BTreeSet::from([1, 2]), "it is not known gone");

    std::fs::rename(&aside, &status).expect("put back");
    while !matches!(next(&mut held).await, Ok(EndpointEvent::Resync { .. })) {}
    assert_eq!(slots(&held), BTreeSet::from([1, 2]));
    host.down().await;
}

/// What a replica is answered, as JSON.
async fn ask(host: &Host, from: &ReplicaId, target: &str) -> Vec<Endpoint> {
    let line = format!(
        "wget -qO- --header \"Authorization: Bearer $UNMOOR_DISCOVERY_TOKEN\" \
         \"$UNMOOR_DISCOVERY_URL/{target}\""
    );
    let (code, text) = host.exec(from, &["sh", "-c", &line]).await;
    assert_eq!(code, 0, "{target}: {text}");
    match serde_json::from_str(&text).expect("an event") {
        EndpointEvent::Resync { endpoints, cursor } => {
            let again = ask_cursor(&text);
            assert_eq!(again, cursor.0, "a cursor that every reader of JSON reads");
            endpoints
        }
        other => panic!("{other:?}"),
    }
}

fn ask_cursor(text: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let cursor = value["cursor"].as_u64().expect("a number");
    assert!(cursor < 1 << 53);
    cursor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_asks_its_own_shim_which_outlives_nothing_and_is_replaced() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let named = Published::tcp(8085, 80).named("http".parse().expect("a name"));
    let web = host
        .declare("web", Service::new(image.clone()).publish(named))
        .await;
    host.start(&web, 1).await.expect("started");
    let link = Link::to("web".parse().expect("a name")).alias("shop".parse().expect("a name"));
    let client = host.run("client", Service::new(image).link(link)).await;

    let all = ask(&host, &client, "endpoints").await;
    let names: BTreeSet<_> = all.iter().map(|e| e.service.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["client", "web"]));
    let found = ask(&host, &client, "endpoints/shop").await;
    assert_eq!(slots(&found), BTreeSet::from([1]));
    assert!(found.iter().all(|e| e.port == Some(80)), "{found:?}");
    let (code, text) = host
        .exec(
            &client,
            &["sh", "-c", "wget -qO- $UNMOOR_DISCOVERY_URL/endpoints"],
        )
        .await;
    assert!(
        code != 0 && !text.contains("web"),
        "without the token: {text}"
    );

    // Whoever waits hears of the next change, and of nothing before it.
    let line = "h=\"Authorization: Bearer $UNMOOR_DISCOVERY_TOKEN\"; u=$UNMOOR_DISCOVERY_URL/endpoints/web; \
        c=$(wget -qO- --header \"$h\" $u | grep -o '[0-9]*}$' | grep -o '[0-9]*'); echo asked > /tmp/asked; \
        wget -qO- --header \"$h\" \"$u?after=$c&wait=60\"";
    let command = ["sh", "-c", line];
    let waits = host.exec(&client, &command);
    let drain = async {
        let asked = "while [ ! -e /tmp/asked ]; do sleep 0.05; done; sleep 0.3";
        host.exec(&client, &["sh", "-c", asked]).await;
        let replica = host.id("web", 1);
        let drained = host.apply(Action::DrainReplica { replica }).await;
        drained.expect("drained");
    };
    let limit = Duration::from_secs(20);
    let ((code, text), ()) = tokio::time::timeout(limit, async { tokio::join!(waits, drain) })
        .await
        .expect("in time");
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("\"weight\":0") && !text.contains("\"slot\""),
        "{text}"
    );
    host.start(&web, 1).await.expect("undrained");

    // A shim that dies takes nothing along: its successor knows the token.
    host.kill_shim(&client);
    host.seen(&client).await.expect("adopted");
    let found = ask(&host, &client, "endpoints/web").await;
    assert_eq!(slots(&found), BTreeSet::from([1]));
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn srv_questions_lead_to_replicas_and_ports_by_name_and_number() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let long = "a-service-with-a-name-so-long-that-its-replicas-names-do-not-fit";
    let named = |port: u16, name: &str| {
        Published::tcp(port + 8000, port).named(name.parse().expect("a name"))
    };
    let web = Service::new(image.clone())
        .publish(named(80, "http"))
        .publish(named(81, "admin"));
    host.run("web", web).await;
    let unnamed = Service::new(image.clone()).publish(Published::tcp(8082, 82));
    host.run(&long[..60], unnamed).await;
    let client = host.run("client", Service::new(image)).await;
    let ask = async |name: &str| {
        let (_, text) = host
            .exec(&client, &["nslookup", "-type=srv", name, "127.0.0.11"])
            .await;
        let service = |line: &str| {
            line.split_once("service = ")
                .map(|(_, rest)| rest.to_owned())
        };
        text.lines().filter_map(service).collect::<BTreeSet<_>>()
    };
    let one = |text: &str| BTreeSet::from([text.to_owned()]);
    assert_eq!(ask("_http._tcp.web").await, one("0 1 80 t-web-1"));
    assert_eq!(ask("_admin._tcp.web").await, one("0 1 81 t-web-1"));
    assert_eq!(ask("_80._tcp.web").await, one("0 1 80 t-web-1"));
    let both = BTreeSet::from(["0 1 80 t-web-1", "0 1 81 t-web-1"].map(str::to_owned));
    assert_eq!(ask("web").await, both);
    assert_eq!(ask("_http._udp.web").await, BTreeSet::new());
    assert_eq!(ask("_ftp._tcp.web").await, BTreeSet::new());
    // Too long for a name of its own, and found all the same.
    let short = format!("1.{}", &long[..60]);
    assert_eq!(
        ask(&format!("_82._tcp.{}", &long[..60])).await,
        one(&format!("0 1 82 {short}"))
    );
    let (code, _) = host
        .exec(&client, &["nslookup", "-type=a", &short, "127.0.0.11"])
        .await;
    assert_eq!(code, 0, "the target of the record resolves");
    host.down().await;
}
