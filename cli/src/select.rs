//! From names on the command line to what they select, refusing names that nothing has.

use std::collections::BTreeSet;

use unmoor::backend::Phase;
use unmoor::compose::OnUnsupported;
use unmoor::label::Selector;
use unmoor::name::{ReplicaId, ServiceName, StackName};
use unmoor::plan::Scope;
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::exit::Failure;
use crate::project;

/// Selects these services of a stack, or the whole stack; each must be wanted, be there, or stand in
/// the files.
pub(crate) async fn services(
    app: &App,
    client: &Client,
    stack: &StackName,
    names: &[ServiceName],
) -> Result<Selector, Failure> {
    let mut selector = Selector::stack(stack.clone());
    if names.is_empty() {
        return Ok(selector);
    }
    let known = known(client, stack).await?;
    if !names.iter().all(|name| known.contains(name)) {
        let in_files = of_files(app, stack, names);
        let there = |name: &&ServiceName| known.contains(*name) || in_files.contains(*name);
        if let Some(unknown) = names.iter().find(|name| !there(name)) {
            return Err(no_service(stack, unknown, &known).into());
        }
    }
    selector.services = names.to_vec();
    Ok(selector)
}

/// Services that the stack's record or the backend has.
pub(crate) async fn known(
    client: &Client,
    stack: &StackName,
) -> Result<BTreeSet<ServiceName>, Failure> {
    let selector = Selector::stack(stack.clone());
    let observed = client.observe(&selector).await?.stack(stack);
    let mut known: BTreeSet<ServiceName> = observed.services.into_keys().collect();
    known.extend(
        observed
            .replicas
            .into_iter()
            .map(|replica| replica.id.service),
    );
    known.extend(
        client
            .record(stack)
            .await?
            .effective(stack)
            .services
            .into_keys(),
    );
    Ok(known)
}

/// Services of the files here, if they are those of this stack; naming a service switches its
/// profile on.
fn of_files(app: &App, stack: &StackName, named: &[ServiceName]) -> BTreeSet<ServiceName> {
    let loaded = project::load(&app.globals, OnUnsupported::Warn, &Scope::services(named)).ok();
    let loaded = loaded.filter(|loaded| loaded.stack.name == *stack);
    let services = loaded.map(|loaded| loaded.stack.services);
    services.unwrap_or_default().into_keys().collect()
}

fn no_service(stack: &StackName, name: &ServiceName, known: &BTreeSet<ServiceName>) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("no service `{name}`")).on(stack);
    if known.is_empty() {
        return error.hint("nothing of this stack is there; `unmoor ls` lists stacks");
    }
    let known: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
    error.hint(format!("it has: {}", known.join(", ")))
}

/// As [`running`], and refused where it is frozen: what it would be asked would wait as it does.
pub(crate) async fn awake(
    app: &App,
    (client, stack): (&Client, &StackName),
    service: &ServiceName,
    slot: Option<u32>,
) -> Result<ReplicaId, Failure> {
    let replica = running(app, (client, stack), service, slot).await?;
    let observed = client.observe(&Selector::replica(&replica)).await?;
    if !observed.replicas().any(|seen| seen.phase == Phase::Paused) {
        return Ok(replica);
    }
    let error = Error::new(ErrorKind::WrongPhase, "it is paused");
    let error = error.on(format!("replica {replica}"));
    Err(error
        .hint(format!("`unmoor unpause {service}` lets it go on"))
        .into())
}

/// One running replica of a service: the one asked for, or the first.
pub(crate) async fn running(
    app: &App,
    (client, stack): (&Client, &StackName),
    service: &ServiceName,
    slot: Option<u32>,
) -> Result<ReplicaId, Failure> {
    let selector = services(app, client, stack, std::slice::from_ref(service)).await?;
    let observed = client.observe(&selector).await?.stack(stack);
    let mut replicas: Vec<_> = observed
        .replicas_of(service)
        .filter(|replica| slot.is_none_or(|slot| slot == replica.id.slot))
        .collect();
    replicas.sort_by_key(|replica| {
        (
            !replica.phase.is_alive(),
            !replica.is_ready(),
            replica.id.slot,
        )
    });
    let Some(replica) = replicas.first() else {
        let there = observed.replicas_of(service).map(|one| one.id.slot);
        let there: Vec<String> = there.map(|slot| slot.to_string()).collect();
        let error = match slot {
            Some(slot) => format!("service `{service}` has no replica {slot}"),
            None => format!("service `{service}` has no replica"),
        };
        let error = Error::new(ErrorKind::NotFound, error).on(stack);
        let hint = match there.is_empty() {
            true => format!("`unmoor up -d {service}` starts it"),
            false => format!("it has: {}", there.join(", ")),
        };
        return Err(error.hint(hint).into());
    };
    if replica.phase.is_alive() {
        return Ok(replica.id.clone());
    }
    let text = format!("it is {}", replica.phase.as_str());
    let error = Error::new(ErrorKind::WrongPhase, text).on(format!("replica {}", replica.id));
    Err(error
        .hint(format!("`unmoor start {service}` starts it"))
        .into())
}
