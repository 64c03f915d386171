//! The verbs about what goes on inside replicas, on real ones.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, text};

const INSIDE: &str = include_str!("../../stack/inside.yaml");

fn up() -> Option<Stage> {
    let stage = Stage::small(INSIDE)?;
    let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);
    Some(stage)
}

fn code(stage: &Stage, words: &[&str]) -> (Option<i32>, String) {
    let output = stage.run(words);
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

fn phase(stage: &Stage, name: &str) -> String {
    stage.phases().remove(name).unwrap_or_default()
}

#[test]
fn a_paused_replica_rests_and_goes_on() {
    let Some(stage) = up() else { return };
    let _ = stage.ok(&["pause", "counter"]);
    assert_eq!(phase(&stage, "inside-counter-1"), "paused");
    assert_eq!(
        stage.ok(&["ps", "-q", "--status", "paused"]),
        "inside-counter-1\n"
    );
    assert!(stage.ok(&["ps"]).contains("(Paused)"));
    let (exec, said) = code(&stage, &["exec", "-T", "counter", "true"]);
    assert_eq!(exec, Some(125), "{said}");
    let count = || stage.ok(&["logs", "counter"]).lines().count();
    let before = count();
    let _ = stage.ok(&["exec", "-T", "web", "sleep", "1"]);
    assert_eq!(count(), before, "it wrote while it rested");
    let _ = stage.ok(&["unpause"]);
    until("it writes again", PATIENCE, || match count() > before {
        true => Ok(()),
        false => Err("not yet"),
    });
    let _ = stage.ok(&["pause", "counter"]);
    let _ = stage.ok(&["stop", "-t", "5", "counter"]);
    assert_eq!(phase(&stage, "inside-counter-1"), "stopped");
}

#[test]
fn signals_arrive_and_ends_are_waited_for() {
    let Some(stage) = up() else { return };
    let mut events = stage.unmoor(&["events", "--json", "trap"]);
    let mut events = events.stdout(Stdio::piped()).spawn().expect("it starts");
    let told = BufReader::new(events.stdout.take().expect("a pipe"));
    let (sender, told_here) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in told.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    // Only what happens after it has begun to listen is told.
    until("it listens", PATIENCE, || {
        let _ = stage.ok(&["pause", "trap"]);
        let _ = stage.ok(&["unpause", "trap"]);
        told_here
            .recv_timeout(Duration::from_secs(1))
            .map_err(|error| error.to_string())
    });
    let _ = stage.ok(&["kill", "-s", "USR1", "trap"]);
    let (ended, said) = code(&stage, &["wait", "trap"]);
    assert_eq!(
        (ended, said.as_str()),
        (Some(7), "inside-trap-1 exited with code 7\n")
    );
    let event = loop {
        let line = told_here.recv_timeout(PATIENCE).expect("an event");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["service"], "trap");
        if event["action"] == "die" {
            break event;
        }
    };
    assert_eq!(event["attributes"]["exitCode"], "7");
    events.kill().expect("it runs");
    let _ = events.wait();
    reader.join().expect("it ends with the events");
    let _ = stage.ok(&["kill", "web"]);
    until("it was killed", PATIENCE, || {
        match phase(&stage, "inside-web-1").as_str() {
            "stopped" | "failed" => Ok(()),
            other => Err(format!("it is {other}")),
        }
    });
    let (wrong, said) = code(&stage, &["kill", "-s", "NOPE", "web"]);
    assert_eq!(wrong, Some(64), "{said}");
}

#[test]
fn what_replicas_use_and_run_is_listed() {
    let Some(stage) = up() else { return };
    let stats = stage.json(&["stats", "--no-stream", "--format", "json", "web"]);
    assert_eq!(stats[0]["replica"], "inside-web-1");
    assert_eq!(stats[0]["memory_limit"], 64 << 20);
    assert!(
        stats[0]["memory"].as_u64().is_some_and(|used| used > 0),
        "{stats}"
    );
    assert!(
        stats[0]["pids"].as_u64().is_some_and(|pids| pids > 0),
        "{stats}"
    );
    assert!(!stats[0]["cpu_hundredths_percent"].is_null(), "{stats}");
    let before = stats[0]["network"]["received"].as_u64().expect("a number");
    let page = stage.get("http://127.0.0.1:8084/");
    assert_eq!(page.expect("a page"), "a page\n");
    let after = stage.json(&["stats", "--no-stream", "--format", "json", "web"]);
    let after = after[0]["network"]["received"].as_u64().expect("a number");
    assert!(after > before, "{after} bytes came in, {before} before");
    let top = stage.json(&["top", "--format", "json", "web"]);
    let first = &top[0];
    assert_eq!((&first["pid"], &first["user"]), (&1.into(), &0.into()));
    assert!(first["command"].to_string().contains("httpd"), "{top}");
    assert_eq!(stage.ok(&["port", "web", "80"]), "127.0.0.1:8084\n");
    assert_eq!(code(&stage, &["port", "web", "81"]).0, Some(1));
    let images = stage.ok(&[
        "images",
        "--format",
        "{{.ContainerName}} {{.Repository}}:{{.Tag}}",
    ]);
    assert!(images.contains("inside-web-1 small:1\n"), "{images}");
    assert_eq!(stage.ok(&["volumes", "-q"]), "inside_data\n");
}

#[test]
fn files_are_copied_there_and_back_and_never_elsewhere() {
    let Some(stage) = up() else { return };
    let here = |name: &str| stage.path().join(name);
    std::fs::create_dir_all(here("from/deep")).expect("a directory");
    std::fs::write(here("from/deep/x"), "deep\n").expect("a file");
    stage.write("one", "one\n");
    let _ = stage.ok(&["cp", "one", "web:/data/"]);
    let _ = stage.ok(&["cp", "from", "web:/data/copy"]);
    let _ = stage.ok(&["cp", "from/.", "web:/data"]);
    let cat = |path: &str| stage.ok(&["exec", "-T", "web", "cat", path]);
    assert_eq!(cat("/data/one"), "one\n");
    assert_eq!(cat("/data/copy/deep/x"), "deep\n");
    assert_eq!(cat("/data/deep/x"), "deep\n");
    assert_eq!(
        stage.ok(&["exec", "-T", "other", "cat", "/data/one"]),
        "one\n",
        "it is in the volume"
    );
    let _ = stage.ok(&["cp", "web:/data/copy", "back"]);
    assert_eq!(
        std::fs::read_to_string(here("back/deep/x")).expect("a file"),
        "deep\n"
    );
    let _ = stage.ok(&["cp", "web:/data/one", "renamed"]);
    assert_eq!(
        std::fs::read_to_string(here("renamed")).expect("a file"),
        "one\n"
    );
    let archive = stage.run(&["cp", "web:/data/copy", "-"]);
    let mut archive = tar::Archive::new(archive.stdout.as_slice());
    let names = archive.entries().expect("an archive").map(|entry| {
        let entry = entry.expect("an entry");
        entry.path().expect("a path").display().to_string()
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["copy/", "copy/deep/", "copy/deep/x"]
    );
    // Links inside lead to places inside, also where the same path is there outside.
    let secret = here("secret");
    std::fs::write(&secret, "outside").expect("a file");
    let link = format!("ln -s {} /data/leak; ln -s / /data/root", secret.display());
    let _ = stage.ok(&["exec", "-T", "web", "sh", "-c", &link]);
    let (leak, said) = code(&stage, &["cp", "-L", "web:/data/leak", "leaked"]);
    assert_eq!(leak, Some(1), "{said}");
    assert!(!here("leaked").exists());
    let _ = stage.ok(&["cp", "one", "web:/data/root/written"]);
    assert_eq!(cat("/written"), "one\n");
    assert!(!std::path::Path::new("/written").exists());
    // A copy never goes through a link that is in its way here.
    std::fs::create_dir(here("way")).expect("a directory");
    std::os::unix::fs::symlink(&secret, here("way/one")).expect("a link");
    let _ = stage.ok(&["cp", "web:/data/one", "way"]);
    assert_eq!(std::fs::read_to_string(&secret).expect("a file"), "outside");
    for words in [
        ["cp", "web:/nothing", "x"],
        ["cp", "nothing", "web:/data/x"],
    ] {
        assert_eq!(code(&stage, &words).0, Some(1), "{words:?}");
    }
    assert_eq!(code(&stage, &["cp", "one", "two"]).0, Some(64));
}

#[test]
fn attached_streams_go_both_ways() {
    let Some(stage) = up() else { return };
    let mut attach = stage.unmoor(&["attach", "cat"]);
    attach.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut attach = attach.spawn().expect("it starts");
    let mut input = attach.stdin.take().expect("a pipe");
    let mut output = BufReader::new(attach.stdout.take().expect("a pipe"));
    // What is said before it has joined would be echoed to nobody.
    let echo = until("it echoes", PATIENCE, || {
        input
            .write_all(b"hello\n")
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        output
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        Ok::<String, String>(line)
    });
    assert_eq!(echo, "hello\n");
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("text");
    let ended = attach.wait().expect("it ends").code();
    assert_eq!((ended, rest.as_str()), (Some(0), ""));
    assert_eq!(phase(&stage, "inside-cat-1"), "stopped");
}

#[test]
fn what_is_created_waits_and_a_dry_run_changes_nothing() {
    let Some(stage) = Stage::small(INSIDE) else {
        return;
    };
    let dry = |words: &[&str]| {
        let (ended, said) = code(&stage, &[&["--dry-run"], words].concat());
        assert_eq!(ended, Some(0), "{words:?}: {said}");
        said
    };
    assert!(dry(&["up", "-d", "--wait"]).contains("replica inside-web-1: started"));
    assert_eq!(stage.ok(&["ls", "-q"]), "", "a dry run made something");
    let _ = stage.ok(&["create"]);
    let phases = stage.phases();
    assert!(
        phases.values().all(|phase| phase == "pending"),
        "{phases:?}"
    );
    assert!(stage.get("http://127.0.0.1:8084/").is_err());
    let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);
    assert_eq!(
        stage.get("http://127.0.0.1:8084/").expect("a page"),
        "a page\n"
    );
    let whole = stage.json(&["ps", "-a", "--format", "json"]);
    for words in [
        &["down", "-v"][..],
        &["stop"],
        &["kill"],
        &["pause"],
        &["restart"],
        &["scale", "counter=3"],
        &["update", "--env", "X=1", "web"],
        &["up", "-d", "--force-recreate"],
        &["rm", "-s"],
        &["exec", "-T", "web", "touch", "/data/x"],
        &["run", "--rm", "web", "true"],
        &["cp", "compose.yaml", "web:/data/y"],
        &["image", "rm", "small:1"],
        &["pull"],
        &["system", "prune", "-a"],
    ] {
        let _ = dry(words);
    }
    assert_eq!(
        stage.json(&["ps", "-a", "--format", "json"]),
        whole,
        "a dry run changed something"
    );
    assert_eq!(stage.ok(&["exec", "-T", "web", "ls", "/data"]), "");
    assert_eq!(stage.ok(&["images", "-q"]).lines().count(), 1);
}

#[test]
fn a_service_gets_another_variable_and_stays_up() {
    let Some(stage) = up() else { return };
    let _ = stage.ok(&["update", "--env", "COLOUR=blue", "web"]);
    let web = stage.ok(&["ps", "-q", "web"]);
    assert_eq!(web.lines().count(), 1, "{web}");
    let said = stage.ok(&["exec", "-T", "web", "sh", "-c", "echo $COLOUR"]);
    assert_eq!(said, "blue\n");
    assert_eq!(code(&stage, &["update", "web"]).0, Some(64));
}

#[test]
fn a_service_goes_back_to_what_it_was() {
    let Some(stage) = up() else { return };
    let (nothing, said) = code(&stage, &["rollback", "web"]);
    assert_eq!(nothing, Some(1), "{said}");
    let _ = stage.ok(&["update", "--env", "COLOUR=blue", "web"]);
    let colour = || stage.ok(&["exec", "-T", "web", "sh", "-c", "echo $COLOUR"]);
    assert_eq!(colour(), "blue\n");
    let _ = stage.ok(&["rollback", "web"]);
    assert_eq!(colour(), "\n");
    // A second time undoes the first.
    let _ = stage.ok(&["rollback", "web"]);
    assert_eq!(colour(), "blue\n");
}
