//! Where the time between the call and the exit seen goes: the kernel's trace, cut into phases.

use std::fmt::Write as _;
use std::time::Duration;

use unmoor::{Error, ErrorKind, Result};

use crate::local::{Bench, Way};
use crate::trace::{Event, Trace, What, call};

/// The phases, each from the end of the one before.
const PHASES: [&str; 9] = [
    "library: plan, record, declare, give addresses, write the plan",
    "shim: spawned, executed, its C library begun",
    "shim: plan read, in the background, files and cgroups made",
    "kernel: clone into new namespaces",
    "shim and child: ids, interfaces, root, mounts, until the new root",
    "child: names, address map, rights, filter, execute",
    "program: loaded, run, until its end",
    "kernel and shim: its end told",
    "library: hears of it, looks, returns",
];

/// Durations of one run, by phase, and what was written to the disk meanwhile.
#[derive(Debug)]
struct Run {
    phases: [f64; PHASES.len()],
    /// Number and time of the library's waits for the disk.
    syncs: (usize, f64),
}

/// Profiles starts of one kind.
pub(crate) async fn run(bench: &Bench, way: Way, rounds: usize, gap: Duration) -> Result<String> {
    let trace = Trace::begin()?;
    for _ in 0..rounds {
        tokio::time::sleep(gap).await;
        trace.mark("begin")?;
        bench.start_true(way).await?;
        trace.mark("end")?;
        bench.remove_true(way).await?;
    }
    let events = trace.events()?;
    drop(trace);
    let runs: Vec<Run> = windows(&events).into_iter().filter_map(cut).collect();
    if runs.len() * 2 < rounds {
        let text = format!("only {} of {rounds} runs could be read", runs.len());
        return Err(Error::new(ErrorKind::Internal, text));
    }
    Ok(table(way, &runs))
}

/// What happened in each run.
fn windows(events: &[Event]) -> Vec<&[Event]> {
    let is = |event: &Event, text: &str| event.what == What::Mark(text.to_owned());
    let mut found = Vec::new();
    let mut rest = events;
    while let Some(begin) = rest.iter().position(|event| is(event, "begin")) {
        rest = &rest[begin..];
        let Some(end) = rest.iter().position(|event| is(event, "end")) else {
            break;
        };
        found.push(&rest[..=end]);
        rest = &rest[end..];
    }
    found
}

/// Cuts one run at its marks; none if one of them is missing.
fn cut(events: &[Event]) -> Option<Run> {
    let at = |pid: u32, what: &What| {
        let find = |event: &&Event| event.pid == pid && event.what == *what;
        events.iter().find(find).map(|event| event.at)
    };
    let exec = |inside: &dyn Fn(&str) -> bool| {
        events.iter().find_map(|event| match &event.what {
            What::Exec(path) if inside(path) => Some((event.pid, event.at)),
            _ => None,
        })
    };
    let child = |parent: u32| {
        events.iter().find_map(|event| match event.what {
            What::Fork(child) if event.pid == parent => Some(child),
            _ => None,
        })
    };
    let (launched, _) = exec(&|path| path.starts_with("/proc/self/fd/"))?;
    let forked = events
        .iter()
        .find(|event| event.what == What::Fork(launched))?;
    let shim = child(launched)?;
    let init = child(shim)?;
    let (_, executed) = exec(&|path| path == "/bin/true")?;
    let ended = at(init, &What::Exit)?;
    // Its own coming into being is a return from a clone too.
    let begun = at(shim, &What::Enter(call::CLONE3))?;
    let made = events.iter().find(|event| {
        event.pid == shim && event.at > begun && event.what == What::Leave(call::CLONE3)
    })?;
    let told = events.iter().find(|event| {
        event.pid == shim && event.at > ended && event.what == What::Enter(call::WAIT4)
    })?;
    let marks = [
        events.first()?.at,
        forked.at,
        at(launched, &What::Enter(call::CLONE3))?,
        begun,
        made.at,
        at(init, &What::Enter(call::PIVOT_ROOT))?,
        executed,
        ended,
        told.at,
        events.last()?.at,
    ];
    let mut phases = [0.0; PHASES.len()];
    for (phase, pair) in phases.iter_mut().zip(marks.windows(2)) {
        *phase = pair[1] - pair[0];
    }
    Some(Run {
        phases,
        syncs: syncs(events, shim),
    })
}

/// Waits for the disk of all but the shim.
fn syncs(events: &[Event], shim: u32) -> (usize, f64) {
    let is_sync = |number: i64| number == call::FSYNC || number == call::FDATASYNC;
    let (mut count, mut time) = (0, 0.0);
    for (index, event) in events.iter().enumerate() {
        let What::Enter(number) = event.what else {
            continue;
        };
        if event.pid == shim || !is_sync(number) {
            continue;
        }
        let left = events[index..]
            .iter()
            .find(|later| later.pid == event.pid && later.what == What::Leave(number));
        count += 1;
        time += left.map_or(0.0, |left| left.at - event.at);
    }
    (count, time)
}

/// The value that this share of all are below.
fn at(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values
        .get(values.len() * percent / 100)
        .copied()
        .unwrap_or(0.0)
}

/// Medians with their shares, and tenth percentiles: what a phase takes when nothing disturbs it.
fn table(way: Way, runs: &[Run]) -> String {
    let of =
        |pick: &dyn Fn(&Run) -> f64, percent: usize| at(runs.iter().map(pick).collect(), percent);
    let column = |percent: usize| -> Vec<f64> {
        (0..PHASES.len())
            .map(|phase| of(&|run| run.phases[phase], percent))
            .collect()
    };
    let (medians, least) = (column(50), column(10));
    let whole = |run: &Run| run.phases.iter().sum();
    let mut text = format!(
        "{}, {} runs: median {:.0} us, p10 {:.0} us\n",
        way.name(),
        runs.len(),
        of(&whole, 50),
        of(&whole, 10)
    );
    let sum: f64 = medians.iter().sum();
    for ((name, median), least) in PHASES.iter().zip(&medians).zip(&least) {
        let share = 100.0 * median / sum.max(1.0);
        let _ = writeln!(
            text,
            "  {name:66} {median:7.0} us {share:4.0} %  p10 {least:6.0} us"
        );
    }
    #[allow(clippy::cast_precision_loss, reason = "there are a handful")]
    let count = of(&|run| run.syncs.0 as f64, 50);
    let waited = of(&|run| run.syncs.1, 50);
    let _ = writeln!(
        text,
        "  sum of the phases' p10: {:.0} us; of the library {count:.0} waits for the disk, {waited:.0} us",
        least.iter().sum::<f64>()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_at_its_marks() {
        let event = |at: u32, pid: u32, what: What| Event {
            at: f64::from(at),
            pid,
            what,
        };
        let events = [
            event(0, 1, What::Mark("begin".into())),
            event(1, 2, What::Enter(call::FSYNC)),
            event(4, 2, What::Leave(call::FSYNC)),
            event(10, 2, What::Fork(5)),
            event(20, 5, What::Exec("/proc/self/fd/9".into())),
            event(30, 5, What::Enter(call::CLONE3)),
            event(31, 5, What::Fork(6)),
            event(32, 6, What::Leave(call::CLONE3)),
            event(40, 6, What::Enter(call::CLONE3)),
            event(49, 6, What::Fork(7)),
            event(50, 6, What::Leave(call::CLONE3)),
            event(60, 7, What::Enter(call::PIVOT_ROOT)),
            event(70, 7, What::Exec("/bin/true".into())),
            event(80, 7, What::Exit),
            event(90, 6, What::Enter(call::WAIT4)),
            event(100, 1, What::Mark("end".into())),
            event(101, 1, What::Mark("begin".into())),
        ];
        let found = windows(&events);
        assert_eq!(found.len(), 1);
        let run = cut(found[0]).expect("whole");
        let expected = [10.0, 20.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0];
        assert_eq!(run.phases, expected);
        assert_eq!(run.syncs, (1, 3.0));
        assert!(cut(&events[..13]).is_none());
    }
}
