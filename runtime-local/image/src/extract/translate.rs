//! Turns archive entries into checked operations; nothing here touches the file system.

use unmoor_core::image::Digest;

use super::Summary;
use super::op::{Meta, Op, Sink};
use super::path::TreePath;
use super::tar::{Entry, Kind, TarReader, TarSource};
use super::whiteout::{Meaning, meaning};
use crate::error::{LayerProblem, shown};
use crate::limits::Limits;

const MOST_NOTES: usize = 64;

/// The rules for what an entry of a layer may be.
#[derive(Debug)]
pub(crate) struct Translator {
    limits: Limits,
    entries: u64,
    directories: u64,
    notes: Vec<String>,
    opaque_root: bool,
}

impl Translator {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: 0,
            directories: 0,
            notes: Vec::new(),
            opaque_root: false,
        }
    }

    /// What happened, for a layer that turned out to have this content.
    pub(crate) fn summary(self, diff_id: Digest, bytes: u64) -> Summary {
        Summary {
            diff_id,
            bytes,
            entries: self.entries,
            notes: self.notes,
            opaque_root: self.opaque_root,
        }
    }

    /// Checks one entry and hands it to the sink.
    pub(crate) fn entry<R: TarSource>(
        &mut self,
        mut entry: Entry,
        archive: &mut TarReader<R>,
        sink: &mut dyn Sink,
    ) -> Result<(), LayerProblem> {
        self.entries += 1;
        let path = TreePath::parse(&entry.name, &self.limits)?;
        match meaning(&path)? {
            Meaning::Plain => {}
            Meaning::Reserved => {
                self.note(&entry.name, "reserved name of another union file system");
                return Ok(());
            }
            Meaning::Hides(path) => return whiteout(&entry, Op::Whiteout { path }, sink),
            Meaning::HidesAll(dir) => {
                self.opaque_root |= dir.is_root();
                return whiteout(&entry, Op::Opaque { dir }, sink);
            }
        }
        if path.is_root() && entry.kind != Kind::Directory {
            return Err(LayerProblem::refused(
                "it would replace the root directory itself",
            ));
        }
        self.keep_allowed_xattrs(&mut entry);
        match entry.kind {
            Kind::File => file(path, entry.meta, archive, sink),
            Kind::Directory => self.directory(path, entry.meta, sink),
            Kind::Symlink => symlink(path, entry, sink),
            Kind::Hardlink => {
                let target = TreePath::parse(&entry.link, &self.limits)?;
                if !matches!(meaning(&target)?, Meaning::Plain) || target.is_root() {
                    return Err(LayerProblem::refused(
                        "it links to a whiteout or to the root",
                    ));
                }
                sink.apply(Op::Hardlink { path, target })
            }
            Kind::Fifo => sink.apply(Op::Fifo {
                path,
                meta: entry.meta,
            }),
            Kind::CharDevice | Kind::BlockDevice => {
                // Devices are given to a container by whoever starts it, never by an image.
                self.note(&entry.name, "device node");
                Ok(())
            }
        }
    }

    fn directory(
        &mut self,
        path: TreePath,
        meta: Meta,
        sink: &mut dyn Sink,
    ) -> Result<(), LayerProblem> {
        self.directories += 1;
        let most = self.limits.layer_directories;
        if self.directories > most {
            return Err(LayerProblem::limit(format!("more than {most} directories")));
        }
        sink.apply(Op::Dir { path, meta })
    }

    /// Only what belongs to the file itself may come from an image: overlay's own attributes
    /// would reach into other layers, trusted and security ones into the host.
    fn keep_allowed_xattrs(&mut self, entry: &mut Entry) {
        let name = &entry.name;
        let mut dropped = Vec::new();
        entry.meta.xattrs.retain(|(key, _)| {
            let of_overlay = key.starts_with(b"user.overlay.");
            let fits = key.len() <= 255 && !key.contains(&0);
            let kept =
                fits && key.starts_with(b"user.") && !of_overlay || key == b"security.capability";
            if !kept {
                dropped.push(shown(key));
            }
            kept
        });
        let name = name.clone();
        for key in dropped {
            self.note(&name, &format!("extended attribute {key}"));
        }
    }

    fn note(&mut self, name: &[u8], what: &str) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(format!("left out {}: {what}", shown(name)));
        }
    }
}

fn whiteout(entry: &Entry, op: Op<'_>, sink: &mut dyn Sink) -> Result<(), LayerProblem> {
    if entry.kind != Kind::File {
        return Err(LayerProblem::refused(
            "it is a whiteout but not a plain file",
        ));
    }
    sink.apply(op)
}

fn file<R: TarSource>(
    path: TreePath,
    meta: Meta,
    archive: &mut TarReader<R>,
    sink: &mut dyn Sink,
) -> Result<(), LayerProblem> {
    sink.apply(Op::File { path, meta })?;
    archive.content(|bytes| sink.apply(Op::Data(bytes)))?;
    sink.apply(Op::EndFile)
}

fn symlink(path: TreePath, entry: Entry, sink: &mut dyn Sink) -> Result<(), LayerProblem> {
    if entry.link.len() > 4095 || entry.link.contains(&0) {
        return Err(LayerProblem::refused(
            "its target is too long or has a NUL byte",
        ));
    }
    sink.apply(Op::Symlink {
        path,
        target: entry.link,
        meta: entry.meta,
    })
}
