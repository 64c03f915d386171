//! The image the suite brings along: the probe, two users, a few folders.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use unmoor_core::image::{ImageRef, Platform};
use unmoor_core::{Error, ErrorKind, Result};

/// The probe's program; empty where it could not be built.
pub(crate) const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));

const PASSWD: &str = "root:x:0:0:root:/:/probe\napp:x:1000:1000:app:/:/probe\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\nextra:x:2000:app\n";

/// Repository of the suite's images.
const REPOSITORY: &str = "unmoor-conformance/probe";

/// A name of the suite's image; every tag is another image with the same program.
///
/// # Panics
/// If `tag` is no valid tag.
#[must_use]
pub(crate) fn reference(tag: &str) -> ImageRef {
    format!("{REPOSITORY}:{tag}")
        .parse()
        .expect("the suite's own names are valid")
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        Error::new(
            ErrorKind::Internal,
            format!("write the probe's image: {what}"),
        )
        .because(error)
    }
}

fn needed() -> Result<&'static [u8]> {
    if PROBE.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the probe runs on Linux only, and this suite was built for another system",
        )
        .hint("name an image that has the probe already"));
    }
    Ok(PROBE)
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(
        &mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        content: &[u8],
    ) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(u64::try_from(content.len()).expect("a small file"));
        self.0.append_data(&mut header, path, content)
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, tar::EntryType::Regular, mode, content)
    }

    fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.entry(path, tar::EntryType::Directory, mode, &[])
    }

    fn end(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

/// The one layer: every file of the image.
fn layer() -> Result<Vec<u8>> {
    let program = needed()?;
    let write = || {
        let mut tar = Tar::new();
        tar.file("probe", 0o755, program)?;
        tar.folder("etc", 0o755)?;
        tar.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
        tar.file("etc/group", 0o644, GROUP.as_bytes())?;
        for (path, mode) in [
            ("data", 0o755),
            ("run", 0o755),
            ("area", 0o777),
            ("tmp", 0o1777),
        ] {
            tar.folder(path, mode)?;
        }
        tar.end()
    };
    write().map_err(failed("the layer"))
}

fn config(tag: &str, layer: &[u8]) -> Vec<u8> {
    let platform = Platform::linux_here();
    let value = json!({
        "architecture": platform.arch(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/probe"],
            "Cmd": ["serve"],
            "Env": ["PATH=/", format!("PROBE_IMAGE={tag}")],
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
        "history": [{ "created_by": "unmoor-conformance" }],
    });
    serde_json::to_vec(&value).expect("plain data")
}

/// Writes an OCI layout with one image for each tag into a tar file.
pub(crate) fn write_layout(folder: &Path, tags: &[&str]) -> Result<PathBuf> {
    let layer = layer()?;
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut add = |media: &str, bytes: Vec<u8>| -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({ "mediaType": media, "digest": digest, "size": bytes.len() });
        blobs.insert(digest, bytes);
        descriptor
    };
    let mut manifests = Vec::new();
    for tag in tags {
        let config = add(
            "application/vnd.oci.image.config.v1+json",
            config(tag, &layer),
        );
        let layers = [add("application/vnd.oci.image.layer.v1.tar", layer.clone())];
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&manifest).expect("plain data");
        let mut descriptor = add("application/vnd.oci.image.manifest.v1+json", bytes);
        let name = reference(tag).to_string();
        descriptor["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name,
        });
        manifests.push(descriptor);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    let write = || {
        let mut tar = Tar::new();
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar.file(
            "index.json",
            0o644,
            &serde_json::to_vec(&index).expect("plain data"),
        )?;
        for (digest, bytes) in &blobs {
            let path = format!("blobs/{}", digest.replace(':', "/"));
            tar.file(&path, 0o644, bytes)?;
        }
        let path = folder.join("layout.tar");
        fs::write(&path, tar.end()?).map(|()| path)
    };
    write().map_err(failed("the layout"))
}

/// Writes what `docker save` would write for one image.
pub(crate) fn write_docker(folder: &Path, tag: &str) -> Result<PathBuf> {
    let layer = layer()?;
    let config = config(tag, &layer);
    let name = digest(&config).replace("sha256:", "") + ".json";
    let list = json!([{
        "Config": name,
        "RepoTags": [format!("{REPOSITORY}:{tag}")],
        "Layers": ["layer/layer.tar"],
    }]);
    let write = || {
        let mut tar = Tar::new();
        tar.file(
            "manifest.json",
            0o644,
            &serde_json::to_vec(&list).expect("plain data"),
        )?;
        tar.file(&name, 0o644, &config)?;
        tar.file("layer/layer.tar", 0o644, &layer)?;
        let path = folder.join("docker.tar");
        fs::write(&path, tar.end()?).map(|()| path)
    };
    write().map_err(failed("the docker archive"))
}

/// Writes the files of the image alone.
pub(crate) fn write_rootfs(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("rootfs.tar");
    fs::write(&path, layer()?).map_err(failed("the files"))?;
    Ok(path)
}
