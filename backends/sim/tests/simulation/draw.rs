//! Scripts by seed, and smaller scripts that break the same promise.

use unmoor_core::spec::FailureAction;

use crate::script::{Harm, Item, Kind, Line, Meddling, Op, Script};

/// SplitMix64, as the world's own.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).expect("below a u32")
    }

    /// True so many times of a hundred.
    fn percent(&mut self, share: u32) -> bool {
        self.below(100) < share
    }

    fn one_of<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[self.below(u32::try_from(names.len()).expect("a few")) as usize]
    }

    fn some<T>(&mut self, share: u32, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.percent(share).then(|| make(self))
    }
}

/// Services that every file has; links lead to them.
const ALWAYS: [&str; 2] = ["a", "b"];
const SOMETIMES: [&str; 3] = ["c", "d", "e"];
/// The one that writes a volume, where a file has it.
const WRITER: &str = "d";
/// The one that runs to completion.
const JOB: &str = "e";

/// The script of a seed.
pub(crate) fn script(seed: u64) -> Script {
    let mut draw = Draw(seed);
    let first = line(&mut draw, true);
    let count = 1 + draw.below(7);
    let rest = (0..count).map(|_| line(&mut draw, false));
    let lines = std::iter::once(first)
        .chain(rest.collect::<Vec<_>>())
        .collect();
    Script { seed, lines }
}

fn line(draw: &mut Draw, first: bool) -> Line {
    let op = if first { up(draw) } else { op(draw) };
    if matches!(op, Op::Kill { .. } | Op::Meddle { .. }) || (first && draw.percent(50)) {
        let harm = Harm::default();
        return Line { op, harm };
    }
    let harm = Harm {
        dies: draw.some(40, |draw| u64::from(draw.below(120))),
        faults: draw.some(35, |draw| {
            (20 + draw.below(200), u64::from(draw.below(1000)))
        }),
        slow: draw.some(50, |draw| u64::from(draw.below(1000))),
        stale: draw.some(6, |draw| 1 + u64::from(draw.below(4))),
        partial: draw.some(6, |draw| 1 + u64::from(draw.below(4))),
        beside: draw.some(12, op_beside),
    };
    Line { op, harm }
}

fn op_beside(draw: &mut Draw) -> Op {
    loop {
        let op = op(draw);
        if !matches!(op, Op::Kill { .. } | Op::Meddle { .. }) {
            return op;
        }
    }
}

fn op(draw: &mut Draw) -> Op {
    let any = ["a", "b", "c"];
    match draw.below(32) {
        0..6 => up(draw),
        6 => Op::Down {
            volumes: draw.percent(50),
        },
        7..10 => Op::Scale {
            service: draw.one_of(&any).to_owned(),
            count: draw.below(5),
        },
        10..14 => Op::Update {
            service: draw.one_of(&["a", "b", "c", WRITER]).to_owned(),
            version: draw.below(4),
        },
        14..16 => Op::Link {
            from: draw.one_of(&any).to_owned(),
            alias: draw.one_of(&["db", "cache"]).to_owned(),
            to: draw.one_of(&ALWAYS).to_owned(),
        },
        16 => Op::Unlink {
            from: draw.one_of(&any).to_owned(),
            alias: draw.one_of(&["db", "cache"]).to_owned(),
        },
        17 => Op::Remove {
            service: draw.one_of(&SOMETIMES).to_owned(),
        },
        18 | 19 => Op::Rollback {
            service: draw.one_of(&["a", "b", "c", WRITER]).to_owned(),
        },
        20 => plan(draw),
        21 | 22 => Op::Apply,
        23 | 24 => Op::Reconcile,
        25 | 26 => Op::Meddle {
            service: draw.one_of(&["a", "b", "c", WRITER]).to_owned(),
            slot: 1 + draw.below(3),
            how: Meddling::ALL[draw.below(3) as usize],
        },
        27 | 28 => Op::Resume {
            service: draw.one_of(&["a", "b", "c", WRITER]).to_owned(),
        },
        29 => Op::Pause {
            service: draw.one_of(&["a", "b", "c", WRITER]).to_owned(),
        },
        _ => Op::Kill {
            service: draw.one_of(&any).to_owned(),
            slot: 1 + draw.below(3),
        },
    }
}

fn plan(draw: &mut Draw) -> Op {
    match up(draw) {
        Op::Up {
            items,
            orphans,
            wait,
        } => Op::Plan {
            items,
            orphans,
            wait,
        },
        other => other,
    }
}

fn up(draw: &mut Draw) -> Op {
    let mut items: Vec<Item> = Vec::new();
    for name in ALWAYS.iter().chain(&SOMETIMES) {
        if SOMETIMES.contains(name) && draw.percent(40) {
            continue;
        }
        let kind = match *name {
            WRITER => Kind::Data,
            JOB => Kind::Job,
            _ if draw.percent(40) => Kind::Checked,
            _ => Kind::Plain,
        };
        let alone = matches!(kind, Kind::Data | Kind::Job);
        let before: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        let after = draw.some(40, |draw| {
            (!before.is_empty()).then(|| draw.one_of(&before).to_owned())
        });
        items.push(Item {
            name: (*name).to_owned(),
            version: draw.below(4),
            count: if alone { 1 } else { 1 + draw.below(3) },
            broken: kind == Kind::Checked && draw.percent(8),
            kind,
            on_failure: match draw.below(3) {
                0 => FailureAction::Rollback,
                1 => FailureAction::Continue,
                _ => FailureAction::Pause,
            },
            batch: draw.below(3),
            canary: !alone && draw.percent(15),
            after: after.flatten(),
        });
    }
    Op::Up {
        items,
        orphans: draw.percent(40),
        wait: draw.percent(60),
    }
}

/// Everything that is a little less than this script.
fn smaller(script: &Script) -> Vec<Script> {
    let mut list = Vec::new();
    let mut with = |lines: Vec<Line>| {
        let seed = script.seed;
        list.push(Script { seed, lines });
    };
    for at in 0..script.lines.len() {
        let mut lines = script.lines.clone();
        lines.remove(at);
        with(lines);
        for harm in less_harm(&script.lines[at].harm) {
            let mut lines = script.lines.clone();
            lines[at].harm = harm;
            with(lines);
        }
        for op in less_of(&script.lines[at].op) {
            let mut lines = script.lines.clone();
            lines[at].op = op;
            with(lines);
        }
    }
    list
}

fn less_harm(harm: &Harm) -> Vec<Harm> {
    let without: [fn(&mut Harm); 6] = [
        |harm| harm.dies = None,
        |harm| harm.faults = None,
        |harm| harm.slow = None,
        |harm| harm.stale = None,
        |harm| harm.partial = None,
        |harm| harm.beside = None,
    ];
    let less = without.iter().map(|take| {
        let mut less = harm.clone();
        take(&mut less);
        less
    });
    less.filter(|less| less != harm).collect()
}

fn less_of(op: &Op) -> Vec<Op> {
    let Op::Up {
        items,
        orphans,
        wait,
    } = op
    else {
        return Vec::new();
    };
    let up = |items: Vec<Item>| Op::Up {
        items,
        orphans: *orphans,
        wait: *wait,
    };
    let mut list = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let mut change = |change: fn(&mut Item)| {
            let mut items = items.clone();
            change(&mut items[at]);
            if items[at] != *item {
                list.push(up(items));
            }
        };
        change(|item| item.after = None);
        change(|item| item.batch = 1);
        change(|item| item.canary = false);
        change(|item| item.on_failure = FailureAction::Pause);
        change(|item| item.count = 1);
        if item.kind == Kind::Checked && !item.broken {
            change(|item| item.kind = Kind::Plain);
        }
        let needed = items
            .iter()
            .any(|other| other.after.as_ref() == Some(&item.name));
        if !ALWAYS.contains(&item.name.as_str()) && !needed {
            let mut items = items.clone();
            items.remove(at);
            list.push(up(items));
        }
    }
    list
}

/// A smaller script for which `fails` holds still, found in a bounded number of tries.
pub(crate) fn shrunk(mut script: Script, fails: impl Fn(&Script) -> bool) -> Script {
    let mut tries = 2000;
    loop {
        let found = smaller(&script).into_iter().find(|less| {
            tries -= 1;
            tries > 0 && fails(less)
        });
        match found {
            Some(less) => script = less,
            None => return script,
        }
    }
}
