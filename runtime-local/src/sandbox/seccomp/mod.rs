//! The system-call filter: docker's default policy as a binary search tree of BPF instructions.
//!
//! The kernel runs a new filter once for every system-call number to learn which are always
//! allowed, so the length of a path, not of the program, is what a start pays for.

mod compile;
#[cfg(test)]
mod interpret;
mod policy;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::sandbox::caps::LinuxCaps;

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
    I386,
}

impl Arch {
    /// The one this program runs on.
    pub(crate) const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::X86_64
    };

    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
            Self::I386 => 0x4000_0003,
        }
    }

    /// The older one whose programs run beside, with calls of their own numbers.
    fn older(self) -> Option<Self> {
        match self {
            Self::X86_64 => Some(Self::I386),
            Self::Aarch64 | Self::I386 => None,
        }
    }
}

/// The filter for a program with these capabilities, as `struct sock_filter` bytes.
pub(crate) fn filter(arch: Arch, caps: LinuxCaps) -> Arc<[u8]> {
    type Cache = Mutex<BTreeMap<(Arch, u64), Arc<[u8]>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let mut cache = CACHE
        .get_or_init(Cache::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let program = cache.entry((arch, caps.bits())).or_insert_with(|| {
        let part = |arch: Arch| (arch.audit(), policy::policy(arch));
        let instructions = compile::compile(part(arch), arch.older().map(part), caps);
        instructions
            .iter()
            .flat_map(|instruction| instruction.bytes())
            .collect()
    });
    Arc::clone(program)
}

#[cfg(test)]
mod tests {
    use super::interpret::{Call, Outcome, run};
    use super::*;
    use crate::sandbox::caps::LinuxCap;

    const EPERM: Outcome = Outcome::Errno(1);
    const ENOSYS: Outcome = Outcome::Errno(38);

    fn with(names: &[&str]) -> LinuxCaps {
        let mut set = LinuxCaps::default();
        for name in names {
            set.insert(LinuxCap::parse(name).expect("a capability"));
        }
        set
    }

    fn number(arch: Arch, name: &str) -> u32 {
        policy::number(arch, name).unwrap_or_else(|| panic!("{name} on {arch:?}"))
    }

    fn outcome(arch: Arch, caps: LinuxCaps, name: &str, args: [u64; 6]) -> Outcome {
        let call = Call {
            arch: arch.audit(),
            number: number(arch, name),
            args,
        };
        run(&filter(arch, caps), &call).0
    }

    #[test]
    fn every_call_of_the_policy_has_its_verdict_on_both_architectures() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let none = LinuxCaps::default();
            for name in [
                "read",
                "execve",
                "openat",
                "ptrace",
                "seccomp",
                "futex_waitv",
            ] {
                assert_eq!(outcome(arch, none, name, [0; 6]), Outcome::Allow, "{name}");
            }
            for name in [
                "mount",
                "unshare",
                "setns",
                "bpf",
                "reboot",
                "open_by_handle_at",
            ] {
                assert_eq!(outcome(arch, none, name, [0; 6]), EPERM, "{name}");
            }
            assert_eq!(outcome(arch, none, "clone3", [0; 6]), ENOSYS);
            let admin = with(&["SYS_ADMIN"]);
            for name in ["mount", "unshare", "clone3", "bpf", "syslog"] {
                assert_eq!(outcome(arch, admin, name, [0; 6]), Outcome::Allow, "{name}");
            }
            assert_eq!(
                outcome(arch, with(&["SYSLOG"]), "syslog", [0; 6]),
                Outcome::Allow
            );
            assert_eq!(outcome(arch, with(&["SYS_TIME"]), "bpf", [0; 6]), EPERM);
        }
    }

    #[test]
    fn unlisted_calls_are_refused_and_later_ones_unknown() {
        let keyctl = [(Arch::X86_64, 250), (Arch::Aarch64, 219)];
        let uring = 425;
        for (arch, keyctl) in keyctl {
            let program = filter(arch, LinuxCaps::default());
            let verdict = |number| {
                run(
                    &program,
                    &Call {
                        arch: arch.audit(),
                        number,
                        args: [0; 6],
                    },
                )
                .0
            };
            assert_eq!(verdict(keyctl), EPERM);
            assert_eq!(verdict(uring), EPERM);
            assert_eq!(verdict(469), EPERM);
            assert_eq!(verdict(470), ENOSYS);
            assert_eq!(verdict(u32::MAX), ENOSYS);
        }
    }

    #[test]
    fn the_32_bit_ways_in_lead_to_the_same_rules_or_nowhere() {
        let judge = |caps, audit, number, arg| {
            let args = [arg, 0, 0, 0, 0, 0];
            let call = Call {
                arch: audit,
                number,
                args,
            };
            run(&filter(Arch::X86_64, caps), &call).0
        };
        let (none, all) = (LinuxCaps::default(), LinuxCaps::ALL);
        // x32 is told by a bit in the number, i386 by another architecture.
        let x32 = judge(all, Arch::X86_64.audit(), 0x4000_0000 | 165, 0);
        assert_eq!(x32, ENOSYS);
        let i386 = |caps, name, arg| judge(caps, Arch::I386.audit(), number(Arch::I386, name), arg);
        for name in ["read", "mmap2", "getuid32", "stat64", "set_thread_area"] {
            assert_eq!(i386(none, name, 0), Outcome::Allow, "{name}");
        }
        for name in ["mount", "umount", "unshare", "bpf", "stime", "iopl"] {
            assert_eq!(i386(none, name, 0), EPERM, "{name}");
            assert_eq!(i386(all, name, 0), Outcome::Allow, "{name}");
        }
        let keyctl = judge(all, Arch::I386.audit(), 288, 0);
        assert_eq!(keyctl, EPERM, "it is on no list");
        assert_eq!(i386(none, "clone", 0x1000_0011), EPERM);
        assert_eq!(i386(none, "clone3", 0), ENOSYS);
        assert_eq!(i386(none, "socket", 2), Outcome::Allow);
        assert_eq!(i386(none, "socket", 38), EPERM, "AF_ALG");
        assert_eq!(i386(all, "socketcall", 1), ENOSYS, "any family");
        assert_eq!(judge(all, Arch::I386.audit(), 470, 0), ENOSYS);
        let arm = Call {
            arch: 0x4000_0028,
            number: 21,
            args: [0; 6],
        };
        for arch in [Arch::X86_64, Arch::Aarch64] {
            assert_eq!(run(&filter(arch, all), &arm).0, Outcome::Kill);
        }
    }

    #[test]
    fn arguments_decide_where_the_number_does_not() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let verdict =
                |name, arg| outcome(arch, LinuxCaps::default(), name, [arg, 0, 0, 0, 0, 0]);
            assert_eq!(
                verdict("clone", 0x0100_0011),
                Outcome::Allow,
                "a thread or a fork"
            );
            for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x1000_0000, 0x4000_0000] {
                assert_eq!(
                    verdict("clone", flag | 17),
                    EPERM,
                    "a new namespace: {flag:#x}"
                );
            }
            for harmless in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
                assert_eq!(verdict("personality", harmless), Outcome::Allow);
            }
            assert_eq!(
                verdict("personality", 0x4_0000),
                EPERM,
                "no address randomisation"
            );
            assert_eq!(verdict("socket", 2), Outcome::Allow);
            assert_eq!(verdict("socket", 38), EPERM, "AF_ALG");
            assert_eq!(verdict("socket", 40), EPERM, "AF_VSOCK");
            let admin = outcome(
                arch,
                with(&["SYS_ADMIN"]),
                "clone",
                [0x1000_0000, 0, 0, 0, 0, 0],
            );
            assert_eq!(admin, Outcome::Allow);
        }
    }

    #[test]
    fn paths_are_short_and_the_tree_agrees_with_the_list() {
        for (host, arch) in [
            (Arch::X86_64, Arch::X86_64),
            (Arch::X86_64, Arch::I386),
            (Arch::Aarch64, Arch::Aarch64),
        ] {
            let caps = LinuxCaps::docker_default();
            let program = filter(host, caps);
            assert!(program.len() / 8 < 4096, "the kernel's limit");
            for number in 0..=480 {
                let call = Call {
                    arch: arch.audit(),
                    number,
                    args: [0; 6],
                };
                let (verdict, steps) = run(&program, &call);
                assert!(steps <= 18, "{number} takes {steps} steps");
                let listed = policy::policy(arch).rules.get(&number).is_some_and(|rule| {
                    !matches!(
                        rule.verdict(caps),
                        policy::Verdict::Deny | policy::Verdict::Absent
                    )
                });
                assert_eq!(verdict == Outcome::Allow, listed, "{number}");
            }
        }
    }
}
