//! Trees of files: layers of images, writable layers, volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Arc<Vec<u8>>),
    Folder,
    Link(String),
}

/// A file, folder or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Node {
    pub(crate) fn file(content: Vec<u8>, mode: u32, uid: u32, gid: u32) -> Self {
        let kind = Kind::File(Arc::new(content));
        Self {
            kind,
            mode,
            uid,
            gid,
        }
    }

    pub(crate) fn folder(mode: u32, uid: u32, gid: u32) -> Self {
        let kind = Kind::Folder;
        Self {
            kind,
            mode,
            uid,
            gid,
        }
    }

    pub(crate) fn content(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::File(content) => Some(content),
            Kind::Folder | Kind::Link(_) => None,
        }
    }

    /// True if a process of this user may do what `bit` says: 4 read, 2 write, 1 execute.
    pub(crate) fn allows(&self, uid: u32, groups: &[u32], bit: u32) -> bool {
        let class = if self.uid == uid {
            6
        } else if groups.contains(&self.gid) {
            3
        } else {
            0
        };
        (self.mode >> class) & bit != 0
    }
}

/// Nodes by normal absolute path; `/` is always there.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self::with_root(Node::folder(0o755, 0, 0))
    }

    pub(crate) fn with_root(root: Node) -> Self {
        Self {
            nodes: BTreeMap::from([("/".to_owned(), root)]),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The paths of all nodes.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// True if there is nothing but the root.
    pub(crate) fn is_bare(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Puts a node, with folders above it where there are none.
    pub(crate) fn put(&mut self, path: &str, node: Node) {
        let mut above = parent(path);
        while !self.nodes.contains_key(&above) {
            let next = parent(&above);
            self.nodes.insert(above, Node::folder(0o755, 0, 0));
            above = next;
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Removes a node and everything below it; the root stays.
    pub(crate) fn remove(&mut self, path: &str) {
        self.remove_below(path);
        if path != "/" {
            self.nodes.remove(path);
        }
    }

    /// Removes everything below a folder.
    pub(crate) fn remove_below(&mut self, path: &str) {
        let prefix = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        self.nodes
            .retain(|key, _| key == "/" || !key.starts_with(&prefix));
    }

    /// What is at and below `path`, as a tree of its own.
    pub(crate) fn below(&self, path: &str) -> Option<Self> {
        let root = self.nodes.get(path)?.clone();
        let mut tree = Self::with_root(root);
        let prefix = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        for (key, node) in &self.nodes {
            if let Some(rest) = key.strip_prefix(&prefix)
                && !rest.is_empty()
            {
                tree.nodes.insert(format!("/{rest}"), node.clone());
            }
        }
        Some(tree)
    }
}

/// The folder that a path is in.
pub(crate) fn parent(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(at) => path[..at].to_owned(),
    }
}

/// The path without `.`, `..` and double slashes, seen from `folder`.
pub(crate) fn normal(folder: &str, path: &str) -> String {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_never_leave_the_root() {
        assert_eq!(normal("/a/b", "../../../etc/./passwd"), "/etc/passwd");
        assert_eq!(normal("/", "x//y/"), "/x/y");
        assert_eq!(parent("/x"), "/");
    }

    #[test]
    fn removing_a_folder_spares_its_namesakes() {
        let mut tree = Tree::new();
        tree.put("/a/b", Node::file(vec![1], 0o644, 0, 0));
        tree.put("/ab", Node::file(vec![2], 0o644, 0, 0));
        tree.remove("/a");
        assert!(tree.get("/a").is_none() && tree.get("/a/b").is_none());
        assert!(tree.get("/ab").is_some());
    }

    #[test]
    fn rights_follow_owner_group_and_others() {
        let node = Node::file(Vec::new(), 0o640, 7, 8);
        assert!(node.allows(7, &[], 2));
        assert!(node.allows(1, &[8], 4) && !node.allows(1, &[8], 2));
        assert!(!node.allows(1, &[1], 4));
    }
}
