//! Layers: plain or gzipped tar, put one upon another in memory.

use std::io::{self, Read};
use std::sync::Arc;

use unmoor_core::Result;

use super::wrong;
use crate::model::{Kind, Node, Tree, normal, parent};

/// More than this is not unpacked.
const LARGEST: u64 = 1 << 30;

/// All bytes of a file that may be gzipped.
pub(super) fn plain(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(LARGEST).read_to_end(&mut bytes)?;
    unpacked(bytes)
}

fn unpacked(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice())
        .take(LARGEST)
        .read_to_end(&mut plain)?;
    Ok(plain)
}

/// Puts a layer upon a tree.
pub(super) fn apply(tree: &mut Tree, layer: &[u8]) -> Result<()> {
    if layer.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(unmoor_core::Error::new(
            unmoor_core::ErrorKind::Unsupported,
            "load image: the model reads plain and gzipped layers, not zstd",
        ));
    }
    let broken = |error: io::Error| wrong("load image: a layer is not a tar file").because(error);
    let bytes = unpacked(layer.to_vec()).map_err(broken)?;
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        add(tree, &mut entry).map_err(broken)?;
    }
    Ok(())
}

fn add(tree: &mut Tree, entry: &mut tar::Entry<'_, &[u8]>) -> io::Result<()> {
    let path = normal("/", &String::from_utf8_lossy(&entry.path_bytes()));
    let name = path.rsplit('/').next().unwrap_or_default();
    if name == ".wh..wh..opq" {
        tree.remove_below(&parent(&path));
        return Ok(());
    }
    if let Some(hidden) = name.strip_prefix(".wh.") {
        tree.remove(&normal(&parent(&path), hidden));
        return Ok(());
    }
    let header = entry.header();
    let id = |value: io::Result<u64>| {
        value
            .ok()
            .and_then(|id| u32::try_from(id).ok())
            .unwrap_or(0)
    };
    let (mode, uid, gid) = (header.mode()? & 0o7777, id(header.uid()), id(header.gid()));
    let kind = match header.entry_type() {
        tar::EntryType::Directory => Kind::Folder,
        tar::EntryType::Symlink => match entry.link_name_bytes() {
            Some(target) => Kind::Link(String::from_utf8_lossy(&target).into_owned()),
            None => return Ok(()),
        },
        tar::EntryType::Link => {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = normal("/", &String::from_utf8_lossy(&target));
            match tree.get(&target) {
                Some(node) => node.kind.clone(),
                None => return Ok(()),
            }
        }
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            Kind::File(Arc::new(content))
        }
        // Devices and pipes have no meaning in the model.
        _ => return Ok(()),
    };
    if kind != Kind::Folder {
        tree.remove(&path);
    }
    tree.put(
        &path,
        Node {
            kind,
            mode,
            uid,
            gid,
        },
    );
    Ok(())
}
