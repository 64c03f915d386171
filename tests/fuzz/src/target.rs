//! What is fuzzed, by name.

use crate::compose;
use crate::input::Input;
use crate::mutate::Words;

/// Something that must have an answer to every input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: fn() -> Vec<Input>,
    pub(crate) words: fn() -> Words,
    pub(crate) run: fn(&Input),
}

/// All there are; the last shows that the watching works.
pub(crate) const TARGETS: [Target; 2] = [
    Target {
        name: "compose",
        seeds: compose::seeds,
        words: compose::words,
        run: compose::run,
    },
    Target {
        name: "planted",
        seeds: planted_seeds,
        words: planted_words,
        run: planted,
    },
];

/// The target of a name.
pub(crate) fn named(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

fn planted_seeds() -> Vec<Input> {
    vec![Input::parse("%% file compose\nbug: none\n")]
}

fn planted_words() -> Words {
    Words {
        keys: vec![("bug", vec!["none"])],
        pieces: &["."],
        flags: &["panic", "hang", "eat", "overflow"],
    }
}

/// Has one bug of each kind, each behind a flag.
fn planted(input: &Input) {
    let has = |flag: &str| input.flags.contains(flag);
    if has("eat") {
        std::hint::black_box(vec![1_u8; 2 << 30]);
    } else if has("overflow") {
        std::hint::black_box(deeper(1));
    } else if has("hang") {
        loop {
            std::hint::spin_loop();
        }
    } else if has("panic") {
        panic!("planted: {}", input.files.len());
    }
}

fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    if depth == 0 {
        return 0;
    }
    deeper(std::hint::black_box(depth + 1)) + room[3]
}
