//! Reading and writing files of a replica, through its mounts and with a process's rights.

use std::sync::Arc;

use unmoor_core::name::ReplicaId;
use unmoor_core::spec::LinuxCap;

use super::user::Identity;
use super::{Kind, Model, MountPoint, Node, Replica, Source, Tree, normal, parent};
use crate::bug::Bug;

/// Why a file cannot be had, in the words of the probe.
pub(crate) type FileError = &'static str;

const MISSING: FileError = "no such file";
const DENIED: FileError = "permission denied";
const READ_ONLY: FileError = "read-only file system";
const FOLDER: FileError = "is a directory";
const EXISTS: FileError = "exists already";

/// A path inside a replica, and the tree it leads into.
struct Place {
    mount: Option<MountPoint>,
    inside: String,
}

fn place(replica: &Replica, path: &str) -> Place {
    let covers = |mount: &&MountPoint| {
        path == mount.target || path.starts_with(&format!("{}/", mount.target))
    };
    let mount = replica
        .mounts
        .iter()
        .filter(covers)
        .max_by_key(|mount| mount.target.len())
        .cloned();
    let inside = match &mount {
        None => path.to_owned(),
        Some(mount) => normal("/", &path[mount.target.len()..]),
    };
    Place { mount, inside }
}

impl Model {
    fn tree<'a>(&'a self, replica: &'a Replica, place: &Place) -> Option<&'a Tree> {
        match place.mount.as_ref().map(|mount| &mount.source) {
            None => Some(&replica.root),
            Some(Source::Own(at)) => replica.own.get(*at),
            Some(Source::Volume(name)) => self.volumes.get(name),
        }
    }

    /// A node, a symbolic link as such.
    pub(super) fn node_itself(&self, replica: &Replica, path: &str) -> Option<Node> {
        if let Some(given) = replica.given.get(path) {
            return Some(given.clone());
        }
        if let Some(made) = self.made_file(replica, path) {
            return Some(made);
        }
        let place = place(replica, path);
        self.tree(replica, &place)?.get(&place.inside).cloned()
    }

    /// What is at and below a path, through mounts, by path.
    pub(super) fn at_and_below(&self, replica: &Replica, path: &str) -> Vec<(String, Node)> {
        let prefix = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let below = |key: &str| key == path || key.starts_with(&prefix);
        let mut keys: Vec<String> = Vec::new();
        keys.extend(replica.root.keys().map(str::to_owned));
        for mount in &replica.mounts {
            let tree = match &mount.source {
                Source::Own(at) => replica.own.get(*at),
                Source::Volume(name) => self.volumes.get(name),
            };
            let inside = tree.into_iter().flat_map(Tree::keys);
            keys.extend(inside.map(|key| normal(&mount.target, key.trim_start_matches('/'))));
        }
        keys.extend(replica.given.keys().cloned());
        keys.retain(|key| below(key));
        keys.sort();
        keys.dedup();
        let found = keys.into_iter().filter_map(|key| {
            let node = self.node_itself(replica, &key)?;
            Some((key, node))
        });
        found.collect()
    }

    /// A node with final symbolic links followed, as the kernel would give it.
    pub(crate) fn node(&self, replica: &Replica, path: &str) -> Option<Node> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            if let Some(given) = replica.given.get(&path) {
                return Some(given.clone());
            }
            if let Some(made) = self.made_file(replica, &path) {
                return Some(made);
            }
            let place = place(replica, &path);
            let node = self.tree(replica, &place)?.get(&place.inside)?.clone();
            match &node.kind {
                Kind::Link(target) => path = normal(&parent(&path), target),
                Kind::File(_) | Kind::Folder => return Some(node),
            }
        }
        None
    }

    /// Files that the platform writes for each replica.
    fn made_file(&self, replica: &Replica, path: &str) -> Option<Node> {
        let content = match path {
            "/etc/hostname" => format!("{}\n", replica.hostname),
            "/etc/hosts" => self.hosts_file(replica),
            "/etc/resolv.conf" => "nameserver 127.0.0.53\noptions ndots:0\n".to_owned(),
            _ => {
                let key = path.strip_prefix("/proc/sys/")?.replace('/', ".");
                format!("{}\n", replica.service.spec.security.sysctls.get(&key)?)
            }
        };
        Some(Node::file(content.into_bytes(), 0o644, 0, 0))
    }

    pub(crate) fn read_file(
        &self,
        id: &ReplicaId,
        who: &Identity,
        path: &str,
    ) -> Result<Arc<Vec<u8>>, FileError> {
        let replica = self.replica(id).ok_or(MISSING)?;
        let node = self.node(replica, path).ok_or(MISSING)?;
        let Kind::File(content) = &node.kind else {
            return Err(FOLDER);
        };
        if !may(who, &node, 4) {
            return Err(DENIED);
        }
        Ok(Arc::clone(content))
    }

    pub(crate) fn file_node(&self, id: &ReplicaId, path: &str) -> Result<Node, FileError> {
        let replica = self.replica(id).ok_or(MISSING)?;
        self.node(replica, path).ok_or(MISSING)
    }

    /// Writes a whole file, or adds to its end.
    pub(crate) fn write_file(
        &mut self,
        id: &ReplicaId,
        who: &Identity,
        path: &str,
        bytes: &[u8],
        how: Write,
    ) -> Result<(), FileError> {
        let replica = self.replica(id).ok_or(MISSING)?;
        let there = self.node(replica, path);
        let mut content = Vec::new();
        let (mode, uid, gid) = match &there {
            Some(Node {
                kind: Kind::Folder, ..
            }) => return Err(FOLDER),
            Some(_) if how == Write::New => return Err(EXISTS),
            Some(node) => {
                self.check_writable(replica, path)?;
                if !may(who, node, 2) {
                    return Err(DENIED);
                }
                if how == Write::Append {
                    content.extend_from_slice(node.content().unwrap_or_default());
                }
                (node.mode, node.uid, node.gid)
            }
            None => {
                let folder = self.node(replica, &parent(path)).ok_or(MISSING)?;
                self.check_writable(replica, path)?;
                if !may(who, &folder, 2) {
                    return Err(DENIED);
                }
                (0o644, who.uid, who.gid)
            }
        };
        content.extend_from_slice(bytes);
        self.put_node(id, path, Some(Node::file(content, mode, uid, gid)));
        Ok(())
    }

    pub(crate) fn remove_file(
        &mut self,
        id: &ReplicaId,
        who: &Identity,
        path: &str,
    ) -> Result<(), FileError> {
        let replica = self.replica(id).ok_or(MISSING)?;
        let node = self.node(replica, path).ok_or(MISSING)?;
        if node.kind == Kind::Folder {
            return Err(FOLDER);
        }
        self.check_writable(replica, path)?;
        let folder = self.node(replica, &parent(path)).ok_or(MISSING)?;
        if !may(who, &folder, 2) {
            return Err(DENIED);
        }
        self.put_node(id, path, None);
        Ok(())
    }

    pub(super) fn check_writable(&self, replica: &Replica, path: &str) -> Result<(), FileError> {
        let system = ["/proc/", "/sys/"]
            .iter()
            .any(|prefix| path.starts_with(prefix));
        if system || replica.given.contains_key(path) {
            return Err(READ_ONLY);
        }
        let read_only = match place(replica, path).mount {
            Some(mount) => mount.read_only,
            None => replica.service.spec.security.read_only && !self.bugs.has(Bug::WritableRoot),
        };
        if read_only { Err(READ_ONLY) } else { Ok(()) }
    }

    pub(super) fn put_node(&mut self, id: &ReplicaId, path: &str, node: Option<Node>) {
        let Some(replica) = self.replica(id) else {
            return;
        };
        let place = place(replica, path);
        let tree = match place.mount.map(|mount| mount.source) {
            Some(Source::Volume(name)) => self.volumes.get_mut(&name),
            Some(Source::Own(at)) => self.replica_mut(id).and_then(|r| r.own.get_mut(at)),
            None => self.replica_mut(id).map(|replica| &mut replica.root),
        };
        if let Some(tree) = tree {
            match node {
                Some(node) => tree.put(&place.inside, node),
                None => tree.remove(&place.inside),
            }
        }
        self.touch();
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Whatever was there is replaced.
    Whole,
    /// It is added to the end.
    Append,
    /// It must not be there yet.
    New,
}

fn may(who: &Identity, node: &Node, bit: u32) -> bool {
    let ignores_bits = LinuxCap::parse("DAC_OVERRIDE").is_some_and(|cap| who.caps.has(cap));
    ignores_bits || node.allows(who.uid, &who.groups, bit)
}
