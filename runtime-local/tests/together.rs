//! Several commands at once, changes to what runs, and a reboot in between.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use support::Host;
use unmoor_core::ErrorKind;
use unmoor_core::backend::{Action, Applied, Phase};
use unmoor_core::name::Alias;
use unmoor_core::spec::{Link, Published, Service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_starts_at_once_have_one_winner_each_and_nothing_in_common() {
    runnable!();
    let host = Arc::new(Host::new().await);
    let image = host.busybox().await;
    host.network("default").await;
    let service = host.declare("a", Service::new(image)).await;
    // Other commands of the same user: connections of their own.
    let other = support::connect(&host.root()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for slot in 1..=12 {
        for backend in [Arc::clone(&host.backend), Arc::clone(&other)] {
            let (replica, service) = (host.id("a", slot), Arc::clone(&service));
            tasks.spawn(async move {
                let action = Action::StartReplica { replica, service };
                backend
                    .apply(&action, &support::step())
                    .await
                    .expect("started or there")
            });
        }
    }
    let results = tasks.join_all().await;
    let changed = results
        .iter()
        .filter(|applied| **applied == Applied::Changed)
        .count();
    assert_eq!((results.len(), changed), (24, 12));
    let seen = host
        .backend
        .observe(&Default::default())
        .await
        .expect("seen");
    let addresses: BTreeSet<_> = seen.replicas().flat_map(|r| r.addresses.values()).collect();
    assert_eq!(addresses.len(), 12);
    let mut maps = BTreeSet::new();
    for slot in 1..=12 {
        let id = host.id("a", slot);
        maps.insert(host.exec(&id, &["cat", "/proc/self/uid_map"]).await.1);
    }
    assert_eq!(maps.len(), 12, "each has a range of ids of its own");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gets_the_lock_sees_what_a_cancelled_change_still_made() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let service = host.declare("a", Service::new(image)).await;
    let state = host.backend.state().expect("has state");
    for slot in 1..=8 {
        let mut start = Box::pin(host.start(&service, slot));
        // Given up as soon as the work has begun on its own thread.
        while host.leftovers_of("locks").is_empty() {
            let step = tokio::time::timeout(Duration::from_micros(50), &mut start);
            assert!(step.await.is_err(), "started before its lock was seen");
        }
        drop(start);
        drop(state.lock(&host.stack).await.expect("locked"));
        let seen = host.seen(&host.id("a", slot)).await;
        assert_eq!(seen.map(|seen| seen.phase), Some(Phase::Running), "{slot}");
    }
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_pointed_elsewhere_while_everything_runs() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let web = |text: &str| {
        let line = format!("echo {text} > /www/index.html; exec httpd -f -p 80 -h /www");
        Service::new(image.clone()).command(["sh".to_owned(), "-c".to_owned(), line])
    };
    host.run("blue", web("blue")).await;
    host.run("green", web("green")).await;
    let to = |name: &str| {
        let alias: Alias = "shop".parse().expect("a name");
        Link::to(name.parse().expect("a name")).alias(alias)
    };
    let client = Service::new(image.clone());
    let id = host.run("client", client.clone().link(to("blue"))).await;
    let fetch = ["wget", "-qO-", "http://shop/"];
    assert_eq!(host.exec(&id, &fetch).await.1, "blue");
    let address = |text: String| {
        text.lines()
            .rfind(|line| line.contains("Address"))
            .map(str::to_owned)
    };
    let before = address(host.exec(&id, &["nslookup", "shop"]).await.1);
    host.declare("client", client.link(to("green"))).await;
    assert_eq!(host.exec(&id, &fetch).await.1, "green");
    let after = address(host.exec(&id, &["nslookup", "shop"]).await.1);
    assert_eq!(before, after, "the name keeps its address");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_specification_in_the_same_place_is_a_conflict() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let id = host.run("a", Service::new(image.clone())).await;
    let other = host.declare("a", Service::new(image).env("A", "b")).await;
    let error = host
        .start(&other, 1)
        .await
        .expect_err("another specification");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    host.start(&other, 2).await.expect("a place of its own");
    assert_eq!(host.seen(&id).await.expect("there").phase, Phase::Running);
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_of_a_range_and_any_port_are_the_replicas_own() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let range = Some(unmoor_core::spec::PortRange {
        first: 8190,
        last: 8191,
    });
    let ranged = Published {
        host_port: range,
        ..Published::tcp(1, 80)
    };
    let any = Published {
        host_port: None,
        ..Published::tcp(1, 81)
    };
    let spec = Service::new(image).publish(ranged).publish(any);
    let service = host.declare("a", spec).await;
    for slot in 1..=2 {
        host.start(&service, slot).await.expect("started");
        let ports = host.seen(&host.id("a", slot)).await.expect("there").ports;
        let hosts: Vec<_> = ports
            .iter()
            .filter_map(|p| p.host_port)
            .map(|r| r.first)
            .collect();
        assert_eq!(hosts[0], 8189 + u16::try_from(slot).expect("small"));
        assert!(hosts[1] > 1024, "{hosts:?}");
    }
    let error = host
        .start(&service, 3)
        .await
        .expect_err("the range is used up");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    host.down().await;
}
