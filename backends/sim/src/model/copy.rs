//! Files copied into and out of replicas, as tar archives.

use std::io::Read as _;

use unmoor_core::backend::{FileKind, FileStat, Ownership};
use unmoor_core::name::ReplicaId;
use unmoor_core::{Error, ErrorKind, Result};

use super::{Kind, Model, Node, Replica};
use crate::bug::Bug;

/// Most symbolic links on the way to a file.
const LINKS: usize = 40;

fn refused(kind: ErrorKind, id: &ReplicaId, text: String) -> Error {
    Error::new(kind, text).on(format!("replica {id}"))
}

fn absent(id: &ReplicaId, path: &str) -> Error {
    refused(ErrorKind::NotFound, id, format!("{path}: no such file"))
}

impl Model {
    /// The path with the links in its folders followed, its last name as it is.
    fn real(&self, replica: &Replica, path: &str) -> Option<String> {
        let mut waiting: Vec<String> = parts(path);
        let mut whole = String::new();
        let mut links = 0;
        while let Some(part) = waiting.pop() {
            if part == ".." {
                // As in the kernel, the root is its own parent.
                let at = whole.rfind('/').unwrap_or(0);
                whole.truncate(at);
                continue;
            }
            let next = format!("{whole}/{part}");
            let node = self.node_itself(replica, &next);
            match node.map(|node| node.kind) {
                Some(Kind::Link(target)) if !waiting.is_empty() => {
                    links += 1;
                    if links > LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        whole.clear();
                    }
                    waiting.extend(parts(&target));
                }
                _ => whole = next,
            }
        }
        Some(if whole.is_empty() {
            "/".to_owned()
        } else {
            whole
        })
    }

    pub(crate) fn stat_file(&self, id: &ReplicaId, path: &str) -> Result<FileStat> {
        let replica = self.alive("look into", id)?;
        let real = self.real(replica, path).ok_or_else(|| absent(id, path))?;
        let node = self.node_itself(replica, &real);
        let node = node.ok_or_else(|| absent(id, path))?;
        Ok(FileStat {
            kind: match &node.kind {
                Kind::File(_) => FileKind::File,
                Kind::Folder => FileKind::Directory,
                Kind::Link(_) => FileKind::Link,
            },
            size: node.content().map_or(0, |content| content.len() as u64),
            mode: node.mode,
            target: match &node.kind {
                Kind::Link(target) => Some(target.clone()),
                Kind::File(_) | Kind::Folder => None,
            },
        })
    }

    /// A file or folder as an archive.
    pub(crate) fn pack(&self, id: &ReplicaId, path: &str) -> Result<Vec<u8>> {
        let replica = self.alive("copy from", id)?;
        let real = self.real(replica, path).ok_or_else(|| absent(id, path))?;
        let found = self.at_and_below(replica, &real);
        if found.is_empty() {
            return Err(absent(id, path));
        }
        let base = match real.rsplit_once('/') {
            Some((_, "")) | None => ".",
            Some((_, name)) => name,
        };
        let mut archive = tar::Builder::new(Vec::new());
        for (inside, node) in &found {
            let rest = inside[real.len().min(inside.len())..].trim_start_matches('/');
            let name = if rest.is_empty() {
                base.to_owned()
            } else {
                format!("{base}/{rest}")
            };
            append(&mut archive, &name, node, self.bugs.has(Bug::CopyCutsFiles))
                .map_err(|error| Error::new(ErrorKind::Internal, "pack files").because(error))?;
        }
        archive
            .into_inner()
            .map_err(|error| Error::new(ErrorKind::Internal, "pack files").because(error))
    }

    /// Unpacks an archive into a folder.
    pub(crate) fn unpack(
        &mut self,
        id: &ReplicaId,
        folder: &str,
        bytes: &[u8],
        owner: Ownership,
    ) -> Result<()> {
        if self.stat_file(id, &format!("{folder}/."))?.kind != FileKind::Directory {
            let text = format!("{folder} is not a directory");
            return Err(refused(ErrorKind::InvalidSpec, id, text));
        }
        let broken = |error: std::io::Error| {
            refused(ErrorKind::InvalidSpec, id, "read the archive".to_owned()).because(error)
        };
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if name.split('/').any(|part| part == "..") {
                let text = format!("the archive's entry {name} leads out of {folder}");
                return Err(refused(ErrorKind::InvalidSpec, id, text));
            }
            let Some(node) = node_of(&mut entry, owner).map_err(broken)? else {
                continue;
            };
            self.place(id, &format!("{folder}/{name}"), node)?;
        }
        Ok(())
    }

    fn place(&mut self, id: &ReplicaId, path: &str, node: Node) -> Result<()> {
        let replica = self.alive("copy to", id)?;
        let real = self.real(replica, path).ok_or_else(|| absent(id, path))?;
        let there = self.node_itself(replica, &real);
        let folder = |node: &Node| node.kind == Kind::Folder;
        if there
            .as_ref()
            .is_some_and(|there| folder(there) != folder(&node))
        {
            let text = format!("{path}: a directory cannot replace a file, nor a file a directory");
            return Err(refused(ErrorKind::InvalidSpec, id, text));
        }
        if real == "/" || (there.is_some() && folder(&node)) {
            return Ok(());
        }
        self.check_writable(replica, &real).map_err(|problem| {
            refused(ErrorKind::Forbidden, id, format!("write {path}: {problem}"))
        })?;
        self.put_node(id, &real, Some(node));
        Ok(())
    }
}

/// The parts of a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.rev().map(str::to_owned).collect()
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    name: &str,
    node: &Node,
    cut: bool,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(u64::from(node.uid));
    header.set_gid(u64::from(node.gid));
    header.set_size(0);
    match &node.kind {
        Kind::File(content) => {
            let content = if cut {
                &content[..content.len() / 2]
            } else {
                content.as_slice()
            };
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content)
        }
        Kind::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, format!("{name}/"), std::io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
    }
}

/// What an entry makes; nothing for what the model has not.
fn node_of(entry: &mut tar::Entry<'_, &[u8]>, owner: Ownership) -> std::io::Result<Option<Node>> {
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).unwrap_or(0);
    let (uid, gid) = match owner {
        Ownership::Root => (0, 0),
        Ownership::Archive => (id(header.uid()?), id(header.gid()?)),
    };
    let (mode, kind) = (header.mode()? & 0o7777, header.entry_type());
    if kind.is_file() {
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        return Ok(Some(Node::file(content, mode, uid, gid)));
    }
    if kind.is_dir() {
        return Ok(Some(Node::folder(mode, uid, gid)));
    }
    if kind.is_symlink() {
        let target = entry.link_name_bytes().unwrap_or_default();
        let target = String::from_utf8_lossy(&target).into_owned();
        let kind = Kind::Link(target);
        return Ok(Some(Node {
            kind,
            mode,
            uid,
            gid,
        }));
    }
    // An extended header of the whole archive makes nothing.
    if kind == tar::EntryType::XGlobalHeader {
        return Ok(None);
    }
    let text = "an entry is neither a file nor a directory nor a link";
    Err(std::io::Error::other(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_leave_out_what_leads_nowhere() {
        assert_eq!(parts("/a//./b/.."), ["..", "b", "a"]);
    }
}
