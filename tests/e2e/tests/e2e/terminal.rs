//! A command with a terminal: its size, its modes, and the terminal as it was afterwards.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, send};

const SMALL: &str = include_str!("../../stack/small.yaml");

/// Both ends of a terminal of 100 columns and 30 rows.
fn terminal() -> (OwnedFd, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new())
        .expect("a name")
        .into_string()
        .expect("text");
    let slave = File::options()
        .read(true)
        .write(true)
        .open(name)
        .expect("the other end");
    tcsetwinsize(&master, size(100, 30)).expect("a size");
    (master, slave)
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn is_raw(slave: &File) -> bool {
    let modes = tcgetattr(slave).expect("modes").local_modes;
    !modes.contains(LocalModes::ICANON) && !modes.contains(LocalModes::ECHO)
}

/// What the terminal shows.
struct Screen {
    pieces: Receiver<String>,
    seen: String,
}

impl Screen {
    fn of(master: &OwnedFd) -> Self {
        let mut master = File::from(master.try_clone().expect("another descriptor"));
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = master.read(&mut buffer) {
                let piece = String::from_utf8_lossy(&buffer[..count]).into_owned();
                if count == 0 || sender.send(piece).is_err() {
                    break;
                }
            }
        });
        Self {
            pieces,
            seen: String::new(),
        }
    }

    /// Returns once this is shown, and forgets what was shown up to it.
    fn shows(&mut self, wanted: &str) {
        loop {
            if let Some(at) = self.seen.find(wanted) {
                self.seen.drain(..at + wanted.len());
                return;
            }
            let piece = self.pieces.recv_timeout(PATIENCE);
            self.seen += &piece.unwrap_or_else(|_| panic!("no {wanted:?} in {:?}", self.seen));
        }
    }

    /// All that is shown until the terminal is closed.
    fn rest(self) -> String {
        let pieces = std::iter::from_fn(|| self.pieces.recv_timeout(PATIENCE).ok());
        self.seen.clone() + &pieces.collect::<String>()
    }
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
