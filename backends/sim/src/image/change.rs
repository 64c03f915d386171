//! Root file systems made into images, with changes as `docker import --change` takes them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use unmoor_core::backend::ImageDefaults;
use unmoor_core::{Error, ErrorKind, Result};

use super::{Image, config, digest_of, layer, wrong};
use crate::model::{Kind, Node, Tree};

pub(super) fn import(path: &Path, changes: &[String]) -> Result<Image> {
    let fail = |error: std::io::Error| {
        let text = format!("import image: read {}", path.display());
        Error::new(ErrorKind::InvalidSpec, text).because(error)
    };
    let mut files = Tree::new();
    let mut content = Vec::new();
    if fs::metadata(path).map_err(fail)?.is_dir() {
        folder(&mut files, path, "", &mut content).map_err(fail)?;
    } else {
        let file = fs::File::open(path).map_err(fail)?;
        content = layer::plain(file).map_err(fail)?;
        layer::apply(&mut files, &content)?;
    }
    let mut defaults = ImageDefaults::default();
    for line in changes {
        change(&mut defaults, line)?;
    }
    let described =
        serde_json::to_vec(&json!({ "config": defaults, "layer": digest_of(&content) }));
    Ok(Image {
        digest: digest_of(&described.expect("plain data")),
        size: u64::try_from(content.len()).unwrap_or(u64::MAX),
        created: None,
        defaults,
        files,
    })
}

/// Takes a folder in; `content` collects what makes it differ from others.
fn folder(
    tree: &mut Tree,
    path: &Path,
    inside: &str,
    content: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{inside}/{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata()?;
        let mode = meta.permissions().mode() & 0o7777;
        let kind = if meta.is_dir() {
            Kind::Folder
        } else if meta.is_symlink() {
            Kind::Link(fs::read_link(entry.path())?.to_string_lossy().into_owned())
        } else {
            let mut bytes = Vec::new();
            fs::File::open(entry.path())?.read_to_end(&mut bytes)?;
            content.extend_from_slice(digest_of(&bytes).as_str().as_bytes());
            Kind::File(bytes.into())
        };
        content.extend_from_slice(format!("{name} {mode:o}\n").as_bytes());
        let is_folder = kind == Kind::Folder;
        tree.put(
            &name,
            Node {
                kind,
                mode,
                uid: 0,
                gid: 0,
            },
        );
        if is_folder {
            folder(tree, &entry.path(), &name, content)?;
        }
    }
    Ok(())
}

/// The exec form (JSON) or the shell form of a command.
fn command(text: &str) -> Vec<String> {
    match serde_json::from_str(text) {
        Ok(words) => words,
        Err(_) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
    }
}

fn change(defaults: &mut ImageDefaults, line: &str) -> Result<()> {
    let (word, rest) = line
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    match word.to_ascii_uppercase().as_str() {
        "ENTRYPOINT" => defaults.entrypoint = command(rest),
        "CMD" => defaults.command = command(rest),
        "ENV" => {
            let pair = match rest.split_once('=') {
                Some(_) => rest.to_owned(),
                None => rest.replacen(' ', "=", 1),
            };
            defaults.env.push(pair);
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                defaults.exposed.push(config::parse_port(port)?);
            }
        }
        "USER" => defaults.user = Some(rest.to_owned()),
        "WORKDIR" => defaults.working_dir = Some(rest.to_owned()),
        "VOLUME" => {
            let paths = serde_json::from_str::<Vec<String>>(rest);
            let plain = || rest.split_whitespace().map(str::to_owned).collect();
            defaults.volumes.extend(paths.unwrap_or_else(|_| plain()));
        }
        "STOPSIGNAL" => defaults.stop_signal = Some(rest.to_owned()),
        "LABEL" => {}
        _ => {
            let shown = line.escape_default();
            return Err(wrong(format!(
                "import image: `{shown}` is no change of an image"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_in_both_forms() {
        let mut defaults = ImageDefaults::default();
        for line in [
            "ENTRYPOINT [\"/probe\"]",
            "CMD serve me",
            "ENV A=b c",
            "EXPOSE 80 53/udp",
        ] {
            change(&mut defaults, line).expect(line);
        }
        assert_eq!(defaults.entrypoint, ["/probe"]);
        assert_eq!(defaults.command, ["/bin/sh", "-c", "serve me"]);
        assert_eq!(defaults.env, ["A=b c"]);
        assert_eq!(defaults.exposed.len(), 2);
        assert!(change(&mut defaults, "RUN x").is_err());
    }
}
