//! From names on the command line to what they select, refusing names that nothing has.

use std::collections::BTreeSet;

use unmoor::label::Selector;
use unmoor::name::{ReplicaId, ServiceName, StackName};
use unmoor::{Client, Error, ErrorKind};

use crate::exit::Failure;

/// Selects these services of a stack, or the whole stack; each must be wanted or be there.
pub(crate) async fn services(
    client: &Client,
    stack: &StackName,
    names: &[ServiceName],
) -> Result<Selector, Failure> {
    let mut selector = Selector::stack(stack.clone());
    if names.is_empty() {
        return Ok(selector);
    }
    let known = known(client, stack).await?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(*name)) {
        return Err(no_service(stack, unknown, &known).into());
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

fn no_service(stack: &StackName, name: &ServiceName, known: &BTreeSet<ServiceName>) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("no service `{name}`")).on(stack);
    if known.is_empty() {
        return error.hint("nothing of this stack is there; `unmoor ls` lists stacks");
    }
    let known: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
    error.hint(format!("it has: {}", known.join(", ")))
}

/// One running replica of a service: the one asked for, or the first.
pub(crate) async fn running(
    client: &Client,
    stack: &StackName,
    service: &ServiceName,
    slot: Option<u32>,
) -> Result<ReplicaId, Failure> {
    let selector = services(client, stack, std::slice::from_ref(service)).await?;
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
        let text = match slot {
            Some(slot) => format!("service `{service}` has no replica {slot}"),
            None => format!("service `{service}` has no replica"),
        };
        return Err(Error::new(ErrorKind::NotFound, text).on(stack).into());
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
