//! Leaks made on purpose, each of which the ledger must name.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use unmoor_tools::ledger::{Change, Exclusive, Ledger, Section};
use unmoor_tools::skipped;

const LEDGER: &str = env!("CARGO_BIN_EXE_ledger");

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a script between `save` and `diff` in namespaces of its own.
///
/// Control groups, loop devices and keyrings have no namespace that keeps other tests out.
fn in_namespaces(script: &str) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("before");
    let without = "--without cgroup --without loop --without keyring";
    let script = format!(
        "set -e\n\"$1\" save \"$2\" {without}\n{script}\nexec \"$1\" diff \"$2\" {without}"
    );
    Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            &script,
            "sh",
        ])
        .arg(LEDGER)
        .arg(&file)
        .env("SCRATCH", dir.path())
        .output()
        .expect("unshare is part of every Debian system")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

#[test]
fn nothing_done_is_nothing_left() {
    if !is_root() {
        return skipped("namespaces need root");
    }
    let output = in_namespaces("true");
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("nothing differs"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_mount_left_behind_is_named() {
    if !is_root() {
        return skipped("namespaces need root");
    }
    let output = in_namespaces("mkdir \"$SCRATCH/m\"; mount -t tmpfs leak \"$SCRATCH/m\"");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("+ left behind: mount "),
        "{}",
        text(&output)
    );
    assert!(
        text(&output).contains("/m type tmpfs from leak"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_bridge_with_an_address_left_behind_is_named() {
    if !is_root() || !has("ip") {
        return skipped("a bridge needs root and iproute2");
    }
    let output = in_namespaces(
        "ip link add leak0 type bridge; ip addr add 10.99.0.1/24 dev leak0; ip link set leak0 up",
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for line in [
        "link leak0",
        "address 10.99.0.1",
        "route 10.99.0.0/24 via 0.0.0.0 on leak0",
    ] {
        assert!(
            text(&output).contains(&format!("+ left behind: {line}")),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn a_firewall_table_left_behind_is_named() {
    if !is_root() || !has("nft") {
        return skipped("a firewall table needs root and nftables");
    }
    let output = in_namespaces("nft add table inet leak");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("+ left behind: firewall "),
        "{}",
        text(&output)
    );
    assert!(
        text(&output).contains("\"name\":\"leak\""),
        "{}",
        text(&output)
    );
}

#[test]
fn a_changed_setting_is_named_with_both_values() {
    if !is_root() {
        return skipped("settings need root");
    }
    let output = in_namespaces("echo 1 > /proc/sys/net/ipv4/ip_forward");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("+ left behind: sysctl net/ipv4/ip_forward = 1"));
    assert!(text(&output).contains("- lost: sysctl net/ipv4/ip_forward = 0"));
}

#[test]
fn a_namespace_with_someone_in_it_is_named() {
    if !is_root() {
        return skipped("namespaces need root");
    }
    // The sleeper ends with the pid namespace it is in; the script waits until it has moved.
    let output = in_namespaces(
        "mkfifo \"$SCRATCH/f\"; unshare --uts sh -c 'echo > \"$SCRATCH/f\"; sleep 60' & read _ < \"$SCRATCH/f\"",
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("+ left behind: namespace uts:["),
        "{}",
        text(&output)
    );
}

#[test]
fn a_cgroup_left_behind_is_named() {
    let Some(root) = writable_cgroup() else {
        return skipped("no cgroup hierarchy can be written");
    };
    let _alone = Exclusive::wait().expect("the lock");
    let dir = root.join(format!("unmoor-ledger-test-{}", std::process::id()));
    let before = Ledger::take().expect("a ledger");
    fs::create_dir(&dir).expect("a cgroup");
    let diff = before.diff(&Ledger::take().expect("a ledger"));
    fs::remove_dir(&dir).expect("an empty cgroup");
    let entry = dir.display().to_string();
    let found = |change: &&Change| change.section == Section::Cgroup && change.entry == entry;
    assert!(diff.changes().iter().any(|change| found(&change)), "{diff}");
    let after = Ledger::take().expect("a ledger");
    assert!(!after.contains(Section::Cgroup, &entry));
}

fn writable_cgroup() -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let is_cgroup = |line: &&str| line.contains(" - cgroup");
    let point = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
    let writable = |dir: &PathBuf| {
        let probe = dir.join(format!("unmoor-ledger-probe-{}", std::process::id()));
        fs::create_dir(&probe).is_ok() && fs::remove_dir(&probe).is_ok()
    };
    table
        .lines()
        .filter(is_cgroup)
        .filter_map(point)
        .find(writable)
}

#[test]
fn a_process_of_ours_is_named_and_a_stranger_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("unmoor-ledger-sleeper");
    fs::copy("/bin/sleep", &program).expect("sleep is on every system");
    let before = Ledger::take().expect("a ledger");
    let mut ours = sleeper(&program);
    let mut stranger = sleeper(Path::new("/bin/sleep"));
    let after = Ledger::take().expect("a ledger");
    let (our_pid, strange_pid) = (ours.id(), stranger.id());
    for child in [&mut ours, &mut stranger] {
        child.kill().expect("a running child");
        child.wait().expect("an ended child");
    }
    let named = |pid: u32| {
        let needle = format!(" pid {pid} ");
        let diff = before
            .diff(&after)
            .only(|change| change.section == Section::Process);
        diff.changes()
            .iter()
            .any(|change| change.entry.contains(&needle))
    };
    assert!(named(our_pid));
    assert!(!named(strange_pid));
}

fn sleeper(program: &Path) -> std::process::Child {
    let mut command = Command::new(program);
    command
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .expect("a child")
}

#[test]
fn listening_sockets_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("leak.sock");
    let before = Ledger::take().expect("a ledger");
    let _unix = UnixListener::bind(&path).expect("a unix socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let after = Ledger::take().expect("a ledger");
    let entries = [
        format!("unix {}", path.display()),
        format!("tcp {}", tcp.local_addr().expect("an address")),
    ];
    for entry in &entries {
        assert!(!before.contains(Section::Socket, entry), "{entry}");
        assert!(after.contains(Section::Socket, entry), "{entry}");
    }
}

#[test]
fn files_under_a_state_directory_are_named_by_type() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Ledger::options().state_dir(dir.path());
    let before = options.take().expect("a ledger");
    fs::create_dir(dir.path().join("d")).expect("a directory");
    fs::write(dir.path().join("d/f"), "x").expect("a file");
    std::os::unix::fs::symlink("/nowhere", dir.path().join("l")).expect("a link");
    let diff = before.diff(&options.take().expect("a ledger"));
    let files = diff
        .only(|change| change.section == Section::File)
        .to_string();
    for (kind, name) in [("directory", "d"), ("file", "d/f"), ("link", "l")] {
        let line = format!("file {kind} {}", dir.path().join(name).display());
        assert!(files.contains(&line), "{files}");
    }
}

#[test]
fn a_bad_command_line_is_code_two() {
    let output = Command::new(LEDGER)
        .arg("sing")
        .output()
        .expect("the ledger runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("usage: ledger save FILE"));
}
