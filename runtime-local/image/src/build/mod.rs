//! Makes images on the spot; the same input gives the same digest on every machine.

pub(crate) mod tar_write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use unmoor_core::image::{ImageRef, Platform};

use self::tar_write::{Header, TarWriter};
use crate::error::{ImageError, IoContext};
use crate::extract::op::Meta;
use crate::extract::path::TreePath;
use crate::extract::tar::Kind;
use crate::extract::whiteout::{Meaning, meaning};
use crate::limits::Limits;
use crate::manifest::config::{ExposedPort, Healthcheck, ImageConfig};
use crate::manifest::{Descriptor, media, write_manifest};
use crate::store::{Replace, Store, StoredImage, store_record};

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    HostFile(PathBuf),
    Link(Vec<u8>),
    Directory,
}

#[derive(Debug)]
struct Node {
    content: Content,
    mode: u32,
    owner: (u32, u32),
}

/// An image of one new layer, from files in memory or on this machine.
///
/// Directories on the way to a file appear by themselves. Times are always zero and entries
/// are sorted, so the digest depends on the content alone.
///
/// ```no_run
/// # use unmoor_image::{ImageBuilder, ImageError, Store};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::open("/var/lib/example/images")?;
/// let image = ImageBuilder::new()
///     .host_file("/app", "target/release/app", 0o755)
///     .entrypoint(["/app"])
///     .expose(8080)
///     .build(&store, &"example/app:1".parse()?)?;
/// println!("{}", image.manifest_digest);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ImageBuilder {
    nodes: BTreeMap<Vec<u8>, Node>,
    owner: (u32, u32),
    base: Option<StoredImage>,
    config: ImageConfig,
    problem: Option<ImageError>,
}

impl Default for ImageBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageBuilder {
    /// An empty image for Linux on this machine's processor.
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
            owner: (0, 0),
            base: None,
            config: ImageConfig::new(Platform::linux_here()),
            problem: None,
        }
    }

    /// Begins with the layers and the configuration of this image; call it first.
    #[must_use]
    pub fn base(mut self, image: &StoredImage) -> Self {
        self.config = image.config.clone();
        self.base = Some(image.clone());
        self
    }

    /// The image is for this platform.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.config.platform = platform;
        self
    }

    /// What is added from here on belongs to this user and group.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        if uid == u32::MAX || gid == u32::MAX {
            self.fail(format!("{uid}:{gid} is not an owner a file can have"));
        }
        self.owner = (uid, gid);
        self
    }

    /// Adds a file with this content.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.node(path, Content::Bytes(content.into()), mode)
    }

    /// Adds a copy of a file of this machine, read when the image is built.
    #[must_use]
    pub fn host_file(self, path: &str, source: impl AsRef<Path>, mode: u32) -> Self {
        self.node(path, Content::HostFile(source.as_ref().to_owned()), mode)
    }

    /// Adds a directory, or sets the permissions of one that is there anyway.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.node(path, Content::Directory, mode)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.node(path, Content::Link(target.as_bytes().to_vec()), 0o777)
    }

    /// Sets the program and its first arguments; a base's arguments no longer apply.
    #[must_use]
    pub fn entrypoint<T: Into<String>>(mut self, command: impl IntoIterator<Item = T>) -> Self {
        self.config.entrypoint = command.into_iter().map(Into::into).collect();
        self.config.cmd.clear();
        self
    }

    /// Sets the further arguments, or the program if there is no entry point.
    #[must_use]
    pub fn cmd<T: Into<String>>(mut self, command: impl IntoIterator<Item = T>) -> Self {
        self.config.cmd = command.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            self.fail(format!(
                "\"{}\" is not the name of a variable",
                name.escape_debug()
            ));
        }
        self.config.set_env(name, value);
        self
    }

    /// Says that the program listens on this TCP port.
    #[must_use]
    pub fn expose(mut self, port: u16) -> Self {
        self.config.exposed_ports.push(ExposedPort {
            port,
            protocol: "tcp".to_owned(),
        });
        self.config.exposed_ports.sort();
        self.config.exposed_ports.dedup();
        self
    }

    /// Sets who runs the program, as `user[:group]` by name or number.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.config.user);
        self
    }

    /// Sets where the program starts.
    #[must_use]
    pub fn working_dir(mut self, dir: &str) -> Self {
        if !dir.starts_with('/') {
            self.fail(format!(
                "working directory \"{}\" is not absolute",
                dir.escape_debug()
            ));
        }
        dir.clone_into(&mut self.config.working_dir);
        self
    }

    /// Says that this directory should get a volume.
    #[must_use]
    pub fn volume(mut self, path: &str) -> Self {
        if !path.starts_with('/') {
            self.fail(format!(
                "volume \"{}\" is not absolute",
                path.escape_debug()
            ));
        }
        self.config.volumes.push(path.to_owned());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.config.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets the signal that asks the program to end.
    #[must_use]
    pub fn stop_signal(mut self, signal: &str) -> Self {
        self.config.stop_signal = Some(signal.to_owned());
        self
    }

    /// Sets how to see whether the program is well.
    #[must_use]
    pub fn healthcheck(mut self, check: Healthcheck) -> Self {
        self.config.healthcheck = Some(check);
        self
    }

    /// Changes the configuration by a line as in `docker import --change`.
    #[must_use]
    pub fn change(mut self, line: &str) -> Self {
        if let Err(problem) = crate::manifest::change::apply(&mut self.config, line) {
            self.fail(problem);
        }
        self
    }

    /// Stores the image under this name, which moves to it.
    pub fn build(self, store: &Store, name: &ImageRef) -> Result<StoredImage, ImageError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let _hold = store.hold()?;
        let mut config = self.config;
        let mut layers = self
            .base
            .as_ref()
            .map(|base| base.layer_descriptors.clone())
            .unwrap_or_default();
        if !self.nodes.is_empty() {
            let nodes = self.nodes;
            let (digest, size) = store.put_with(|target| write_layer(&nodes, target))?;
            config.diff_ids.push(digest.clone());
            layers.push(Descriptor::new(media::OCI_TAR, digest, size));
        }
        put_image(store, name, &config, layers, Replace::Yes)
    }

    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(ImageError::Build(problem));
    }

    fn node(mut self, path: &str, content: Content, mode: u32) -> Self {
        let node = Node {
            content,
            mode: mode & 0o7777,
            owner: self.owner,
        };
        if let Err(problem) = self.insert(path, node) {
            self.fail(problem);
        }
        self
    }

    fn insert(&mut self, path: &str, node: Node) -> Result<(), String> {
        let shown = path.escape_debug();
        let checked = TreePath::parse(path.as_bytes(), &Limits::default())
            .map_err(|problem| format!("path \"{shown}\": {problem}"))?;
        if meaning(&checked).ok() != Some(Meaning::Plain) {
            return Err(format!("path \"{shown}\" has a reserved name"));
        }
        let is_directory = matches!(node.content, Content::Directory);
        if checked.is_root() && !is_directory {
            return Err(format!("path \"{shown}\" is the root directory"));
        }
        let mut above = checked.parent();
        while !above.is_root() {
            let known = self.nodes.entry(above.as_bytes().to_vec()).or_insert(Node {
                content: Content::Directory,
                mode: 0o755,
                owner: (0, 0),
            });
            if !matches!(known.content, Content::Directory) {
                return Err(format!(
                    "path \"{shown}\" lies beneath what is not a directory"
                ));
            }
            above = above.parent();
        }
        let replaced = self.nodes.insert(checked.as_bytes().to_vec(), node);
        let was_directory = replaced.is_some_and(|n| matches!(n.content, Content::Directory));
        if was_directory && !is_directory {
            return Err(format!("path \"{shown}\" is also a directory"));
        }
        Ok(())
    }
}

/// Stores configuration and manifest over stored layers, and names them.
pub(crate) fn put_image(
    store: &Store,
    name: &ImageRef,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    replace: Replace,
) -> Result<StoredImage, ImageError> {
    let content = config.write();
    let config_digest = store.put_document(&content)?;
    let config_size = content.len() as u64;
    let descriptor = Descriptor::new(media::OCI_CONFIG, config_digest, config_size);
    let manifest = store.put_document(&write_manifest(descriptor, layers))?;
    let record = store_record(name, manifest, None);
    let image = store.load_image(&record.reference, &record)?;
    store.set_ref(&record, replace)?;
    Ok(image)
}

fn write_layer(nodes: &BTreeMap<Vec<u8>, Node>, target: &mut dyn Write) -> Result<(), ImageError> {
    let mut archive = TarWriter::new(target);
    for (path, node) in nodes {
        let (uid, gid) = node.owner;
        let meta = Meta {
            mode: node.mode,
            uid,
            gid,
            ..Meta::default()
        };
        let header = |kind, link, size| Header {
            name: path,
            kind,
            link,
            size,
            meta: &meta,
        };
        let place = Path::new("a new layer");
        match &node.content {
            Content::Directory => archive
                .entry(&header(Kind::Directory, b"", 0), &mut io::empty())
                .at("write", place)?,
            Content::Link(to) => {
                archive
                    .entry(&header(Kind::Symlink, to, 0), &mut io::empty())
                    .at("write", place)?;
            }
            Content::Bytes(bytes) => archive
                .entry(
                    &header(Kind::File, b"", bytes.len() as u64),
                    &mut bytes.as_slice(),
                )
                .at("write", place)?,
            Content::HostFile(source) => {
                let mut file = File::open(source).at("open", source)?;
                let known = file.metadata().at("look at", source)?;
                if !known.is_file() {
                    let source = source.display();
                    return Err(ImageError::Build(format!("{source} is not a regular file")));
                }
                archive
                    .entry(&header(Kind::File, b"", known.len()), &mut file)
                    .at("copy", source)?;
            }
        }
    }
    archive.finish().at("write", "a new layer")?;
    Ok(())
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
