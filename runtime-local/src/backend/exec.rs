//! The facet for commands inside replicas.

use std::os::fd::OwnedFd;

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
use unmoor_core::Result;
use unmoor_core::backend::{Exec, ExecOptions, ExecSession};
use unmoor_core::name::ReplicaId;

use super::LocalBackend;
use crate::engine::{Running, Runtime, groups};
use crate::error::LocalError;
use crate::shim::Session;
use crate::wire::control;

#[async_trait]
impl Exec for LocalBackend {
    async fn exec(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<Box<dyn ExecSession>> {
        let (id, wanted) = (replica.clone(), options.clone());
        let prepare = move |runtime: &Runtime| {
            let running = runtime.running(&id)?;
            let exec = request(&running, &wanted)?;
            Ok((running, exec))
        };
        let (running, exec) = self.runtime.block("prepares a command", prepare).await?;
        let name = replica.to_string();
        let session = Session::start(&running.run_dir, &name, exec, options.stdin).await?;
        Ok(Box::new(session))
    }
}

fn request(running: &Running, wanted: &ExecOptions) -> Result<control::Exec, LocalError> {
    if wanted.command.first().is_none_or(String::is_empty) {
        return Err(LocalError::Spec("exec: there is no command".to_owned()));
    }
    let process = &running.plan.process;
    let user = match &wanted.user {
        None => None,
        Some(text) => Some(resolve(running, text)?),
    };
    let (columns, rows) = wanted.tty.unwrap_or_default();
    Ok(control::Exec {
        argv: wanted.command.clone(),
        env: environment(&process.env, wanted),
        cwd: wanted.working_dir.clone().unwrap_or_default(),
        user,
        tty: wanted.tty.is_some(),
        rows,
        cols: columns,
    })
}

/// The replica's own variables, those of the command over them.
fn environment(own: &[String], wanted: &ExecOptions) -> Vec<String> {
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> = own
        .iter()
        .filter(|pair| !wanted.env.contains_key(&key(pair)))
        .cloned()
        .collect();
    if wanted.tty.is_some() && !env.iter().any(|pair| pair.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(
        wanted
            .env
            .iter()
            .map(|(key, value)| format!("{key}={value}")),
    );
    env
}

/// Finds a user in the files of the running replica, which may have changed since the image.
fn resolve(running: &Running, text: &str) -> Result<control::ExecUser, LocalError> {
    let path = format!("/proc/{}/root", running.init_pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root: OwnedFd = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|source| LocalError::io("open", path.as_ref(), source))?;
    let user = unmoor_image::rootfs_user(&[root], text).map_err(unmoor_image::ImageError::from)?;
    Ok(control::ExecUser {
        uid: user.uid,
        gid: user.gid,
        groups: groups(&user),
    })
}
