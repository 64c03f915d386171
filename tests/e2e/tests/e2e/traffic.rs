//! A stack is changed in every way while visitors come, and none of them notices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use unmoor_e2e::account::{Account, Fate, during};
use unmoor_e2e::foreign::{NEEDED, TRAFFIC, pack_traffic};
use unmoor_e2e::patience::until;
use unmoor_e2e::program::missing;
use unmoor_e2e::stage::{PATIENCE, Stage, text};
use unmoor_e2e::traffic::{Load, Visit};
use unmoor_tools::skipped;

/// Seconds that the changes are repeated for; without it each is made once.
const LONGER: &str = "UNMOOR_TRAFFIC_SECONDS";

/// A page of results that gets a part about this run.
const PAGE: &str = "UNMOOR_TRAFFIC_PAGE";

/// Visitors at a time, and the rest of each between two requests.
const VISITORS: usize = 4;
const REST: Duration = Duration::from_millis(20);

/// Requests that must end between two changes.
const BETWEEN: usize = 40;

/// A replica whose program was killed: when that was told so, and when all of the replica was gone.
#[derive(Debug, Clone, Copy)]
struct Death {
    sent: Instant,
    over: Instant,
}

/// A change of the running stack; gives the death of a process that answers requests.
type Change = fn(&Stage) -> Option<Death>;

const CHANGES: [(&str, Change); 13] = [
    ("more replicas", |stage| done(stage, &["scale", "web=5"])),
    ("fewer replicas", |stage| done(stage, &["scale", "web=2"])),
    ("as many as before", |stage| {
        done(stage, &["scale", "web=3"])
    }),
    ("the page is updated", |stage| update(stage, "web")),
    ("the page goes back to what it was", |stage| {
        done(stage, &["rollback", "web"])
    }),
    ("what stands in front is updated", |stage| {
        update(stage, "front")
    }),
    ("the store is updated", |stage| update(stage, "db")),
    ("an update that fails is taken back", fail_to_update),
    ("a link leads elsewhere", |stage| {
        relink(stage, "other:store")
    }),
    ("and back", |stage| relink(stage, "db:store")),
    ("a link of somebody else comes and goes", |stage| {
        done(stage, &["link", "front", "other:aside"]);
        done(stage, &["unlink", "front", "aside"])
    }),
    ("a replica is killed", |stage| Some(kill(stage, "httpd"))),
    // Whoever asked it asks again: no request is lost with it.
    ("the store is killed", |stage| {
        kill(stage, "redis-server");
        None
    }),
];

fn done(stage: &Stage, words: &[&str]) -> Option<Death> {
    let _ = stage.ok(words);
    None
}

fn update(stage: &Stage, service: &str) -> Option<Death> {
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

fn fail_to_update(stage: &Stage) -> Option<Death> {
    let output = stage.run(&["update", "web", "-e", "BROKEN=yes"]);
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("taken back"),
        "{said}"
    );
    None
}

fn relink(stage: &Stage, to: &str) -> Option<Death> {
    done(stage, &["link", "web", to])
}

/// Kills the first process of this name, and returns when every replica serves again.
fn kill(stage: &Stage, program: &str) -> Death {
    let pid = stage.first_process(program).expect("it runs");
    let replica = stage.replica_of(pid).expect("it runs in a replica");
    let [process, replica] =
        [pid, replica].map(|pid| pidfd_open(pid, PidfdFlags::empty()).expect("it is there"));
    let sent = Instant::now();
    pidfd_send_signal(&process, Signal::KILL).expect("it is there");
    // Until then its processes hold the port, and whoever comes is in their hands.
    let ended = poll(&mut [PollFd::new(&replica, PollFlags::IN)], None);
    assert_eq!(ended, Ok(1), "it ends");
    let over = Instant::now();
    until("every replica serves again", PATIENCE, || {
        let other = stage.first_process(program);
        let list = stage.json(&["ps", "-a", "--format", "json"]);
        let list = list.as_array().expect("a list");
        let away = list.iter().find(|replica| replica["ready"] != true);
        match (other, away) {
            (Some(other), None) if other != pid => Ok(()),
            _ => Err(format!("{away:?}")),
        }
    });
    Death { sent, over }
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

/// What nginx says went wrong behind it, by the number of the request.
fn errors_in_front(stage: &Stage) -> BTreeMap<usize, String> {
    let logs = stage.run(&["logs", "--no-log-prefix", "front"]);
    let logs = [logs.stdout, logs.stderr].concat();
    let lines = text(&logs);
    let errors = lines.lines().filter(|line| line.contains("[error]"));
    let numbered = errors.filter_map(|line| {
        let (_, rest) = line.split_once("\"GET /?")?;
        let number = rest.split(' ').next()?.parse().ok()?;
        Some((number, line.to_owned()))
    });
    numbered.collect()
}

/// That a request was in the hands of a killed replica: it had a connection there, made before all
/// of its processes were gone, that broke or ended with them. A connection that nobody took is
/// none, and nginx says so of every one.
fn was_in_flight(visit: &Visit, kills: &[Death], causes: &BTreeMap<usize, String>) -> bool {
    let killed_meanwhile = |it: &Death| visit.began <= it.over && it.sent <= visit.ended;
    let cause = causes.get(&visit.number);
    let had_a_connection = cause.is_none_or(|cause| cause.contains(" while reading "));
    kills.iter().any(killed_meanwhile) && had_a_connection
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8082))
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
    let (mut made, mut kills, mut causes) = (Vec::new(), Vec::new(), BTreeMap::new());
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
    let whole = load.elapsed();
    let visits = load.stop();

    // What was in flight in a killed process is lost with it; nothing else is.
    causes.extend(errors_in_front(&stage));
    let fate = |visit: &Visit| match visit.page {
        Ok(_) => Fate::Answered,
        Err(_) if was_in_flight(visit, &kills, &causes) => Fate::InFlight,
        Err(_) => Fate::Failed,
    };
    let account = Account::of(&visits, &made, kills.len(), whole, fate);
    eprintln!("{account}");
    if let Some(page) = std::env::var_os(PAGE) {
        account
            .write(Path::new(&page))
            .expect("the page of results");
    }
    let failed = visits.iter().filter(|visit| fate(visit) == Fate::Failed);
    let told: Vec<String> = failed
        .map(|visit| {
            let (change, cause) = (during(&made, visit), causes.get(&visit.number));
            format!("{change}: {visit:?}: {cause:?}")
        })
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    // Each visitor has one request at a time.
    assert!(account.lost() <= VISITORS * kills.len(), "{account}");

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
