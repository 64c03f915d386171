//! `--dry-run`: every example of every verb, carried out so beside real replicas, changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use unmoor_e2e::stage::{Stage, text};

/// What the help of each verb begins with; a verb without examples fails a test of its own.
const EXAMPLES: &str = include_str!("../../../../cli/src/examples/list.txt");

const SHOP: &str = r#"
name: shop
services:
  web:
    image: small:1
    stop_grace_period: 1s
    ports: ["8085:80", "8053:53/udp"]
    deploy: { replicas: 2 }
    develop:
      watch: [{ path: ./pages, action: sync, target: /www }]
  api: { image: small:1, stop_grace_period: 1s, depends_on: [db] }
  db: { image: small:1, stop_grace_period: 1s, volumes: ["data:/data"] }
volumes:
  data: {}
"#;

/// Files of the state that a look writes into and that say nothing: the database's index and log.
const OF_THE_DATABASE: [&str; 2] = ["state.db-shm", "state.db-wal"];

/// Everything below a directory, with what changes when it is written, renamed or replaced.
fn tree(directory: &Path) -> BTreeMap<String, (u64, u32, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            let seen = fs::symlink_metadata(&path).expect("it is there");
            if seen.is_dir() {
                waiting.push(path.clone());
            }
            let name = path.strip_prefix(directory).expect("it lies below");
            let name = name.display().to_string();
            if OF_THE_DATABASE.iter().any(|file| name.ends_with(file)) {
                continue;
            }
            // What a directory holds is compared by itself; its time tells of locks that were held.
            let (size, time) = match seen.is_dir() {
                true => (0, (0, 0)),
                false => (seen.size(), (seen.ctime(), seen.ctime_nsec())),
            };
            let marks = (seen.ino(), seen.mode(), size, time.0, time.1);
            found.insert(name, marks);
        }
    }
    found
}

/// The call of an example, without what the shell does with its output.
fn call(line: &str) -> &str {
    let call = &line[line.find("unmoor ").expect("it calls the program")..];
    let end = call.find(['>', '|', ')']).unwrap_or(call.len());
    // What it does stands behind two spaces.
    let call = &call[..end];
    call.split("  ").next().unwrap_or(call).trim_end()
}

/// How an example may end besides with 0.
fn may_end(call: &str, code: i32) -> bool {
    let begins = |words: &[&str]| words.iter().any(|words| call.starts_with(words));
    match code {
        // They go on until somebody ends them.
        130 => begins(&[
            "unmoor logs -f",
            "unmoor endpoints web --watch",
            "unmoor events",
            "unmoor stats",
            "unmoor wait",
        ]),
        // There is something to change.
        2 => begins(&[
            "unmoor plan --detailed-exitcode",
            "unmoor drift --exit-code",
        ]),
        // A plan is written or it is not.
        64 => begins(&["unmoor plan -o"]),
        // No image has this digest, and nothing answers for another stack.
        1 => begins(&[
            "unmoor image rm 3f2a9c",
            "unmoor link web billing/api",
            "unmoor check",
        ]),
        _ => false,
    }
}

#[test]
fn a_dry_run_of_every_example_changes_nothing() {
    let Some(stage) = Stage::small(SHOP) else {
        return;
    };
    // What `local:` alone would use is this stage's own, and empty.
    let hide = "mount -t tmpfs none /var/lib";
    assert!(
        stage
            .command("sh")
            .args(["-c", hide])
            .status()
            .is_ok_and(|ended| ended.success())
    );
    fs::create_dir(stage.path().join("pages")).expect("a directory");
    for words in [
        &["up", "-d", "--wait"][..],
        &["update", "-e", "LEVEL=info", "web"],
        &["rollback", "web"],
        &["link", "web", "db:store"],
        &["context", "create", "lab", &stage.backend()],
        &["plan", "-o", "shop.plan"],
    ] {
        let _ = stage.ok(words);
    }
    let noted = stage.note();
    let (before, shims) = (tree(stage.path()), stage.shims());
    let mut tried = 0;
    for line in EXAMPLES.lines().filter(|line| line.contains("unmoor ")) {
        let call = call(line);
        let limit = "timeout --preserve-status --signal INT --kill-after 60 3";
        let script =
            format!("unmoor() {{ {limit} \"$PROGRAM\" --dry-run \"$@\"; }}; PROGRAM=$0; {call}");
        let mut command = stage.unmoor_by(&["sh", "-c", &script], &[]);
        let ended = command.output().expect("it starts");
        let told = text(&ended.stdout) + &text(&ended.stderr);
        let code = ended.status.code().unwrap_or(-1);
        assert!(code == 0 || may_end(call, code), "{call}: {code}: {told}");
        let after = tree(stage.path());
        if after != before {
            let differs = |(name, marks): &(&String, _)| before.get(*name) != Some(*marks);
            let changed: Vec<_> = after.iter().filter(differs).collect();
            let gone: Vec<_> = before
                .keys()
                .filter(|name| !after.contains_key(*name))
                .collect();
            panic!("{call}: changed {changed:?}, gone {gone:?}: {told}");
        }
        tried += 1;
    }
    assert!(tried > 100, "{tried}");
    assert_eq!(stage.shims(), shims);
    stage.unchanged(&noted);
    let usual = stage
        .command("ls")
        .args(["-A", "/var/lib"])
        .output()
        .expect("ls runs");
    assert_eq!(text(&usual.stdout), "", "a look at `local:` made something");
}

#[test]
fn who_only_looks_makes_no_state() {
    let Some(stage) = Stage::small(SHOP) else {
        return;
    };
    let new = stage.path().join("deep").join("new");
    let uri = format!("local://{}", new.display());
    fs::create_dir(stage.path().join("pages")).expect("a directory");
    for words in [
        &["ps", "-a"][..],
        &["ls"],
        &["logs"],
        &["check"],
        &["endpoints"],
        &["images"],
        &["image", "ls"],
        &["volumes"],
        &["top"],
        &["stats", "--no-stream"],
        &["drift"],
        &["capabilities"],
        &["system", "df"],
        &["system", "info"],
        &["system", "prune", "-a"],
        &["inspect", "web"],
        &["port", "web", "80"],
        &["wait", "web"],
        &["stop"],
        &["image", "rm", "small:1"],
        &["cp", "web:/etc", "."],
        &["exec", "-T", "web", "true"],
        &["--dry-run", "up", "-d"],
        &["--dry-run", "plan"],
        &["--dry-run", "down", "-v"],
    ] {
        let ended = stage.run(&[&["-b", &uri], words].concat());
        let told = text(&ended.stderr);
        let code = ended.status.code();
        assert!(
            matches!(code, Some(0 | 1 | 125)),
            "{words:?}: {code:?}: {told}"
        );
        assert!(
            !stage.path().join("deep").exists(),
            "{words:?} made a state: {told}"
        );
    }
    // What is somebody else's directory stays as it is.
    let foreign = stage.path().join("pages");
    let before = tree(stage.path());
    let uri = format!("local://{}", foreign.display());
    assert_eq!(stage.ok(&["-b", &uri, "ls", "-q"]), "");
    assert_eq!(tree(stage.path()), before);
    // What changes something makes it.
    let uri = format!("local://{}", new.display());
    let _ = stage.ok(&["-b", &uri, "-p", "none", "down"]);
    let archive = stage.path().join("small.tar");
    let archive = archive.to_str().expect("a path of ours");
    let _ = stage.ok(&["-b", &uri, "image", "import", archive, "small:1"]);
    assert!(new.join("state.db").exists());
}
