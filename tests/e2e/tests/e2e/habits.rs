//! What people are used to type and to read, and what is said where it cannot be.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::Stdio;

use rustix::process::Signal;
use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, send, text};

const FILE: &str = "\
name: hab
services:
  web:
    image: small:1
    command: [sleep, \"1000000\"]
    stop_grace_period: 0s
    develop:
      watch: [{action: sync, path: ./site, target: /www/site}]
  talker:
    image: small:1
    command: [sh, -c, \"echo from the talker; exec sleep 1000000\"]
    attach: false
    stop_grace_period: 0s
  again:
    image: small:1
    command: [sh, -c, \"exit 4\"]
    restart: always
  once:
    image: small:1
    command: [sh, -c, \"echo $$A $$B $$C; exit 2\"]
    depends_on: [web]
    environment: {A: of the file}
";

fn ran(stage: &Stage, words: &[&str]) -> (Option<i32>, String) {
    let output = stage.run(words);
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}

fn status(stage: &Stage, service: &str) -> String {
    stage.ok(&["ps", "-a", "--format", "{{.Status}}", service])
}

fn started(stage: &Stage, service: &str) -> String {
    stage.json(&["ps", "-a", "--format", "json", service])[0]["started"].to_string()
}

#[test]
fn how_it_ended_and_when_is_told() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "again", "once"]);
    until("it waits to be restarted", PATIENCE, || {
        match status(&stage, "again") {
            told if told.starts_with("Restarting (4) ") && told.ends_with(" ago\n") => Ok(()),
            told => Err(told),
        }
    });
    until("it has ended", PATIENCE, || match status(&stage, "once") {
        told if told.starts_with("Exited (2) ") && told.ends_with(" ago\n") => Ok(()),
        told => Err(told),
    });
    let ended = &stage.json(&["ps", "-a", "--format", "json", "once"])[0]["ended"];
    assert!(
        ended.as_str().is_some_and(|time| time.ends_with('Z')),
        "{ended}"
    );
}

#[test]
fn what_is_paused_says_so() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "web"]);
    let _ = stage.ok(&["pause", "web"]);
    let (code, told) = ran(&stage, &["exec", "-T", "web", "true"]);
    assert_eq!(code, Some(125), "{told}");
    assert!(
        told.contains("it is paused") && told.contains("`unmoor unpause web`"),
        "{told}"
    );
    let (code, told) = ran(&stage, &["up", "-d", "--wait", "web"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("it is paused") && told.contains("`unmoor unpause web`"),
        "{told}"
    );
}

#[test]
fn what_was_never_started_is_removed_too() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["create", "web"]);
    assert_eq!(stage.phases()["hab-web-1"], "pending");
    let _ = stage.ok(&["rm", "-f"]);
    assert_eq!(stage.phases().len(), 0);
}

#[test]
fn images_go_by_what_a_listing_prints() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let digest = stage.ok(&["image", "ls", "-q"]);
    let short = stage.ok(&["image", "ls", "--format", "{{.Digest}}"]);
    let (code, told) = ran(&stage, &["--dry-run", "image", "rm", short.trim()]);
    assert_eq!(
        (code, told.as_str()),
        (
            Some(0),
            "would remove image small:1\ndry run: nothing is changed\n"
        )
    );
    assert_eq!(stage.ok(&["image", "rm", digest.trim()]), "small:1\n");
    assert_eq!(stage.ok(&["image", "ls", "-q"]), "");
    let (code, told) = ran(&stage, &["image", "rm", digest.trim()]);
    assert_eq!(code, Some(1), "{told}");
}

#[test]
fn copies_keep_links_and_tell_what_has_no_content() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "web"]);
    // Into the replica, and out of it again.
    let folder = stage.path().join("d");
    fs::create_dir(&folder).expect("a directory");
    fs::write(folder.join("file"), "text").expect("a file");
    for (name, target) in [
        ("root", "/"),
        ("slashes", "a//b/"),
        ("far", &"x/".repeat(80)),
    ] {
        symlink(target, folder.join(name)).expect("a link");
    }
    let made = std::process::Command::new("mkfifo")
        .arg(folder.join("pipe"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    let (code, told) = ran(&stage, &["cp", "d", "web:/www/d"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("d/pipe stays here: it is a pipe"), "{told}");
    let (code, told) = ran(&stage, &["cp", "web:/www/d", "back"]);
    assert_eq!(code, Some(0), "{told}");
    let back = stage.path().join("back");
    assert_eq!(
        fs::read_to_string(back.join("file")).expect("a file"),
        "text"
    );
    for (name, target) in [("root", "/"), ("slashes", "a//b/")] {
        let link = fs::read_link(back.join(name)).expect("a link");
        assert_eq!(link.as_os_str(), target);
    }
    assert!(fs::read_link(back.join("far")).is_ok());
    // What has no content stays where it is, and that is told.
    let (code, told) = ran(&stage, &["cp", "web:/dev/zero", "z"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("no content to copy"), "{told}");
    let (code, told) = ran(&stage, &["cp", "web:/dev", "devices"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("devices/null stays there"), "{told}");
    // A name that would steer a terminal is spelled out in the error, which has its reason.
    let line = "mkdir /www/e; echo x > \"/www/e/a\nb$(printf '\\033')\"";
    let _ = stage.ok(&["exec", "-T", "web", "sh", "-c", line]);
    let taken = stage.path().join("e");
    fs::create_dir_all(taken.join("e/a\nb\u{1b}")).expect("in its way");
    let (code, told) = ran(&stage, &["cp", "web:/www/e", "e"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("a\\nb\\u{1b}") && !told.contains('\u{1b}'),
        "{told:?}"
    );
    assert!(told.contains("directory"), "{told}");
}

#[test]
fn variables_of_a_copy_come_from_files_too() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    stage.write("more.env", "A=of more\nB='quoted # b'\n");
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--no-deps",
        "--env-from-file",
        "more.env",
    ];
    let output = stage.run(&[&words[..], &["-e", "C=c", "once"]].concat());
    assert_eq!(text(&output.stdout), "of more quoted # b c\n", "{output:?}");
    assert_eq!(output.status.code(), Some(2));
    let (code, told) = ran(&stage, &["run", "--env-from-file", "none.env", "once"]);
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("none.env"), "{told}");
}

#[test]
fn dependencies_are_made_anew_only_on_request() {
    let file = FILE.replace(
        "    attach: false\n",
        "    attach: false\n    depends_on: [web]\n",
    );
    let Some(stage) = Stage::small(&file) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "talker"]);
    let first = started(&stage, "web");
    let _ = stage.ok(&["up", "-d", "--force-recreate", "talker"]);
    assert_eq!(started(&stage, "web"), first);
    let _ = stage.ok(&["up", "-d", "--always-recreate-deps", "talker"]);
    assert_ne!(started(&stage, "web"), first);
}

#[test]
fn a_restart_takes_those_along_that_say_so() {
    let file = FILE.replace(
        "    attach: false\n",
        "    attach: false\n    depends_on: {web: {condition: service_started, restart: true}}\n",
    );
    let Some(stage) = Stage::small(&file) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "talker"]);
    let first = started(&stage, "talker");
    let _ = stage.ok(&["restart", "--no-deps", "web"]);
    assert_eq!(started(&stage, "talker"), first);
    let _ = stage.ok(&["restart", "web"]);
    assert_ne!(started(&stage, "talker"), first);
}

#[test]
fn a_service_that_is_not_attached_is_silent_until_it_is_named() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let up = |flags: &[&str]| {
        let words = [
            &["up", "--abort-on-container-exit"],
            flags,
            &["talker", "once"],
        ]
        .concat();
        text(&stage.run(&words).stdout)
    };
    assert_eq!(up(&[]), "once-1  | of the file\n");
    assert_eq!(up(&["--attach", "talker"]), "talker-1  | from the talker\n");
    assert!(!stage.ok(&["logs"]).contains("talker"));
    let named = stage.ok(&["logs", "talker"]);
    assert!(named.contains("talker-1  | from the talker\n"), "{named}");
}

#[test]
fn an_attached_up_carries_files_over() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    fs::create_dir(stage.path().join("site")).expect("a directory");
    let mut command = stage.unmoor(&["up", "--watch", "web"]);
    let mut up = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut told = BufReader::new(up.stderr.take().expect("a pipe")).lines();
    let mut waits_for = |wanted: &str| {
        let found = told.any(|line| line.expect("text").contains(wanted));
        assert!(found, "it ended without saying {wanted}");
    };
    waits_for("service web: watching");
    stage.write("site/page", "carried over");
    waits_for("1 copied");
    let inside = stage.ok(&["exec", "-T", "web", "cat", "/www/site/page"]);
    assert_eq!(inside, "carried over");
    send(&up, Signal::INT);
    waits_for("stopping");
    assert_eq!(up.wait().expect("it ends").code(), Some(130));
    assert_eq!(stage.phases()["hab-web-1"], "stopped");
}

#[test]
fn images_that_a_build_would_name_go_with_the_stack() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let archive = stage.path().join("archive.tar");
    fs::create_dir(stage.path().join("empty")).expect("a directory");
    let tar = std::process::Command::new("tar")
        .arg("cf")
        .arg(&archive)
        .arg("-C")
        .arg(stage.path())
        .arg("empty")
        .status();
    assert!(tar.expect("tar runs").success());
    let archive = archive.to_str().expect("text");
    let _ = stage.ok(&["image", "import", archive, "hab-made"]);
    let _ = stage.ok(&["image", "import", archive, "other"]);
    let _ = stage.ok(&["up", "-d", "web"]);
    let more = format!(
        "{FILE}  made:\n    build: .\n    profiles: [x]\n  named:\n    build: .\n    image: other\n"
    );
    stage.write("compose.yaml", &more.replace("    profiles: [x]\n", ""));
    let _ = stage.ok(&["down", "--rmi", "local"]);
    let left = stage.ok(&["image", "ls", "--format", "{{.Image}}"]);
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["other", "small:1"]);
}

#[test]
fn a_build_is_refused_only_where_there_is_something_to_build() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let (code, told) = ran(&stage, &["build", "--no-cache", "web"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("nothing to build"), "{told}");
    let (code, told) = ran(&stage, &["up", "-d", "--build", "web"]);
    assert_eq!(code, Some(0), "{told}");
    let more = format!("{FILE}  made:\n    build: .\n    image: small:1\n");
    stage.write("compose.yaml", &more);
    for words in [
        &["build"][..],
        &["build", "made"],
        &["up", "-d", "--build"],
        &["create", "--build", "made"],
    ] {
        let (code, told) = ran(&stage, words);
        assert_eq!(code, Some(1), "{words:?}: {told}");
        assert!(told.contains("`made` has `build:`"), "{words:?}: {told}");
        assert!(told.contains("hint:"), "{words:?}: {told}");
    }
    // Its image is there, so it runs without.
    let _ = stage.ok(&["up", "-d", "--build", "web"]);
    let _ = stage.ok(&["up", "-d", "made"]);
}
