//! `cp`: files into and out of replicas.

mod local;
mod pack;

pub(crate) use pack::{append_link, archive_of};

use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use unmoor::backend::{Feature, FileKind, ObservedReplica, Ownership};
use unmoor::label::{ONE_OFF, Selector};
use unmoor::name::{ReplicaId, ServiceName, StackName};
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::verbs::Outcome;
use crate::{select, session};
use pack::LeftOut;

/// Copy files into or out of a replica that runs: `SERVICE:PATH LOCAL`, or `LOCAL SERVICE:PATH`.
///
/// As with `docker cp`: a directory that is there gets the source into it, a name that is not there
/// becomes the copy, and `DIR/.` means what is in the directory. `-` as the local side is a tar
/// archive on standard input or output.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the users and groups of the files
    #[arg(short, long)]
    archive: bool,
    /// Follow a symbolic link that the source is
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Also into copies of the service that `run` has made
    #[arg(long, conflicts_with = "index")]
    all: bool,
    /// Only this replica, counted from 1; without, files come out of the first and go into all
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// From here
    #[arg(add = crate::complete::of_sides())]
    source: String,
    /// To here
    #[arg(add = crate::complete::of_sides())]
    destination: String,
}

/// One side of a copy.
enum Side {
    Local(PathBuf),
    Stream,
    Inside(ServiceName, String),
}

impl Side {
    fn read(text: &str) -> Result<Self, Failure> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        match text.split_once(':') {
            // A path may hold a colon; a service's name never holds a slash or a dot at its begin.
            Some((service, path)) if !service.contains('/') && !service.starts_with('.') => {
                let service = ServiceName::parse(service).map_err(Error::from)?;
                Ok(Self::Inside(service, absolute(path)))
            }
            _ => Ok(Self::Local(PathBuf::from(text))),
        }
    }
}

fn absolute(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let sides = (Side::read(&args.source)?, Side::read(&args.destination)?);
    let stack = app.stack_name()?;
    if app.is_dry() {
        return app.would([format!("copy {} to {}", args.source, args.destination)]);
    }
    let client = app.connect().await?;
    session::need(&client, Feature::Copy)?;
    match sides {
        (Side::Inside(service, path), local @ (Side::Local(_) | Side::Stream)) => {
            let replica = select::running(app, (&client, &stack), &service, args.index).await?;
            copy_out(&args, app, &client, &replica, &path, &local).await?;
        }
        (local @ (Side::Local(_) | Side::Stream), Side::Inside(service, path)) => {
            let replicas = targets(&args, app, (&client, &stack), &service).await?;
            for replica in &replicas {
                copy_in(&args, (app, &client), &local, replica, &path).await?;
            }
        }
        (Side::Inside(..), Side::Inside(..)) => {
            let text = "one side must be on this machine; copy by way of it";
            return Err(Failure::Usage(text.to_owned()));
        }
        _ => {
            let text = "one side must be in a replica: write it as SERVICE:PATH";
            return Err(Failure::Usage(text.to_owned()));
        }
    }
    Ok(Code::DONE)
}

async fn targets(
    args: &Args,
    app: &App,
    (client, stack): (&Client, &StackName),
    service: &ServiceName,
) -> Result<Vec<ReplicaId>, Failure> {
    // It says so where there is none.
    let first = select::running(app, (client, stack), service, args.index).await?;
    if args.index.is_some() {
        return Ok(vec![first]);
    }
    let observed = client.observe(&Selector::stack(stack.clone())).await?;
    let meant = |replica: &&ObservedReplica| {
        let copy_of = replica.labels.get(ONE_OFF).filter(|_| args.all);
        let is_copy = copy_of.is_some_and(|of| of == service.as_str());
        replica.phase.is_alive() && (replica.id.service == *service || is_copy)
    };
    let meant = observed.replicas().filter(meant);
    Ok(meant.map(|replica| replica.id.clone()).collect())
}

async fn copy_out(
    args: &Args,
    app: &App,
    client: &Client,
    replica: &ReplicaId,
    path: &str,
    to: &Side,
) -> Result<(), Failure> {
    let contents = path.ends_with("/.");
    let mut path = if contents {
        format!("{}/", path.trim_end_matches("/."))
    } else {
        path.to_owned()
    };
    if args.follow_link {
        path = followed(client, replica, path).await?;
    }
    let stat = client.stat(replica, &path).await?;
    let mut archive = client.read_files(replica, &path).await?;
    if stat.kind == FileKind::Other && !matches!(to, Side::Stream) {
        let text = format!("{path} is a device, a pipe or a socket: it has no content to copy");
        return Err(Error::new(ErrorKind::InvalidSpec, text)
            .on(format!("replica {replica}"))
            .into());
    }
    let Side::Local(to) = to else {
        while let Some(piece) = archive.next().await {
            app.out.bytes(&piece?)?;
        }
        return Ok(());
    };
    let is_directory = stat.kind == FileKind::Directory;
    local::unpack(app, archive, (is_directory, contents), to).await
}

/// The end of a chain of symbolic links inside.
async fn followed(client: &Client, replica: &ReplicaId, path: String) -> Result<String, Failure> {
    let mut path = path;
    for _ in 0..40 {
        let stat = client.stat(replica, &path).await?;
        let Some(target) = stat.target else {
            return Ok(path);
        };
        path = match target.starts_with('/') {
            true => target,
            false => {
                let folder = path
                    .trim_end_matches('/')
                    .rsplit_once('/')
                    .map_or("", |(folder, _)| folder);
                format!("{folder}/{target}")
            }
        };
    }
    let text = format!("{path}: too many symbolic links");
    Err(Error::new(ErrorKind::InvalidSpec, text).into())
}

async fn copy_in(
    args: &Args,
    (app, client): (&App, &Client),
    from: &Side,
    replica: &ReplicaId,
    path: &str,
) -> Result<(), Failure> {
    let owner = if args.archive {
        Ownership::Archive
    } else {
        Ownership::Root
    };
    let there = match client.stat(replica, &format!("{path}/.")).await {
        Ok(stat) => stat.kind == FileKind::Directory,
        // It is not there, or it is a file.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidSpec) => false,
        Err(error) => return Err(error.into()),
    };
    let Side::Local(from) = from else {
        let archive = pack::standard_input();
        return Ok(client.write_files(replica, path, archive, owner).await?);
    };
    let contents = from.as_os_str().to_string_lossy().ends_with("/.");
    let (folder, name) = match there {
        // A directory gets the source, or what is in it, under the names that it has.
        true => (path.to_owned(), None),
        false => {
            let trimmed = path.trim_end_matches('/');
            let (folder, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
            if path.ends_with('/') && !from.is_dir() {
                let error = Error::new(ErrorKind::NotFound, format!("{path}: no such directory"));
                return Err(error.on(format!("replica {replica}")).into());
            }
            (
                if folder.is_empty() { "/" } else { folder }.to_owned(),
                Some(name.to_owned()),
            )
        }
    };
    let name = match (name, contents) {
        (Some(name), _) => name,
        (None, true) => ".".to_owned(),
        (None, false) => own_name(from)?,
    };
    let left = LeftOut::default();
    let archive = pack::pack(from.clone(), name, args.follow_link, left.clone());
    client.write_files(replica, &folder, archive, owner).await?;
    for path in left.take() {
        let text = "it is a pipe, a socket or a device, without any content";
        app.ui
            .warn(&format!("{} stays here: {text}", path.display()));
    }
    Ok(())
}

/// The name by which a local source goes.
fn own_name(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::System("find the source", error);
    let whole = std::path::absolute(path).map_err(failed)?;
    let whole = match whole.file_name() {
        Some(name) if name != ".." => name.to_owned(),
        _ => {
            let real = std::fs::canonicalize(path).map_err(failed)?;
            real.file_name()
                .map(std::ffi::OsStr::to_owned)
                .unwrap_or_else(|| ".".into())
        }
    };
    let text = whole.into_string();
    text.map_err(|name| Failure::Usage(format!("{} is not UTF-8", Path::new(&name).display())))
}
