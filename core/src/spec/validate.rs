//! Checks over a whole stack: references that must exist, orders that must be possible.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind};
use crate::name::ServiceName;
use crate::spec::{
    Bounds, Condition, Dependency, HealthWish, MountSource, Service, Stack, default_network,
};

impl Stack {
    /// Everything that is wrong with the stack as a whole; empty means valid.
    ///
    /// What is wrong with one value alone was refused when that value was parsed; what services
    /// cannot have at one time is told by [`clashes`](Self::clashes).
    #[must_use]
    pub fn problems(&self) -> Vec<Error> {
        let mut found = Vec::new();
        for (name, service) in &self.services {
            self.check_references(name, service, &mut found);
            self.check_health(name, service, &mut found);
            check_count(name, service, &mut found);
            check_own(name, service, &mut found);
        }
        if let Some(cycle) = self.dependency_cycle() {
            let path = cycle
                .iter()
                .map(ServiceName::as_str)
                .collect::<Vec<_>>()
                .join(" -> ");
            found.push(Error::new(
                ErrorKind::InvalidSpec,
                format!("dependency cycle: {path}"),
            ));
        }
        found
    }

    fn check_health(&self, name: &ServiceName, service: &Service, found: &mut Vec<Error>) {
        for (target, dependency) in &service.depends_on {
            let health = self.services.get(target).map(|service| &service.health);
            if waits_for_health(dependency) && health == Some(&HealthWish::Disabled) {
                found.push(never_healthy(name, target));
            }
        }
    }

    fn check_references(&self, name: &ServiceName, service: &Service, found: &mut Vec<Error>) {
        let mut missing = |what: &str, of: &dyn std::fmt::Display| {
            found.push(
                Error::new(
                    ErrorKind::InvalidSpec,
                    format!("{what} `{of}` is not defined"),
                )
                .on(format!("services.{name}")),
            );
        };
        for (target, dependency) in &service.depends_on {
            if dependency.required && !self.services.contains_key(target) {
                missing("depends_on: service", target);
            }
        }
        for link in &service.links {
            let own = link
                .target
                .stack
                .as_ref()
                .is_none_or(|stack| stack == &self.name);
            if own && !self.services.contains_key(&link.target.service) {
                missing("links: service", &link.target.service);
            }
        }
        for network in service.networks.keys() {
            if !self.networks.contains_key(network) && *network != default_network() {
                missing("network", network);
            }
        }
        for mount in &service.mounts {
            if let MountSource::Volume(volume) = &mount.source
                && !self.volumes.contains_key(volume)
            {
                missing("volume", volume);
            }
        }
        for grant in &service.secrets {
            if !self.secrets.contains_key(&grant.name) {
                missing("secret", &grant.name);
            }
        }
        for grant in &service.configs {
            if !self.configs.contains_key(&grant.name) {
                missing("config", &grant.name);
            }
        }
    }

    /// A cycle of `depends_on`, first service repeated at the end.
    fn dependency_cycle(&self) -> Option<Vec<ServiceName>> {
        // Iterative depth-first search: a chain of 10,000 services must not exhaust the stack.
        let mut done: BTreeSet<&ServiceName> = BTreeSet::new();
        for root in self.services.keys() {
            let mut path: Vec<(&ServiceName, Vec<&ServiceName>)> = vec![(root, self.targets(root))];
            let mut on_path: BTreeSet<&ServiceName> = BTreeSet::from([root]);
            while let Some((node, rest)) = path.last_mut() {
                let Some(next) = rest.pop() else {
                    done.insert(node);
                    on_path.remove(*node);
                    path.pop();
                    continue;
                };
                if on_path.contains(next) {
                    let from = path.iter().position(|(name, _)| *name == next).unwrap_or(0);
                    let mut cycle: Vec<_> = path[from..]
                        .iter()
                        .map(|(name, _)| (*name).clone())
                        .collect();
                    cycle.push(next.clone());
                    return Some(cycle);
                }
                if !done.contains(next) {
                    on_path.insert(next);
                    let targets = self.targets(next);
                    path.push((next, targets));
                }
            }
        }
        None
    }

    fn targets(&self, name: &ServiceName) -> Vec<&ServiceName> {
        let service = self.services.get(name);
        service
            .map(|s| s.depends_on.keys().collect())
            .unwrap_or_default()
    }
}

/// True if a service does not start before this dependency is healthy.
pub(crate) fn waits_for_health(dependency: &Dependency) -> bool {
    dependency.required && dependency.condition == Condition::Healthy
}

/// What is waited for would never come: nothing tells whether the target is healthy.
pub(crate) fn never_healthy(name: &ServiceName, target: &ServiceName) -> Error {
    let text = format!("`{target}` is waited for until it is healthy, and has no health check");
    Error::new(ErrorKind::InvalidSpec, text)
        .on(format!("services.{name}.depends_on"))
        .hint("give it a `healthcheck`, or wait with the condition service_started")
}

/// Places no mount may cover: the runtime's own.
const RESERVED_TARGETS: [&str; 4] = ["/", "/proc", "/sys", "/dev"];

/// Most replicas of one service; a plan has several entries for each, and more is a slip.
const REPLICAS_MAX: u32 = 4096;

/// How many replicas are wanted, and how many there may be.
fn check_count(name: &ServiceName, service: &Service, found: &mut Vec<Error>) {
    let mut wrong = |field: &str, text: String| {
        found.push(Error::new(ErrorKind::InvalidSpec, text).on(format!("services.{name}.{field}")));
    };
    if service.replicas > REPLICAS_MAX {
        let wanted = service.replicas;
        let text = format!("{wanted} replicas are wanted, a service has at most {REPLICAS_MAX}");
        wrong("deploy.replicas", text);
    }
    if let Some(Bounds { min, max }) = service.bounds {
        let wanted = service.replicas;
        if min > max {
            wrong(
                "x-unmoor.replicas",
                format!("`min` {min} is above `max` {max}"),
            );
        } else if !(min..=max).contains(&wanted) {
            let text =
                format!("{wanted} replicas are wanted, `x-unmoor.replicas` allows {min} to {max}");
            wrong("deploy.replicas", text);
        }
    }
}

fn check_own(name: &ServiceName, service: &Service, found: &mut Vec<Error>) {
    let mut wrong = |field: &str, text: String| {
        found.push(Error::new(ErrorKind::InvalidSpec, text).on(format!("services.{name}.{field}")));
    };
    if service.container_name.is_some() && service.replicas > 1 {
        let text = format!(
            "a fixed name allows one replica, {} are wanted",
            service.replicas
        );
        wrong("container_name", text);
    }
    let mut targets = BTreeSet::new();
    let places = service.mounts.iter().map(|mount| mount.target.as_str());
    let blobs = service
        .secrets
        .iter()
        .chain(&service.configs)
        .map(|grant| grant.target.as_str());
    for target in places.chain(blobs) {
        let plain = target.trim_end_matches('/');
        let plain = if plain.is_empty() { "/" } else { plain };
        if !target.starts_with('/') {
            wrong(
                "volumes",
                format!(
                    "target `{}` is not an absolute path",
                    target.escape_default()
                ),
            );
        } else if target.contains('\0') || target.split('/').any(|part| part == "..") {
            wrong(
                "volumes",
                format!("target `{}` must not contain `..`", target.escape_default()),
            );
        } else if RESERVED_TARGETS.contains(&plain)
            || plain.starts_with("/proc/")
            || plain.starts_with("/sys/")
        {
            wrong(
                "volumes",
                format!("target `{plain}` belongs to the system inside the replica"),
            );
        } else if !targets.insert(plain.to_owned()) {
            wrong("volumes", format!("two mounts have the target `{plain}`"));
        }
    }
    for key in service.environment.keys() {
        if key.is_empty() || key.contains('=') || key.contains('\0') {
            wrong(
                "environment",
                format!("`{}` is not a variable name", key.escape_default()),
            );
        }
    }
    for (target, dependency) in &service.depends_on {
        if dependency.condition == Condition::Healthy && target == name {
            wrong("depends_on", "a service cannot depend on itself".to_owned());
        }
    }
    if let HealthWish::Check(health) = &service.health {
        if health.interval.is_zero() || health.timeout.is_zero() {
            wrong(
                "healthcheck",
                "interval and timeout must be longer than zero".to_owned(),
            );
        }
        if health.retries == 0 {
            wrong("healthcheck", "retries must be at least 1".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::name::{ServiceName, StackName};
    use crate::spec::{Dependency, Mount, Service, Stack};

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).expect("valid name")
    }

    fn plain() -> Service {
        Service::new("app:1".parse().expect("valid reference"))
    }

    fn stack() -> Stack {
        Stack::new(StackName::parse("t").expect("valid name"))
    }

    fn messages(stack: &Stack) -> String {
        stack
            .problems()
            .iter()
            .map(|e| e.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_slip_in_the_number_of_replicas_is_refused_before_it_is_planned() {
        let of = |replicas| messages(&stack().service(name("a"), plain().replicas(replicas)));
        assert_eq!(of(4096), "");
        assert!(of(99_999_999).contains("99999999 replicas are wanted"));
    }

    #[test]
    fn a_cycle_is_printed() {
        let stack = stack()
            .service(name("a"), plain().after(name("b"), Dependency::default()))
            .service(name("b"), plain().after(name("c"), Dependency::default()))
            .service(name("c"), plain().after(name("a"), Dependency::default()));
        assert_eq!(messages(&stack), "dependency cycle: a -> b -> c -> a");
    }

    #[test]
    fn a_long_chain_is_no_cycle_and_no_overflow() {
        let mut stack = stack().service(name("s0"), plain());
        for i in 1..10_000 {
            let before = name(&format!("s{}", i - 1));
            stack = stack.service(
                name(&format!("s{i}")),
                plain().after(before, Dependency::default()),
            );
        }
        assert_eq!(messages(&stack), "");
    }

    #[test]
    fn the_systems_own_places_cannot_be_covered() {
        for target in ["/proc", "/", "relative", "/a/../b", "/sys/fs"] {
            let stack = stack().service(name("a"), plain().mount(Mount::bind("/x", target)));
            assert!(!stack.problems().is_empty(), "{target} was accepted");
        }
    }
}
