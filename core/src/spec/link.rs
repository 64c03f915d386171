//! Links between services, and the order in which services start.

use serde::{Deserialize, Serialize};

use crate::name::{Alias, ServiceName, StackName};

/// The service a link leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkTarget {
    /// Another stack; `None` is the stack of the link.
    pub stack: Option<StackName>,
    /// The service.
    pub service: ServiceName,
}

/// A name by which one service reaches another, and the permission to.
///
/// Services on a shared network are linked implicitly under their service names; explicit links
/// add aliases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// Where it leads.
    pub target: LinkTarget,
    /// The name that resolves inside the dependent.
    pub alias: Alias,
    /// The port for `UNMOOR_LINK_<ALIAS>_PORT` and `_URL`; default: the target's first port.
    pub port: Option<u16>,
}

impl Link {
    /// A link to a service of the same stack, under its own name.
    #[must_use]
    pub fn to(service: ServiceName) -> Self {
        let alias = Alias::from(&service);
        Self {
            target: LinkTarget {
                stack: None,
                service,
            },
            alias,
            port: None,
        }
    }

    /// Gives the link another name.
    #[must_use]
    pub fn alias(mut self, alias: Alias) -> Self {
        self.alias = alias;
        self
    }
}

/// What a dependency must have reached before its dependent starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its replicas run.
    Started,
    /// Its replicas are healthy.
    Healthy,
    /// It ran to completion with exit code 0.
    CompletedSuccessfully,
}

/// Order between two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// What must be reached first.
    pub condition: Condition,
    /// If false, a missing or failed dependency only warns.
    pub required: bool,
    /// Restart the dependent when the dependency is updated by us.
    pub restart: bool,
}

impl Default for Dependency {
    fn default() -> Self {
        Self {
            condition: Condition::Started,
            required: true,
            restart: false,
        }
    }
}
