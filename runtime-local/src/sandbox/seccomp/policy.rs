//! The policy file, read once: which call has which rule.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::Arch;
use crate::sandbox::caps::{LinuxCap, LinuxCaps};

const TEXT: &str = include_str!("default.policy");

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// EPERM.
    Deny,
    /// ENOSYS.
    Absent,
    /// Allowed unless the first argument asks for a new namespace.
    NoNamespaces,
    /// Allowed for harmless execution domains.
    Personality,
    /// Allowed unless the address family reaches past the sandbox.
    Family,
}

/// The rule of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// With any of these it is allowed.
    caps: LinuxCaps,
    /// What holds without them.
    otherwise: Verdict,
}

impl Rule {
    /// What happens to a caller with these capabilities.
    pub(super) fn verdict(self, caps: LinuxCaps) -> Verdict {
        if self.caps.intersect(caps) == LinuxCaps::default() {
            self.otherwise
        } else {
            Verdict::Allow
        }
    }
}

/// The rules of one architecture by system-call number.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) rules: BTreeMap<u32, Rule>,
    /// Later calls are unknown to this policy.
    pub(super) newest: u32,
}

/// The policy for an architecture.
pub(super) fn policy(arch: Arch) -> &'static Policy {
    static PARSED: OnceLock<[Policy; 3]> = OnceLock::new();
    &PARSED.get_or_init(|| [read(1), read(2), read(3)])[arch as usize]
}

/// The lines as words; comments left out.
fn lines() -> impl Iterator<Item = Vec<&'static str>> {
    TEXT.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_ascii_whitespace().collect())
}

/// The file is part of this source, hence the expectations: a test reads all of it.
fn read(column: usize) -> Policy {
    let mut policy = Policy {
        rules: BTreeMap::new(),
        newest: 0,
    };
    for words in lines() {
        let Ok(number) = words[column].parse::<u32>() else {
            continue;
        };
        if words[0] == "newest" {
            policy.newest = number;
        } else {
            policy.rules.insert(number, rule(&words[4..]));
        }
    }
    policy
}

fn rule(words: &[&str]) -> Rule {
    let mut rule = Rule {
        caps: LinuxCaps::default(),
        otherwise: Verdict::Deny,
    };
    for word in words {
        match *word {
            "allow" => rule.otherwise = Verdict::Allow,
            "else:namespaces" => rule.otherwise = Verdict::NoNamespaces,
            "else:enosys" => rule.otherwise = Verdict::Absent,
            "personality" => rule.otherwise = Verdict::Personality,
            "family" => rule.otherwise = Verdict::Family,
            other => {
                let names = other
                    .strip_prefix("cap:")
                    .expect("the policy file has known rules");
                for name in names.split(',') {
                    rule.caps
                        .insert(LinuxCap::parse(name).expect("it names capabilities"));
                }
            }
        }
    }
    rule
}

/// The number of a call in the policy.
#[cfg(test)]
pub(super) fn number(arch: Arch, name: &str) -> Option<u32> {
    let words = lines().find(|words| words[0] == name)?;
    words[arch as usize + 1].parse().ok()
}
