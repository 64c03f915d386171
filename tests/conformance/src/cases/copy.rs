//! Files copied into and out of replicas, and that none of them leads elsewhere.

use futures_util::{StreamExt, TryStreamExt};
use unmoor_core::ErrorKind;
use unmoor_core::backend::{FileKind, Ownership, Stream};
use unmoor_core::name::ReplicaId;
use unmoor_core::spec::{Mount, Volume};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "copy";
    /// What is copied into a replica and out again is the same, content, names and modes.
    copy_there_and_back [Spawn, Copy, Exec];
    /// A file of more than a few buffers comes out whole.
    copy_large_file [Spawn, Copy, Exec];
    /// Files copied into a volume are in the volume.
    copy_reaches_volumes [Spawn, Copy, Exec, Volumes];
    /// Links in an archive, or inside, lead to places inside the replica only.
    copy_stays_inside [Spawn, Copy, Exec];
    /// Names that lead out of the directory are refused, and so is what is no archive.
    copy_refuses_bad_archives [Spawn, Copy];
    /// What is not there, or does not run, cannot be copied from.
    copy_needs_a_file_and_a_replica [Spawn, Copy];
    /// Copied files are root's, or the archive's user's where that is asked for.
    copy_sets_owners [Spawn, Copy, Exec];
    /// A read-only root file system is not written by a copy.
    copy_respects_read_only [Spawn, Copy, ReadOnlyRoot];
}

/// One entry of an archive.
struct Item<'a> {
    name: &'a str,
    mode: u32,
    what: What<'a>,
}

enum What<'a> {
    File(&'a [u8]),
    Folder,
    Link(&'a str),
}

fn file<'a>(name: &'a str, mode: u32, content: &'a [u8]) -> Item<'a> {
    let what = What::File(content);
    Item { name, mode, what }
}

fn archive(items: &[Item<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mode(item.mode);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_size(0);
        let content = match item.what {
            What::File(content) => content,
            What::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                &[]
            }
            What::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header
                    .set_link_name_literal(target)
                    .expect("a short target");
                &[]
            }
        };
        header.set_size(content.len() as u64);
        // Written as it is: a builder would refuse the names that the cases are about.
        let name = &mut header.as_old_mut().name;
        name[..item.name.len()].copy_from_slice(item.name.as_bytes());
        header.set_cksum();
        archive.append(&header, content).expect("memory takes it");
    }
    archive.into_inner().expect("memory takes it")
}

/// The archive in pieces that end in the middle of everything.
fn stream(bytes: Vec<u8>) -> Stream<Vec<u8>> {
    let pieces: Vec<_> = bytes.chunks(700).map(|piece| Ok(piece.to_vec())).collect();
    futures_util::stream::iter(pieces).boxed()
}

async fn put(t: &Fixture, id: &ReplicaId, folder: &str, items: &[Item<'_>]) -> Verdict {
    let bytes = stream(archive(items));
    let owner = Ownership::Root;
    Ok(t.client().write_files(id, folder, bytes, owner).await?)
}

async fn kind_of(t: &Fixture, id: &ReplicaId, folder: &str, bytes: Vec<u8>) -> Option<ErrorKind> {
    let outcome = t
        .client()
        .write_files(id, folder, stream(bytes), Ownership::Root)
        .await;
    outcome.err().map(|error| error.kind())
}

/// Names, modes and contents of an archive.
async fn get(
    t: &Fixture,
    id: &ReplicaId,
    path: &str,
) -> Result<Vec<(String, u32, Vec<u8>)>, Failure> {
    use std::io::Read as _;
    let bytes = t.client().read_files(id, path).await?.try_concat().await?;
    let mut found = Vec::new();
    let broken = |error: std::io::Error| Failure::Failed(format!("read the archive: {error}"));
    for entry in tar::Archive::new(bytes.as_slice())
        .entries()
        .map_err(broken)?
    {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mode = entry.header().mode().map_err(broken)? & 0o7777;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(broken)?;
        if let Some(target) = entry.link_name_bytes() {
            content = target.to_vec();
        }
        found.push((name.trim_end_matches('/').to_owned(), mode, content));
    }
    found.sort();
    Ok(found)
}

async fn one(t: &Fixture) -> Result<ReplicaId, Failure> {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    Ok(slot(&stack.name, "a", 1))
}

async fn copy_there_and_back(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let deep = "d/a-name-of-some-length-that-is-below-the-limit-of-the-oldest-form-of-archives/x";
    let folder = Item {
        name: "d/",
        mode: 0o750,
        what: What::Folder,
    };
    let above = &deep[..deep.len() - 1];
    let inner = Item {
        name: above,
        mode: 0o755,
        what: What::Folder,
    };
    let link = Item {
        name: "d/link",
        mode: 0o777,
        what: What::Link("x"),
    };
    let items = [
        folder,
        inner,
        file("d/x", 0o640, b"one"),
        file(deep, 0o755, b"two"),
        file("d/empty", 0o644, b""),
        link,
    ];
    put(t, &a, "/area", &items).await?;
    ensure_eq!(t.ok(&a, "read /area/d/x").await?, "one", "what is inside");
    let wanted = [
        ("d", 0o750, ""),
        (above.trim_end_matches('/'), 0o755, ""),
        (deep, 0o755, "two"),
        ("d/empty", 0o644, ""),
        ("d/link", 0o777, "x"),
        ("d/x", 0o640, "one"),
    ];
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(name, mode, text)| ((*name).to_owned(), *mode, text.as_bytes().to_vec()))
        .collect();
    ensure_eq!(get(t, &a, "/area/d").await?, wanted, "what came back");
    let x = get(t, &a, "/area/d/x").await?;
    ensure_eq!(
        x,
        [("x".to_owned(), 0o640, b"one".to_vec())],
        "a single file"
    );
    put(t, &a, "/area/d", &[file("x", 0o600, b"three")]).await?;
    ensure_eq!(
        t.ok(&a, "read /area/d/x").await?,
        "three",
        "what replaced it"
    );
    let seen = t.client().stat(&a, "/area/d/x").await?;
    ensure_eq!(
        (seen.kind, seen.size, seen.mode),
        (FileKind::File, 5, 0o600),
        "its stat"
    );
    let seen = t.client().stat(&a, "/area/d/link").await?;
    ensure_eq!(
        (seen.kind, seen.target),
        (FileKind::Link, Some("x".to_owned())),
        "a link's stat"
    );
    Ok(())
}

async fn copy_large_file(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let content: Vec<u8> = (0..1_000_003_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    put(t, &a, "/area", &[file("large", 0o644, &content)]).await?;
    let back = get(t, &a, "/area/large").await?;
    ensure_eq!(back.len(), 1, "entries");
    ensure!(
        back[0].2 == content,
        "{} bytes came back, or others",
        back[0].2.len()
    );
    let inside = t.ok(&a, "stat /area/large").await?;
    ensure!(inside.contains(" 1000003 "), "inside: {inside}");
    Ok(())
}

async fn copy_reaches_volumes(t: &Fixture) -> Verdict {
    let data = unmoor_core::name::VolumeName::parse("data")?;
    let with = || t.server("").mount(Mount::volume(data.clone(), "/data"));
    let mut stack = t
        .stack()
        .service(named("a"), with())
        .service(named("b"), with());
    stack.volumes.insert(data.clone(), Volume::default());
    t.up(&stack).await?;
    put(
        t,
        &slot(&stack.name, "a", 1),
        "/data",
        &[file("x", 0o644, b"shared")],
    )
    .await?;
    let b = slot(&stack.name, "b", 1);
    ensure_eq!(
        t.ok(&b, "read /data/x").await?,
        "shared",
        "in the other replica"
    );
    let back = get(t, &b, "/data/x").await?;
    ensure_eq!(
        back,
        [("x".to_owned(), 0o644, b"shared".to_vec())],
        "out of the other"
    );
    Ok(())
}

async fn copy_stays_inside(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let name = format!("unmoor-escape-{}", a.stack);
    let link = |name, target| Item {
        name,
        mode: 0o777,
        what: What::Link(target),
    };
    let far = "../../../../../../../../../../../..";
    put(
        t,
        &a,
        "/area",
        &[
            link("up", far),
            link("root", "/"),
            link("proc", "/proc/1/root"),
        ],
    )
    .await?;
    for way in ["up", "root"] {
        let path = format!("{way}/{name}-{way}");
        put(t, &a, "/area", &[file(&path, 0o644, b"inside")]).await?;
        let read = t.ok(&a, &format!("read /{name}-{way}")).await?;
        ensure_eq!(read, "inside", "what was written through `{way}`");
        let back = get(t, &a, &format!("/area/{path}")).await?;
        ensure_eq!(back.len(), 1, "read through `{way}`");
        let outside = std::path::Path::new("/").join(format!("{name}-{way}"));
        ensure!(
            !outside.exists(),
            "{} was written outside",
            outside.display()
        );
    }
    // Such links lead the kernel itself elsewhere; whatever becomes of this, it is not outside.
    let _ = put(
        t,
        &a,
        "/area",
        &[file("proc/unmoor-escape-proc", 0o644, b"x")],
    )
    .await;
    let outside = std::path::Path::new("/unmoor-escape-proc");
    ensure!(
        !outside.exists(),
        "{} was written outside",
        outside.display()
    );
    Ok(())
}

async fn copy_refuses_bad_archives(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let bad = archive(&[file("../escape", 0o644, b"x")]);
    ensure_eq!(
        kind_of(t, &a, "/area", bad).await,
        Some(ErrorKind::InvalidSpec),
        "a way out"
    );
    let text = vec![b'x'; 2048];
    ensure_eq!(
        kind_of(t, &a, "/area", text).await,
        Some(ErrorKind::InvalidSpec),
        "no archive"
    );
    let good = archive(&[file("x", 0o644, b"x")]);
    let mut cut = archive(&[file("x", 0o644, &[7; 5000])]);
    cut.truncate(3000);
    ensure_eq!(
        kind_of(t, &a, "/area", cut).await,
        Some(ErrorKind::InvalidSpec),
        "half an archive"
    );
    put(t, &a, "/area", &[file("f", 0o644, b"x")]).await?;
    let below = kind_of(t, &a, "/area/f", good.clone()).await;
    ensure_eq!(
        below,
        Some(ErrorKind::InvalidSpec),
        "a file as the directory"
    );
    let folder = archive(&[Item {
        name: "f",
        mode: 0o755,
        what: What::Folder,
    }]);
    let over = kind_of(t, &a, "/area", folder).await;
    ensure_eq!(
        over,
        Some(ErrorKind::InvalidSpec),
        "a directory over a file"
    );
    ensure_eq!(
        kind_of(t, &a, "/not/there", good).await,
        Some(ErrorKind::NotFound),
        "no directory"
    );
    Ok(())
}

async fn copy_needs_a_file_and_a_replica(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let kind = async |id: &ReplicaId, path: &str| {
        let read = t.client().read_files(id, path).await;
        read.err().map(|error| error.kind())
    };
    ensure_eq!(
        kind(&a, "/not/there").await,
        Some(ErrorKind::NotFound),
        "no such file"
    );
    let none = slot(&a.stack, "a", 99);
    ensure_eq!(
        kind(&none, "/etc").await,
        Some(ErrorKind::NotFound),
        "no such replica"
    );
    let seen = t.client().stat(&a, "/not/there").await;
    let seen = seen.err().map(|error| error.kind());
    ensure_eq!(seen, Some(ErrorKind::NotFound), "stat of no file");
    Ok(())
}

async fn copy_sets_owners(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let bytes = || stream(archive(&[file("x", 0o644, b"x")]));
    let owner_is = async |wanted: &str| {
        let seen = t.ok(&a, "stat /area/x").await?;
        ensure!(
            seen.starts_with(&format!("0644 {wanted} ")),
            "{seen} is not {wanted}"
        );
        Ok::<(), Failure>(())
    };
    t.client()
        .write_files(&a, "/area", bytes(), Ownership::Root)
        .await?;
    owner_is("0 0").await?;
    t.client()
        .write_files(&a, "/area", bytes(), Ownership::Archive)
        .await?;
    owner_is("1000 1000").await
}

async fn copy_respects_read_only(t: &Fixture) -> Verdict {
    let mut service = t.probe("sleep");
    service.security.read_only = true;
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let bytes = archive(&[file("x", 0o644, b"x")]);
    let kind = kind_of(t, &a, "/area", bytes).await;
    ensure_eq!(
        kind,
        Some(ErrorKind::Forbidden),
        "kind of writing a read-only root"
    );
    Ok(())
}
