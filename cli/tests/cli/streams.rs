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
