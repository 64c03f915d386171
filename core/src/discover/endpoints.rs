//! A list of endpoints, with what of it could not be read.

use std::ops::Deref;

use crate::discover::{Endpoint, Readiness};
use crate::error::Error;
use crate::label::Selector;

/// An item that could not be read: its endpoints are not known, which is not that it has none.
#[derive(Debug)]
pub struct Unreadable {
    /// What it is about.
    pub what: Selector,
    /// Why.
    pub error: Error,
}

impl Unreadable {
    /// True if this endpoint may be one of the unread.
    #[must_use]
    pub fn covers(&self, endpoint: &Endpoint) -> bool {
        let slot = endpoint.replica.as_ref().map(|id| id.slot);
        let (stack, service) = (&endpoint.stack, &endpoint.service);
        self.what.matches_stack(stack)
            && (self.what.services.is_empty() || self.what.services.contains(service))
            && (self.what.slot.is_none() || self.what.slot == slot)
    }
}

/// The addresses that answer. Reads as a slice and as an iterator of those that were read.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// Those that were read.
    pub list: Vec<Endpoint>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

impl Endpoints {
    /// Those that get new connections.
    pub fn ready(&self) -> impl Iterator<Item = &Endpoint> {
        self.list
            .iter()
            .filter(|endpoint| endpoint.health == Readiness::Ready && endpoint.weight > 0)
    }
}

impl Deref for Endpoints {
    type Target = [Endpoint];

    fn deref(&self) -> &[Endpoint] {
        &self.list
    }
}

impl From<Vec<Endpoint>> for Endpoints {
    fn from(list: Vec<Endpoint>) -> Self {
        let unreadable = Vec::new();
        Self { list, unreadable }
    }
}

impl IntoIterator for Endpoints {
    type Item = Endpoint;
    type IntoIter = std::vec::IntoIter<Endpoint>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Endpoints {
    type Item = &'a Endpoint;
    type IntoIter = std::slice::Iter<'a, Endpoint>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}
