//! Carries checked operations out beneath one directory, by descriptors only.
//!
//! Parents are opened with `openat2` so that symbolic links resolve inside the tree as they
//! would for a process living in it; the last part of a path is never followed. Files are
//! always created anew, so nothing is ever written through a link.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, makedev,
};
use rustix::io::Errno;

use super::op::{Meta, Op, Sink};
use super::path::TreePath;
use super::remove::{remove_tree, unique};
use crate::error::{LayerContext, LayerProblem, shown};
use crate::limits::Limits;

/// Marks a directory that hides what lies below it, for overlays mounted with `userxattr`.
pub(crate) const OPAQUE_XATTR: &str = "user.overlay.opaque";

/// Who will own the unpacked files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// The ids of the archive, 0-based; needs root, or root of a user namespace.
    Keep,
    /// The calling user owns everything.
    Mine,
}

/// A directory whose time (and, if it was widened, mode) is set once nothing changes in it.
#[derive(Debug)]
struct Deferred {
    path: TreePath,
    inode: u64,
    mode: u32,
    times: (i64, u32),
}

/// A tree being built.
#[derive(Debug)]
pub(crate) struct Applier {
    root: Rc<OwnedFd>,
    trash: OwnedFd,
    owners: Owners,
    limits: Limits,
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    file: Option<(File, Meta)>,
    deferred: Vec<Deferred>,
    notes: Vec<String>,
}

impl Applier {
    /// Builds beneath `root`, an empty directory; `trash` is one on the same file system.
    pub(crate) fn new(root: OwnedFd, trash: OwnedFd, owners: Owners, limits: Limits) -> Self {
        Self {
            root: Rc::new(root),
            trash,
            owners,
            limits,
            parent: None,
            file: None,
            deferred: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Sets what had to wait until the tree is complete; tells what could not be kept.
    pub(crate) fn finish(mut self) -> Result<Vec<String>, LayerProblem> {
        let deferred = std::mem::take(&mut self.deferred);
        let mut done = HashSet::new();
        let mut narrow = Vec::new();
        // The last word on a directory counts, also if its inode once was another one's.
        for late in deferred.iter().rev() {
            let Some(dir) = self.reopen(late)? else {
                continue;
            };
            if done.insert(late.inode) {
                set_times(&dir, late.times)?;
                if late.mode & 0o700 != 0o700 {
                    narrow.push(late);
                }
            }
        }
        // Innermost first: what is closed to its owner cannot be entered any more.
        narrow.sort_by_key(|late| Reverse(late.path.as_bytes().len()));
        for late in narrow {
            if let Some(dir) = self.reopen(late)? {
                fs::fchmod(&dir, Mode::from_raw_mode(late.mode)).doing("set permissions")?;
            }
        }
        Ok(self.notes)
    }

    /// A directory made earlier, unless something else has its name by now.
    fn reopen(&self, late: &Deferred) -> Result<Option<OwnedFd>, LayerProblem> {
        let dir = match self.open_dir(late.path.as_bytes()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error).doing("open a directory again"),
        };
        let same = fs::fstat(&dir).doing("look at a directory")?.st_ino == late.inode;
        Ok(same.then_some(dir))
    }

    /// Opens a directory of the tree; links on the way stay inside the tree.
    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() {
            b".".as_slice()
        } else {
            path
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match fs::openat2(&*self.root, path, flags, Mode::empty(), resolve) {
                // Something was renamed elsewhere meanwhile; the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// The directory something is about to be created in, made if need be.
    fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, LayerProblem> {
        if let Some((known, dir)) = &self.parent
            && known == path
        {
            return Ok(Rc::clone(dir));
        }
        let dir = match self.open_dir(path) {
            Ok(dir) => Rc::new(dir),
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_dirs(path)?,
            Err(Errno::LOOP) => {
                return Err(LayerProblem::refused(
                    "links on its path go round in a circle",
                ));
            }
            Err(error) => return Err(error).doing("open its directory"),
        };
        self.parent = Some((path.to_vec(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// Makes the directories an archive uses without ever mentioning them.
    fn make_dirs(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, LayerProblem> {
        let mut above = Rc::clone(&self.root);
        let ends = (0..path.len())
            .filter(|i| path[*i] == b'/')
            .chain([path.len()]);
        let mut start = 0;
        for end in ends {
            let name = &path[start..end];
            start = end + 1;
            let dir = match self.open_dir(&path[..end]) {
                Ok(dir) => dir,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let made = TreePath::parse(&path[..end], &self.limits)?;
                    self.make_implicit(&above, name, made)?
                }
                Err(error) => return Err(error).doing("open its directory"),
            };
            above = Rc::new(dir);
        }
        Ok(above)
    }

    fn make_implicit(
        &mut self,
        above: &OwnedFd,
        name: &[u8],
        path: TreePath,
    ) -> Result<OwnedFd, LayerProblem> {
        let hidden_below = match look(above, name)? {
            None => false,
            Some(stat) if is_whiteout(&stat) => true,
            Some(_) => {
                return Err(LayerProblem::refused(
                    "something on its path is not a directory",
                ));
            }
        };
        let meta = Meta {
            mode: 0o755,
            ..Meta::default()
        };
        self.make_dir(above, name, hidden_below, (path, &meta))
    }

    fn make_dir(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        over_whiteout: bool,
        (path, meta): (TreePath, &Meta),
    ) -> Result<OwnedFd, LayerProblem> {
        if over_whiteout {
            fs::unlinkat(parent, name, AtFlags::empty()).doing("remove a whiteout")?;
        }
        fs::mkdirat(parent, name, Mode::RWXU).doing("make a directory")?;
        let dir = open_last(parent, name, OFlags::DIRECTORY | OFlags::RDONLY)?;
        if over_whiteout {
            // What this layer hid must stay hidden beneath the new directory.
            set_opaque(&dir)?;
        }
        self.dress_dir(&dir, path, meta)?;
        Ok(dir)
    }

    /// Gives a directory its owner and mode; its time waits.
    fn dress_dir(
        &mut self,
        dir: &OwnedFd,
        path: TreePath,
        meta: &Meta,
    ) -> Result<(), LayerProblem> {
        let most = self.limits.layer_directories;
        if self.deferred.len() as u64 >= most {
            return Err(LayerProblem::limit(format!("more than {most} directories")));
        }
        let usable = Meta {
            mode: meta.mode | 0o700,
            ..meta.clone()
        };
        self.dress(dir, &usable)?;
        let inode = fs::fstat(dir).doing("look at a directory")?.st_ino;
        let times = (meta.mtime_s, meta.mtime_ns);
        self.deferred.push(Deferred {
            path,
            inode,
            mode: meta.mode,
            times,
        });
        Ok(())
    }

    /// Owner before mode, because changing the owner clears the setuid bit; attributes last,
    /// because both clear file capabilities.
    fn dress(&mut self, file: &impl AsFd, meta: &Meta) -> Result<(), LayerProblem> {
        if self.owners == Owners::Keep {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            fs::fchown(file, Some(uid), Some(gid)).doing("set the owner")?;
        }
        fs::fchmod(file, Mode::from_raw_mode(meta.mode)).doing("set permissions")?;
        for (key, value) in &meta.xattrs {
            match fs::fsetxattr(file, key.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::PERM) => {
                    let key = shown(key);
                    self.notes
                        .push(format!("left out extended attribute {key}: not supported"));
                }
                Err(error) => return Err(error).doing("set an extended attribute"),
            }
        }
        Ok(())
    }

    /// Removes whatever has this name, so that something else can take it.
    fn clear(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<(), LayerProblem> {
        // A link that was part of the remembered path may be what disappears.
        self.parent = None;
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error).doing("remove what it replaces"),
        }
        let moved = unique("replaced");
        fs::renameat(parent, name, &self.trash, moved.as_str())
            .doing("remove the directory it replaces")?;
        remove_tree(&self.trash, moved.as_bytes()).doing("remove the directory it replaces")
    }

    /// Runs `create`; if the name is taken, frees it and runs `create` again.
    fn anew<T>(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        create: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, LayerProblem> {
        match create() {
            Err(Errno::EXIST) => {
                self.clear(parent, name)?;
                create().doing("create it")
            }
            result => result.doing("create it"),
        }
    }

    fn directory(&mut self, path: TreePath, meta: &Meta) -> Result<(), LayerProblem> {
        let Some((above, name)) = path.split() else {
            let root = Rc::clone(&self.root);
            return self.dress_dir(&root, path, meta);
        };
        let parent = self.parent(above)?;
        let dir = match look(&parent, name)? {
            Some(stat) if is_dir(&stat) => {
                let dir = open_last(&parent, name, OFlags::DIRECTORY | OFlags::RDONLY)?;
                self.dress_dir(&dir, path.clone(), meta)?;
                dir
            }
            Some(stat) if is_whiteout(&stat) => {
                self.make_dir(&parent, name, true, (path.clone(), meta))?
            }
            Some(_) => {
                self.clear(&parent, name)?;
                self.make_dir(&parent, name, false, (path.clone(), meta))?
            }
            None => self.make_dir(&parent, name, false, (path.clone(), meta))?,
        };
        self.parent = Some((path.as_bytes().to_vec(), Rc::new(dir)));
        Ok(())
    }

    fn begin_file(&mut self, path: &TreePath, meta: Meta) -> Result<(), LayerProblem> {
        let (above, name) = named(path)?;
        let parent = self.parent(above)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = self.anew(&parent, name, || fs::openat(&*parent, name, flags, mode))?;
        self.file = Some((File::from(file), meta));
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), LayerProblem> {
        let (file, meta) = self.file.take().expect("a file was begun before it ends");
        self.dress(&file, &meta)?;
        set_times(&file, (meta.mtime_s, meta.mtime_ns))
    }

    fn symlink(&mut self, path: &TreePath, target: &[u8], meta: &Meta) -> Result<(), LayerProblem> {
        let (above, name) = named(path)?;
        let parent = self.parent(above)?;
        self.anew(&parent, name, || fs::symlinkat(target, &*parent, name))?;
        if self.owners == Owners::Keep {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            fs::chownat(
                &*parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .doing("set the owner")?;
        }
        let times = timestamps((meta.mtime_s, meta.mtime_ns));
        fs::utimensat(&*parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).doing("set the time")
    }

    fn fifo(&mut self, path: &TreePath, meta: &Meta) -> Result<(), LayerProblem> {
        let (above, name) = named(path)?;
        let parent = self.parent(above)?;
        let mode = Mode::RUSR | Mode::WUSR;
        self.anew(&parent, name, || {
            fs::mknodat(&*parent, name, FileType::Fifo, mode, 0)
        })?;
        // Both directions and non-blocking: opening cannot wait for a partner.
        let pipe = open_last(&parent, name, OFlags::RDWR | OFlags::NONBLOCK)?;
        self.dress(&pipe, meta)?;
        set_times(&pipe, (meta.mtime_s, meta.mtime_ns))
    }

    fn hardlink(&mut self, path: &TreePath, target: &TreePath) -> Result<(), LayerProblem> {
        let (target_above, target_name) = named(target)?;
        let absent = || {
            let target = shown(target.as_bytes());
            LayerProblem::refused(format!(
                "it links to {target}, which this layer does not have"
            ))
        };
        let from = self.open_dir(target_above).map_err(|_| absent())?;
        let original = look(&from, target_name)?.ok_or_else(absent)?;
        let kind = FileType::from_raw_mode(original.st_mode);
        if !matches!(
            kind,
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        ) {
            return Err(LayerProblem::refused("it links to what is not a file"));
        }
        let (above, name) = named(path)?;
        let parent = self.parent(above)?;
        let same = |s: &Stat| s.st_ino == original.st_ino && s.st_dev == original.st_dev;
        if look(&parent, name)?.is_some_and(|stat| same(&stat)) {
            return Ok(());
        }
        self.anew(&parent, name, || {
            fs::linkat(&from, target_name, &*parent, name, AtFlags::empty())
        })
    }

    fn whiteout(&mut self, path: &TreePath) -> Result<(), LayerProblem> {
        let (above, name) = named(path)?;
        let parent = self.parent(above)?;
        match look(&parent, name)? {
            None => fs::mknodat(
                &*parent,
                name,
                FileType::CharacterDevice,
                Mode::empty(),
                makedev(0, 0),
            )
            .doing("make a whiteout"),
            // A whiteout hides what lies below, never what the same layer brings.
            Some(stat) if is_dir(&stat) => set_opaque(&open_last(
                &parent,
                name,
                OFlags::DIRECTORY | OFlags::RDONLY,
            )?),
            Some(_) => Ok(()),
        }
    }
}

impl Sink for Applier {
    fn apply(&mut self, op: Op<'_>) -> Result<(), LayerProblem> {
        match op {
            Op::Dir { path, meta } => self.directory(path, &meta),
            Op::File { path, meta } => self.begin_file(&path, meta),
            Op::Data(bytes) => {
                let (file, _) = self
                    .file
                    .as_mut()
                    .expect("a file was begun before its data");
                file.write_all(bytes).doing("write its content")
            }
            Op::EndFile => self.end_file(),
            Op::Symlink { path, target, meta } => self.symlink(&path, &target, &meta),
            Op::Hardlink { path, target } => self.hardlink(&path, &target),
            Op::Fifo { path, meta } => self.fifo(&path, &meta),
            Op::Whiteout { path } => self.whiteout(&path),
            // The root of a layer cannot be opaque to overlayfs; the store drops what is below.
            Op::Opaque { dir } if dir.is_root() => Ok(()),
            Op::Opaque { dir } => set_opaque(&*self.parent(dir.as_bytes())?),
        }
    }
}

fn named(path: &TreePath) -> Result<(&[u8], &[u8]), LayerProblem> {
    path.split()
        .ok_or_else(|| LayerProblem::refused("it would replace the root directory itself"))
}

fn look(parent: &OwnedFd, name: &[u8]) -> Result<Option<Stat>, LayerProblem> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).doing("look at what is there"),
    }
}

fn open_last(parent: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, LayerProblem> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty()).doing("open what was just made")
}

pub(crate) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// What overlayfs takes for "this name does not exist".
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn set_opaque(dir: &OwnedFd) -> Result<(), LayerProblem> {
    fs::fsetxattr(dir, OPAQUE_XATTR, b"y", XattrFlags::empty()).doing("mark a directory as opaque")
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn set_times(file: &impl AsFd, times: (i64, u32)) -> Result<(), LayerProblem> {
    fs::futimens(file, &timestamps(times)).doing("set the time")
}
