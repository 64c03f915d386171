//! One service: which keys there are, which area reads them, and whether its profile is active.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::ServiceName;
use crate::spec::{Condition, Dependency, RestartPolicy, Role, Service, Stack};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::{
    blobs, command, deploy, dns, environment, health, image, limits, logging, mounts, network,
    order, ports, security, unhonoured, unmoor,
};

/// Reads all services.
pub(super) fn lower(at: &At<'_>, stack: &mut Stack, cx: &mut Context<'_>) {
    let mut spelt: BTreeMap<String, ServiceName> = BTreeMap::new();
    for field in at.map(cx) {
        let name = match ServiceName::parse(field.name()) {
            Ok(name) => name,
            Err(error) => {
                // What is no name at all was said before.
                if !cx.is_wrong_at(&cx.place(field.key_spot())) {
                    cx.wrong(field.key_spot(), &at.path(), error.to_string());
                }
                continue;
            }
        };
        if let Some(other) = spelt.insert(name.as_str().to_ascii_lowercase(), name.clone()) {
            let text = format!("`{name}` and `{other}` are one name to DNS");
            cx.warn_spot(field.key_spot(), at.path(), Level::Trap, text);
        }
        if field.node.as_map().is_some() {
            let service = one(&field, &name, stack, cx);
            stack.services.insert(name, service);
        }
    }
    drop_absent(stack);
    mark_jobs(stack);
}

/// Forgets dependencies on services that are not active and need not be.
fn drop_absent(stack: &mut Stack) {
    let present: BTreeSet<ServiceName> = stack.services.keys().cloned().collect();
    for service in stack.services.values_mut() {
        service
            .depends_on
            .retain(|name, dependency| dependency.required || present.contains(name));
    }
}

fn one(at: &At<'_>, name: &ServiceName, stack: &Stack, cx: &mut Context<'_>) -> Service {
    let mut service = Service::new(image::reference(at, &stack.name, name, cx));
    image::lower(at, &mut service, cx);
    command::lower(at, &mut service, cx);
    environment::lower(at, &mut service, cx);
    ports::lower(at, &mut service, cx);
    mounts::lower(at, &mut service, cx);
    network::lower(at, &mut service, cx);
    dns::lower(at, &mut service, cx);
    order::lower(at, &mut service, cx);
    health::lower(at, &mut service, cx);
    deploy::lower(at, &mut service, cx);
    limits::lower(at, &mut service, cx);
    logging::lower(at, &mut service, cx);
    security::lower(at, &mut service, cx);
    blobs::grants(at, &mut service, cx);
    unmoor::lower(at, &mut service, cx);
    unhonoured::lower(&at.map(cx), cx);
    service
}

/// A service that others wait for until it is complete runs to completion.
fn mark_jobs(stack: &mut Stack) {
    let waits = |d: &Dependency| d.condition == Condition::CompletedSuccessfully;
    let awaited: BTreeSet<ServiceName> = stack
        .services
        .values()
        .flat_map(|service| &service.depends_on)
        .filter(|(_, dependency)| waits(dependency))
        .map(|(name, _)| name.clone())
        .collect();
    for name in awaited {
        let Some(service) = stack.services.get_mut(&name) else {
            continue;
        };
        let ends = matches!(
            service.restart,
            RestartPolicy::No | RestartPolicy::OnFailure { .. }
        );
        if ends {
            service.role = Role::Job;
        }
    }
}
