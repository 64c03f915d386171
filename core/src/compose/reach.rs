//! Whom a field concerns: what is not honoured of services that are not meant is no hindrance.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind};
use crate::name::ServiceName;
use crate::plan::{Scope, networks_of};
use crate::spec::{Service, Stack};

use super::Level;
use super::context::Context;

/// Refuses what is not honoured of the services that are meant; others carry it along, for the plan
/// that would run them.
pub(super) fn settle(stack: &mut Stack, cx: &mut Context<'_>) {
    let scope = &cx.options.about;
    let reach = (*scope != Scope::All).then(|| scope.runs(stack));
    for (found, place) in std::mem::take(&mut cx.unhonoured) {
        if is_meant(&found.field, stack, reach.as_ref()) {
            let error = Error::new(ErrorKind::Unsupported, found.consequence)
                .on(found.field)
                .at(place);
            cx.push(match found.instead.as_str() {
                "" => error,
                instead => error.hint(instead),
            });
            continue;
        }
        for name in concerned(&found.field, stack) {
            if let Some(service) = stack.services.get_mut(&name) {
                service.unhonoured.push(found.clone());
            }
        }
    }
    if let Some(reach) = &reach {
        cx.retain_warnings(|warning| {
            // A trap is about the file, whoever runs.
            warning.level == Level::Trap || is_meant(&warning.field, stack, Some(reach))
        });
    }
}

/// True if a field concerns a service that is meant, or none in particular.
pub(super) fn is_meant(field: &str, stack: &Stack, reach: Option<&BTreeSet<ServiceName>>) -> bool {
    let Some(reach) = reach else { return true };
    let concerned = concerned(field, stack);
    match concerned.is_empty() {
        true => !is_of_one(field),
        false => concerned.iter().any(|name| reach.contains(name)),
    }
}

/// True for a field of something that services use; where none does, nobody is concerned.
fn is_of_one(field: &str) -> bool {
    let section = field.split('.').next().unwrap_or_default();
    ["networks", "volumes", "secrets", "configs", "models"].contains(&section)
}

/// The service whose field it is, or those that use what it is a field of.
fn concerned(field: &str, stack: &Stack) -> Vec<ServiceName> {
    let Some((section, rest)) = field.split_once('.') else {
        return Vec::new();
    };
    let is = |name: &str| is_under(rest, name);
    if section == "services" {
        let all = stack.services.keys().filter(|name| is(name.as_str()));
        // Names may hold dots: `a.b` is not a field of `a` where there is a service `a.b`.
        let longest = all.max_by_key(|name| name.as_str().len());
        return longest.cloned().into_iter().collect();
    }
    let uses = |service: &Service| match section {
        "networks" => networks_of(service).iter().any(|one| is(one.as_str())),
        "volumes" => service.volumes().any(|one| is(one.as_str())),
        "secrets" => service.secrets.iter().any(|one| is(one.name.as_str())),
        "configs" => service.configs.iter().any(|one| is(one.name.as_str())),
        _ => false,
    };
    let users = stack.services.iter().filter(|(_, service)| uses(service));
    users.map(|(name, _)| name.clone()).collect()
}

/// True if the path is that of `name`, or leads on from it.
fn is_under(path: &str, name: &str) -> bool {
    let tail = path.strip_prefix(name);
    tail.is_some_and(|tail| tail.is_empty() || tail.starts_with(['.', '[']))
}
