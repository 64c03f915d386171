//! The probe's `discover`: what a replica may see of the services around it.

use std::collections::BTreeSet;

use unmoor_core::discover::{Cursor, Endpoint, EndpointEvent, Scope};
use unmoor_core::label::Selector;
use unmoor_core::name::{NetworkName, ReplicaId, ServiceName, StackName};

use super::Reply;
use crate::bug::Bug;
use crate::model::{Model, Replica};

impl Model {
    /// What a replica with networks is told about whom to ask.
    pub(super) fn discovery_variables(&self, replica: &Replica) -> Vec<(String, String)> {
        if replica.addresses.is_empty() {
            return Vec::new();
        }
        let token = format!("token-of-{}", replica.id);
        vec![
            (
                "UNMOOR_DISCOVERY_URL".to_owned(),
                "http://127.0.0.11/v1".to_owned(),
            ),
            ("UNMOOR_DISCOVERY_TOKEN".to_owned(), token),
        ]
    }

    pub(super) fn discover_command(&mut self, pid: u64, rest: &[String]) -> Reply {
        let process = &self.processes[&pid];
        let variable = |name: &str| process.env.get(name).filter(|value| !value.is_empty());
        let own = variable("UNMOOR_DISCOVERY_TOKEN");
        let (token, rest) = match rest {
            [flag, token, rest @ ..] if flag == "--token" => (Some(token), rest),
            _ => (own, rest),
        };
        let (Some(token), Some(_)) = (token, variable("UNMOOR_DISCOVERY_URL")) else {
            return Reply::fail(1, "there is nobody to ask\n");
        };
        if Some(token) != own && !self.bugs.has(Bug::InsideNeedsNoToken) {
            return Reply::fail(4, "another token\n");
        }
        let Some(endpoints) = self.seen_from(&process.replica, rest.first()) else {
            return Reply::fail(2, "nothing has that name\n");
        };
        let cursor = Cursor::of(&endpoints);
        let event = EndpointEvent::Resync { endpoints, cursor };
        Reply::out(serde_json::to_string(&event).unwrap_or_default())
    }

    /// What can be seen from inside a replica; `None` if there is nothing of that name.
    fn seen_from(&self, from: &ReplicaId, name: Option<&String>) -> Option<Vec<Endpoint>> {
        let replica = self.replica(from)?;
        if self.bugs.has(Bug::InsideSeesAll) && name.is_none() {
            return Some(self.endpoints(&Selector::all()));
        }
        let links = self.link_ends(replica);
        let Some(name) = name else {
            let mut found: Vec<_> = self.on_networks(replica, |_| true);
            found.extend(links.into_iter().flat_map(|(_, list)| list));
            found.sort();
            found.dedup();
            return Some(found);
        };
        let is = |text: &str| text.eq_ignore_ascii_case(name);
        if let Some((_, list)) = links.into_iter().find(|(alias, _)| is(alias)) {
            return Some(list);
        }
        let holding = self.holding(&from.stack)?;
        let visible = |service: &ServiceName| {
            let declared = holding.services.get(service);
            declared.is_some_and(|declared| {
                let mut networks = declared.addresses.keys();
                networks.any(|network| replica.addresses.contains_key(network))
            })
        };
        let wanted = holding.services.keys().find(|service| is(service.as_str()));
        let wanted = wanted.filter(|service| visible(service))?;
        Some(self.on_networks(replica, |service| service == wanted))
    }

    /// Endpoints of services on the replica's networks; replicas that serve, and services.
    fn on_networks(
        &self,
        replica: &Replica,
        which: impl Fn(&ServiceName) -> bool,
    ) -> Vec<Endpoint> {
        let shared: BTreeSet<&NetworkName> = replica.addresses.keys().collect();
        let all = self.endpoints(&Selector::stack(replica.id.stack.clone()));
        let seen = |e: &Endpoint| match &e.scope {
            Scope::Network(network) => {
                shared.contains(network) && (e.replica.is_none() || e.weight > 0)
            }
            _ => false,
        };
        all.into_iter()
            .filter(|e| seen(e) && which(&e.service))
            .collect()
    }

    /// Aliases of the replica's links, each with what it leads to.
    fn link_ends(&self, replica: &Replica) -> Vec<(String, Vec<Endpoint>)> {
        let id = &replica.id;
        let declared = self
            .holding(&id.stack)
            .and_then(|h| h.services.get(&id.service));
        let links = declared.map_or(&[][..], |declared| &declared.service.links);
        let end = |stack: &StackName, service: &ServiceName| {
            if *stack == id.stack {
                return self.on_networks(replica, |name| name == service);
            }
            let all = self.endpoints(&Selector::service(stack.clone(), service.clone()));
            let stable = |e: &Endpoint| e.replica.is_none() && e.scope != Scope::External;
            all.into_iter().filter(stable).collect()
        };
        let ends = links.iter().map(|link| {
            let stack = link.target.stack.as_ref().unwrap_or(&id.stack);
            (link.alias.to_string(), end(stack, &link.target.service))
        });
        ends.collect()
    }
}
