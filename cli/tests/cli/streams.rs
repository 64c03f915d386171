//! Standard output that is full, closed or not read: never a panic, never a success.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::place::{Place, SHOP, ran};

/// What writes something: one for each way of writing.
const WRITERS: [&[&str]; 6] = [
    &["--help"],
    &["--version"],
    &["ps"],
    &["config"],
    &["capabilities", "--format", "json"],
    &["image", "ls"],
];

#[test]
fn a_full_disk_is_told_and_is_a_failure() {
    let place = Place::with(SHOP);
    for words in WRITERS {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let ran = ran_with(place.command(words).stdout(full));
        assert_eq!(ran.0, Some(1), "{words:?}: {}", ran.1);
        assert!(
            ran.1.contains("No space left on device"),
            "{words:?}: {}",
            ran.1
        );
    }
}

#[test]
fn a_closed_standard_output_is_told_and_is_a_failure() {
    let place = Place::with(SHOP);
    for words in WRITERS {
        let mut command = Command::new("/bin/sh");
        let line = format!("exec \"$0\" {} >&-", words.join(" "));
        command.args(["-c", &line, env!("CARGO_BIN_EXE_unmoor")]);
        command
            .env("UNMOOR_BACKEND", "sim:")
            .current_dir(place.path());
        let ran = ran(&mut command);
        assert_eq!(ran.code, Some(1), "{words:?}: {}", ran.err);
        assert!(ran.err.contains("it is closed"), "{words:?}: {}", ran.err);
    }
}

#[test]
fn nothing_to_print_succeeds_even_so() {
    let place = Place::with(SHOP);
    let mut command = Command::new("/bin/sh");
    let line = "exec \"$0\" config -q <&- >&- 2>&-";
    command.args(["-c", line, env!("CARGO_BIN_EXE_unmoor")]);
    command
        .env("UNMOOR_BACKEND", "sim:")
        .current_dir(place.path());
    assert_eq!(ran(&mut command).code, Some(0));
}

#[test]
fn a_reader_that_went_away_ends_it_quietly() {
    let place = Place::with(SHOP);
    for words in WRITERS {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ran = ran_with(place.command(words).stdout(writer));
        assert_eq!(ran, (Some(141), String::new()), "{words:?}");
    }
}

#[test]
fn errors_nobody_can_read_do_not_change_the_code() {
    let place = Place::new();
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let status = place
        .command(&["up"])
        .stdout(Stdio::null())
        .stderr(full)
        .status();
    assert_eq!(status.expect("it starts").code(), Some(1));
}

fn ran_with(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let output = output.wait_with_output().expect("it ends");
    (
        output.status.code(),
        String::from_utf8(output.stderr).expect("text"),
    )
}

#[test]
fn a_signal_ends_it_with_its_code_unless_it_was_ignored_before() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::{BufRead as _, BufReader};
    let place = Place::with(SHOP);
    for (ignore, wanted) in [("", Some(130)), ("trap '' INT; ", Some(143))] {
        let mut command = Command::new("/bin/sh");
        // A watch never ends by itself; its first line says that it runs.
        let line = format!("{ignore}exec \"$0\" -b sim: endpoints --watch");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_unmoor")]);
        command.current_dir(place.path()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut first = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut first).expect("a line");
        assert_eq!(first, "# 0 endpoints\n");
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::INT).expect("it is there");
        if wanted == Some(143) {
            kill_process(pid, Signal::TERM).expect("the first signal did not end it");
        }
        assert_eq!(child.wait().expect("it ends").code(), wanted);
    }
}
