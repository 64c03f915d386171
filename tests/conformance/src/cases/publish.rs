//! Ports published to the outside.

use std::collections::BTreeSet;

use unmoor_core::ErrorKind;
use unmoor_core::spec::{Protocol, Published};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "publish";
    /// A published TCP port answers from outside, and is listed with the port in force.
    published_port_answers [Spawn, PublishTcp, Discover];
    /// A published UDP port answers from outside.
    published_udp_port_answers [Spawn, PublishUdp, Discover];
    /// A published port of several replicas leads to all of them.
    published_port_is_balanced [Spawn, Scale, PublishTcp, Discover];
    /// A port that another stack has is refused before anything starts, with its owner.
    published_port_conflict_refused_before_start [Spawn, PublishTcp, Discover];
    /// Two services of one stack that want the same port are refused before anything is written.
    published_twice_in_one_stack_is_refused [Spawn, PublishTcp];
    /// A port is free again once its service is gone.
    released_port_can_be_published_again [Spawn, PublishTcp, Discover];
    /// A replica that is not ready gets nothing through the published port.
    published_port_spares_unready_replicas [Spawn, PublishTcp, Discover, HealthExec];
}

/// A container port that the backend publishes on a port of its choice.
fn any_port(target: u16) -> Published {
    Published {
        host_port: None,
        ..Published::tcp(1, target)
    }
}

async fn published_port_answers(t: &Fixture) -> Verdict {
    let web = t.probe("serve --tcp 80 --name front").publish(any_port(80));
    let stack = t.stack().service(named("web"), web);
    t.up(&stack).await?;
    let door = t.door(&stack.name, "web", Protocol::Tcp).await?;
    let answer = t.ask(&door, "hello").await?;
    ensure_eq!(
        answer,
        format!("{} front\n", slot(&stack.name, "web", 1)),
        "who answered"
    );
    let replica = t.replica(&stack.name, "web").await?;
    let ports: Vec<_> = replica
        .ports
        .iter()
        .filter_map(|port| port.host_port)
        .collect();
    ensure_eq!(
        ports.first().map(|range| range.first),
        door.port,
        "the port as observed"
    );
    Ok(())
}

async fn published_udp_port_answers(t: &Fixture) -> Verdict {
    let port = Published {
        protocol: Protocol::Udp,
        ..any_port(5353)
    };
    let stack = t.stack().service(
        named("u"),
        t.probe("serve --udp 5353 --name udp").publish(port),
    );
    t.up(&stack).await?;
    let door = t.door(&stack.name, "u", Protocol::Udp).await?;
    let answer = t.ask(&door, "hello").await?;
    ensure!(answer.ends_with(" udp\n"), "who answered: {answer}");
    Ok(())
}

/// A fixed port that nobody has: one that the backend chose and gave up again.
async fn free_port(t: &Fixture) -> Result<u16, Failure> {
    let stack = t
        .stack()
        .service(named("p"), t.probe("serve --tcp 80").publish(any_port(80)));
    t.up(&stack).await?;
    let door = t.door(&stack.name, "p", Protocol::Tcp).await?;
    t.down(&stack.name).await?;
    door.port
        .ok_or_else(|| Failure::Failed("a published endpoint has no port".to_owned()))
}

async fn published_port_is_balanced(t: &Fixture) -> Verdict {
    let port = free_port(t).await?;
    let web = t
        .probe("serve --tcp 80")
        .publish(Published::tcp(port, 80))
        .replicas(3);
    let stack = t.stack().service(named("web"), web);
    t.up(&stack).await?;
    let door = t.door(&stack.name, "web", Protocol::Tcp).await?;
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        seen.insert(t.ask(&door, "hello").await?);
        if seen.len() == 3 {
            return Ok(());
        }
    }
    Err(Failure::Failed(format!(
        "of three replicas only {seen:?} answered"
    )))
}

async fn published_port_conflict_refused_before_start(t: &Fixture) -> Verdict {
    let port = free_port(t).await?;
    let web = || t.probe("serve --tcp 80").publish(Published::tcp(port, 80));
    let first = t.stack().service(named("web"), web());
    t.up(&first).await?;
    let second = t
        .stack()
        .service(named("aside"), t.server(""))
        .service(named("web"), web());
    let Err(error) = t.up(&second).await else {
        return Err(format!("port {port} was published twice").into());
    };
    let kind = error.kind();
    let fits = matches!(
        kind,
        ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::WrongPhase
    );
    ensure!(fits, "kind of the error: {error:?}");
    let text = error.chain();
    ensure!(
        text.contains(&port.to_string()),
        "the error does not name the port: {text}"
    );
    ensure!(
        text.contains(first.name.as_str()),
        "the error does not name the owner: {text}"
    );
    let seen = t.observe(&second.name).await?;
    ensure!(
        seen.replicas.is_empty(),
        "something started: {:?}",
        seen.replicas
    );
    let door = t.door(&first.name, "web", Protocol::Tcp).await?;
    t.ask(&door, "hello").await?;
    Ok(())
}

async fn published_twice_in_one_stack_is_refused(t: &Fixture) -> Verdict {
    let web = || {
        t.probe("serve --tcp 80")
            .publish(Published::tcp(28_080, 80))
    };
    let stack = t
        .stack()
        .service(named("a"), web())
        .service(named("b"), web());
    let Err(error) = t.up(&stack).await else {
        return Err("a port was published twice by one stack".to_owned().into());
    };
    ensure_eq!(error.kind(), ErrorKind::InvalidSpec, "kind of the error");
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something was written"
    );
    Ok(())
}

async fn released_port_can_be_published_again(t: &Fixture) -> Verdict {
    let port = free_port(t).await?;
    for name in ["one", "two"] {
        let web = t.probe(&format!("serve --tcp 80 --name {name}"));
        let stack = t
            .stack()
            .service(named("web"), web.publish(Published::tcp(port, 80)));
        t.up(&stack).await?;
        let door = t.door(&stack.name, "web", Protocol::Tcp).await?;
        ensure_eq!(door.port, Some(port), "the port as listed");
        let answer = t.ask(&door, "hello").await?;
        ensure!(
            answer.ends_with(&format!(" {name}\n")),
            "who answered: {answer}"
        );
        t.down(&stack.name).await?;
        ensure!(
            t.ask_once(&door, "hello").await.is_err(),
            "the port answers after its stack is gone"
        );
    }
    Ok(())
}

async fn published_port_spares_unready_replicas(t: &Fixture) -> Verdict {
    let port = free_port(t).await?;
    let web = t
        .server("--tcp 80 --unready-file /area/unready")
        .publish(Published::tcp(port, 80))
        .health(t.health(80))
        .replicas(2);
    let stack = t.stack().service(named("web"), web);
    t.up(&stack).await?;
    let bad = slot(&stack.name, "web", 1);
    t.ok(&bad, "write /area/unready x").await?;
    super::discover::until_out(t, &bad).await?;
    let door = t.door(&stack.name, "web", Protocol::Tcp).await?;
    for _ in 0..30 {
        let answer = t.ask(&door, "hello").await?;
        ensure!(
            !answer.starts_with(&format!("{bad} ")),
            "a replica that is not ready answered"
        );
    }
    Ok(())
}
