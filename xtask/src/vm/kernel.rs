//! Debian's kernel, fetched through apt with lists of our own, and unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{output, run, target_dir};
use crate::{Failure, Outcome};

/// Depends on the newest kernel of a suite.
const NEWEST: &str = "linux-image-amd64";
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// Holds a folder for the release.
    pub(super) modules: PathBuf,
    pub(super) release: String,
}

impl Kernel {
    /// The newest kernel of a Debian suite; one that has been fetched before is kept.
    pub(super) fn fetch(suite: &str) -> Result<Self, Failure> {
        let dir = target_dir().join("vm").join(suite);
        let unpacked = dir.join("kernel");
        if !unpacked.is_dir() {
            let archive = Archive::of(suite, &dir)?;
            archive.unpack(&unpacked)?;
        }
        Self::find(&unpacked)
    }

    fn find(unpacked: &Path) -> Result<Self, Failure> {
        let boot = unpacked.join("boot");
        let release = names(&boot)
            .find_map(|name| name.strip_prefix("vmlinuz-").map(ToOwned::to_owned))
            .ok_or_else(|| Failure::new(format!("there is no kernel in {}", boot.display())))?;
        Ok(Self {
            image: boot.join(format!("vmlinuz-{release}")),
            modules: unpacked.join("lib/modules"),
            release,
        })
    }
}

fn names(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().display().to_string())
}

/// Another suite of the archive that this host is installed from.
struct Archive {
    dir: PathBuf,
}

impl Archive {
    fn of(suite: &str, dir: &Path) -> Result<Self, Failure> {
        let archive = Self {
            dir: dir.to_owned(),
        };
        for part in ["lists/partial", "cache/archives/partial", "sources"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(|error| {
                Failure::new(format!("cannot make {}: {error}", path.display()))
            })?;
        }
        let known = fs::read_to_string(SOURCES)
            .map_err(|error| Failure::new(format!("cannot read {SOURCES}: {error}")))?;
        let path = dir.join("sources/vm.sources");
        fs::write(&path, stanza(&known, suite)?)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        Ok(archive)
    }

    fn apt(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        let dir = self.dir.display();
        for option in [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={dir}/sources"),
            format!("Dir::State::lists={dir}/lists"),
            format!("Dir::Cache={dir}/cache"),
            // The user that root's apt downloads as may not enter a developer's folders.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.args(words).current_dir(&self.dir);
        command
    }

    fn unpack(&self, to: &Path) -> Outcome {
        run(&mut self.apt("apt-get", &["-q", "update"]))?;
        let depends = output(&mut self.apt("apt-cache", &["depends", NEWEST]))?;
        let package = depends
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: "))
            .filter(|name| name.starts_with("linux-image-"))
            .ok_or_else(|| Failure::new(format!("{NEWEST} depends on no kernel: {depends}")))?;
        run(&mut self.apt("apt-get", &["-q", "download", package]))?;
        let file = names(&self.dir)
            .find(|name| name.starts_with(package) && name.ends_with(".deb"))
            .ok_or_else(|| Failure::new(format!("apt has not left {package} behind")))?;
        let (file, fresh) = (self.dir.join(file), self.dir.join("unpacking"));
        // The remains of an attempt that was interrupted.
        let _ = fs::remove_dir_all(&fresh);
        run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&fresh))?;
        index_modules(&fresh)?;
        let _ = fs::remove_file(&file);
        fs::rename(&fresh, to)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", to.display())))
    }
}

/// Writes `modules.dep`, which a package leaves to whoever installs it.
fn index_modules(unpacked: &Path) -> Outcome {
    if !unpacked.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", unpacked.join("lib"))
            .map_err(|error| Failure::new(format!("cannot link lib: {error}")))?;
    }
    let release = Kernel::find(unpacked)?.release;
    let mut depmod = Command::new("busybox");
    run(depmod.arg("depmod").arg("-b").arg(unpacked).arg(release))
}

/// The first stanza of apt's list, for another suite.
fn stanza(known: &str, suite: &str) -> Result<String, Failure> {
    let field = |name: &str| {
        let line = known
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(key, _)| key == name));
        line.ok_or_else(|| Failure::new(format!("{SOURCES} has no {name}")))
    };
    Ok(format!(
        "Types: deb\nSuites: {suite}\nComponents: main\n{}\n{}\n",
        field("URIs")?,
        field("Signed-By")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stanza_serves_another_suite() {
        let known = "Types: deb\n# a note\nURIs: http://one.example/debian\nSuites: a b\n\
                     Components: main contrib\nSigned-By: /key\n\nTypes: deb\n\
                     URIs: http://two.example\nSuites: c\nSigned-By: /other\n";
        let expected = "Types: deb\nSuites: d\nComponents: main\n\
                        URIs: http://one.example/debian\nSigned-By: /key\n";
        assert_eq!(stanza(known, "d").expect("complete"), expected);
        assert!(stanza("Types: deb\n", "d").is_err());
    }
}
