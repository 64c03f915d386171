//! A small interpreter for the filters' subset of BPF, for tests: what the kernel would decide.

use super::compile::{ANY_BIT, AT_LEAST, EQUAL, GREATER, JUMP, LOAD, RETURN};

/// A system call as a filter sees it.
pub(super) struct Call {
    pub(super) arch: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

/// What the filter answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Allow,
    Errno(u32),
    Kill,
}

/// Runs a program; returns its answer and how many instructions it took.
pub(super) fn run(program: &[u8], call: &Call) -> (Outcome, usize) {
    let mut data = Vec::new();
    data.extend_from_slice(&call.number.to_ne_bytes());
    data.extend_from_slice(&call.arch.to_ne_bytes());
    data.extend_from_slice(&0u64.to_ne_bytes());
    for arg in call.args {
        data.extend_from_slice(&arg.to_ne_bytes());
    }
    let word = |at: usize| u32::from_ne_bytes(data[at..at + 4].try_into().expect("in range"));
    let (mut at, mut acc, mut steps) = (0usize, 0u32, 0);
    loop {
        let bytes = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let value = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let (yes, no) = (usize::from(bytes[2]), usize::from(bytes[3]));
        steps += 1;
        at += 1;
        let holds = match code {
            LOAD => {
                acc = word(value as usize);
                continue;
            }
            JUMP => {
                at += value as usize;
                continue;
            }
            RETURN => return (answer(value), steps),
            EQUAL => acc == value,
            GREATER => acc > value,
            AT_LEAST => acc >= value,
            ANY_BIT => acc & value != 0,
            other => panic!("instruction {other:#x} is not used by filters"),
        };
        at += if holds { yes } else { no };
    }
}

fn answer(value: u32) -> Outcome {
    match value >> 16 {
        0x7fff => Outcome::Allow,
        0x0005 => Outcome::Errno(value & 0xffff),
        0x8000 => Outcome::Kill,
        other => panic!("return value {other:#x} is not used by filters"),
    }
}
