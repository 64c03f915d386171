//! From rules by number to BPF: intervals of equal verdict, then a balanced tree over them.

use super::policy::{Policy, Verdict};
use crate::sandbox::caps::LinuxCaps;

/// `struct sock_filter` of `linux/filter.h`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

impl Instruction {
    pub(super) fn bytes(self) -> [u8; 8] {
        let code = self.code.to_ne_bytes();
        let value = self.value.to_ne_bytes();
        [
            code[0], code[1], self.yes, self.no, value[0], value[1], value[2], value[3],
        ]
    }
}

pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const EQUAL: u16 = 0x15;
pub(super) const GREATER: u16 = 0x25;
pub(super) const AT_LEAST: u16 = 0x35;
pub(super) const ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Offsets in `struct seccomp_data`; of an argument the low half, which comes first on both
/// architectures. The kernel reads clone's flags, personality's domain and socket's family as 32
/// bits, so the upper half means nothing.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const FIRST_ARGUMENT_AT: u32 = 16;

/// `CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Linux, Linux with 16-bit ids, the same two with an old `uname`, and "only tell me".
const HARMLESS_DOMAINS: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `AF_ALG` and `AF_VSOCK`.
const REFUSED_FAMILIES: [u32; 2] = [38, 40];

fn op(code: u16, value: u32) -> Instruction {
    Instruction {
        code,
        yes: 0,
        no: 0,
        value,
    }
}

/// Jumps over `yes` or `no` instructions.
fn branch(code: u16, value: u32, yes: u8, no: u8) -> Instruction {
    Instruction {
        code,
        yes,
        no,
        value,
    }
}

/// The whole filter: for an architecture, and for the older one whose programs run beside.
pub(super) fn compile(
    (audit, policy): (u32, &Policy),
    older: Option<(u32, &Policy)>,
    caps: LinuxCaps,
) -> Vec<Instruction> {
    let main = block(policy, caps);
    let mut program = vec![op(LOAD, ARCH_AT)];
    let Some((older, policy)) = older else {
        program.push(branch(EQUAL, audit, 1, 0));
        program.push(op(RETURN, KILL_PROCESS));
        program.extend(main);
        return program;
    };
    let over = u32::try_from(main.len()).expect("programs are short");
    program.extend([
        branch(EQUAL, audit, 3, 0),
        branch(EQUAL, older, 0, 1),
        op(JUMP, over + 1),
        op(RETURN, KILL_PROCESS),
    ]);
    program.extend(main);
    program.extend(block(policy, caps));
    program
}

/// What holds on one architecture.
fn block(policy: &Policy, caps: LinuxCaps) -> Vec<Instruction> {
    let mut block = vec![
        op(LOAD, NUMBER_AT),
        // Also catches x32, whose numbers have bit 30 set: most kernels know none of its calls.
        branch(GREATER, policy.newest, 0, 1),
        op(RETURN, ERRNO | ENOSYS),
    ];
    block.extend(tree(&intervals(policy, caps)));
    block
}

/// First number and verdict of every run of equal verdicts, from 0 on.
fn intervals(policy: &Policy, caps: LinuxCaps) -> Vec<(u32, Verdict)> {
    let mut found: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=policy.newest {
        let verdict = policy
            .rules
            .get(&number)
            .map_or(Verdict::Deny, |rule| rule.verdict(caps));
        if found.last().is_none_or(|(_, last)| *last != verdict) {
            found.push((number, verdict));
        }
    }
    found
}

fn tree(intervals: &[(u32, Verdict)]) -> Vec<Instruction> {
    if let [(_, verdict)] = intervals {
        return leaf(*verdict);
    }
    let (low, high) = intervals.split_at(intervals.len() / 2);
    let (left, right) = (tree(low), tree(high));
    let pivot = high[0].0;
    let mut program = Vec::with_capacity(left.len() + right.len() + 2);
    match u8::try_from(left.len()) {
        Ok(over) => program.push(branch(AT_LEAST, pivot, over, 0)),
        // A conditional jump reaches 255 instructions, an unconditional one any number.
        Err(_) => {
            program.push(branch(AT_LEAST, pivot, 0, 1));
            program.push(op(
                JUMP,
                u32::try_from(left.len()).expect("programs are short"),
            ));
        }
    }
    program.extend(left);
    program.extend(right);
    program
}

fn leaf(verdict: Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![op(RETURN, ALLOW)],
        Verdict::Deny => vec![op(RETURN, ERRNO | EPERM)],
        Verdict::Absent => vec![op(RETURN, ERRNO | ENOSYS)],
        Verdict::NoNamespaces => vec![
            op(LOAD, FIRST_ARGUMENT_AT),
            branch(ANY_BIT, NEW_NAMESPACES, 1, 0),
            op(RETURN, ALLOW),
            op(RETURN, ERRNO | EPERM),
        ],
        Verdict::Personality => one_of(&HARMLESS_DOMAINS, ALLOW, ERRNO | EPERM),
        Verdict::Family => one_of(&REFUSED_FAMILIES, ERRNO | EPERM, ALLOW),
    }
}

/// Compares the first argument with each value.
fn one_of(values: &[u32], found: u32, absent: u32) -> Vec<Instruction> {
    let mut program = vec![op(LOAD, FIRST_ARGUMENT_AT)];
    for (at, value) in values.iter().enumerate() {
        let rest = u8::try_from(values.len() - at).expect("few values");
        program.push(branch(EQUAL, *value, rest, 0));
    }
    program.push(op(RETURN, absent));
    program.push(op(RETURN, found));
    program
}
