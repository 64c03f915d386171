//! Published ports that change while replicas run: every one leads to those that are ready, and one
//! that is taken out leads nowhere.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use unmoor_core::backend::{Action, DesiredService};
use unmoor_core::image::ImageRef;
use unmoor_core::name::ReplicaId;
use unmoor_core::spec::{Health, HealthTest, Published, Service};

use support::Host;

/// A server, published on some ports; each round is another specification.
fn server(image: &ImageRef, round: u32, ports: &[u16], health: Option<Health>) -> Service {
    let serve = "echo served > /index.html; exec httpd -f -p 80 -h /";
    let mut spec = Service::new(image.clone()).command(["sh", "-c", serve]);
    for port in ports {
        spec = spec.publish(Published::tcp(*port, 80));
    }
    if let Some(health) = health {
        spec = spec.health(health);
    }
    spec.stop.grace = Some(Duration::ZERO);
    spec.label("round", round.to_string())
}

fn get(port: u16) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Waits until a replica is in discovery and its server has begun.
async fn serves(host: &Host, id: &ReplicaId) {
    host.until(id, |seen| seen.in_discovery).await;
    let begun = "until wget -qO- http://127.0.0.1/ | grep -q served; do :; done";
    host.exec(id, &["sh", "-c", begun]).await;
}

/// Starts another replica of what the service is now, and removes the one before it.
async fn replace(host: &Host, service: &Arc<DesiredService>, slot: u32) {
    host.start(service, slot + 1).await.expect("started");
    serves(host, &host.id("web", slot + 1)).await;
    for action in [
        Action::DrainReplica {
            replica: host.id("web", slot),
        },
        Action::RemoveReplica {
            replica: host.id("web", slot),
        },
    ] {
        host.apply(action).await.expect("it went");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_to_a_port_that_was_added_is_answered() {
    runnable!();
    let host = Host::new().await;
    host.network("default").await;
    let image = host.busybox().await;
    let rounds: [&[u16]; 4] = [&[8180], &[8181], &[8181, 8182], &[8182]];
    let service = host
        .declare("web", server(&image, 0, rounds[0], None))
        .await;
    host.start(&service, 1).await.expect("started");
    serves(&host, &host.id("web", 1)).await;
    for (slot, ports) in (1..).zip(&rounds[1..]) {
        let service = host.declare("web", server(&image, slot, ports, None)).await;
        replace(&host, &service, slot).await;
        for port in *ports {
            for nth in 0..12 {
                let answer = get(*port);
                let served = answer.as_ref().is_ok_and(|text| text.contains("served"));
                assert!(served, "{port}, request {nth}: {answer:?}");
            }
        }
        let gone = [8180, 8181, 8182]
            .into_iter()
            .filter(|port| !ports.contains(port));
        for port in gone {
            assert!(get(port).is_err(), "{port} is not published any more");
        }
    }
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_out_is_not_put_back_by_who_still_serves() {
    runnable!();
    let host = Host::new().await;
    host.network("default").await;
    let image = host.busybox().await;
    let test = HealthTest::Exec(vec!["true".to_owned()]);
    let health = Some(Health::new(test).interval(Duration::from_millis(100)));
    let first = server(&image, 0, &[8280, 8282], health.clone());
    let service = host.declare("web", first).await;
    for slot in [1, 2] {
        host.start(&service, slot).await.expect("started");
        serves(&host, &host.id("web", slot)).await;
    }
    assert!(get(8280).expect("it is published").contains("served"));
    host.declare("web", server(&image, 1, &[8282], health))
        .await;
    // Each change of one of them is an occasion to put ports back.
    for slot in [1, 2] {
        let replica = host.id("web", slot);
        let pause = Action::PauseReplica {
            replica: replica.clone(),
        };
        host.apply(pause).await.expect("paused");
        let resume = Action::ResumeReplica { replica };
        host.apply(resume).await.expect("resumed");
        host.until(&host.id("web", slot), |seen| seen.in_discovery)
            .await;
        assert!(get(8280).is_err(), "it is not published any more");
        assert!(get(8282).expect("it still is").contains("served"));
    }
    // Nor by a shim that takes over.
    host.kill_shim(&host.id("web", 1));
    host.until(&host.id("web", 1), |seen| seen.in_discovery)
        .await;
    assert!(get(8280).is_err(), "it is not published any more");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_leads_to_another_one_inside_does() {
    runnable!();
    let host = Host::new().await;
    host.network("default").await;
    let image = host.busybox().await;
    let to = |port: u16| {
        let serve = format!("echo served > /index.html; exec httpd -f -p {port} -h /");
        let mut spec = Service::new(image.clone()).command(["sh", "-c", &serve]);
        spec.stop.grace = Some(Duration::ZERO);
        spec.publish(Published::tcp(8380, port))
    };
    let service = host.declare("web", to(80)).await;
    host.start(&service, 1).await.expect("started");
    let service = host.declare("web", to(81)).await;
    host.start(&service, 2).await.expect("started");
    let id = host.id("web", 2);
    let begun = "until wget -qO- http://127.0.0.1:81/ | grep -q served; do :; done";
    host.exec(&id, &["sh", "-c", begun]).await;
    for action in [
        Action::DrainReplica {
            replica: host.id("web", 1),
        },
        Action::RemoveReplica {
            replica: host.id("web", 1),
        },
    ] {
        host.apply(action).await.expect("it went");
    }
    for nth in 0..6 {
        let answer = get(8380);
        let served = answer.as_ref().is_ok_and(|text| text.contains("served"));
        assert!(served, "request {nth}: {answer:?}");
    }
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}
