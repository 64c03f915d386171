//! Process limits by name, and the defaults that do not depend on who called.

use std::collections::BTreeMap;

use rustix::process::{Resource, getrlimit};
use unmoor_core::spec::Rlimit as Wanted;

use crate::error::LocalError;
use crate::sandbox::caps::{self, LinuxCap};
use crate::wire::plan::Rlimit;

/// Names by number.
const NAMES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// Docker's soft limit of open files, whatever shell the caller came from.
const NOFILE: u64 = 1_048_576;

/// The limits of a replica: those asked for, and a default for open files.
///
/// # Errors
/// An unknown name, a soft limit above the hard one, or a hard limit that this process may not
/// give.
pub(crate) fn plan(wanted: &BTreeMap<String, Wanted>) -> Result<Vec<Rlimit>, LocalError> {
    let can_raise = LinuxCap::parse("SYS_RESOURCE").is_some_and(|cap| caps::effective().has(cap));
    let mut limits = Vec::new();
    for (name, limit) in wanted {
        let lower = name.to_ascii_lowercase();
        let at = NAMES.iter().position(|known| *known == lower);
        let Some(resource) = at.and_then(|at| u32::try_from(at).ok()) else {
            let name: String = name
                .chars()
                .take(40)
                .flat_map(char::escape_default)
                .collect();
            return Err(LocalError::Spec(format!(
                "ulimits: `{name}` is not a process limit"
            )));
        };
        if limit.soft > limit.hard {
            let text = format!(
                "ulimits.{lower}: soft {} is above hard {}",
                limit.soft, limit.hard
            );
            return Err(LocalError::Spec(text));
        }
        let most = hard_limit(&lower);
        if limit.hard > most && !can_raise {
            return Err(LocalError::Rlimit {
                name: lower,
                wanted: limit.hard,
                most,
            });
        }
        limits.push(Rlimit {
            resource,
            soft: limit.soft,
            hard: limit.hard,
        });
    }
    if !wanted
        .keys()
        .any(|name| name.eq_ignore_ascii_case("nofile"))
    {
        let hard = if can_raise {
            NOFILE
        } else {
            hard_limit("nofile").min(NOFILE)
        };
        limits.push(Rlimit {
            resource: 7,
            soft: hard,
            hard,
        });
    }
    Ok(limits)
}

/// The hard limit of this process; `u64::MAX` is none.
fn hard_limit(name: &str) -> u64 {
    let resource = match name {
        "cpu" => Resource::Cpu,
        "fsize" => Resource::Fsize,
        "data" => Resource::Data,
        "stack" => Resource::Stack,
        "core" => Resource::Core,
        "rss" => Resource::Rss,
        "nproc" => Resource::Nproc,
        "nofile" => Resource::Nofile,
        "memlock" => Resource::Memlock,
        "as" => Resource::As,
        "locks" => Resource::Locks,
        "sigpending" => Resource::Sigpending,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "rtprio" => Resource::Rtprio,
        _ => Resource::Rttime,
    };
    getrlimit(resource).maximum.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_nonsense_is_refused() {
        let one = |name: &str, soft, hard| {
            plan(&BTreeMap::from([(name.to_owned(), Wanted { soft, hard })]))
        };
        let limits = one("NOFILE", 10, 20).expect("below every hard limit");
        assert_eq!(
            limits,
            [Rlimit {
                resource: 7,
                soft: 10,
                hard: 20
            }]
        );
        let limits = one("core", 0, 0).expect("zero is always allowed");
        assert_eq!(limits.len(), 2, "open files keep their default");
        assert!(one("nofiles", 1, 1).is_err());
        assert!(one("nofile", 2, 1).is_err());
    }
}
