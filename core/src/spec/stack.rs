//! A named set of services with what they share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{BlobName, NetworkName, ServiceName, StackName, VolumeName};
use crate::spec::{Blob, Network, Places, Service, Volume};

/// A stack: what one Compose file, or one builder, describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its name, unique on a backend.
    pub name: StackName,
    /// Services by name.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, Service>,
    /// Networks by name; the default network need not be listed.
    #[serde(default)]
    pub networks: BTreeMap<NetworkName, Network>,
    /// Volumes by name.
    #[serde(default)]
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// Secrets by name.
    #[serde(default)]
    pub secrets: BTreeMap<BlobName, Blob>,
    /// Configs by name.
    #[serde(default)]
    pub configs: BTreeMap<BlobName, Blob>,
    /// Where in files all that stands.
    #[serde(skip)]
    pub places: Places,
}

impl Stack {
    /// An empty stack.
    #[must_use]
    pub fn new(name: StackName) -> Self {
        Self {
            name,
            services: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
            places: Places::default(),
        }
    }

    /// Adds or replaces a service.
    #[must_use]
    pub fn service(mut self, name: ServiceName, service: Service) -> Self {
        self.services.insert(name, service);
        self
    }

    /// Adds or replaces a network.
    #[must_use]
    pub fn network(mut self, name: NetworkName, network: Network) -> Self {
        self.networks.insert(name, network);
        self
    }

    /// Adds or replaces a volume.
    #[must_use]
    pub fn volume(mut self, name: VolumeName, volume: Volume) -> Self {
        self.volumes.insert(name, volume);
        self
    }
}
