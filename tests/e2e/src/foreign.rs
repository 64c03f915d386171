//! The test stack of others' software: Redis, PostgreSQL, nginx, and a page that uses them.

use std::path::{Path, PathBuf};

use crate::pack::{PackError, Rootfs};
use crate::program::find;

/// The Compose file of the stack.
pub const COMPOSE: &str = include_str!("../stack/compose.yaml");

/// Programs of busybox that scripts and checks use.
const TOOLS: [&str; 23] = [
    "cat", "chown", "echo", "env", "false", "grep", "hostname", "httpd", "id", "kill", "ls", "nc",
    "ps", "pwd", "rm", "sh", "sleep", "stty", "test", "touch", "tr", "tty", "wget",
];

/// What must be installed to pack the stack.
pub const NEEDED: [&str; 6] = [
    "redis-server",
    "redis-cli",
    "nginx",
    "busybox",
    "ldd",
    "setpriv",
];

/// A packed image: its archive, its name, and how its configuration differs from an empty one.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The root file system as a tar file.
    pub archive: PathBuf,
    /// Name of the image.
    pub name: &'static str,
    /// Instructions for `image import --change`.
    pub changes: Vec<String>,
}

/// The directory of PostgreSQL's programs, if it is installed.
#[must_use]
pub fn postgres() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join("bin/postgres").exists())
        .collect();
    versions.sort();
    versions.pop()
}

/// Packs all images of the stack into `directory`.
///
/// # Errors
/// If something is not installed or cannot be written.
///
/// # Panics
/// If PostgreSQL is not installed; ask [`postgres`] first.
pub fn pack_all(directory: &Path) -> Result<Vec<Packed>, PackError> {
    let images = [
        (
            "redis",
            "foreign/redis:1",
            redis()?,
            vec![r#"CMD ["redis-server"]"#],
        ),
        (
            "postgres",
            "foreign/postgres:1",
            database()?,
            vec![r#"ENTRYPOINT ["/usr/bin/db"]"#],
        ),
        (
            "nginx",
            "foreign/nginx:1",
            nginx()?,
            vec![r#"CMD ["nginx"]"#, "EXPOSE 80"],
        ),
        (
            "app",
            "foreign/app:1",
            app()?,
            vec![
                r#"CMD ["httpd","-f","-p","8000","-h","/www"]"#,
                "EXPOSE 8000",
            ],
        ),
    ];
    let mut packed = Vec::new();
    for (file, name, rootfs, changes) in images {
        let archive = directory.join(format!("{file}.tar"));
        rootfs.write(&archive)?;
        let mut changes: Vec<String> = changes.into_iter().map(str::to_owned).collect();
        changes.push("ENV PATH=/usr/bin:/usr/sbin".to_owned());
        packed.push(Packed {
            archive,
            name,
            changes,
        });
    }
    Ok(packed)
}

/// The Compose file of the stack that is changed while visitors come.
pub const TRAFFIC: &str = include_str!("../stack/traffic.yaml");

/// Packs the images of [`TRAFFIC`] into `directory`.
///
/// # Errors
/// If something is not installed or cannot be written.
pub fn pack_traffic(directory: &Path) -> Result<Vec<Packed>, PackError> {
    let front = base()?
        .program(installed("nginx"))?
        .file(
            "etc/nginx/nginx.conf",
            include_str!("../stack/front.conf"),
            0o644,
        )
        .directory("var/log/nginx", 0o755, 0);
    let web = base()?
        .program(installed("redis-cli"))?
        .file(
            "www/cgi-bin/visit",
            include_str!("../stack/visit.sh"),
            0o755,
        )
        .file("www/healthz", "ok\n", 0o644);
    let images = [
        ("front", "traffic/nginx:1", front, r#"CMD ["nginx"]"#),
        (
            "web",
            "traffic/web:1",
            web,
            r#"CMD ["httpd","-f","-p","8000","-h","/www"]"#,
        ),
        (
            "store",
            "foreign/redis:1",
            redis()?,
            r#"CMD ["redis-server"]"#,
        ),
    ];
    let mut packed = Vec::new();
    for (file, name, rootfs, command) in images {
        let archive = directory.join(format!("{file}.tar"));
        rootfs.write(&archive)?;
        packed.push(Packed {
            archive,
            name,
            changes: vec![command.to_owned(), "ENV PATH=/usr/bin:/usr/sbin".to_owned()],
        });
    }
    Ok(packed)
}

/// Packs an image of busybox and curl: `small:1`, with a page in `/www`.
///
/// # Errors
/// If busybox is not installed or the archive cannot be written.
pub fn pack_small(directory: &Path) -> Result<Packed, PackError> {
    let archive = directory.join("small.tar");
    base()?
        .file("www/index.html", "a page\n", 0o644)
        .write(&archive)?;
    Ok(Packed {
        archive,
        name: "small:1",
        changes: vec![
            r#"CMD ["sleep","1000000"]"#.to_owned(),
            "ENV PATH=/usr/bin:/usr/sbin".to_owned(),
        ],
    })
}

/// Packs an image of the conformance suite's probe alone: `probe:1`.
///
/// # Errors
/// If the archive cannot be written.
pub fn pack_probe(directory: &Path) -> Result<Packed, PackError> {
    let archive = directory.join("probe.tar");
    Rootfs::new()
        .file("probe", unmoor_conformance::probe_program(), 0o755)
        .write(&archive)?;
    Ok(Packed {
        archive,
        name: "probe:1",
        changes: vec![
            r#"ENTRYPOINT ["/probe"]"#.to_owned(),
            r#"CMD ["serve"]"#.to_owned(),
        ],
    })
}

/// Packs an image of the example that asks from inside where the others are: `asker:1`.
///
/// # Errors
/// If busybox is not installed or the archive cannot be written.
pub fn pack_asker(directory: &Path) -> Result<Packed, PackError> {
    let archive = directory.join("asker.tar");
    let program = crate::program::inside_example();
    let mut rootfs = base()?.program(program)?;
    rootfs = rootfs.link("usr/bin/inside", program);
    rootfs.write(&archive)?;
    Ok(Packed {
        archive,
        name: "asker:1",
        changes: vec!["ENV PATH=/usr/bin:/usr/sbin".to_owned()],
    })
}

/// Every image has a shell and the tools; names are looked up in files, then by DNS.
fn base() -> Result<Rootfs, PackError> {
    // Debian's static busybox crashes when it looks a name up, so curl is what asks by name.
    let rootfs = Rootfs::new().busybox(&TOOLS)?.program(installed("curl"))?;
    Ok(rootfs.file(
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
        0o644,
    ))
}

fn installed(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| PathBuf::from("/usr/bin").join(program))
}

fn redis() -> Result<Rootfs, PackError> {
    let rootfs = base()?
        .program(installed("redis-server"))?
        .program(installed("redis-cli"))?;
    Ok(rootfs.directory("data", 0o755, 0))
}

fn nginx() -> Result<Rootfs, PackError> {
    let rootfs = base()?.program(installed("nginx"))?;
    let conf = include_str!("../stack/nginx.conf");
    Ok(rootfs
        .file("etc/nginx/nginx.conf", conf, 0o644)
        .directory("var/log/nginx", 0o755, 0))
}

fn app() -> Result<Rootfs, PackError> {
    let psql = postgres().map_or_else(|| installed("psql"), |dir| dir.join("bin/psql"));
    let rootfs = base()?.program(installed("redis-cli"))?.program(&psql)?;
    let rootfs = rootfs.link("usr/bin/psql", psql);
    let hit = include_str!("../stack/hit.sh");
    Ok(rootfs
        .file("www/cgi-bin/hit", hit, 0o755)
        .file("www/healthz", "ok\n", 0o644))
}

fn database() -> Result<Rootfs, PackError> {
    let directory = postgres().expect("the caller asked whether PostgreSQL is installed");
    let version = directory.file_name().expect("a version").to_owned();
    let mut rootfs = base()?.program(installed("setpriv"))?;
    for name in ["postgres", "initdb", "psql", "pg_isready"] {
        let program = directory.join("bin").join(name);
        rootfs = rootfs
            .program(&program)?
            .link(&format!("usr/bin/{name}"), program);
    }
    // What every new database loads; the rest of the directory is 30 MB of compilers.
    for name in ["plpgsql.so", "dict_snowball.so", "libpqwalreceiver.so"] {
        rootfs = rootfs.program(directory.join("lib").join(name))?;
    }
    let rootfs = rootfs
        .tree(Path::new("/usr/share/postgresql").join(version))?
        .copy("/usr/share/zoneinfo/UTC")?
        .copy("/usr/share/zoneinfo/GMT")?
        .user("postgres", 999, "/data")
        .directory("data", 0o755, 0);
    Ok(rootfs.file("usr/bin/db", include_str!("../stack/db.sh"), 0o755))
}
