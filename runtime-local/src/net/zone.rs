//! The library's half of the shared zones: services and links are written, endpoints are read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::NetError;
use crate::wire::zone::{EndpointFile, Link, MAX_FILE, ServiceFile, is_file_name, is_name};

/// The folder of a network's zone.
pub(crate) fn zone_dir(root: &Path, network: &str) -> Result<PathBuf, NetError> {
    if is_file_name(network) {
        Ok(root.join("run/net").join(network))
    } else {
        Err(NetError::BadName(network.to_owned()))
    }
}

/// Writes or replaces a service of a network; replicas see it at once.
pub(crate) fn write_service(zone: &Path, service: &ServiceFile) -> Result<(), NetError> {
    let names = [&service.name].into_iter().chain(&service.aliases);
    check(names.chain(service.ports.iter().map(|port| &port.name)))?;
    let text = service.format();
    match put(&zone.join("svc"), &service.name, &text) {
        Err(NetError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            for part in ["svc", "ep"] {
                let folder = zone.join(part);
                fs::create_dir_all(&folder).map_err(NetError::file("make", folder))?;
            }
            put(&zone.join("svc"), &service.name, &text)?;
        }
        other => other?,
    }
    wake_all(zone);
    Ok(())
}

/// Removes a service of a network; absent is fine.
pub(crate) fn remove_service(zone: &Path, service: &str) -> Result<(), NetError> {
    check([&service.to_owned()])?;
    remove(&zone.join("svc").join(service))?;
    wake_all(zone);
    Ok(())
}

/// Removes the endpoint of a replica whose shim is gone; absent is fine.
pub(crate) fn remove_endpoint(zone: &Path, replica: &str) -> Result<(), NetError> {
    if !is_file_name(replica) {
        return Err(NetError::BadName(replica.to_owned()));
    }
    remove(&zone.join("ep").join(replica))?;
    wake_all(zone);
    Ok(())
}

/// Whether a network's zone is there; it goes with the run directory.
pub(crate) fn has_zone(zone: &Path) -> bool {
    ["svc", "ep", "record"]
        .iter()
        .all(|part| zone.join(part).exists())
}

/// Removes a network's zone; absent is fine.
pub(crate) fn remove_zone(zone: &Path) -> Result<(), NetError> {
    match fs::remove_dir_all(zone) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetError::file("remove", zone)(error))
        }
        _ => Ok(()),
    }
}

/// Replaces the private links of a replica; a running one follows at once.
pub(crate) fn write_links(file: &Path, links: &[Link]) -> Result<(), NetError> {
    check(links.iter().flat_map(|link| [&link.alias, &link.service]))?;
    if let Some(link) = links.iter().find(|link| !is_file_name(&link.network)) {
        return Err(NetError::BadName(link.network.clone()));
    }
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|n| n.to_str()))
    else {
        return Err(NetError::BadName(file.display().to_string()));
    };
    put(folder, name, &Link::format_all(links))?;
    wake(&folder.join(format!("{name}.wake")));
    Ok(())
}

/// The ready replicas on a network. What cannot be read is not ready.
pub(crate) fn read_endpoints(zone: &Path) -> Result<Vec<EndpointFile>, NetError> {
    let folder = zone.join("ep");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(NetError::file("list", &folder))?,
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_file_name(name))
        .filter_map(|name| {
            let file = EndpointFile::parse(&read(&folder.join(&name)).ok()?).ok()?;
            (file.replica == name).then_some(file)
        })
        .collect();
    found.sort_by(|one, other| one.replica.cmp(&other.replica));
    Ok(found)
}

fn check<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), NetError> {
    match names.into_iter().find(|name| !is_name(name)) {
        Some(name) => Err(NetError::BadName(name.clone())),
        None => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), NetError> {
    // Two libraries may write the same file at once: each has a hidden file of its own.
    let hidden = folder.join(format!(".{name}.{}", std::process::id()));
    let path = folder.join(name);
    fs::write(&hidden, text)
        .and_then(|()| fs::rename(&hidden, &path))
        .map_err(NetError::file("write", path))
}

fn remove(path: &Path) -> Result<(), NetError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Wakes the shims that could not have an inotify descriptor and read a pipe instead.
fn wake_all(zone: &Path) {
    let Ok(entries) = fs::read_dir(zone.join("wake")) else {
        return;
    };
    entries
        .filter_map(Result::ok)
        .for_each(|entry| wake(&entry.path()));
}

fn wake(pipe: &Path) {
    const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    // A pipe that nobody reads is left over; a full one is going to wake its reader anyway.
    let pipe = File::options()
        .write(true)
        .custom_flags(NONBLOCK)
        .open(pipe);
    if let Ok(mut pipe) = pipe {
        let _ = pipe.write(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_names_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        let zone = zone_dir(folder.path(), "shop-default").unwrap();
        assert!(zone_dir(folder.path(), "../x").is_err());
        let service = ServiceFile {
            name: "web".into(),
            ..ServiceFile::default()
        };
        write_service(&zone, &service).unwrap();
        let text = fs::read(zone.join("svc/web")).unwrap();
        assert_eq!(ServiceFile::parse(&text), Ok(service.clone()));
        for bad in ["../web", "a b", "a\nname b", ""] {
            let service = ServiceFile {
                name: bad.into(),
                ..ServiceFile::default()
            };
            assert!(write_service(&zone, &service).is_err(), "{bad:?}");
        }
        assert_eq!(
            fs::read_dir(zone.join("svc")).unwrap().count(),
            1,
            "no hidden file is left"
        );
        remove_service(&zone, "web").unwrap();
        remove_service(&zone, "web").unwrap();
        remove_zone(&zone).unwrap();
        remove_zone(&zone).unwrap();
    }

    #[test]
    fn endpoints_speak_only_for_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let zone = folder.path();
        assert_eq!(read_endpoints(zone).unwrap(), []);
        fs::create_dir(zone.join("ep")).unwrap();
        let file = EndpointFile {
            replica: "web-1".into(),
            service: "web".into(),
            address: Some("10.201.0.2".parse().unwrap()),
            weight: 1,
            names: Vec::new(),
        };
        fs::write(zone.join("ep/web-1"), file.format()).unwrap();
        fs::write(zone.join("ep/web-2"), file.format()).unwrap();
        fs::write(zone.join("ep/web-3"), "unmoor-endpoint 1\n").unwrap();
        fs::write(zone.join("ep/.web-1.new"), file.format()).unwrap();
        assert_eq!(read_endpoints(zone).unwrap(), [file]);
    }
}
