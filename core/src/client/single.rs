//! One service at a time: spawn, link, scale, update, remove. Each is a plan of one, on the same
//! path as a whole stack.

use super::stack::forget;
use super::{Client, ServiceHandle, UpOptions};
use crate::apply::Report;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{Alias, ServiceName, StackName};
use crate::plan::PlanOptions;
use crate::spec::{Link, Service};

impl Client {
    /// Spawns a service into the client's stack and returns when its replicas have started.
    ///
    /// Idempotent: the same service again writes nothing; a changed one is updated.
    /// *Cancelled*: some replicas may run; the next change of the stack goes on.
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
        self.change(&self.stack, &UpOptions::new(), |record| {
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
    /// Idempotent. A link of the same alias is re-pointed.
    ///
    /// # Errors
    /// `NotFound` without such a service; else as [`up`](Self::up).
    pub async fn link(&self, stack: &StackName, from: &ServiceName, link: Link) -> Result<Report> {
        let edit = |record: &mut super::StackRecord| {
            need(record, stack, from)?;
            let links = record.hand.links.entry(from.clone()).or_default();
            links.retain(|other| other.alias != link.alias);
            links.push(link);
            Ok(())
        };
        self.change(stack, &UpOptions::new(), edit).await
    }

    /// Removes a link that was made by hand.
    ///
    /// # Errors
    /// `NotFound` without such a link.
    pub async fn unlink(
        &self,
        stack: &StackName,
        from: &ServiceName,
        alias: &Alias,
    ) -> Result<Report> {
        let edit = |record: &mut super::StackRecord| {
            let links = record.hand.links.get_mut(from);
            let known = links
                .as_ref()
                .is_some_and(|links| links.iter().any(|link| link.alias == *alias));
            let Some(links) = links.filter(|_| known) else {
                let text = format!("`{from}` has no link `{alias}` that was made by hand");
                return Err(Error::new(ErrorKind::NotFound, text).on(stack));
            };
            links.retain(|link| link.alias != *alias);
            Ok(())
        };
        self.change(stack, &UpOptions::new(), edit).await
    }

    /// Sets how many replicas of a service run. Kept until set again or the stack goes.
    ///
    /// # Errors
    /// `NotFound` without such a service; else as [`up`](Self::up).
    pub async fn scale(
        &self,
        stack: &StackName,
        service: &ServiceName,
        replicas: u32,
        options: &UpOptions<'_>,
    ) -> Result<Report> {
        let edit = |record: &mut super::StackRecord| {
            need(record, stack, service)?;
            record.hand.scale.insert(service.clone(), replicas);
            Ok(())
        };
        self.change(stack, options, edit).await
    }

    /// Changes a service, by the order its update policy says.
    ///
    /// # Errors
    /// `NotFound` without such a service; else as [`up`](Self::up).
    pub async fn update(
        &self,
        stack: &StackName,
        service: &ServiceName,
        change: impl FnOnce(Service) -> Service + Send,
    ) -> Result<Report> {
        let edit = |record: &mut super::StackRecord| {
            let spec = need(record, stack, service)?;
            let changed = change(spec);
            let of_file = record
                .file
                .as_mut()
                .and_then(|file| file.services.get_mut(service));
            match of_file {
                Some(slot) => *slot = changed,
                None => {
                    record.hand.services.insert(service.clone(), changed);
                }
            }
            Ok(())
        };
        self.change(stack, &UpOptions::new(), edit).await
    }

    /// Removes a service with its replicas; absent is success.
    ///
    /// # Errors
    /// `InvalidSpec` if another service depends on it; else as [`up`](Self::up).
    pub async fn remove(&self, stack: &StackName, service: &ServiceName) -> Result<Report> {
        let plan = PlanOptions {
            remove_orphans: true,
            ..PlanOptions::default()
        };
        let options = UpOptions {
            plan,
            ..UpOptions::new()
        };
        let edit = |record: &mut super::StackRecord| {
            forget(&mut record.hand, service);
            if let Some(file) = &mut record.file {
                file.services.remove(service);
            }
            Ok(())
        };
        self.change(stack, &options, edit).await
    }
}

fn need(record: &super::StackRecord, stack: &StackName, service: &ServiceName) -> Result<Service> {
    let mut effective = record.effective(stack);
    effective.services.remove(service).ok_or_else(|| {
        let known: Vec<_> = effective.services.keys().map(ServiceName::as_str).collect();
        let error = Error::new(ErrorKind::NotFound, format!("no service `{service}`")).on(stack);
        if known.is_empty() {
            error
        } else {
            error.hint(format!("it has: {}", known.join(", ")))
        }
    })
}
