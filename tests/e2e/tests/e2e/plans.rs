//! Plans that are kept in files and applied from elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use unmoor_e2e::stage::{Stage, text};

const FILE: &str = "
name: kept
services:
  a:
    image: small:1
    command: [sleep, '1000']
    stop_grace_period: 0s
    secrets: [key, word]
secrets:
  key:
    file: ./key.txt
  word:
    environment: WORD
";

/// Standard error of a command that must fail with 1.
fn refused(stage: &Stage, words: &[&str]) -> String {
    let output = stage.run(words);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
    said
}

#[test]
fn a_plan_is_kept_and_applied_from_another_directory() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let noted = stage.note();
    stage.write("key.txt", "hunter2");
    let plan = |name: &str| stage.path().join(name).display().to_string();
    let (first, second) = (plan("first.plan"), plan("second.plan"));
    let mut keep = stage.unmoor(&["plan", "-o", &first]);
    let kept = keep.env("WORD", "hunter3").output().expect("it starts");
    assert!(kept.status.success(), "{}", text(&kept.stderr));
    assert_eq!(
        stage.ok(&["ls", "-q"]),
        "",
        "keeping a plan changes nothing"
    );
    let file = fs::read_to_string(&first).expect("the plan");
    assert!(!file.contains("hunter"), "{file}");
    let mode = fs::metadata(&first).expect("the plan").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A link is written through, not replaced.
    let link = plan("link.plan");
    symlink("linked.plan", &link).expect("linked");
    let mut keep = stage.unmoor(&["plan", "-o", &link]);
    let kept = keep.env("WORD", "hunter3").output().expect("it starts");
    assert!(kept.status.success(), "{}", text(&kept.stderr));
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    let linked = fs::read_to_string(plan("linked.plan")).expect("the plan");
    assert!(linked.contains("\"1000\""), "{linked}");

    // One that somebody edited, one for another backend, one without what it needs.
    let edited = file.replace("\"1000\"", "\"2000\"");
    assert_ne!(edited, file);
    stage.write("edited.plan", &edited);
    let said = refused(&stage, &["apply", &plan("edited.plan")]);
    assert!(said.contains("changed after it was written"), "{said}");
    let said = refused(&stage, &["-b", "sim:", "apply", &first]);
    assert!(said.contains("was made for `local:"), "{said}");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let apply = |words: &[&str], word: Option<&str>| {
        let mut command = stage.unmoor(words);
        command.current_dir(elsewhere.path());
        word.map(|word| command.env("WORD", word));
        command.output().expect("it starts")
    };
    let lacking = apply(&["apply", &first], None);
    let said = text(&lacking.stderr);
    assert!(
        said.contains("secret:word") && said.contains("-f FILE"),
        "{said}"
    );
    let compose = plan("compose.yaml");
    let other = apply(&["-f", &compose, "apply", &first], Some("hunter4"));
    let said = text(&other.stderr);
    assert!(said.contains("`secret:word` changed"), "{said}");
    assert_eq!(stage.ok(&["ls", "-q"]), "", "nothing was sent");

    let applied = apply(&["-f", &compose, "apply", &first], Some("hunter3"));
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let read = [
        "exec",
        "-T",
        "a",
        "cat",
        "/run/secrets/key",
        "/run/secrets/word",
    ];
    assert_eq!(stage.ok(&read), "hunter2hunter3");
    let said = refused(&stage, &["apply", &first]);
    assert!(said.contains("plan again"), "{said}");

    // What the backend holds already needs no file; facts that changed void it.
    let mut again = stage.unmoor(&["plan", "-o", &second, "--scale", "a=2"]);
    let kept = again.env("WORD", "hunter3").output().expect("it starts");
    assert!(kept.status.success(), "{}", text(&kept.stderr));
    let _ = stage.ok(&["stop", "a"]);
    let said = refused(&stage, &["apply", &second]);
    assert!(said.contains("changed since the plan was made"), "{said}");
    let _ = stage.ok(&["start", "a"]);
    let applied = apply(&["apply", &second], None);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    assert_eq!(stage.phases().len(), 2);
    let _ = stage.ok(&["-p", "kept", "down"]);
    stage.nothing_left(&noted);
}
