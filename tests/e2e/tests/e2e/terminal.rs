//! A command with a terminal: its size, its modes, and the terminal as it was afterwards.

use std::fs::File;
use std::io::Write as _;
use std::process::Stdio;

use rustix::process::Signal;
use rustix::termios::{LocalModes, tcgetattr, tcsetwinsize};
use unmoor_e2e::patience::until;
use unmoor_e2e::screen::{Screen, size, terminal};
use unmoor_e2e::stage::{PATIENCE, Stage, send};

const SMALL: &str = include_str!("../../stack/small.yaml");

fn is_raw(slave: &File) -> bool {
    let modes = tcgetattr(slave).expect("modes").local_modes;
    !modes.contains(LocalModes::ICANON) && !modes.contains(LocalModes::ECHO)
}

#[test]
fn exec_hands_the_terminal_over_and_back() {
    let Some(stage) = Stage::small(SMALL) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "--wait"]);
    let (master, slave) = terminal();
    let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
    let mut command = stage.unmoor(&["exec", "web", "sh"]);
    command
        .env("TERM", "vt100")
        .stdin(end())
        .stdout(end())
        .stderr(end());
    let mut child = command.spawn().expect("it starts");
    let mut screen = Screen::of(&master);
    let mut keys = File::from(master.try_clone().expect("another descriptor"));
    until("the terminal is raw", PATIENCE, || {
        if is_raw(&slave) {
            Ok(())
        } else {
            Err("it is not")
        }
    });

    keys.write_all(b"tty; stty size; echo $TERM\r")
        .expect("typed");
    screen.shows("/dev/");
    screen.shows("30 100");
    screen.shows("vt100");

    // A new size reaches the inside.
    tcsetwinsize(&master, size(77, 22)).expect("a size");
    send(&child, Signal::WINCH);
    keys.write_all(b"until stty size | grep '22 77'; do sleep 0.1; done\r")
        .expect("typed");
    screen.shows("\n22 77");

    // Ctrl-C goes to what runs inside, not to us.
    keys.write_all(b"sleep 4321\r").expect("typed");
    until("it sleeps", PATIENCE, || {
        let list = stage.ok(&["exec", "-T", "web", "ps"]);
        if list.contains("sleep 4321") {
            Ok(())
        } else {
            Err(list)
        }
    });
    keys.write_all(b"\x03").expect("typed");
    keys.write_all(b"echo still-$((40+2))\r").expect("typed");
    screen.shows("still-42");
    keys.write_all(b"exit 9\r").expect("typed");
    assert_eq!(child.wait().expect("it ends").code(), Some(9));
    assert!(!is_raw(&slave), "the terminal is as it was");
}

#[test]
fn run_hands_the_terminal_over_and_back() {
    let Some(stage) = Stage::small(SMALL) else {
        return;
    };
    let (master, slave) = terminal();
    let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
    let mut command = stage.unmoor(&["run", "--rm", "--quiet", "--name", "shell", "web", "sh"]);
    command
        .env("TERM", "vt100")
        .stdin(end())
        .stdout(end())
        .stderr(end());
    let mut child = command.spawn().expect("it starts");
    let mut screen = Screen::of(&master);
    let mut keys = File::from(master.try_clone().expect("another descriptor"));
    // What a program says before anybody could join it is shown as well.
    screen.shows("# ");
    keys.write_all(b"tty; stty size; echo $TERM\r")
        .expect("typed");
    screen.shows("/dev/");
    screen.shows("30 100");
    screen.shows("vt100");
    keys.write_all(b"sleep 4321\r").expect("typed");
    until("it sleeps", PATIENCE, || {
        let list = stage.ok(&["exec", "-T", "shell", "ps"]);
        if list.contains("sleep 4321") {
            Ok(())
        } else {
            Err(list)
        }
    });
    keys.write_all(b"\x03").expect("typed");
    keys.write_all(b"echo still-$((40+2)); exit 9\r")
        .expect("typed");
    screen.shows("still-42");
    assert_eq!(child.wait().expect("it ends").code(), Some(9));
    assert!(!is_raw(&slave), "the terminal is as it was");
    assert_eq!(stage.ok(&["ps", "-a", "-q"]), "", "the copy was removed");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let Some(stage) = Stage::small(SMALL) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "--wait"]);
    let (master, slave) = terminal();
    let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
    let mut command = stage.unmoor(&["exec", "web", "cat"]);
    command.stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().expect("it starts");
    let _screen = Screen::of(&master);
    until("the terminal is raw", PATIENCE, || {
        if is_raw(&slave) {
            Ok(())
        } else {
            Err("it is not")
        }
    });
    send(&child, Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    assert!(!is_raw(&slave), "the terminal is as it was");
}

#[test]
fn progress_on_a_terminal_ends_below_its_last_line() {
    let Some(stage) = Stage::small(SMALL) else {
        return;
    };
    let (master, slave) = terminal();
    let screen = Screen::of(&master);
    let mut command = stage.unmoor(&["up", "-d"]);
    command
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .stderr(Stdio::from(slave));
    let status = command.status().expect("it starts");
    drop(command);
    assert!(status.success());
    drop(master);
    let text = screen.rest();
    assert!(
        text.contains("replica small-web-1") && text.contains("started"),
        "{text:?}"
    );
    let sequences = text.split("\u{1b}[").skip(1);
    let mut colours = sequences.filter(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
            .starts_with('m')
    });
    assert_eq!(
        colours.next(),
        None,
        "colours in spite of NO_COLOR: {text:?}"
    );
}
