//! Who runs a program: users and groups of an image, read from its own files.
//!
//! The files belong to the image's author. They are found through the stack of unpacked
//! layers without mounting anything, and only a regular file of bounded size is read.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::error::{ImageError, IoContext, shown};
use crate::extract::apply::{OPAQUE_XATTR, is_dir, is_whiteout};
use crate::store::{LayerId, Store};

const MOST_BYTES: u64 = 4 << 20;
const MOST_LINKS: usize = 40;
const MOST_NAME: usize = 256;
/// What the kernel and every other runtime accept; larger ids wrap around somewhere.
const MOST_ID: u32 = i32::MAX as u32;

/// Why a user or group cannot be determined.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UserError {
    /// The text is not `user[:group]`.
    #[error("\"{0}\" is not a user; write it as user[:group], by name or number")]
    Syntax(String),
    /// A number beyond what an id can be.
    #[error("id {0} is out of range; the largest is {MOST_ID}")]
    Range(String),
    /// The image has no such user.
    #[error("the image has no user \"{0}\" in /etc/passwd")]
    NoUser(String),
    /// The image has no such group.
    #[error("the image has no group \"{0}\" in /etc/group")]
    NoGroup(String),
    /// The file cannot be trusted.
    #[error("{file} of the image cannot be used: {problem}")]
    File {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// The ids a program runs under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RootfsUser {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Further groups the user is a member of.
    pub groups: Vec<u32>,
    /// The user's home directory, if the image says so.
    pub home: Option<String>,
}

impl Store {
    /// Finds the ids of `user[:group]` in the image made of these layers (lowest first).
    pub fn rootfs_user(&self, layers: &[LayerId], spec: &str) -> Result<RootfsUser, ImageError> {
        let mut dirs = Vec::with_capacity(layers.len());
        for id in layers.iter().rev() {
            let path = self.layer_dir().join(id.as_str());
            dirs.push(fs::open(&path, directory(), Mode::empty()).at("open", &path)?);
        }
        Ok(rootfs_user(&dirs, spec)?)
    }
}

/// Finds the ids of `user[:group]` in a stack of directories, topmost first.
///
/// Whiteouts and opaque directories hide what lies below, as overlayfs would. A single open
/// root directory is a stack of one. An empty `spec` means root.
pub fn rootfs_user(stack: &[OwnedFd], spec: &str) -> Result<RootfsUser, UserError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (spec, None),
    };
    let bad = |text: &str| text.len() > MOST_NAME || text.contains(['\0', '\n', ':']);
    // A group without a user would silently mean root.
    if bad(user) || group.is_some_and(bad) || user.is_empty() && !spec.is_empty() {
        return Err(UserError::Syntax(shown(spec.as_bytes())));
    }
    let user = if user.is_empty() { "0" } else { user };
    let passwd = read(stack, b"etc/passwd", "/etc/passwd")?;
    let (mut found, name) = find_user(passwd.as_deref().unwrap_or_default(), user)?;
    let groups = match (&name, group) {
        (None, None) => return Ok(found),
        _ => read(stack, b"etc/group", "/etc/group")?.unwrap_or_default(),
    };
    match (group, name) {
        (Some(group), _) => found.gid = find_group(&groups, group)?,
        (None, Some(name)) => found.groups = memberships(&groups, &name),
        (None, None) => {}
    }
    Ok(found)
}

/// The user's ids, and its name if it has one.
fn find_user(passwd: &str, user: &str) -> Result<(RootfsUser, Option<String>), UserError> {
    let number = number(user)?;
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, rest @ ..] = fields.as_slice() else {
            continue;
        };
        // A number is always meant as one, even if some user has it for a name.
        let matches = match number {
            Some(number) => self::number(uid) == Ok(Some(number)),
            None => *name == user,
        };
        if !matches || name.is_empty() {
            continue;
        }
        let id = |text: &str| {
            self::number(text)?.ok_or_else(|| UserError::File {
                file: "/etc/passwd",
                problem: format!("user \"{}\" has no number", shown(name.as_bytes())),
            })
        };
        let home = rest
            .get(1)
            .filter(|home| home.starts_with('/'))
            .map(|h| (*h).to_owned());
        let found = RootfsUser {
            uid: id(uid)?,
            gid: id(gid)?,
            groups: Vec::new(),
            home,
        };
        return Ok((found, Some((*name).to_owned())));
    }
    match number {
        Some(uid) => Ok((
            RootfsUser {
                uid,
                ..RootfsUser::default()
            },
            None,
        )),
        // An image without any user database still has the one user every kernel knows.
        None if user == "root" && passwd.is_empty() => Ok((RootfsUser::default(), None)),
        None => Err(UserError::NoUser(shown(user.as_bytes()))),
    }
}

fn find_group(groups: &str, group: &str) -> Result<u32, UserError> {
    if let Some(number) = number(group)? {
        return Ok(number);
    }
    for line in groups.lines() {
        let mut fields = line.split(':');
        if fields.next() != Some(group) {
            continue;
        }
        let gid = fields.nth(1).unwrap_or_default();
        return number(gid)?.ok_or_else(|| UserError::File {
            file: "/etc/group",
            problem: format!("group \"{}\" has no number", shown(group.as_bytes())),
        });
    }
    Err(UserError::NoGroup(shown(group.as_bytes())))
}

fn memberships(groups: &str, user: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    for line in groups.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields.as_slice() else {
            continue;
        };
        if !members.split(',').any(|member| member == user) {
            continue;
        }
        if let Ok(Some(gid)) = number(gid)
            && !ids.contains(&gid)
            && ids.len() < 1024
        {
            ids.push(gid);
        }
    }
    ids
}

/// A text of digits is a number or an error, never a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MOST_ID && digits.len() == text.len() => Ok(Some(id)),
        _ => Err(UserError::Range(shown(text.as_bytes()))),
    }
}

fn directory() -> OFlags {
    OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC
}

/// Reads a file of the merged tree; nothing if it is absent.
fn read(stack: &[OwnedFd], path: &[u8], file: &'static str) -> Result<Option<String>, UserError> {
    let refuse = |problem: String| UserError::File { file, problem };
    let found = lookup(stack, path).map_err(|error| refuse(error.to_string()))?;
    let Some(found) = found else { return Ok(None) };
    let mut content = Vec::new();
    File::from(found)
        .take(MOST_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|error| refuse(error.to_string()))?;
    if content.len() as u64 > MOST_BYTES {
        return Err(refuse(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&content).into_owned()))
}

/// Opens a regular file of the merged tree, following links inside it.
fn lookup(stack: &[OwnedFd], path: &[u8]) -> std::io::Result<Option<OwnedFd>> {
    let mut todo: Vec<Vec<u8>> = parts(path);
    // The directories passed so far, each as its own stack, so that ".." can go back.
    let mut trail: Vec<Vec<OwnedFd>> = vec![duplicate(stack)?];
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == b".." {
            if trail.len() > 1 {
                trail.pop();
            }
            continue;
        }
        let here = trail.last().expect("the root is never left");
        match step(here, &part)? {
            Step::Absent => return Ok(None),
            Step::Into(dirs) if trail.len() < 256 => trail.push(dirs),
            Step::Into(_) => return Err(std::io::Error::other("it lies too deep")),
            Step::Link(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(std::io::Error::other(
                        "links on its path go round in a circle",
                    ));
                }
                if target.starts_with(b"/") {
                    trail.truncate(1);
                }
                todo.extend(parts(&target));
            }
            Step::File(file) if todo.is_empty() => return Ok(Some(file)),
            Step::File(_) => return Err(std::io::Error::other("its path leads through a file")),
        }
    }
    Err(std::io::Error::other("it is a directory"))
}

/// The parts of a path, last first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path
        .split(|b| *b == b'/')
        .filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

enum Step {
    Absent,
    Into(Vec<OwnedFd>),
    Link(Vec<u8>),
    File(OwnedFd),
}

/// One name in a stack of directories, topmost first.
fn step(dirs: &[OwnedFd], name: &[u8]) -> std::io::Result<Step> {
    let mut found = Vec::new();
    for dir in dirs {
        let stat = match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if is_dir(&stat) {
            let next = fs::openat(dir, name, directory(), Mode::empty())?;
            let hides = is_opaque(&next);
            found.push(next);
            if hides {
                break;
            }
            continue;
        }
        if !found.is_empty() || is_whiteout(&stat) {
            break;
        }
        return match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Ok(Step::Link(
                fs::readlinkat(dir, name, Vec::new())?.into_bytes(),
            )),
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                Ok(Step::File(fs::openat(dir, name, flags, Mode::empty())?))
            }
            _ => Err(std::io::Error::other("it is not a regular file")),
        };
    }
    if found.is_empty() {
        Ok(Step::Absent)
    } else {
        Ok(Step::Into(found))
    }
}

fn is_opaque(dir: &impl AsFd) -> bool {
    let mut value = [0_u8; 2];
    matches!(fs::fgetxattr(dir, OPAQUE_XATTR, &mut value), Ok(1) if value[0] == b'y')
}

fn duplicate(stack: &[OwnedFd]) -> std::io::Result<Vec<OwnedFd>> {
    stack.iter().map(OwnedFd::try_clone).collect()
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
