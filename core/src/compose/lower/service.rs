//! One service: which keys there are, which area reads them, and whether its profile is active.

use std::collections::BTreeSet;

use crate::name::ServiceName;
use crate::spec::{Condition, Dependency, RestartPolicy, Role, Service, Stack};

use super::super::context::Context;
use super::super::cursor::At;
use super::{
    blobs, command, deploy, environment, health, image, limits, mounts, network, order, ports,
    security, unhonoured, unmoor,
};

/// Keys that the areas read.
pub(super) const READ: [&str; 58] = [
    "build",
    "cap_add",
    "cap_drop",
    "command",
    "configs",
    "container_name",
    "cpu_period",
    "cpu_quota",
    "cpus",
    "depends_on",
    "deploy",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "extra_hosts",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "label_file",
    "labels",
    "links",
    "mem_limit",
    "mem_reservation",
    "network_mode",
    "networks",
    "pids_limit",
    "platform",
    "ports",
    "privileged",
    "profiles",
    "pull_policy",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "working_dir",
    // What may say nothing new: read by `unhonoured`, value by value.
    "cgroup",
    "ipc",
    "pid",
    "runtime",
    "userns_mode",
    "uts",
    "logging",
    "models",
];

/// Reads all services; those without an active profile are checked, then left out.
pub(super) fn lower(at: &At<'_>, stack: &mut Stack, cx: &mut Context<'_>) {
    let known: Vec<&str> = READ.iter().copied().chain(unhonoured::keys()).collect();
    for field in at.map(cx) {
        let name = match ServiceName::parse(field.name()) {
            Ok(name) => name,
            Err(error) => {
                cx.wrong(field.key_spot(), &at.path(), error.to_string());
                continue;
            }
        };
        if field.node.as_map().is_none() {
            field.expected(cx, "a mapping");
            continue;
        }
        let since = cx.findings();
        let active = is_active(&field, cx);
        let service = one(&field, &name, active, &known, stack, cx);
        if active {
            stack.services.insert(name, service);
        } else {
            cx.forget_unhonoured(since);
        }
    }
    mark_jobs(stack);
}

fn is_active(at: &At<'_>, cx: &mut Context<'_>) -> bool {
    let Some(field) = at.get("profiles") else {
        return true;
    };
    let wanted = field.texts(cx);
    let active = &cx.options.profiles;
    wanted.is_empty()
        || cx.options.services.iter().any(|name| name == at.name())
        || active
            .iter()
            .any(|profile| profile == "*" || wanted.contains(profile))
}

fn one(
    at: &At<'_>,
    name: &ServiceName,
    active: bool,
    known: &[&str],
    stack: &Stack,
    cx: &mut Context<'_>,
) -> Service {
    let fields = at.fields(cx, known);
    let mut service = Service::new(image::reference(at, &stack.name, name, active, cx));
    image::lower(at, &mut service, cx);
    command::lower(at, &mut service, cx);
    environment::lower(at, &mut service, cx);
    ports::lower(at, &mut service, cx);
    mounts::lower(at, &mut service, cx);
    network::lower(at, &mut service, cx);
    order::lower(at, &mut service, cx);
    order::add_links(&mut service);
    health::lower(at, &mut service, cx);
    deploy::lower(at, &mut service, cx);
    limits::lower(at, &mut service, cx);
    security::lower(at, &mut service, cx);
    blobs::grants(at, &mut service, cx);
    unmoor::lower(at, &mut service, cx);
    unhonoured::lower(&fields, cx);
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
