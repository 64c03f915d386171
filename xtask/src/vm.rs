//! `cargo xtask vm`: the same tests on another kernel, with cgroup version 2 alone.
//!
//! Debian's own kernel package is fetched and unpacked, never installed, and booted by QEMU. The
//! machine runs the programs of this host and of this workspace, which it sees read-only; what it
//! writes goes to a disk that is thrown away. It has no network card.

mod boot;
mod initramfs;
mod kernel;
mod programs;

use std::time::Duration;

use kernel::Kernel;

use crate::inside;
use crate::process::{built, cargo, on_path, root, run as run_command, target_dir, watch};
use crate::test::{self, Scratch};
use crate::{Failure, Outcome, images};

pub(crate) use programs::{LIST, commands};

/// Debian 12, whose kernel is 6.1.
const SUITE: &str = "bookworm";
/// Emulated processors are ten to thirty times slower than real ones.
const BUDGET: Duration = Duration::from_mins(150);
/// Programs this needs, and Debian's packages of them.
const NEEDED: [(&str, &str); 5] = [
    ("apt-get", "apt"),
    ("busybox", "busybox-static"),
    ("dpkg-deb", "dpkg"),
    ("mkfs.ext4", "e2fsprogs"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// What kind of machine is wanted.
#[derive(Debug)]
struct Options<'a> {
    suite: &'a str,
    systemd: bool,
    words: &'a [&'a str],
}

impl<'a> Options<'a> {
    fn parse(mut words: &'a [&'a str]) -> Option<Self> {
        let (mut suite, mut systemd) = (SUITE, false);
        loop {
            match words {
                ["--suite", name, rest @ ..] => (suite, words) = (name, rest),
                ["--systemd", rest @ ..] => (systemd, words) = (true, rest),
                [] => words = &["test"],
                ["test"] | ["soak", _] | ["conformance" | "--", _, ..] => break,
                _ => return None,
            }
        }
        Some(Self {
            suite,
            systemd,
            words,
        })
    }

    /// The command line for the machine's shell.
    fn command(&self) -> String {
        if let ["--", words @ ..] = self.words {
            return words.join(" ");
        }
        let xtask = built("xtask").display().to_string();
        let emulated = if boot::is_emulated() {
            "UNMOOR_TEST_EMULATED=1 "
        } else {
            ""
        };
        format!("{emulated}{xtask} inside guest {}", self.words.join(" "))
    }
}

/// Boots a machine and runs a task in it; `None` if the words make no sense.
pub(crate) fn run(words: &[&str]) -> Option<Outcome> {
    let options = Options::parse(words)?;
    Some(check().and_then(|()| {
        if options.words == ["test"] {
            programs::build()?;
        } else {
            run_command(&mut cargo(&[
                "build",
                "--package",
                "unmoor-cli",
                "--locked",
            ]))?;
        }
        images::build_all()?;
        let kernel = Kernel::fetch(options.suite)?;
        let first = if options.systemd { SYSTEMD } else { "/begin" };
        let memory = initramfs::build(&kernel, first, &options.command())?;
        boot(&kernel, &memory)
    }))
}

fn check() -> Outcome {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Failure::new("this task knows x86_64 machines only"));
    }
    if !target_dir().starts_with(root()) {
        return Err(Failure::new(
            "build below the workspace (CARGO_TARGET_DIR): the machine sees nothing else",
        ));
    }
    // A user's path seldom has the folders of the administrator's programs.
    let found = |name: &str| {
        on_path(name)
            || ["/usr/sbin", "/sbin"]
                .iter()
                .any(|dir| std::path::Path::new(dir).join(name).is_file())
    };
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(program, _)| !found(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        let list = missing.join(" ");
        Err(Failure::new(format!(
            "install first: apt-get install {list}"
        )))
    }
}

fn boot(kernel: &Kernel, memory: &std::path::Path) -> Outcome {
    let disk = boot::Disk::make(&target_dir().join("vm"))?;
    let mut command = boot::machine(kernel, memory, &disk, &root());
    let mut ended = None;
    watch(&mut command, BUDGET, &mut |line| {
        if let Some(code) = line.strip_prefix("vm: exit ") {
            ended = code.parse::<i32>().ok();
        }
    })?;
    match ended {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::new(format!(
            "it ended with code {code} in the machine"
        ))),
        None => Err(Failure::new(
            "the machine stopped before the task had ended",
        )),
    }
}

/// The part that runs in the machine: a task in namespaces of its own, as on the host.
pub(crate) fn inside(words: &[&str]) -> Outcome {
    let isolation = inside::isolation();
    if words != ["test"] {
        return run_command(&mut inside::command(isolation, words)?);
    }
    let scratch = Scratch::new()?;
    let mut command = test::command(isolation, &scratch)?;
    run_command(command.env(LIST, programs::list()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_a_machine_and_a_command() {
        let words = ["--systemd", "--suite", "trixie", "soak", "3"];
        let options = Options::parse(&words).expect("they make sense");
        assert!(options.systemd);
        assert_eq!(options.suite, "trixie");
        assert!(options.command().ends_with("xtask inside guest soak 3"));
        let own = Options::parse(&["--", "uname", "-r"]).expect("they make sense");
        assert_eq!((own.command().as_str(), own.systemd), ("uname -r", false));
        let none = Options::parse(&[]).expect("all tests");
        assert!(none.command().ends_with("xtask inside guest test"));
        for wrong in [&["soak"][..], &["--"], &["tset"], &["--suite"]] {
            assert!(Options::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
