//! Taking a snapshot: which sections there are, and in which order they are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{
    Change, Diff, LedgerError, cgroup, files, firewall, kernel, mounts, net, process, sockets,
};

/// A kind of thing the ledger lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Section {
    /// Mounts of the caller's mount namespace.
    Mount,
    /// Mounts in the mount namespaces of our surviving processes.
    OurMount,
    /// Namespaces that some visible process is in.
    Namespace,
    /// Network interfaces of the caller's network namespace.
    Link,
    /// IPv4 and IPv6 addresses.
    Address,
    /// Routes of the main and local tables.
    Route,
    /// Permanent neighbour entries.
    Neighbour,
    /// nftables objects, without counters and handles.
    Firewall,
    /// Directories in every cgroup hierarchy.
    Cgroup,
    /// Listening TCP, UDP, packet and unix sockets.
    Socket,
    /// Processes that are ours by name or by cgroup.
    Process,
    /// Open descriptors of our surviving processes.
    Descriptors,
    /// Loop devices with a file behind them.
    Loop,
    /// Kernel keyrings.
    Keyring,
    /// Settings that a network runtime may change.
    Sysctl,
    /// Files under the directories that were asked for.
    File,
}

impl Section {
    pub(crate) const ALL: [(Self, &'static str); 16] = [
        (Self::Mount, "mount"),
        (Self::OurMount, "our-mount"),
        (Self::Namespace, "namespace"),
        (Self::Link, "link"),
        (Self::Address, "address"),
        (Self::Route, "route"),
        (Self::Neighbour, "neighbour"),
        (Self::Firewall, "firewall"),
        (Self::Cgroup, "cgroup"),
        (Self::Socket, "socket"),
        (Self::Process, "process"),
        (Self::Descriptors, "descriptors"),
        (Self::Loop, "loop"),
        (Self::Keyring, "keyring"),
        (Self::Sysctl, "sysctl"),
        (Self::File, "file"),
    ];

    /// The section that stored ledgers call so.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(section, _)| *section)
    }

    /// The section's name in stored ledgers and printed differences.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(section, _)| *section == self)
            .map_or("", |(_, name)| name)
    }
}

/// What to look at beyond the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    state_dirs: Vec<PathBuf>,
    skipped: Vec<Section>,
    names: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state_dirs: Vec::new(),
            skipped: Vec::new(),
            names: vec!["unmoor".to_owned()],
        }
    }
}

impl Options {
    /// Lists the files under this directory as well.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dirs.push(path.into());
        self
    }

    /// Leaves one section out, for hosts where strangers change it.
    #[must_use]
    pub fn without(mut self, section: Section) -> Self {
        self.skipped.push(section);
        self
    }

    /// Counts processes called `name` or `name-…` as ours, beside `unmoor`.
    #[must_use]
    pub fn process_name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Takes the snapshot.
    ///
    /// # Errors
    /// When the kernel's own files cannot be read, or an installed `nft` gives no listing.
    pub fn take(&self) -> Result<Ledger, LedgerError> {
        let mut ledger = Ledger {
            options: self.clone(),
            ..Ledger::default()
        };
        let ours = process::find(&self.names)?;
        mounts::read(&mut ledger, &ours)?;
        process::record(&mut ledger, &ours);
        process::namespaces(&mut ledger)?;
        net::read(&mut ledger)?;
        firewall::read(&mut ledger)?;
        cgroup::read(&mut ledger)?;
        sockets::read(&mut ledger)?;
        kernel::read(&mut ledger);
        for dir in &self.state_dirs {
            files::read(&mut ledger, dir)?;
        }
        for section in &self.skipped {
            ledger.entries.retain(|(of, _), _| of != section);
        }
        Ok(ledger)
    }
}

/// What the host held at one moment.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Entry to how often it is there: two mounts on one place are two.
    pub(crate) entries: BTreeMap<(Section, String), u32>,
    /// What could not be looked at, for the reader of a difference.
    pub(crate) notes: Vec<String>,
    options: Options,
}

impl Ledger {
    /// Takes a snapshot with the default options.
    ///
    /// # Errors
    /// As [`Options::take`].
    pub fn take() -> Result<Self, LedgerError> {
        Options::default().take()
    }

    /// Starts a set of options.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// Compares with a later snapshot.
    #[must_use]
    pub fn diff(&self, after: &Self) -> Diff {
        Diff::between(self, after)
    }

    /// Takes snapshots until nothing differs or the time is up, and gives the last difference.
    ///
    /// The kernel takes network namespaces and cgroups apart after the last process has gone,
    /// and announces neither; hence the looking again.
    ///
    /// # Errors
    /// As [`Options::take`].
    pub fn settle(&self, patience: Duration) -> Result<Diff, LedgerError> {
        self.settle_with(patience, |_| true)
    }

    /// As [`Ledger::settle`], for the changes that `keep` accepts.
    ///
    /// # Errors
    /// As [`Options::take`].
    pub fn settle_with(
        &self,
        patience: Duration,
        keep: impl Fn(&Change) -> bool,
    ) -> Result<Diff, LedgerError> {
        let deadline = Instant::now() + patience;
        loop {
            let diff = self.diff(&self.options.take()?).only(&keep);
            if diff.is_empty() || Instant::now() >= deadline {
                return Ok(diff);
            }
            pause();
        }
    }

    /// The same entries, to be settled with these options.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Whether a section lists this entry.
    #[must_use]
    pub fn contains(&self, section: Section, entry: &str) -> bool {
        self.entries.contains_key(&(section, entry.to_owned()))
    }

    /// The entries of one section.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &str> {
        self.entries
            .keys()
            .filter(move |(of, _)| *of == section)
            .map(|(_, entry)| entry.as_str())
    }

    /// What could not be looked at, and why.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn add(&mut self, section: Section, entry: impl Into<String>) {
        *self.entries.entry((section, entry.into())).or_default() += 1;
    }

    /// Adds an entry that counts once, however often it is met.
    pub(crate) fn add_once(&mut self, section: Section, entry: impl Into<String>) {
        self.entries.insert((section, entry.into()), 1);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel announces no end of a namespace"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Reads a file of `/proc` that exists on every kernel we support.
pub(crate) fn read_text(path: &Path) -> Result<String, LedgerError> {
    let bytes = std::fs::read(path).map_err(|source| LedgerError::read(path, source))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a file that may be missing: a protocol that is not built in, a process that has ended.
pub(crate) fn read_if_there(path: impl AsRef<Path>) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
