//! What two services of a stack cannot have at one time: a port of the node, a fixed name.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind};
use crate::label::ONE_OFF;
use crate::name::ServiceName;
use crate::spec::{Places, Protocol, Published, Service, Stack};

/// Ports that are taken, each by whom and by which entry of its list.
type Taken<'s> = BTreeMap<(Protocol, u16), Vec<(&'s Published, &'s ServiceName, usize)>>;

impl Stack {
    /// What of the services that are going to start cannot be had beside each other or beside those
    /// that run already. Alternatives may stand in one file, so this is no problem of the stack.
    #[must_use]
    pub fn clashes(
        &self,
        start: &BTreeSet<ServiceName>,
        running: &BTreeSet<ServiceName>,
    ) -> Vec<Error> {
        let mut found = Vec::new();
        let beside = running.iter().filter(|name| !start.contains(*name));
        let beside = self.lasting(beside);
        let start = self.lasting(start.iter());
        self.check_ports(&beside, &start, &mut found);
        self.check_names(&beside, &start, &mut found);
        found
    }

    /// Those of the services that have a replica and are there to stay. A copy that runs once may
    /// have the port of a service that does not run; the backend tells if somebody does have it.
    fn lasting<'s>(
        &'s self,
        names: impl Iterator<Item = &'s ServiceName>,
    ) -> Vec<(&'s ServiceName, &'s Service)> {
        let known = names.filter_map(|name| self.services.get_key_value(name));
        let stays = |one: &Service| one.replicas > 0 && !one.labels.contains_key(ONE_OFF);
        known.filter(|(_, service)| stays(service)).collect()
    }

    fn check_ports(
        &self,
        beside: &[(&ServiceName, &Service)],
        start: &[(&ServiceName, &Service)],
        found: &mut Vec<Error>,
    ) {
        let mut taken = Taken::new();
        let both = beside.iter().map(|one| (one, false));
        let both = both.chain(start.iter().map(|one| (one, true)));
        for ((name, service), is_new) in both {
            for (at, published) in service.ports.iter().enumerate() {
                let Some(range) = published.host_port else {
                    continue;
                };
                for port in range.first..=range.last {
                    let key = (published.protocol, port);
                    let here = taken.entry(key).or_default();
                    let other = here.iter().find(|(other, owner, _)| {
                        owner != name && published.shares_address_with(other)
                    });
                    let other = other.map(|(_, owner, at)| (*owner, *at));
                    here.push((published, name, at));
                    let Some((owner, its)) = other.filter(|_| is_new) else {
                        continue;
                    };
                    let text = format!("port {port}/{} is published by `{owner}` too", key.0);
                    let error = Error::new(ErrorKind::InvalidSpec, text)
                        .on(format!("services.{name}.ports"));
                    let places = [port_of(name, at), port_of(owner, its)];
                    found.push(placed(error, &self.places, &places));
                    break;
                }
            }
        }
    }

    fn check_names(
        &self,
        beside: &[(&ServiceName, &Service)],
        start: &[(&ServiceName, &Service)],
        found: &mut Vec<Error>,
    ) {
        let mut taken: BTreeMap<&str, &ServiceName> = BTreeMap::new();
        for (name, service) in beside {
            if let Some(fixed) = &service.container_name {
                taken.insert(fixed, name);
            }
        }
        for (name, service) in start {
            let Some(fixed) = &service.container_name else {
                continue;
            };
            let Some(owner) = taken.insert(fixed, name) else {
                continue;
            };
            let text = format!("`{fixed}` is the name of `{owner}` already");
            let path = |name: &ServiceName| format!("services.{name}.container_name");
            let error = Error::new(ErrorKind::InvalidSpec, text).on(path(name));
            found.push(placed(error, &self.places, &[path(name), path(owner)]));
        }
    }
}

/// The path of an entry of a service's published ports.
fn port_of(name: &ServiceName, at: usize) -> String {
    format!("services.{name}.ports[{at}]")
}

fn placed(error: Error, places: &Places, paths: &[String]) -> Error {
    let found = paths.iter().filter_map(|path| places.of(path));
    found.fold(error, |error, place| error.at(place.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::label::ONE_OFF;
    use crate::name::{ServiceName, StackName};
    use crate::spec::{Published, Service, Stack};

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).expect("valid name")
    }

    fn plain() -> Service {
        Service::new("app:1".parse().expect("valid reference"))
    }

    fn stack() -> Stack {
        Stack::new(StackName::parse("t").expect("valid name"))
    }

    fn names(list: &[&str]) -> BTreeSet<ServiceName> {
        list.iter().map(|text| name(text)).collect()
    }

    fn between(stack: &Stack, start: &[&str], running: &[&str]) -> String {
        let found = stack.clashes(&names(start), &names(running));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        found.join("\n")
    }

    fn messages(stack: &Stack) -> String {
        let all: Vec<&str> = stack.services.keys().map(ServiceName::as_str).collect();
        between(stack, &all, &[])
    }

    #[test]
    fn only_what_would_run_at_one_time_clashes() {
        let publishing = || plain().publish(Published::tcp(80, 80));
        let stack = stack()
            .service(name("a"), publishing())
            .service(name("b"), publishing())
            .service(name("c"), plain());
        assert_eq!(stack.problems().len(), 0);
        assert_eq!(between(&stack, &["a"], &[]), "");
        assert_eq!(between(&stack, &["b"], &["c"]), "");
        assert_eq!(between(&stack, &["a"], &["a"]), "");
        // What runs beside each other already is no concern of who starts a third.
        assert_eq!(between(&stack, &["c"], &["a", "b"]), "");
        let said = "services.b.ports: port 80/tcp is published by `a` too";
        assert_eq!(between(&stack, &["a", "b"], &[]), said);
        assert_eq!(between(&stack, &["b"], &["a"]), said);
        let none = stack.service(name("a"), publishing().replicas(0));
        assert_eq!(messages(&none), "");
    }

    #[test]
    fn a_fixed_name_is_one_services_at_a_time() {
        let named = || Service {
            container_name: Some("one".to_owned()),
            ..plain()
        };
        let stack = stack()
            .service(name("a"), named())
            .service(name("b"), named());
        assert_eq!(stack.problems().len(), 0);
        assert_eq!(between(&stack, &["b"], &[]), "");
        let said = "services.b.container_name: `one` is the name of `a` already";
        assert_eq!(between(&stack, &["a", "b"], &[]), said);
        assert_eq!(between(&stack, &["b"], &["a"]), said);
    }

    #[test]
    fn a_copy_that_runs_once_may_have_its_services_port() {
        let publishing = || plain().publish(Published::tcp(80, 80));
        let stack = stack()
            .service(name("a"), publishing())
            .service(name("copy"), publishing().label(ONE_OFF, "a"));
        assert_eq!(messages(&stack), "");
    }

    #[test]
    fn ports_conflict_before_anything_starts() {
        let stack = stack()
            .service(name("a"), plain().publish(Published::tcp(80, 80)))
            .service(name("b"), plain().publish(Published::tcp(80, 8080)));
        assert!(messages(&stack).contains("port 80/tcp is published by `a` too"));
    }

    #[test]
    fn one_port_on_two_addresses_is_no_conflict() {
        let on = |address: &str| {
            let address = address.parse().expect("valid address");
            plain().publish(Published::tcp(80, 80).on(address))
        };
        let both = |one: &str, two: &str| {
            let stack = stack()
                .service(name("a"), on(one))
                .service(name("b"), on(two));
            messages(&stack)
        };
        assert_eq!(both("127.0.0.1", "127.0.0.2"), "");
        assert_eq!(both("0.0.0.0", "::1"), "", "another family");
        for (one, two) in [
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.1"),
            ("::1", "::"),
        ] {
            assert!(
                both(one, two).contains("published by `a` too"),
                "{one} and {two}"
            );
        }
        let everywhere = stack()
            .service(name("a"), on("127.0.0.1"))
            .service(name("b"), plain().publish(Published::tcp(80, 80)));
        assert!(messages(&everywhere).contains("published by `a` too"));
    }
}
