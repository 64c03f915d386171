//! Every await of every operation: the caller dies there, and the next run gets there.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::play::play;
use crate::script::{Harm, Line, Op, Script};

/// What is there before, and what is asked for when the caller dies.
const OPERATIONS: &[(&[&str], &str)] = &[
    (&[], "up a:1x2 b:1x1+check d:1x1+data<b e:1x1+job --wait"),
    (&["up a:1x2 b:1x1 --wait"], "up a:2x2 b:1x1 --wait"),
    (
        &["up a:1x3+check b:1x1 --wait"],
        "up a:2x3+check b:2x1 --wait",
    ),
    (
        &["up a:1x1 b:1x1 d:1x1+data --wait"],
        "up a:1x1 b:1x1 d:2x1+data --wait",
    ),
    (
        &["up a:1x2+check b:1x1 --wait"],
        "up a:2x2+check+broken b:1x1 --wait",
    ),
    (
        &["up a:1x2 b:1x1 c:1x1 --wait"],
        "up a:1x2 b:1x1 --orphans --wait",
    ),
    (
        &[
            "up a:1x2+check b:1x1 --wait",
            "plan a:2x2+check b:1x1 d:1x1+data --wait",
        ],
        "apply",
    ),
    (
        &[
            "up a:1x3+check b:1x1 d:1x1+data --wait",
            "meddle a 2 remove",
            "meddle d 1 stop",
        ],
        "reconcile",
    ),
    (&["up a:1x2+check b:1x1 --wait"], "update a 2"),
    (&["up a:1x1 b:1x1 d:1x1+data --wait"], "update d 2"),
    (&["up a:1x2+check b:1x1 --wait", "update a 2"], "rollback a"),
    (
        &["up a:1x3+check+rollback b:1x1 --wait"],
        "up a:2x3+check+broken+rollback+by2 b:1x1 --wait",
    ),
    (&["up a:1x3+check b:1x1 --wait"], "pause a"),
    (
        &["up a:1x3+check+canary b:1x1 --wait", "update a 2"],
        "resume a",
    ),
    (
        &["up a:1x3+check+canary b:1x1 --wait", "update a 2"],
        "rollback a",
    ),
    (&["up a:1x1+check b:1x1 --wait"], "scale a 4"),
    (&["up a:1x4 b:1x1 --wait"], "scale a 1"),
    (&["up a:1x2 b:1x1 --wait"], "scale a 0"),
    (&["up a:1x1 b:1x1 --wait"], "link b db a"),
    (&["up a:1x1 b:1x1 --wait", "link b db a"], "link b db b"),
    (&["up a:1x1 b:1x1 --wait", "link b db a"], "unlink b db"),
    (&["up a:1x1 b:1x1 c:1x2 --wait"], "remove c"),
    (&["up a:1x2 b:1x1 d:1x1+data --wait"], "down"),
    (&["up a:1x2 b:1x1 d:1x1+data --wait"], "down --volumes"),
];

/// More awaits than any operation here has.
const ENDLESS: u64 = 3000;

fn calm(text: &str) -> Line {
    Line {
        op: text.parse().expect("it reads"),
        harm: Harm::default(),
    }
}

/// Lets the caller of the last line die at each of its awaits; how many there are.
fn every_await(before: &[&str], op: &Op, slow: Option<u64>) -> u64 {
    for polls in 0..ENDLESS {
        let mut lines: Vec<Line> = before.iter().map(|text| calm(text)).collect();
        let harm = Harm {
            dies: Some(polls),
            slow,
            ..Harm::default()
        };
        lines.push(Line {
            op: op.clone(),
            harm,
        });
        let script = Script { seed: 1, lines };
        match play(&script, None) {
            Ok(life) if life.died == 0 => return polls,
            Ok(_) => {}
            Err(why) => panic!("{why}\n\n{script}"),
        }
    }
    panic!("`{op}` has more than {ENDLESS} awaits");
}

/// Lets callers of every operation die, on all processors.
fn all_operations(slow: Option<u64>) {
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some((before, op)) = OPERATIONS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let op: Op = op.parse().expect("it reads");
            let awaits = every_await(before, &op, slow);
            assert!(awaits > 3, "`{op}` has {awaits} awaits");
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(worker)));
    });
}

#[test]
fn a_caller_that_dies_at_any_await_leaves_what_the_next_run_completes() {
    all_operations(None);
}

/// Actions side by side end one after the other where each takes its own time.
#[test]
#[ignore = "takes minutes unless it is optimized; `cargo xtask soak lives` runs it"]
fn so_does_one_whose_actions_end_one_after_the_other() {
    (1..4).for_each(|seed| all_operations(Some(seed)));
}
