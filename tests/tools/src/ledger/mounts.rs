//! Mount tables: the caller's, and those of our processes that live in another mount namespace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::process::Ours;
use super::snapshot::{read_if_there, read_text};
use super::{Ledger, LedgerError, Section};

/// One line of a `mountinfo` file, without the ids that change from boot to boot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: String,
    pub(super) fs_type: String,
    source: String,
    root: String,
    options: String,
}

impl Mount {
    fn line(&self) -> String {
        let Self {
            point,
            fs_type,
            source,
            root,
            options,
        } = self;
        format!("{point} type {fs_type} from {source} root {root} ({options})")
    }
}

pub(super) fn read(ledger: &mut Ledger, ours: &[Ours]) -> Result<(), LedgerError> {
    for mount in table(Path::new("/proc/self/mountinfo"))? {
        ledger.add(Section::Mount, mount.line());
    }
    let mut seen = BTreeSet::new();
    seen.extend(std::fs::read_link("/proc/self/ns/mnt").ok());
    for process in ours {
        let dir = PathBuf::from(format!("/proc/{}", process.pid));
        let Ok(namespace) = std::fs::read_link(dir.join("ns/mnt")) else {
            continue;
        };
        if !seen.insert(namespace.clone()) {
            continue;
        }
        for mount in parse(&read_if_there(dir.join("mountinfo")).unwrap_or_default()) {
            ledger.add(
                Section::OurMount,
                format!("{} {}", namespace.display(), mount.line()),
            );
        }
    }
    Ok(())
}

pub(super) fn table(path: &Path) -> Result<Vec<Mount>, LedgerError> {
    Ok(parse(&read_text(path)?))
}

fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// See proc_pid_mountinfo(5): optional fields end with a lone hyphen.
fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let mut right = right.split(' ');
    Some(Mount {
        root: left.next()?.to_owned(),
        point: left.next()?.to_owned(),
        options: left.next()?.to_owned(),
        fs_type: right.next()?.to_owned(),
        source: right.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_are_skipped() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw\n";
        let [mount] = parse(text).try_into().expect("one mount");
        assert_eq!(
            mount.line(),
            "/mnt2 type ext3 from /dev/root root /mnt1 (rw,noatime)"
        );
    }

    #[test]
    fn a_line_that_is_none_is_passed_over() {
        assert_eq!(parse("nonsense\n\n"), []);
    }
}
