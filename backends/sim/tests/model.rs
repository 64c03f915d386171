//! The model through the contract alone: each rule that the conformance suite leans on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use unmoor_core::backend::{
    Action, Applied, Backend, Commit, DesiredService, Exec, ExecOptions, ExecOutput, ImageInput,
    Images, LogOptions, Logs, Phase, State, Step,
};
use unmoor_core::catalog::Catalog;
use unmoor_core::client::{DownOptions, UpOptions};
use unmoor_core::discover::EndpointEvent;
use unmoor_core::image::ImageRef;
use unmoor_core::label::Selector;
use unmoor_core::name::{ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{
    Exposed, Health, HealthTest, Network, Protocol, Published, RestartPolicy, Service, Stack,
    default_network,
};
use unmoor_core::{Client, Error, ErrorKind, Uri};
use unmoor_sim::{Call, Effect, Fault, Gate, MARKER, Sim, SimConnect};

type Outcome = Result<(), Error>;

fn stack() -> StackName {
    StackName::parse("t").expect("valid name")
}

fn named(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("valid name")
}

fn id(name: &str, slot: u32) -> ReplicaId {
    ReplicaId::new(stack(), named(name), slot)
}

fn step() -> Step {
    Step {
        stack: stack(),
        plan: "p".to_owned(),
        index: 0,
        deadline: Duration::from_secs(60),
        commit: Commit::Now,
    }
}

fn image() -> ImageRef {
    "probe:1".parse().expect("valid reference")
}

/// A world with the probe loaded and the default network made.
async fn world() -> Result<Sim, Error> {
    let sim = Sim::new();
    prepare(&sim).await?;
    Ok(sim)
}

async fn prepare(sim: &Sim) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("probe");
    std::fs::write(&program, MARKER).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("made executable");
    let input = ImageInput::Rootfs {
        path: folder.path().to_owned(),
        reference: image(),
        changes: vec!["ENTRYPOINT [\"/probe\"]".to_owned()],
    };
    Images::load(sim, &input, false).await?;
    let action = Action::EnsureNetwork {
        name: default_network(),
        spec: Network::default(),
    };
    sim.apply(&action, &step()).await?;
    Ok(())
}

async fn desired(
    sim: &Sim,
    name: &str,
    spec: Service,
    hash: &str,
) -> Result<Arc<DesiredService>, Error> {
    let reference = spec.image.clone();
    let image = sim.resolve(&reference, None, spec.pull, &|_| {}).await?;
    Ok(Arc::new(DesiredService {
        name: named(name),
        links: spec.links.clone(),
        spec,
        image,
        spec_hash: hash.to_owned(),
        blobs: BTreeMap::new(),
    }))
}

async fn start(sim: &Sim, name: &str, spec: Service) -> Result<Arc<DesiredService>, Error> {
    let count = spec.replicas;
    let service = desired(sim, name, spec, "h").await?;
    let declare = Action::EnsureService {
        service: Arc::clone(&service),
    };
    sim.apply(&declare, &step()).await?;
    for slot in 1..=count {
        let action = Action::StartReplica {
            replica: id(name, slot),
            service: Arc::clone(&service),
        };
        sim.apply(&action, &step()).await?;
    }
    Ok(service)
}

fn probe(words: &str) -> Service {
    Service::new(image()).command(words.split_whitespace())
}

async fn run(sim: &Sim, replica: &ReplicaId, words: &str) -> Result<(i32, String), Error> {
    let mut command = vec!["/probe"];
    command.extend(words.split_whitespace());
    let mut session = Exec::exec(sim, replica, &ExecOptions::new(command)).await?;
    let mut out = Vec::new();
    loop {
        match session.next().await? {
            Some(ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes)) => out.extend(bytes),
            Some(ExecOutput::Exited(code)) => {
                return Ok((code, String::from_utf8_lossy(&out).into_owned()));
            }
            None => panic!("the session ended without an exit code"),
        }
    }
}

async fn phase(sim: &Sim, name: &str) -> Result<Phase, Error> {
    let observed = sim.observe(&Selector::stack(stack())).await?;
    Ok(observed
        .stack(&stack())
        .replicas_of(&named(name))
        .next()
        .expect("a replica")
        .phase)
}

#[tokio::test]
async fn programs_that_use_up_their_grace_do_so_side_by_side() -> Outcome {
    let sim = world().await?;
    let client = Client::with_clock(sim.backend(), sim.clock());
    let service = probe("serve --tcp 80 --ignore-term").replicas(50);
    let deaf = Stack::new(StackName::parse("deaf")?).service(named("deaf"), service);
    client.up(&deaf, &UpOptions::new()).await?;
    let before = sim.time();
    client.down(&deaf.name, &DownOptions::new()).await?;
    // The default grace is ten seconds; with a wait for each slot of work it took four of them.
    assert!(sim.time() - before >= Duration::from_secs(10));
    assert!(sim.time() - before < Duration::from_secs(20));
    Ok(())
}

#[tokio::test]
async fn names_lead_to_ready_replicas_only() -> Outcome {
    let sim = world().await?;
    let health = Health::new(HealthTest::Exec(vec![
        "/probe".into(),
        "check".into(),
        "80".into(),
    ]))
    .interval(Duration::from_secs(1))
    .retries(1);
    let web = probe("serve --tcp 80 --ready-after 5000")
        .health(health)
        .replicas(2);
    start(&sim, "web", web).await?;
    start(&sim, "client", probe("sleep")).await?;
    let client = id("client", 1);
    assert_eq!(
        run(&sim, &client, "resolve web").await?.0,
        0,
        "names resolve at once"
    );
    assert_eq!(
        run(&sim, &client, "connect web 80 hello").await?.0,
        3,
        "nobody is ready yet"
    );
    sim.clock().sleep(Duration::from_secs(7)).await;
    let (code, answer) = run(&sim, &client, "connect web 80 hello").await?;
    assert_eq!(code, 0, "{answer}");
    assert!(answer.starts_with("t-web-"), "{answer}");
    let drain = Action::DrainReplica {
        replica: id("web", 1),
    };
    assert_eq!(sim.apply(&drain, &step()).await?, Applied::Changed);
    for _ in 0..20 {
        assert_eq!(
            run(&sim, &client, "connect web 80 hello").await?.1,
            "t-web-2 -\n"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_stop_waits_for_the_grace_and_no_longer() -> Outcome {
    let sim = world().await?;
    let mut stubborn = probe("serve --ignore-term");
    stubborn.stop.grace = Some(Duration::from_secs(30));
    start(&sim, "stubborn", stubborn).await?;
    let before = sim.time();
    let stop = Action::StopReplica {
        replica: id("stubborn", 1),
        grace: None,
    };
    sim.apply(&stop, &step()).await?;
    assert_eq!(sim.time() - before, Duration::from_secs(30));
    let observed = sim.observe(&Selector::stack(stack())).await?;
    let replica = &observed.stack(&stack()).replicas[0];
    assert_eq!(replica.exit.map(|exit| exit.code), Some(137));
    assert_eq!(replica.phase, Phase::Stopped);
    assert_eq!(sim.apply(&stop, &step()).await?, Applied::Unchanged);
    Ok(())
}

#[tokio::test]
async fn restarts_back_off_and_end_at_their_limit() -> Outcome {
    let sim = world().await?;
    let crashing = probe("exit 3").restart(RestartPolicy::OnFailure { max: Some(3) });
    start(&sim, "crashing", crashing).await?;
    assert_eq!(phase(&sim, "crashing").await?, Phase::Starting);
    sim.clock().sleep(Duration::from_millis(699)).await;
    assert_eq!(
        phase(&sim, "crashing").await?,
        Phase::Starting,
        "100 + 200 + 400 ms"
    );
    sim.clock().sleep(Duration::from_millis(2)).await;
    assert_eq!(phase(&sim, "crashing").await?, Phase::Failed);
    let observed = sim.observe(&Selector::all()).await?;
    let replica = observed.replicas().next().expect("a replica");
    assert_eq!(
        (replica.restarts, replica.exit.map(|exit| exit.code)),
        (3, Some(3))
    );
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_of_changes_in_order() -> Outcome {
    let sim = world().await?;
    start(&sim, "web", probe("serve --tcp 80")).await?;
    let selector = Selector::service(stack(), named("web"));
    let watched: Arc<dyn Backend> = sim.backend();
    let mut events = watched.watch(&selector, None, sim.clock()).await?;
    let Some(Ok(EndpointEvent::Resync { endpoints, .. })) = events.next().await else {
        panic!("the first event is no resync");
    };
    assert_eq!(endpoints.len(), 2, "the service's and the replica's");
    let remove = Action::RemoveReplica {
        replica: id("web", 1),
    };
    sim.apply(&remove, &step()).await?;
    let event = events.next().await.expect("an event")?;
    assert!(
        matches!(
            event,
            EndpointEvent::Removed { .. } | EndpointEvent::Changed { .. }
        ),
        "{event:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_item_that_cannot_be_read_does_not_hide_the_others() -> Outcome {
    let sim = world().await?;
    start(&sim, "a", probe("serve --tcp 80")).await?;
    start(&sim, "b", probe("serve --tcp 80")).await?;
    sim.faults()
        .inject(Fault::on(Call::Endpoints, Effect::Partial));
    let client = Client::new(sim.backend());
    let list = client.discover(&Selector::stack(stack())).await?;
    let replicas: Vec<_> = list.iter().filter_map(|e| e.replica.clone()).collect();
    assert_eq!(replicas, [id("a", 1)]);
    assert_eq!(list.unreadable.len(), 1);
    assert_eq!(list.unreadable[0].what, Selector::replica(&id("b", 1)));
    assert_eq!(list.unreadable[0].error.kind(), ErrorKind::Corrupt);
    Ok(())
}

#[tokio::test]
async fn logs_are_followed() -> Outcome {
    let sim = world().await?;
    start(&sim, "job", probe("tick 1000 3")).await?;
    let options = LogOptions::new().follow(true);
    let stream = Logs::logs(&sim, &Selector::all(), &options).await?;
    let lines: Vec<_> = stream.take(3).collect().await;
    let texts: Vec<String> = lines
        .into_iter()
        .map(|line| line.map(|line| line.text))
        .collect::<Result<_, _>>()?;
    assert_eq!(texts, ["tick 0", "tick 1", "tick 2"]);
    assert_eq!(sim.time(), Duration::from_secs(2));
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_refused_with_its_owner() -> Outcome {
    let sim = world().await?;
    let web = || probe("serve --tcp 80").publish(Published::tcp(8080, 80));
    start(&sim, "web", web()).await?;
    let error = start(&sim, "other", web())
        .await
        .expect_err("the port is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(
        error.message().contains("service web of stack t"),
        "{error}"
    );
    assert_eq!(sim.knock(Protocol::Tcp, 8080, "hello")?, "t-web-1 -\n");
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_not_there_is_127() -> Outcome {
    let sim = world().await?;
    start(&sim, "odd", Service::new(image()).entrypoint(["/bin/odd"])).await?;
    assert_eq!(phase(&sim, "odd").await?, Phase::Failed);
    start(&sim, "even", probe("sleep")).await?;
    let mut session = Exec::exec(&sim, &id("even", 1), &ExecOptions::new(["/bin/odd"])).await?;
    let mut last = None;
    while let Some(output) = session.next().await? {
        last = Some(output);
    }
    assert_eq!(last, Some(ExecOutput::Exited(127)));
    Ok(())
}

#[tokio::test]
async fn faults_strike_where_they_are_put() -> Outcome {
    let sim = world().await?;
    sim.faults().inject(
        Fault::on(Call::Apply, Effect::FailAfter(ErrorKind::Timeout))
            .matching("start replica t-a-1"),
    );
    let lost = start(&sim, "a", probe("sleep"))
        .await
        .expect_err("the answer is lost");
    assert_eq!(lost.kind(), ErrorKind::Timeout);
    assert_eq!(
        phase(&sim, "a").await?,
        Phase::Running,
        "but it had its effect"
    );

    let gate = Gate::new();
    sim.faults()
        .inject(Fault::on(Call::Apply, Effect::HangBefore(gate.clone())));
    let action = Action::RemoveReplica {
        replica: id("a", 1),
    };
    let (other, at) = (sim.clone(), step());
    let hanging = tokio::spawn(async move { other.apply(&action, &at).await });
    gate.reached().await;
    assert_eq!(phase(&sim, "a").await?, Phase::Running);
    gate.open();
    assert_eq!(hanging.await.expect("no panic")?, Applied::Changed);

    start(&sim, "b", probe("sleep")).await?;
    sim.faults().inject(Fault::on(Call::Observe, Effect::Stale));
    let remove = Action::RemoveReplica {
        replica: id("b", 1),
    };
    sim.apply(&remove, &step()).await?;
    let stale = sim.observe(&Selector::all()).await?;
    assert_eq!(stale.replicas().count(), 1, "what was there before");
    assert_eq!(sim.observe(&Selector::all()).await?.replicas().count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_lock_has_one_holder_and_a_record_one_writer() -> Outcome {
    let sim = Sim::new();
    let held = sim.lock(&stack()).await?;
    let other = sim.clone();
    let waiting = tokio::spawn(async move { other.lock(&stack()).await });
    // A few rounds only: in virtual time even the longest patience ends when nobody does anything.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop(held);
    waiting.await.expect("no panic")?;
    let first = sim.store(&stack(), b"1", None).await?;
    let error = sim
        .store(&stack(), b"2", None)
        .await
        .expect_err("there is a record");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    sim.store(&stack(), b"2", Some(first)).await?;
    Ok(())
}

#[tokio::test]
async fn connections_of_one_name_share_a_world() -> Outcome {
    let catalog = Catalog::new().with(SimConnect::new());
    let uri = Uri::parse("sim:?name=a&clock=virtual&ports=model")?;
    let (one, two) = (catalog.connect(&uri).await?, catalog.connect(&uri).await?);
    let action = Action::EnsureNetwork {
        name: default_network(),
        spec: Network::default(),
    };
    one.apply(&action, &step()).await?;
    assert_eq!(two.observe(&Selector::all()).await?.stacks.len(), 1);
    let other = catalog.connect(&Uri::parse("sim:")?).await?;
    assert!(other.observe(&Selector::all()).await?.stacks.is_empty());
    assert!(catalog.connect(&Uri::parse("sim:?sed=1")?).await.is_err());
    Ok(())
}

#[tokio::test]
async fn published_ports_answer_on_real_sockets_where_wanted() -> Outcome {
    use std::io::{Read, Write};
    let sim = Sim::builder().sockets().build();
    prepare(&sim).await?;
    let mut web = probe("serve --tcp 80");
    web.ports.push(Published {
        host_port: None,
        ..Published::tcp(1, 80)
    });
    web.expose.push(Exposed {
        port: 80,
        protocol: Protocol::Tcp,
    });
    start(&sim, "web", web).await?;
    let observed = sim.observe(&Selector::all()).await?;
    let port = observed.replicas().next().expect("a replica").ports[0]
        .host_port
        .expect("chosen")
        .first;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.write_all(b"hello\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    });
    assert_eq!(answer.await.expect("no panic"), "t-web-1 -\n");
    Ok(())
}

#[tokio::test]
async fn a_port_of_another_program_is_refused() -> Outcome {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = other.local_addr().expect("an address").port();
    let sim = Sim::builder().sockets().build();
    prepare(&sim).await?;
    let web = || probe("serve --tcp 80").publish(Published::tcp(port, 80));
    let error = start(&sim, "web", web()).await.expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.message().contains("another program"), "{error}");
    drop(other);
    start(&sim, "web", web()).await?;
    for action in [
        Action::RemoveReplica {
            replica: id("web", 1),
        },
        Action::RemoveService { name: named("web") },
    ] {
        sim.apply(&action, &step()).await?;
    }
    std::net::TcpListener::bind(("127.0.0.1", port)).expect("it is free again");
    Ok(())
}
