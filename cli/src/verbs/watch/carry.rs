//! From paths that have changed to files in replicas, commands and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use unmoor::Client;
use unmoor::backend::{ExecOptions, Ownership, Stream};
use unmoor::label::Selector;
use unmoor::name::{ReplicaId, ServiceName, StackName};

use super::rules::{Rule, Then};
use crate::app::App;
use crate::change::told;
use crate::verbs::cp::{append_link, archive_of};

/// What is done to one service.
#[derive(Debug, Default)]
struct Load {
    /// Paths that are there, each with where it goes.
    put: BTreeMap<String, PathBuf>,
    /// Where something was that is gone.
    gone: BTreeSet<String>,
    commands: Vec<ExecOptions>,
    restart: bool,
}

impl Load {
    fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty() && !self.restart
    }

    fn take(&mut self, rule: &Rule, path: &Path) {
        if let Some(place) = rule.place(path) {
            match fs::symlink_metadata(path).is_ok() {
                true => drop(self.put.insert(place, path.to_owned())),
                false => drop(self.gone.insert(place)),
            }
        }
        match &rule.then {
            Then::Nothing => {}
            Then::Restart => self.restart = true,
            Then::Exec(command) if !self.commands.contains(command) => {
                self.commands.push(command.clone());
            }
            Then::Exec(_) => {}
        }
    }
}

/// Carries changes to the replicas of a stack.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    pub(super) app: &'a App,
    pub(super) client: &'a Client,
    pub(super) stack: &'a StackName,
    pub(super) rules: &'a [Rule],
}

impl Carrier<'_> {
    /// Carries everything over of rules that say so.
    pub(super) async fn first(&self) {
        let mut loads: BTreeMap<&ServiceName, Load> = BTreeMap::new();
        for rule in self.rules.iter().filter(|rule| rule.initial) {
            let load = loads.entry(&rule.service).or_default();
            for path in everything(rule) {
                if let Some(place) = rule.place(&path) {
                    load.put.insert(place, path);
                }
            }
        }
        self.deliver(loads).await;
    }

    /// Carries over what has changed.
    pub(super) async fn carry(&self, changed: &BTreeSet<PathBuf>) {
        let mut loads: BTreeMap<&ServiceName, Load> = BTreeMap::new();
        for rule in self.rules {
            for path in changed.iter().filter(|path| rule.wants(path)) {
                loads.entry(&rule.service).or_default().take(rule, path);
            }
        }
        self.deliver(loads).await;
    }

    /// A service that cannot be reached now must not keep the others, nor later changes, away.
    async fn deliver(&self, loads: BTreeMap<&ServiceName, Load>) {
        for (service, load) in loads {
            if load.is_empty() {
                continue;
            }
            if let Err(error) = self.to_service(service, &load).await {
                let text = format!("service {service}: {}", error.chain());
                self.app.ui.warn(&text);
            }
        }
    }

    async fn to_service(&self, service: &ServiceName, load: &Load) -> unmoor::Result<()> {
        let selector = Selector::service(self.stack.clone(), service.clone());
        let observed = self.client.observe(&selector).await?;
        let alive = observed
            .replicas()
            .filter(|replica| replica.phase.is_alive());
        let replicas: Vec<&ReplicaId> = alive.map(|replica| &replica.id).collect();
        if replicas.is_empty() {
            let text = format!("service {service}: none of it runs, so nothing is copied");
            self.app.ui.warn(&text);
            return Ok(());
        }
        for replica in &replicas {
            self.to_replica(replica, load).await?;
        }
        if load.restart {
            self.client.restart(&selector, None, told(&|_| {})).await?;
        }
        self.tell(service, load);
        Ok(())
    }

    async fn to_replica(&self, replica: &ReplicaId, load: &Load) -> unmoor::Result<()> {
        if !load.put.is_empty() {
            let archive = packed(load.put.clone());
            self.client
                .write_files(replica, "/", archive, Ownership::Root)
                .await?;
        }
        if !load.gone.is_empty() {
            let words = ["rm", "-rf", "--"].map(str::to_owned);
            let words = words.into_iter().chain(load.gone.iter().cloned());
            let remove = ExecOptions::new(words).user(Some("0".to_owned()));
            self.ran(replica, &remove).await?;
        }
        for command in &load.commands {
            self.ran(replica, command).await?;
        }
        Ok(())
    }

    async fn ran(&self, replica: &ReplicaId, command: &ExecOptions) -> unmoor::Result<()> {
        let (code, _, err) = self.client.output(replica, command).await?;
        if code != 0 {
            let said = String::from_utf8_lossy(&err);
            let why = said.lines().last().unwrap_or_default();
            let what = command.command.join(" ");
            let text = format!("replica {replica}: `{what}` ended with code {code}: {why}");
            self.app.ui.warn(&text);
        }
        Ok(())
    }

    fn tell(&self, service: &ServiceName, load: &Load) {
        let mut done = Vec::new();
        if !load.put.is_empty() {
            done.push(format!("{} copied", load.put.len()));
        }
        if !load.gone.is_empty() {
            done.push(format!("{} removed", load.gone.len()));
        }
        for command in &load.commands {
            done.push(format!("ran `{}`", command.command.join(" ")));
        }
        if load.restart {
            done.push("restarted".to_owned());
        }
        let text = format!("service {service}: {}", done.join(", "));
        self.app.ui.status(&text);
    }
}

/// Everything that a rule is about and that is there.
fn everything(rule: &Rule) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![rule.path.clone()];
    while let Some(path) = left.pop() {
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
        if is_folder && rule.enters(&path) {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
        if rule.wants(&path) {
            found.push(path);
        }
    }
    found
}

/// Files, directories and links as an archive, each under its place from the root.
fn packed(put: BTreeMap<String, PathBuf>) -> Stream<Vec<u8>> {
    archive_of("read what has changed".to_owned(), move |sink| {
        let mut archive = tar::Builder::new(sink);
        archive.follow_symlinks(false);
        for (place, path) in put {
            match append(&mut archive, place.trim_matches('/'), &path) {
                // What has gone meanwhile is told of with the next change.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        archive.finish()
    })
}

fn append(
    archive: &mut tar::Builder<&mut dyn io::Write>,
    place: &str,
    path: &Path,
) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        return match place {
            "" => Ok(()),
            place => archive.append_dir(place, path),
        };
    }
    if kind.is_symlink() {
        return append_link(archive, Path::new(place), path);
    }
    // Sockets, pipes and devices mean nothing elsewhere.
    if !kind.is_file() {
        return Ok(());
    }
    let file = fs::File::open(path)?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&file.metadata()?);
    // As it is when it is read: whoever writes it may not have finished, and is told of again.
    let mut bytes = Vec::new();
    io::BufReader::new(file).read_to_end(&mut bytes)?;
    header.set_size(bytes.len().try_into().map_err(io::Error::other)?);
    archive.append_data(&mut header, place, bytes.as_slice())
}
