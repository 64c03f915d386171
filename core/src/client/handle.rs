//! A service as an object to hold. Inert: dropping it changes nothing.

use std::time::Duration;

use crate::apply::Report;
use crate::backend::{LogLine, LogOptions, ObservedReplica, Stream};
use crate::client::{Client, UpOptions};
use crate::discover::{EndpointEvent, Endpoints};
use crate::error::Result;
use crate::label::Selector;
use crate::name::{Alias, ServiceName};
use crate::spec::{Link, LinkTarget, Service};

/// One service of a stack. Cloning makes another reference.
#[derive(Debug, Clone)]
pub struct ServiceHandle {
    client: Client,
    name: ServiceName,
}

impl ServiceHandle {
    pub(super) fn new(client: Client, name: ServiceName) -> Self {
        Self { client, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Selects its replicas.
    #[must_use]
    pub fn selector(&self) -> Selector {
        Selector::service(self.client.stack_name().clone(), self.name.clone())
    }

    /// Links it to another service under a name.
    ///
    /// # Errors
    /// As [`Client::link`].
    pub async fn link(
        &self,
        alias: impl Into<String> + Send,
        to: &ServiceHandle,
    ) -> Result<Report> {
        let same = self.client.stack_name() == to.client.stack_name();
        let stack = (!same).then(|| to.client.stack_name().clone());
        let target = LinkTarget {
            stack,
            service: to.name.clone(),
        };
        let link = Link {
            target,
            alias: Alias::parse(alias)?,
            port: None,
        };
        self.client
            .link(self.client.stack_name(), &self.name, link)
            .await
    }

    /// The addresses that answer for it now.
    ///
    /// # Errors
    /// As [`Client::discover`].
    pub async fn endpoints(&self) -> Result<Endpoints> {
        self.client.discover(&self.selector()).await
    }

    /// Changes of its addresses.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn watch(&self) -> Result<Stream<EndpointEvent>> {
        self.client.watch(&self.selector()).await
    }

    /// Its replicas.
    ///
    /// # Errors
    /// As [`Client::observe`].
    pub async fn replicas(&self) -> Result<Vec<ObservedReplica>> {
        let observed = self.client.observe(&self.selector()).await?;
        Ok(observed.stack(self.client.stack_name()).replicas)
    }

    /// Returns when all its replicas are ready.
    ///
    /// # Errors
    /// `Timeout`, or `WrongPhase` if a replica failed.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<()> {
        self.client
            .wait_ready(self.client.stack_name(), &self.name, deadline)
            .await
    }

    /// What its replicas wrote.
    ///
    /// # Errors
    /// As [`Client::logs`].
    pub async fn logs(&self, options: &LogOptions) -> Result<Stream<LogLine>> {
        self.client.logs(&self.selector(), options).await
    }

    /// Sets how many replicas run.
    ///
    /// # Errors
    /// As [`Client::scale`].
    pub async fn scale(&self, replicas: u32) -> Result<Report> {
        self.client
            .scale(
                self.client.stack_name(),
                &self.name,
                replicas,
                &UpOptions::new(),
            )
            .await
    }

    /// Changes it.
    ///
    /// # Errors
    /// As [`Client::update`].
    pub async fn update(&self, change: impl FnOnce(Service) -> Service + Send) -> Result<Report> {
        self.client
            .update(self.client.stack_name(), &self.name, change)
            .await
    }

    /// Brings it back to what it was before its last change.
    ///
    /// # Errors
    /// As [`Client::rollback`].
    pub async fn rollback(&self) -> Result<Report> {
        let options = UpOptions::new();
        self.client
            .rollback(self.client.stack_name(), &self.name, &options)
            .await
    }

    /// Removes it with its replicas.
    ///
    /// # Errors
    /// As [`Client::remove`].
    pub async fn remove(&self) -> Result<Report> {
        self.client
            .remove(self.client.stack_name(), &self.name)
            .await
    }
}
