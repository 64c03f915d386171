//! Reads the shared zones of a replica's networks and follows their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::NetError;
use super::sys::{self, Epoll, READ};
use crate::wire::listing::{Far, text_field};
use crate::wire::names::NetworkView;
use crate::wire::netplan::NetPlan;
use crate::wire::zone::{EndpointFile, Link, MAX_FILE, ServiceFile, is_file_name};

/// A folder or file that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Services(usize),
    Endpoints(usize),
    Links,
}

/// What a refresh has found.
#[derive(Debug)]
pub(super) enum Changed {
    /// Anything may be different.
    Everything,
    /// These services of each network, or who is ready for them; each with stable addresses that
    /// it had before.
    Services(Vec<BTreeMap<String, Vec<Ipv4Addr>>>),
}

/// How changes are noticed.
#[derive(Debug)]
enum Watch {
    /// The kernel names the file that changed.
    Inotify {
        fd: OwnedFd,
        places: Vec<(i32, Place)>,
    },
    /// Out of inotify: whoever writes a zone also writes a byte into these pipes.
    Pipes(Vec<(OwnedFd, String)>),
}

/// The zones as they are now.
#[derive(Debug)]
pub(super) struct Zones {
    folders: Vec<String>,
    links_file: String,
    /// One for each network the replica is on, in its order.
    pub(super) views: Vec<NetworkView>,
    /// The replica's private links.
    pub(super) links: Vec<Link>,
    watch: Watch,
    token: u64,
    listens: bool,
    pending: BTreeSet<(Place, String)>,
    everything: bool,
}

impl Zones {
    /// Starts following, then reads everything, so that no change falls between.
    pub(super) fn open(plan: &NetPlan, epoll: &Epoll, token: u64) -> Result<Self, NetError> {
        let folders: Vec<_> = plan
            .attachments
            .iter()
            .map(|a| a.zone_dir.clone())
            .collect();
        let watch = Watch::begin(plan, &folders, epoll, token)?;
        let views = plan.attachments.iter().map(|attachment| NetworkView {
            id: attachment.network.clone(),
            name: attachment.network_name.clone(),
            ..NetworkView::default()
        });
        let mut zones = Self {
            folders,
            links_file: plan.links.clone(),
            views: views.collect(),
            links: Vec::new(),
            watch,
            token,
            listens: true,
            pending: BTreeSet::new(),
            everything: true,
        };
        zones.refresh();
        Ok(zones)
    }

    /// Follows the folders anew, as they may have been removed and made again, and reads everything
    /// at the next refresh.
    pub(super) fn reopen(&mut self, plan: &NetPlan, epoll: &Epoll) -> Result<(), NetError> {
        let watch = Watch::begin(plan, &self.folders, epoll, self.token)?;
        // The kernel forgets a descriptor that is closed.
        self.watch = watch;
        self.listens = true;
        self.everything = true;
        Ok(())
    }

    /// What tells of changes, once nobody wants to know: closing it takes the kernel long.
    pub(super) fn into_watch(mut self) -> Vec<OwnedFd> {
        match std::mem::replace(&mut self.watch, Watch::Pipes(Vec::new())) {
            Watch::Inotify { fd, .. } => vec![fd],
            pipes @ Watch::Pipes(_) => {
                self.watch = pipes;
                Vec::new()
            }
        }
    }

    /// Tells of changes as they come, or keeps them for later.
    pub(super) fn listen(&mut self, epoll: &Epoll, listens: bool) -> Result<(), NetError> {
        if listens == self.listens {
            return Ok(());
        }
        let events = if listens { READ } else { 0 };
        self.watch.each(|fd| epoll.change(fd, events, self.token))?;
        self.listens = listens;
        Ok(())
    }

    /// Takes note of what changed; true when there is something to refresh.
    pub(super) fn notice(&mut self) -> bool {
        let mut buffer = [0; 8192];
        match &self.watch {
            Watch::Inotify { fd, places } => {
                while let Ok(len @ 1..) = sys::read_bytes(fd, &mut buffer) {
                    self.everything |= !events(&buffer[..len], places, &mut self.pending);
                }
            }
            Watch::Pipes(pipes) => {
                for (pipe, _) in pipes {
                    while let Ok(1..) = sys::read_bytes(pipe, &mut buffer) {
                        self.everything = true;
                    }
                }
            }
        }
        let links = Path::new(&self.links_file)
            .file_name()
            .and_then(|name| name.to_str());
        self.pending.retain(|(place, name)| match place {
            Place::Links => Some(name.as_str()) == links,
            _ => is_file_name(name),
        });
        self.everything || !self.pending.is_empty()
    }

    /// Reads what changed, and tells what that is about.
    pub(super) fn refresh(&mut self) -> Changed {
        let mut changed = vec![BTreeMap::<_, Vec<_>>::new(); self.views.len()];
        let mut all = self.everything;
        if self.everything {
            self.everything = false;
            self.pending.clear();
            for n in 0..self.views.len() {
                self.views[n].services = load(&self.path(Place::Services(n)), service);
                self.views[n].endpoints = load(&self.path(Place::Endpoints(n)), endpoint);
            }
            self.load_links();
        }
        for (place, name) in std::mem::take(&mut self.pending) {
            let path = format!("{}/{name}", self.path(place));
            match place {
                Place::Services(n) => {
                    let before = put(&mut self.views[n].services, name.clone(), service(&path));
                    let vips = changed[n].entry(name).or_default();
                    vips.extend(before.and_then(|before| before.vip));
                }
                Place::Endpoints(n) => {
                    let now = endpoint(&path);
                    let is_of = now.as_ref().map(|now| now.service.clone());
                    let before = put(&mut self.views[n].endpoints, name, now);
                    let was_of = before.map(|before| before.service);
                    for service in [is_of, was_of].into_iter().flatten() {
                        changed[n].entry(service).or_default();
                    }
                }
                Place::Links => {
                    self.load_links();
                    all = true;
                }
            }
        }
        if all {
            Changed::Everything
        } else {
            Changed::Services(changed)
        }
    }

    fn path(&self, place: Place) -> String {
        match place {
            Place::Services(n) => format!("{}/svc", self.folders[n]),
            Place::Endpoints(n) => format!("{}/ep", self.folders[n]),
            Place::Links => String::new(),
        }
    }

    /// What the links to networks that the replica is not on lead to, as it is on disk now.
    pub(super) fn far(&self) -> Vec<Far> {
        let far = |link: &&Link| !self.views.iter().any(|view| view.id == link.network);
        let links = self.links.iter().filter(far);
        links.filter_map(|link| self.far_end(link)).collect()
    }

    fn far_end(&self, link: &Link) -> Option<Far> {
        // All networks are side by side.
        let zones = Path::new(self.folders.first()?).parent()?.to_str()?;
        let folder = format!("{zones}/{}", link.network);
        let record = read_file(&format!("{folder}/record")).ok()?;
        let found = service(&format!("{folder}/svc/{}", link.service))?;
        let mut view = NetworkView {
            id: link.network.clone(),
            name: text_field(&record, "name")?,
            endpoints: endpoints_now(&folder),
            ..NetworkView::default()
        };
        view.endpoints.retain(|_, e| e.service == link.service);
        view.services.insert(link.service.clone(), found);
        let stack = text_field(&record, "stack")?;
        Some(Far { stack, view })
    }

    fn load_links(&mut self) {
        // A file that cannot be understood changes nothing: a link is not lost by a bad write.
        match read_file(&self.links_file).map(|bytes| Link::parse_all(&bytes)) {
            Ok(Ok(links)) => self.links = links,
            Ok(Err(_)) => {}
            Err(_) => self.links.clear(),
        }
    }
}

impl Drop for Zones {
    fn drop(&mut self) {
        if let Watch::Pipes(pipes) = &self.watch {
            for (_, path) in pipes {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Watch {
    /// Follows the folders, which are made if need be.
    fn begin(
        plan: &NetPlan,
        folders: &[String],
        epoll: &Epoll,
        token: u64,
    ) -> Result<Self, NetError> {
        for folder in folders {
            for part in ["svc", "ep"] {
                let path = format!("{folder}/{part}");
                fs::create_dir_all(&path).map_err(NetError::io(format!("make {path}")))?;
            }
        }
        let watch = Self::open(folders, &plan.links, &plan.replica)?;
        watch.each(|fd| epoll.add(fd, READ, token))?;
        Ok(watch)
    }

    fn open(folders: &[String], links: &str, replica: &str) -> Result<Self, NetError> {
        const TOO_MANY: i32 = 24;
        #[cfg(test)]
        if tests::without_inotify() {
            return Self::pipes(folders, links, replica);
        }
        match sys::inotify() {
            Ok(fd) => Self::inotify(fd, folders, links),
            Err(error) if error.raw_os_error() == Some(TOO_MANY) => {
                Self::pipes(folders, links, replica)
            }
            Err(error) => Err(NetError::io("open an inotify descriptor")(error)),
        }
    }

    fn inotify(fd: OwnedFd, folders: &[String], links: &str) -> Result<Self, NetError> {
        let mut places = Vec::new();
        let mut add = |path: &str, place| {
            let number = sys::watch(&fd, path);
            let number = number.map_err(NetError::io(format!("watch {path}")))?;
            places.push((number, place));
            Ok(())
        };
        for (n, folder) in folders.iter().enumerate() {
            add(&format!("{folder}/svc"), Place::Services(n))?;
            add(&format!("{folder}/ep"), Place::Endpoints(n))?;
        }
        if let Some(folder) = Path::new(links).parent().and_then(Path::to_str)
            && !folder.is_empty()
        {
            add(folder, Place::Links)?;
        }
        Ok(Self::Inotify { fd, places })
    }

    /// Pipes opened for reading and writing never end and never block their writers.
    fn pipes(folders: &[String], links: &str, replica: &str) -> Result<Self, NetError> {
        let mut paths: Vec<_> = folders
            .iter()
            .map(|folder| format!("{folder}/wake/{replica}"))
            .collect();
        for folder in folders {
            let path = format!("{folder}/wake");
            fs::create_dir_all(&path).map_err(NetError::io(format!("make {path}")))?;
        }
        if !links.is_empty() {
            paths.push(format!("{links}.wake"));
        }
        let mut pipes = Vec::new();
        for path in paths {
            let _ = fs::remove_file(&path);
            let opened = sys::make_fifo(&path).and_then(|()| open_pipe(&path));
            pipes.push((
                opened.map_err(NetError::io(format!("make the pipe {path}")))?,
                path,
            ));
        }
        Ok(Self::Pipes(pipes))
    }

    fn each(&self, work: impl Fn(&OwnedFd) -> io::Result<()>) -> Result<(), NetError> {
        let done = match self {
            Self::Inotify { fd, .. } => work(fd),
            Self::Pipes(pipes) => pipes.iter().try_for_each(|(pipe, _)| work(pipe)),
        };
        done.map_err(NetError::io("wait for changes of the zones"))
    }
}

fn open_pipe(path: &str) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    const O_NONBLOCK: i32 = 0o4000;
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    Ok(file.into())
}

/// Reads inotify events; false when some were lost or a folder is gone.
fn events(
    mut bytes: &[u8],
    places: &[(i32, Place)],
    pending: &mut BTreeSet<(Place, String)>,
) -> bool {
    const OVERFLOW: u32 = 0x4000;
    const IGNORED: u32 = 0x8000;
    let mut complete = true;
    while let Some((head, rest)) = bytes.split_at_checked(16) {
        let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let number = i32::from_ne_bytes(word(0));
        let mask = u32::from_ne_bytes(word(4));
        let len = u32::from_ne_bytes(word(12)) as usize;
        let Some((name, rest)) = rest.split_at_checked(len) else {
            return false;
        };
        bytes = rest;
        complete &= mask & (OVERFLOW | IGNORED) == 0;
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        let Ok(name) = core::str::from_utf8(&name[..end]) else {
            continue;
        };
        for (_, place) in places.iter().filter(|(known, _)| *known == number) {
            pending.insert((*place, name.to_owned()));
        }
    }
    complete
}

/// Puts a value in place, or takes it out; returns what was there.
fn put<T>(map: &mut BTreeMap<String, T>, name: String, value: Option<T>) -> Option<T> {
    match value {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    }
}

fn load<T>(folder: &str, read: impl Fn(&str) -> Option<T>) -> BTreeMap<String, T> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_file_name(name))
        .filter_map(|name| Some((name.clone(), read(&format!("{folder}/{name}"))?)))
        .collect()
}

fn read_file(path: &str) -> io::Result<Vec<u8>> {
    // Nearly every one is read at once: there are as many as services and replicas.
    let mut buffer = [0; 1024];
    let mut file = File::open(path)?;
    let len = file.read(&mut buffer)?;
    let mut bytes = buffer[..len].to_vec();
    if len == buffer.len() {
        let rest = (MAX_FILE + 1).saturating_sub(len) as u64;
        file.take(rest).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// A file speaks only for the service or replica it is named after.
fn service(path: &str) -> Option<ServiceFile> {
    let file = ServiceFile::parse(&read_file(path).ok()?).ok()?;
    path.ends_with(&format!("/{}", file.name)).then_some(file)
}

fn endpoint(path: &str) -> Option<EndpointFile> {
    let file = EndpointFile::parse(&read_file(path).ok()?).ok()?;
    path.ends_with(&format!("/{}", file.replica))
        .then_some(file)
}

/// The ready replicas of a network, as they are on disk now.
pub(super) fn endpoints_now(folder: &str) -> BTreeMap<String, EndpointFile> {
    load(&format!("{folder}/ep"), endpoint)
}

/// Puts a zone file in place for every reader at once, and wakes those that have no inotify.
pub(super) fn write(folder: &str, part: &str, name: &str, text: &str) -> io::Result<()> {
    let hidden = format!("{folder}/{part}/.{name}.new");
    fs::write(&hidden, text)?;
    fs::rename(&hidden, format!("{folder}/{part}/{name}"))?;
    wake(folder);
    Ok(())
}

/// Removes a zone file; one that is not there is fine.
pub(super) fn remove(folder: &str, part: &str, name: &str) -> io::Result<()> {
    match fs::remove_file(format!("{folder}/{part}/{name}")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            wake(folder);
            Ok(())
        }
    }
}

fn wake(folder: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    const O_NONBLOCK: i32 = 0o4000;
    let Ok(entries) = fs::read_dir(format!("{folder}/wake")) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        // A pipe that nobody reads is left over; a full one is going to wake its reader anyway.
        let pipe = File::options()
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(entry.path());
        if let Ok(mut pipe) = pipe {
            let _ = pipe.write(&[1]);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::{Place, events};

    thread_local! {
        static WITHOUT_INOTIFY: Cell<bool> = const { Cell::new(false) };
    }

    /// Makes this thread behave as if the user had no inotify descriptor left.
    pub(crate) fn use_up_inotify() {
        WITHOUT_INOTIFY.set(true);
    }

    pub(super) fn without_inotify() -> bool {
        WITHOUT_INOTIFY.get()
    }

    fn event(number: i32, mask: u32, name: &[u8]) -> Vec<u8> {
        let len = u32::try_from(name.len()).unwrap();
        let head = [
            number.to_ne_bytes(),
            mask.to_ne_bytes(),
            [0; 4],
            len.to_ne_bytes(),
        ];
        [&head.concat()[..], name].concat()
    }

    #[test]
    fn events_name_their_files_and_losses_are_noticed() {
        let places = [(1, Place::Services(0)), (2, Place::Endpoints(0))];
        let mut pending = std::collections::BTreeSet::new();
        let two = [
            event(1, 0x80, b"web\0\0\0\0\0"),
            event(2, 0x200, b"web-1\0\0\0"),
        ]
        .concat();
        assert!(events(&two, &places, &mut pending));
        let expected = [
            (Place::Services(0), "web".to_owned()),
            (Place::Endpoints(0), "web-1".to_owned()),
        ];
        assert_eq!(pending, expected.into());
        assert!(
            !events(&event(-1, 0x4000, b""), &places, &mut pending),
            "overflow"
        );
        assert!(
            !events(&event(1, 0x8000, b""), &places, &mut pending),
            "folder removed"
        );
        for len in 0..two.len() {
            events(&two[..len], &places, &mut pending);
        }
    }
}
