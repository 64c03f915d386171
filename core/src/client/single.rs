//! One service at a time: spawn, link, scale, update, remove. Each is a plan of one, on the same
//! path as a whole stack.

use super::stack::forget;
use super::{Client, ServiceHandle, StackRecord, UpOptions};
use crate::apply::Report;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{Alias, ServiceName, StackName};
use crate::plan::{Orphans, Scope};
use crate::spec::{Link, Service};

impl Client {
    /// Spawns a service into the client's stack and returns when its replicas have started.
    ///
    /// Idempotent: the same service again writes nothing; a changed one is updated. Other services
    /// are left as they are, but for those it depends on: they are started where they do not run.
    /// *Cancelled*: some replicas may run; the same call again, or the next `up`, goes on.
    ///
    /// # Errors
    /// `AlreadyExists` if the stack's file has a service of this name; else as
    /// [`up`](Self::up).
    pub async fn spawn(
        &self,
        name: impl Into<String> + Send,
        service: Service,
    ) -> Result<ServiceHandle> {
        let name = ServiceName::parse(name)?;
        let options = UpOptions::new().only(Scope::Change(vec![name.clone()]));
        self.change(&self.stack, &options, |record| {
            if record
                .file
                .as_ref()
                .is_some_and(|stack| stack.services.contains_key(&name))
            {
                let text = format!("service `{name}` is in the stack's file");
                return Err(
                    Error::new(ErrorKind::AlreadyExists, text).hint("change the file instead")
                );
            }
            record.hand.services.insert(name.clone(), service);
            Ok(())
        })
        .await?;
        Ok(ServiceHandle::new(self.clone(), name))
    }

    /// A handle of a service of the client's stack, whether it exists or not.
    ///
    /// # Errors
    /// `InvalidSpec` for what cannot be a name.
    pub fn service(&self, name: impl Into<String>) -> Result<ServiceHandle> {
        Ok(ServiceHandle::new(self.clone(), ServiceName::parse(name)?))
    }

    /// Links `from` to another service, at once and without a restart where the backend can.
    ///
    /// Idempotent. A link of the same alias is re-pointed. Only names and links change: a replica
    /// that was stopped stays stopped. *Cancelled*: the link is made or not, and the same call
    /// again, or the next `up`, goes on.
    ///
    /// # Errors
    /// `NotFound` without such a service, `Unsupported` if the backend keeps no record of stacks;
    /// else as [`up`](Self::up).
    pub async fn link(&self, stack: &StackName, from: &ServiceName, link: Link) -> Result<Report> {
        let edit = |record: &mut StackRecord| {
            self.need(record, stack, from)?;
            let links = record.hand.links.entry(from.clone()).or_default();
            links.retain(|other| other.alias != link.alias);
            links.push(link);
            Ok(())
        };
        let options = UpOptions::new().only(Scope::Declare(vec![from.clone()]));
        self.change(stack, &options, edit).await
    }

    /// Removes a link that was made by hand. *Cancelled*: as [`link`](Self::link).
    ///
    /// # Errors
    /// `NotFound` without such a link.
    pub async fn unlink(
        &self,
        stack: &StackName,
        from: &ServiceName,
        alias: &Alias,
    ) -> Result<Report> {
        let edit = |record: &mut StackRecord| {
            let links = record.hand.links.get_mut(from);
            let known = links
                .as_ref()
                .is_some_and(|links| links.iter().any(|link| link.alias == *alias));
            let Some(links) = links.filter(|_| known) else {
                if record.is_unfinished(from) {
                    // Somebody may have given this very call up: what is begun is gone on with.
                    return Ok(());
                }
                let text = format!("`{from}` has no link `{alias}` that was made by hand");
                return Err(Error::new(ErrorKind::NotFound, text).on(stack));
            };
            links.retain(|link| link.alias != *alias);
            Ok(())
        };
        let options = UpOptions::new().only(Scope::Declare(vec![from.clone()]));
        self.change(stack, &options, edit).await
    }

    /// Sets how many replicas of a service run. Kept until set again or the stack goes.
    ///
    /// Idempotent. Other services are left as they are, but for those it depends on: they are
    /// started where they do not run, unless `options` say otherwise. *Cancelled*: a part of the
    /// replicas is started or gone; the same call again, or the next `up`, goes on.
    ///
    /// # Errors
    /// `NotFound` without such a service, `Unsupported` if the backend keeps no record of stacks;
    /// else as [`up`](Self::up).
    pub async fn scale(
        &self,
        stack: &StackName,
        service: &ServiceName,
        replicas: u32,
        options: &UpOptions<'_>,
    ) -> Result<Report> {
        let edit = |record: &mut StackRecord| {
            self.need(record, stack, service)?;
            record.hand.scale.insert(service.clone(), replicas);
            Ok(())
        };
        let mut options = options.clone();
        if options.plan.only == Scope::All {
            options.plan.only = Scope::Change(vec![service.clone()]);
        }
        self.change(stack, &options, edit).await
    }

    /// Changes a service, by the order its update policy says.
    ///
    /// Idempotent where `change` is. Other services are left as they are, as with
    /// [`scale`](Self::scale). *Cancelled*: what serves goes on serving; the same call again, or
    /// the next `up`, goes on.
    ///
    /// # Errors
    /// `NotFound` without such a service, `Unsupported` if the backend keeps no record of stacks;
    /// else as [`up`](Self::up).
    pub async fn update(
        &self,
        stack: &StackName,
        service: &ServiceName,
        change: impl FnOnce(Service) -> Service + Send,
    ) -> Result<Report> {
        self.update_with(stack, service, change, &UpOptions::new())
            .await
    }

    /// As [`update`](Self::update), with options as for [`up`](Self::up).
    ///
    /// # Errors
    /// `NotFound` without such a service; else as [`up`](Self::up).
    pub async fn update_with(
        &self,
        stack: &StackName,
        service: &ServiceName,
        change: impl FnOnce(Service) -> Service + Send,
        options: &UpOptions<'_>,
    ) -> Result<Report> {
        let edit = |record: &mut StackRecord| {
            let spec = self.need(record, stack, service)?;
            record.rewrite(service, &spec, change(spec.clone()));
            Ok(())
        };
        let mut options = options.clone();
        options = options.only(Scope::Change(vec![service.clone()]));
        self.change(stack, &options, edit).await
    }

    /// Removes a service with its replicas; absent is success. Other services are left as they
    /// are, also those that the stack no longer has. *Cancelled*: a part of it is gone; the same
    /// call again goes on.
    ///
    /// # Errors
    /// `InvalidSpec` if another service depends on it; else as [`up`](Self::up).
    pub async fn remove(&self, stack: &StackName, service: &ServiceName) -> Result<Report> {
        let mut options = UpOptions::new().only(Scope::Change(Vec::new()));
        options.plan.orphans = Orphans::RemoveThese(vec![service.clone()]);
        let edit = |record: &mut StackRecord| {
            forget(&mut record.hand, service);
            record.former.remove(service);
            record.rollouts.remove(service);
            if let Some(file) = &mut record.file {
                file.services.remove(service);
            }
            Ok(())
        };
        self.change(stack, &options, edit).await
    }

    /// A service as it is wanted now.
    pub(super) fn need(
        &self,
        record: &StackRecord,
        stack: &StackName,
        service: &ServiceName,
    ) -> Result<Service> {
        // Without a record nothing is known of what was wanted before.
        self.state_facet()?;
        let mut effective = record.effective(stack);
        effective.services.remove(service).ok_or_else(|| {
            let known: Vec<_> = effective.services.keys().map(ServiceName::as_str).collect();
            let error = Error::new(ErrorKind::NotFound, format!("no service `{service}`"));
            let error = error.on(stack);
            if known.is_empty() {
                error
            } else {
                error.hint(format!("it has: {}", known.join(", ")))
            }
        })
    }
}
