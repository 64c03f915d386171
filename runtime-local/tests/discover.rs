//! Discovery on a real host: what cannot be read, and what a service sees of it from inside.

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use support::Host;
use unmoor_core::ErrorKind;
use unmoor_core::clock::SystemClock;
use unmoor_core::discover::{Endpoint, EndpointEvent};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::spec::Service;

/// The run directory of a replica.
fn run_of(host: &Host, id: &ReplicaId) -> PathBuf {
    let wanted = format!("\"slot\":{}", id.slot);
    let service = format!("\"service\":\"{}\"", id.service);
    let entries = std::fs::read_dir(host.root().join("replicas")).expect("listed");
    let mut found = entries.flatten().filter(|entry| {
        let record = std::fs::read_to_string(entry.path().join("record")).unwrap_or_default();
        record.contains(&wanted) && record.contains(&service)
    });
    let entry = found.next().expect("there is one");
    host.root().join("run").join(entry.file_name())
}

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
        event.map(|event| {
            event.clone().apply_to(held);
            event
        })
    };
    next(&mut held).await.expect("the whole list");
    assert_eq!(slots(&held), BTreeSet::from([1, 2]));

    let status = run_of(&host, &host.id("web", 2)).join("status");
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
