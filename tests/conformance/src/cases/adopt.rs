//! What is there and not ours: shown as such, left alone, and taken over as it runs.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::SystemTime;

use futures_util::future::join_all;
use unmoor_core::backend::{Action, Applied, Commit, Maker, Phase, StackPlace, Step};
use unmoor_core::client::{AdoptOptions, AdoptTarget, DownOptions, UpOptions};
use unmoor_core::label::Selector;
use unmoor_core::name::{StackName, VolumeName};
use unmoor_core::spec::{Attachment, Mount, Service, Stack, Volume};
use unmoor_core::{Client, Error, ErrorKind};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, net, slot};

cases! { "adopt";
    /// What is not ours is shown with its maker and its place, and is in no other answer.
    foreign_is_shown_as_such [Adopt, Spawn, Scale, Volumes, Discover];
    /// A stack that is taken over goes on as it ran, and is ours as if we had made it.
    adopted_stack_runs_on [Adopt, Spawn, Scale, Volumes, Exec];
    /// What a plan would make over somebody else's is refused with the way to take it over, and
    /// nothing is touched.
    foreign_is_not_touched [Adopt, Spawn, Scale, Volumes];
    /// Who takes over a service gets what it needs and nothing else.
    adopted_service_brings_what_it_needs [Adopt, Spawn, Scale, Volumes];
    /// What is not there, or is meant for another place, is not taken over.
    adoption_of_nothing_is_refused [Adopt, Spawn];
    /// An adoption that was given up anywhere is completed by a stranger.
    given_up_adoption [Adopt, Spawn, Scale, Volumes];
    /// Twenty callers take one stack over; it is taken over once.
    crowd_adopts_one_stack [Adopt, Spawn];
    /// A dry run of an adoption takes nothing over.
    dry_adoption_changes_nothing [Adopt, Spawn];
}

/// So many come at once.
const CROWD: usize = 20;

fn data() -> VolumeName {
    VolumeName::parse("data").expect("the suite's own names are valid")
}

/// Two of one service with a volume, and another service that is on a network of its own.
fn stack(t: &Fixture) -> Stack {
    let apart: Service = t.server("").network(net("apart"), Attachment::default());
    let mut with_volume = t.server("").replicas(2);
    with_volume.mounts.push(Mount::volume(data(), "/data"));
    let mut stack = t
        .stack()
        .service(named("a"), with_volume)
        .service(named("b"), apart);
    stack.networks.entry(net("apart")).or_default();
    stack.volumes.insert(data(), Volume::default());
    stack
}

fn plain(t: &Fixture) -> Stack {
    t.stack().service(named("a"), t.server(""))
}

/// When each replica started; nothing of it may start again.
async fn starts(t: &Fixture, name: &StackName) -> Result<Vec<(String, SystemTime)>, Failure> {
    let seen = t.observe(name).await?;
    let mut found = Vec::new();
    for replica in &seen.replicas {
        let id = &replica.id;
        let Some(started) = replica.started.filter(|_| replica.phase == Phase::Running) else {
            return Err(format!("{id} does not run: {replica:?}").into());
        };
        ensure_eq!(replica.restarts, 0, "restarts of {id}");
        found.push((id.to_string(), started));
    }
    found.sort();
    Ok(found)
}

/// The places of a stack that are not ours.
async fn foreign(t: &Fixture, name: &StackName) -> Result<BTreeSet<String>, Failure> {
    let found = t.client().foreign(Some(name)).await?;
    let places = found.into_iter().filter_map(|item| item.place);
    Ok(places.map(|place| place.to_string()).collect())
}

fn options() -> AdoptOptions<'static> {
    AdoptOptions::new()
}

async fn act(t: &Fixture, name: &StackName, action: Action) -> Result<Applied, Error> {
    let step = Step {
        stack: name.clone(),
        plan: "nobody's".to_owned(),
        index: 0,
        deadline: PATIENCE,
        commit: Commit::Now,
    };
    t.backend().apply(&action, &step).await
}

async fn foreign_is_shown_as_such(t: &Fixture) -> Verdict {
    let stack = stack(t);
    let name = &stack.name;
    t.up(&stack).await?;
    ensure!(foreign(t, name).await?.is_empty(), "what is ours is shown");
    let maker = t.disown(name).await?;
    let all = t.client().foreign(None).await?;
    let of_stack: Vec<_> = all
        .iter()
        .filter(|item| item.place.as_ref().is_some_and(|p| p.stack() == name))
        .collect();
    for item in &of_stack {
        ensure_eq!(item.maker, maker, "maker of {}", item.id);
        ensure_eq!(item.closed(), None, "what keeps {} from it", item.id);
        let is_replica = matches!(item.place, Some(StackPlace::Replica { .. }));
        let phase = is_replica.then_some(Phase::Running);
        ensure_eq!(item.phase, phase, "phase of {}", item.id);
    }
    let a = |number| format!("replica {}", slot(name, "a", number));
    let b = format!("replica {}", slot(name, "b", 1));
    let mut wanted = vec![a(1), a(2), b, "volume data".to_owned()];
    wanted.extend(["default", "apart"].map(|network| format!("network {network}")));
    let wanted: BTreeSet<String> = wanted.into_iter().collect();
    ensure_eq!(foreign(t, name).await?, wanted, "places");
    ensure!(t.observe(name).await?.is_empty(), "it is observed");
    let selector = Selector::stack(name.clone());
    let list = t.client().discover(&selector).await?;
    ensure!(list.is_empty(), "it is discovered: {list:?}");
    t.client().adopt(name, &options()).await?;
    ensure!(
        foreign(t, name).await?.is_empty(),
        "what was taken over is shown"
    );
    Ok(())
}

async fn adopted_stack_runs_on(t: &Fixture) -> Verdict {
    let stack = stack(t);
    let name = &stack.name;
    t.up(&stack).await?;
    let first = slot(name, "a", 1);
    t.ok(&first, "write /data/kept volume").await?;
    t.ok(&first, "write /kept own").await?;
    let before = starts(t, name).await?;
    let addresses = t.replica(name, "b").await?.addresses;
    t.disown(name).await?;
    let client = t.client();
    let report = client.adopt(name, &options()).await?;
    ensure!(report.changed > 0, "nothing was written");
    ensure_eq!(starts(t, name).await?, before, "starts");
    ensure_eq!(
        t.replica(name, "b").await?.addresses,
        addresses,
        "addresses"
    );
    for file in ["/data/kept", "/kept"] {
        t.ok(&first, &format!("read {file}")).await?;
    }
    let again = client.adopt(name, &options()).await?;
    ensure_eq!(again.changed, 0, "writes of a second time");
    if t.has(unmoor_core::backend::Feature::State) {
        let drift = client.drift(name).await?;
        ensure!(drift.items.is_empty(), "it differs: {:?}", drift.items);
    }
    ensure_eq!(t.up(&stack).await?.changed, 0, "writes of its own file");
    ensure_eq!(starts(t, name).await?, before, "starts after `up`");
    let scaled = client.scale(name, &named("a"), 3, &UpOptions::new()).await;
    scaled?;
    client.wait_ready(name, &named("a"), PATIENCE).await?;
    let down = DownOptions::new().volumes(true);
    client.down(name, &down).await?;
    ensure!(t.observe(name).await?.is_empty(), "`down` leaves something");
    ensure!(
        foreign(t, name).await?.is_empty(),
        "`down` leaves something foreign"
    );
    Ok(())
}

async fn foreign_is_not_touched(t: &Fixture) -> Verdict {
    let stack = stack(t);
    let name = &stack.name;
    t.up(&stack).await?;
    let before = starts(t, name).await?;
    t.disown(name).await?;
    let places = foreign(t, name).await?;
    let refused = t.up_only(&stack).await.err();
    let refused = refused.ok_or_else(|| "`up` over it succeeds".to_owned())?;
    ensure_eq!(refused.kind(), ErrorKind::Conflict, "kind of {refused:?}");
    let text = format!("{refused} {}", refused.hint_text().unwrap_or_default());
    for word in ["default", "data", "adopt"] {
        ensure!(text.contains(word), "`{word}` is not in: {text}");
    }
    let spec = Volume::default();
    let make = Action::EnsureVolume { name: data(), spec };
    let made = act(t, name, make).await.map_err(|error| error.kind());
    ensure_eq!(made, Err(ErrorKind::AlreadyExists), "a volume over it");
    let replica = slot(name, "a", 1);
    let stop = Action::StopReplica {
        replica: replica.clone(),
        grace: None,
    };
    ensure_eq!(act(t, name, stop).await?, Applied::Unchanged, "its stop");
    let remove = Action::RemoveReplica { replica };
    ensure_eq!(
        act(t, name, remove).await?,
        Applied::Unchanged,
        "its removal"
    );
    let remove = Action::RemoveVolume { name: data() };
    ensure_eq!(
        act(t, name, remove).await?,
        Applied::Unchanged,
        "its volume's removal"
    );
    let down = DownOptions::new().volumes(true);
    t.client().down(name, &down).await?;
    ensure_eq!(foreign(t, name).await?, places, "places after all that");
    t.client().adopt(name, &options()).await?;
    ensure_eq!(starts(t, name).await?, before, "starts");
    Ok(())
}

async fn adopted_service_brings_what_it_needs(t: &Fixture) -> Verdict {
    let stack = stack(t);
    let name = &stack.name;
    t.up(&stack).await?;
    let before = starts(t, name).await?;
    t.disown(name).await?;
    let only_a = options().only(AdoptTarget::Service(named("a")));
    t.client().adopt(name, &only_a).await?;
    let b = format!("replica {}", slot(name, "b", 1));
    let rest = BTreeSet::from([b, "network apart".to_owned()]);
    ensure_eq!(foreign(t, name).await?, rest, "what is not ours yet");
    let seen = t.observe(name).await?;
    ensure!(seen.volumes.contains(&data()), "its volume is not ours");
    ensure_eq!(seen.replicas.len(), 2, "replicas that are ours");
    t.client().adopt(name, &only_a).await?;
    t.client().adopt(name, &options()).await?;
    ensure_eq!(starts(t, name).await?, before, "starts");
    ensure_eq!(t.up(&stack).await?.changed, 0, "writes of its own file");
    Ok(())
}

async fn adoption_of_nothing_is_refused(t: &Fixture) -> Verdict {
    let stack = plain(t);
    let name = &stack.name;
    let nothing = t.client().adopt(name, &options()).await?;
    ensure_eq!(nothing.changed, 0, "writes where nothing is");
    t.up(&stack).await?;
    let unknown = options().only(AdoptTarget::Service(named("nobody")));
    let kind = t.client().adopt(name, &unknown).await.map_err(|e| e.kind());
    ensure_eq!(
        kind.map(|_| ()),
        Err(ErrorKind::NotFound),
        "a service that is not there"
    );
    t.disown(name).await?;
    let found = t.client().foreign(Some(name)).await?;
    let network = found.iter().find(|item| item.kind() == "network");
    let network = network.ok_or_else(|| "it has no network".to_owned())?;
    let claim = |stack: &str| unmoor_core::backend::Claim::Network {
        name: net(stack),
        spec: unmoor_core::spec::Network::default(),
    };
    let wrong = Action::Adopt {
        from: "nothing-is-called-so".to_owned(),
        claim: claim("elsewhere"),
    };
    let kind = act(t, name, wrong).await.map_err(|error| error.kind());
    ensure_eq!(kind, Err(ErrorKind::NotFound), "what is not there");
    let right = Action::Adopt {
        from: network.id.clone(),
        claim: claim("default"),
    };
    ensure_eq!(
        act(t, name, right.clone()).await?,
        Applied::Changed,
        "a network"
    );
    ensure_eq!(
        act(t, name, right).await?,
        Applied::Unchanged,
        "the same again"
    );
    let elsewhere = Action::Adopt {
        from: network.id.clone(),
        claim: claim("elsewhere"),
    };
    let kind = act(t, name, elsewhere).await.map_err(|error| error.kind());
    let owned = matches!(kind, Err(ErrorKind::Conflict | ErrorKind::NotFound));
    ensure!(owned, "what is ours under another name: {kind:?}");
    t.client().adopt(name, &options()).await?;
    Ok(())
}

/// Lets a call go on until it has waited so often, and drops it then; true if it ended.
async fn give_up<T>(call: impl Future<Output = T>, mut waits: u64) -> bool {
    let mut call = pin!(call);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if waits == 0 => Poll::Ready(false),
        Poll::Pending => {
            waits -= 1;
            Poll::Pending
        }
    })
    .await
}

fn stranger(t: &Fixture) -> Client {
    Client::with_clock(t.backend().clone(), t.client().clock().clone())
}

async fn given_up_adoption(t: &Fixture) -> Verdict {
    let stack = stack(t);
    let name = &stack.name;
    t.up(&stack).await?;
    let before = starts(t, name).await?;
    let (mut waits, mut step) = (0, 1);
    for _ in 0..24 {
        t.disown(name).await?;
        let ended = give_up(t.client().adopt(name, &options()), waits).await;
        let next = stranger(t).adopt(name, &options()).await;
        next.map_err(|error| format!("the next call, after {waits} waits: {error:?}"))?;
        let left = foreign(t, name).await?;
        ensure!(left.is_empty(), "not ours after {waits} waits: {left:?}");
        ensure_eq!(starts(t, name).await?, before, "starts after {waits} waits");
        ensure_eq!(t.up(&stack).await?.changed, 0, "writes after {waits} waits");
        if ended {
            return Ok(());
        }
        waits += step;
        step += 1 + step / 2;
    }
    Err(format!("an adoption waits more than {waits} times").into())
}

async fn crowd_adopts_one_stack(t: &Fixture) -> Verdict {
    let stack = plain(t);
    let name = &stack.name;
    t.up(&stack).await?;
    let before = starts(t, name).await?;
    t.disown(name).await?;
    let clients: Vec<Client> = (0..CROWD).map(|_| stranger(t)).collect();
    let options = options();
    let all = join_all(clients.iter().map(|client| client.adopt(name, &options))).await;
    let mut writers = 0;
    for outcome in all {
        writers += usize::from(outcome?.changed > 0);
    }
    if t.has(unmoor_core::backend::Feature::State) {
        ensure_eq!(writers, 1, "callers who took it over");
    }
    ensure_eq!(starts(t, name).await?, before, "starts");
    ensure_eq!(t.up(&stack).await?.changed, 0, "writes of its own file");
    Ok(())
}

async fn dry_adoption_changes_nothing(t: &Fixture) -> Verdict {
    let stack = plain(t);
    let name = &stack.name;
    t.up(&stack).await?;
    let maker = t.disown(name).await?;
    ensure!(!maker.to_string().is_empty(), "{maker:?} has no words");
    ensure!(maker != Maker::Other(String::new()), "nobody made it");
    let before = t.client().foreign(Some(name)).await?;
    let report = t.client().dry_run().adopt(name, &options()).await?;
    ensure!(report.changed > 0, "the dry run has nothing to do");
    ensure_eq!(
        t.client().foreign(Some(name)).await?,
        before,
        "what is not ours"
    );
    ensure!(t.observe(name).await?.is_empty(), "it is ours");
    t.client().adopt(name, &options()).await?;
    Ok(())
}
