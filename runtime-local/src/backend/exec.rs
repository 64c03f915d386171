//! The facet for commands inside replicas.

use std::os::fd::OwnedFd;

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
use unmoor_core::Result;
use unmoor_core::backend::{Exec, ExecOptions, ExecSession};
use unmoor_core::name::ReplicaId;
use unmoor_image::RootfsUser;

use super::LocalBackend;
use crate::engine::{Running, Runtime, groups, member_of};
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
        let (running, exec) = self.prepared(replica, options).await?;
        let name = replica.to_string();
        let session = Session::start(&running.run_dir, &name, exec, options.stdin).await?;
        Ok(Box::new(session))
    }

    async fn exec_detached(&self, replica: &ReplicaId, options: &ExecOptions) -> Result<()> {
        // A terminal lives as long as somebody holds it.
        let options = options.clone().tty(None);
        let (running, exec) = self.prepared(replica, &options).await?;
        Ok(Session::leave(&running.run_dir, &replica.to_string(), exec).await?)
    }
}

impl LocalBackend {
    /// The replica, and the command as its shim is asked for it.
    async fn prepared(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<(Running, control::Exec), LocalError> {
        let (id, wanted) = (replica.clone(), options.clone());
        let prepare = move |runtime: &Runtime| {
            let running = runtime.running(&id)?;
            let exec = request(&running, &wanted)?;
            Ok((running, exec))
        };
        let runtime = self.place.made().await?;
        runtime.block("prepares a command", prepare).await
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
    let home = user
        .as_ref()
        .filter(|_| !running.names_home)
        .map(|user| user.home.as_deref().unwrap_or("/"));
    let env = environment(&process.env, home, wanted);
    let user = match user {
        None => None,
        Some(user) => Some(control::ExecUser {
            uid: user.uid,
            gid: user.gid,
            groups: all_groups(running, &user)?,
        }),
    };
    let (columns, rows) = wanted.tty.unwrap_or_default();
    Ok(control::Exec {
        argv: wanted.command.clone(),
        env,
        cwd: wanted.working_dir.clone().unwrap_or_default(),
        user,
        tty: wanted.tty.is_some(),
        rows,
        cols: columns,
    })
}

/// The replica's own variables, the home of another user and those of the command over them.
fn environment(own: &[String], home: Option<&str>, wanted: &ExecOptions) -> Vec<String> {
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let home = home.filter(|_| !wanted.env.contains_key("HOME"));
    let mut env: Vec<String> = own
        .iter()
        .filter(|pair| !wanted.env.contains_key(&key(pair)))
        .filter(|pair| home.is_none() || key(pair) != "HOME")
        .cloned()
        .collect();
    env.extend(home.map(|home| format!("HOME={home}")));
    let asked = wanted.env.iter();
    env.extend(asked.map(|(key, value)| format!("{key}={value}")));
    if wanted.tty.is_some() && !env.iter().any(|pair| pair.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    env
}

/// Finds a user in the files of the running replica, which may have changed since the image.
/// The groups of another user, and those that the service adds.
fn all_groups(running: &Running, user: &RootfsUser) -> Result<Vec<u32>, LocalError> {
    let mut all = groups(user);
    for group in &running.groups {
        let gid = resolve(running, &member_of(group))?.gid;
        if !all.contains(&gid) {
            all.push(gid);
        }
    }
    Ok(all)
}

fn resolve(running: &Running, text: &str) -> Result<RootfsUser, LocalError> {
    let path = format!("/proc/{}/root", running.init_pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root: OwnedFd = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|source| LocalError::io("open", path.as_ref(), source))?;
    let user = unmoor_image::rootfs_user(&[root], text).map_err(unmoor_image::ImageError::from)?;
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_stands_once_and_the_command_s_own_wins() {
        let own = ["A=1".to_owned(), "TERM=dumb".to_owned()];
        let tty = ExecOptions::new(["sh"]).tty(Some((80, 24)));
        let kept = environment(&own, None, &tty);
        assert_eq!(kept, ["A=1", "TERM=dumb"]);
        let asked = environment(&own[..1], None, &tty.clone().env("TERM", "vt100"));
        assert_eq!(asked, ["A=1", "TERM=vt100"]);
        assert_eq!(environment(&own[..1], None, &tty), ["A=1", "TERM=xterm"]);
        let plain = ExecOptions::new(["sh"]);
        assert_eq!(environment(&own[..1], None, &plain), ["A=1"]);
    }

    #[test]
    fn another_user_has_a_home_of_its_own_unless_one_is_given() {
        let own = ["HOME=/root".to_owned()];
        let plain = ExecOptions::new(["sh"]);
        assert_eq!(
            environment(&own, Some("/home/joe"), &plain),
            ["HOME=/home/joe"]
        );
        let given = plain.env("HOME", "/srv");
        assert_eq!(environment(&own, Some("/home/joe"), &given), ["HOME=/srv"]);
    }
}
