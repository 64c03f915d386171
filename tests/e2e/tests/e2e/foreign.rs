//! A stack of others' software comes up, serves, survives and keeps its data.

use std::collections::BTreeSet;

use rustix::process::{Signal, kill_process};
use unmoor_e2e::foreign::{COMPOSE, NEEDED, pack_all, postgres};
use unmoor_e2e::patience::until;
use unmoor_e2e::program::missing;
use unmoor_e2e::stage::{PATIENCE, Stage};
use unmoor_tools::skipped;

const PAGE: &str = "http://127.0.0.1:8081/";

/// `number=7 rows=7 app=…`: a visit, as the page counts it.
#[derive(Debug)]
struct Visit {
    number: u64,
    rows: u64,
    app: String,
}

fn visit(stage: &Stage) -> Result<Visit, String> {
    let page = stage.get(PAGE)?;
    let value = |key: &str| {
        let words = page
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key));
        words
            .map(str::to_owned)
            .ok_or_else(|| format!("no {key} in {page:?}"))
    };
    let number = |key: &str| {
        value(key)?
            .parse::<u64>()
            .map_err(|error| format!("{error}: {page:?}"))
    };
    Ok(Visit {
        number: number("number=")?,
        rows: number("rows=")?,
        app: value("app=")?,
    })
}

fn staged() -> Option<Stage> {
    let why = missing(&NEEDED).or_else(|| {
        postgres()
            .is_none()
            .then(|| "PostgreSQL is not installed".to_owned())
    });
    if let Some(why) = why {
        skipped(&why);
        return None;
    }
    let stage = Stage::open();
    let images = pack_all(stage.path()).expect("packs");
    stage.import(&images);
    stage.write("compose.yaml", COMPOSE);
    Some(stage)
}

#[test]
fn a_foreign_stack_serves_survives_a_killed_replica_and_keeps_its_data() {
    let Some(stage) = staged() else { return };
    let noted = stage.note();
    let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);

    // It serves through nginx, from both replicas behind the one name.
    let first = visit(&stage).expect("a page");
    assert_eq!((first.number, first.rows), (1, 1));
    let visits: Vec<Visit> = (0..20).map(|_| visit(&stage).expect("a page")).collect();
    let last = visits.last().expect("twenty");
    assert_eq!((last.number, last.rows), (21, 21));
    let apps: BTreeSet<&str> = visits.iter().map(|visit| visit.app.as_str()).collect();
    assert_eq!(apps.len(), 2, "both replicas answer: {apps:?}");

    // The same file again writes nothing.
    assert_eq!(stage.changes_of_up(), 0);

    // A client inside reaches it by name, and its exit code is passed on.
    let page = stage.ok(&[
        "run",
        "--rm",
        "app",
        "curl",
        "-sf",
        "-m",
        "10",
        "http://front/",
    ]);
    assert!(page.contains("number=22"), "{page}");

    // Killed replicas come back by themselves, with what they had.
    for (program, service) in [
        ("redis-server", "cache"),
        ("postgres", "db"),
        ("nginx", "front"),
    ] {
        let before = visit(&stage).expect("a page");
        let pid = stage
            .first_process(program)
            .unwrap_or_else(|| panic!("no {program} runs"));
        kill_process(pid, Signal::KILL).expect("it is there");
        let after = until("it serves again", PATIENCE, || {
            let gone = stage.first_process(program).filter(|again| *again != pid);
            gone.ok_or_else(|| format!("{service} has not restarted"))?;
            visit(&stage)
        });
        // A visit whose answer was lost was counted in the one or the other.
        assert!(
            after.number > before.number,
            "{program}: {before:?} {after:?}"
        );
        assert!(after.rows > before.rows, "{program}: {before:?} {after:?}");
    }

    // Down and up: the data is still there.
    let before = visit(&stage).expect("a page");
    let _ = stage.ok(&["down"]);
    stage.get(PAGE).expect_err("nothing listens any more");
    let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);
    let after = visit(&stage).expect("a page");
    assert_eq!(after.number, before.number + 1);
    assert_eq!(after.rows, before.rows + 1);

    let _ = stage.ok(&["-p", "foreign", "down", "-v"]);
    stage.nothing_left(&noted);
    drop(stage);
}
