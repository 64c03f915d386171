//! A stack is changed in every way while visitors come, and none of them notices.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use unmoor_e2e::foreign::{NEEDED, TRAFFIC, pack_traffic};
use unmoor_e2e::patience::until;
use unmoor_e2e::program::missing;
use unmoor_e2e::stage::{PATIENCE, Stage, text};
use unmoor_e2e::traffic::{Load, Visit};
use unmoor_tools::skipped;

/// Seconds that the changes are repeated for; without it each is made once.
const LONGER: &str = "UNMOOR_TRAFFIC_SECONDS";

/// Visitors at a time, and the rest of each between two requests.
const VISITORS: usize = 4;
const REST: Duration = Duration::from_millis(20);

/// Requests that must end between two changes.
const BETWEEN: usize = 40;

/// Time for a death to be known to everybody who leads connections, on a busy machine.
const NOTICED: Duration = Duration::from_millis(250);

/// A change of the running stack; gives the moment at which it killed a process that serves.
type Change = fn(&Stage) -> Option<Instant>;

const CHANGES: [(&str, Change); 11] = [
    ("more replicas", |stage| done(stage, &["scale", "web=5"])),
    ("fewer replicas", |stage| done(stage, &["scale", "web=2"])),
    ("as many as before", |stage| {
        done(stage, &["scale", "web=3"])
    }),
    ("the page is updated", |stage| update(stage, "web")),
    ("what stands in front is updated", |stage| {
        update(stage, "front")
    }),
    ("the store is updated", |stage| update(stage, "db")),
    ("an update that never becomes healthy", fail_to_update),
    ("a link leads elsewhere", |stage| {
        relink(stage, "other:store")
    }),
    ("and back", |stage| relink(stage, "db:store")),
    ("a replica is killed", |stage| kill(stage, "httpd")),
    ("the store is killed", |stage| kill(stage, "redis-server")),
];

fn done(stage: &Stage, words: &[&str]) -> Option<Instant> {
    let _ = stage.ok(words);
    None
}

fn update(stage: &Stage, service: &str) -> Option<Instant> {
    done(
        stage,
        &["update", service, "-e", &format!("VERSION={}", number())],
    )
}

/// A number that nobody had before.
fn number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn fail_to_update(stage: &Stage) -> Option<Instant> {
    let output = stage.run(&["update", "web", "-e", "BROKEN=yes"]);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    done(stage, &["update", "web", "-e", "BROKEN="])
}

fn relink(stage: &Stage, to: &str) -> Option<Instant> {
    done(stage, &["link", "web", to])
}

fn kill(stage: &Stage, program: &str) -> Option<Instant> {
    let pid = stage.first_process(program).expect("it runs");
    let at = Instant::now();
    kill_process(pid, Signal::KILL).expect("it is there");
    let _ = until("another one is there", PATIENCE, || {
        let other = stage.first_process(program).filter(|other| *other != pid);
        other.ok_or("none")
    });
    Some(at)
}

fn staged() -> Option<Stage> {
    if let Some(why) = missing(&NEEDED) {
        skipped(&why);
        return None;
    }
    let stage = Stage::open();
    let images = pack_traffic(stage.path()).expect("packs");
    stage.import(&images);
    stage.write("compose.yaml", TRAFFIC);
    Some(stage)
}

/// What nginx says went wrong behind it.
fn errors_in_front(stage: &Stage) -> BTreeSet<String> {
    let logs = stage.run(&["logs", "--no-log-prefix", "front"]);
    let logs = [logs.stdout, logs.stderr].concat();
    let lines = text(&logs);
    let errors = lines.lines().filter(|line| line.contains("[error]"));
    errors.map(str::to_owned).collect()
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8082))
}

/// The change of which a request saw the end, for the message about its failure.
fn during<'a>(made: &[(&'a str, Instant)], visit: &Visit) -> &'a str {
    let last = made.iter().rev().find(|(_, begun)| *begun <= visit.ended);
    last.map_or("before any change", |(name, _)| name)
}

#[test]
fn changes_of_every_kind_fail_no_request() {
    let Some(stage) = staged() else { return };
    let noted = stage.note();
    let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);
    for store in ["db", "other"] {
        let _ = stage.ok(&["exec", store, "redis-cli", "set", "name", store]);
    }

    let longer = std::env::var(LONGER).ok().map(|seconds| {
        let seconds = seconds.parse().expect("a number of seconds");
        Duration::from_secs(seconds)
    });
    let load = Load::start(&stage, address(), VISITORS, REST);
    let (mut made, mut kills, mut causes) = (Vec::new(), Vec::new(), BTreeSet::new());
    loop {
        for (name, change) in CHANGES {
            load.more(BETWEEN);
            made.push((name, Instant::now()));
            kills.extend(change(&stage));
            causes.extend(errors_in_front(&stage));
            eprintln!(
                "{name}: {:.1} s",
                made[made.len() - 1].1.elapsed().as_secs_f32()
            );
        }
        if longer.is_none_or(|longer| load.elapsed() >= longer) {
            break;
        }
    }
    load.more(BETWEEN);
    let seconds = load.elapsed().as_secs_f32();
    let visits = load.stop();

    // What was in flight in a killed process is lost with it, and so is what comes before anybody
    // can know that it has died; nothing else is.
    let met_a_dead_process = |visit: &&Visit| {
        kills
            .iter()
            .any(|at| visit.began <= *at + NOTICED && *at <= visit.ended)
    };
    let (lost, failed): (Vec<&Visit>, Vec<&Visit>) = visits
        .iter()
        .filter(|visit| visit.page.is_err())
        .partition(met_a_dead_process);
    eprintln!(
        "{} requests in {seconds:.0} s, {} lost in {} killed processes, {} failed",
        visits.len(),
        lost.len(),
        kills.len(),
        failed.len()
    );
    let told: Vec<String> = failed
        .iter()
        .map(|visit| {
            format!(
                "{}: {:?} after {:?}",
                during(&made, visit),
                visit.page,
                visit.ended - visit.began
            )
        })
        .collect();
    assert!(failed.is_empty(), "{told:#?}\n{causes:#?}");
    assert!(lost.len() <= 2 * VISITORS * kills.len(), "{lost:?}");

    every_visit_counts_once(&visits);
    let _ = stage.ok(&["down", "-v"]);
    stage.nothing_left(&noted);
}

/// Whatever happened to the store, it gave no number twice, and both stores were asked.
fn every_visit_counts_once(visits: &[Visit]) {
    let pages = visits.iter().filter_map(|visit| visit.page.as_deref().ok());
    let mut numbers = BTreeSet::new();
    let mut stores = BTreeSet::new();
    for page in pages {
        let mut words = page.split_whitespace().skip(1);
        let (Some(number), Some(store)) = (words.next(), words.next()) else {
            panic!("not a page: {page:?}");
        };
        assert!(numbers.insert((store, number)), "given twice: {page:?}");
        stores.insert(store);
    }
    assert_eq!(stores, BTreeSet::from(["db", "other"]));
}
