//! Volumes of other stacks: data is read from where the file says, and from nowhere else.

use unmoor_e2e::stage::{Stage, text};

const OWN: &str = "
services:
  a:
    image: small:1
    stop_grace_period: 0s
    volumes: [\"data:/data\"]
volumes:
  data:
";

/// A file whose volume is that of another stack.
fn other(volume: &str) -> String {
    OWN.replace(
        "  data:\n",
        &format!("  data:\n    external: true\n    name: {volume}\n"),
    )
}

#[test]
fn another_name_of_a_volume_of_others_is_other_data() {
    let Some(stage) = Stage::small(OWN) else {
        return;
    };
    let noted = stage.note();
    for stack in ["one", "two"] {
        let _ = stage.ok(&["-p", stack, "up", "-d"]);
        let write = format!("echo {stack} >/data/who");
        let _ = stage.ok(&["-p", stack, "exec", "a", "sh", "-c", &write]);
    }
    let user = |words: &[&str]| stage.run(&[&["-p", "user"], words].concat());
    for stack in ["one", "two", "one"] {
        stage.write("compose.yaml", &other(&format!("{stack}_data")));
        let up = user(&["up", "-d"]);
        assert!(up.status.success(), "{}", text(&up.stderr));
        let read = user(&["exec", "a", "cat", "/data/who"]);
        assert_eq!(text(&read.stdout).trim(), stack, "{}", text(&read.stderr));
    }
    let again = user(&["up", "-d"]);
    assert!(
        text(&again.stderr).contains("nothing to change"),
        "{}",
        text(&again.stderr)
    );

    // One that is not there is refused, and what runs goes on.
    stage.write("compose.yaml", &other("nosuch_data"));
    let up = user(&["up", "-d"]);
    assert!(!up.status.success());
    assert!(
        text(&up.stderr).contains("nosuch_data"),
        "{}",
        text(&up.stderr)
    );
    let read = user(&["exec", "a", "cat", "/data/who"]);
    assert_eq!(text(&read.stdout).trim(), "one");

    // The data is not the user's to remove.
    let down = user(&["down", "-v"]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    let read = stage.ok(&["-p", "one", "exec", "a", "cat", "/data/who"]);
    assert_eq!(read.trim(), "one");
    for stack in ["one", "two"] {
        let _ = stage.ok(&["-p", stack, "down", "-v"]);
    }
    stage.nothing_left(&noted);
}

#[test]
fn a_volume_put_there_by_hand_is_shown_and_adopted_on_request() {
    let Some(stage) = Stage::small(OWN) else {
        return;
    };
    let noted = stage.note();
    let run = |words: &[&str]| stage.run(&[&["-p", "hand"], words].concat());
    // Makes the state directory.
    let _ = stage.ok(&["ls"]);
    let folder = stage.state().join("volumes/hand_data/_data");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("who"), "by hand").expect("written");

    let up = run(&["up", "-d"]);
    assert!(!up.status.success());
    let said = text(&up.stderr);
    assert!(said.contains("volume data (unlabelled)"), "{said}");
    assert!(said.contains("unmoor adopt"), "{said}");
    let list = stage.ok(&["ls"]);
    assert!(!list.contains("hand"), "{list}");
    let list = stage.ok(&["ls", "--all"]);
    let row = list.lines().find(|line| line.starts_with("hand"));
    assert!(row.is_some_and(|row| row.contains("unlabelled")), "{list}");
    let list = stage.ok(&["ls", "--all", "--format", "json"]);
    assert!(list.contains("\"made_by\": \"unlabelled\""), "{list}");

    let dry = run(&["--dry-run", "adopt"]);
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    assert!(
        text(&dry.stderr).contains("volume data"),
        "{}",
        text(&dry.stderr)
    );
    assert!(
        !run(&["up", "-d"]).status.success(),
        "a dry run took it over"
    );
    let none = run(&["adopt", "web"]);
    assert!(!none.status.success(), "a service that is not there");
    for _ in 0..2 {
        let adopted = run(&["adopt", "volume/data"]);
        assert!(adopted.status.success(), "{}", text(&adopted.stderr));
    }
    let up = run(&["up", "-d"]);
    assert!(up.status.success(), "{}", text(&up.stderr));
    let read = run(&["exec", "a", "cat", "/data/who"]);
    assert_eq!(text(&read.stdout), "by hand");
    let down = run(&["down", "-v"]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert!(!folder.exists(), "what is ours goes with its stack");
    stage.nothing_left(&noted);
}
