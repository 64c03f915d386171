//! A replica does not end with what its caller ran in: a cgroup, or a unit of systemd.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use unmoor_e2e::program::find;
use unmoor_e2e::stage::Stage;
use unmoor_tools::skipped;

const ONE: &str = "\
services:
  web:
    image: small:1
    command: [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]
    stop_grace_period: 1s
    ports: [\"8083:80\"]
";

/// A cgroup for a caller, as a service manager or a container makes one.
struct Group(PathBuf);

impl Group {
    /// Makes one in the unified hierarchy, where there is one that can be written.
    fn make(stage: &Stage) -> Option<Self> {
        let hierarchies = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let unified = hierarchies
            .into_iter()
            .find(|path| path.join("cgroup.controllers").exists())?;
        let name = stage.path().file_name()?.display();
        let group = unified.join(format!("caller-{name}"));
        fs::create_dir(&group).ok()?;
        Some(Self(group))
    }

    fn processes(&self) -> String {
        fs::read_to_string(self.0.join("cgroup.procs")).expect("it can be read")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What a failed test has left inside takes a moment to go.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let gone = || match fs::remove_dir(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while gone().is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// That the stack is served, by the very shim that was there before.
fn goes_on(stage: &Stage, shims: &[u32]) {
    let served = stage.get("http://127.0.0.1:8083/");
    assert_eq!(served.as_deref(), Ok("a page\n"));
    assert_eq!(stage.shims(), shims, "another shim");
    let noted = stage.phases();
    assert!(noted.values().all(|phase| phase == "running"), "{noted:?}");
}

#[test]
fn a_replica_outlives_the_cgroup_of_its_caller() {
    let Some(stage) = Stage::small(ONE) else {
        return;
    };
    let Some(group) = Group::make(&stage) else {
        return skipped("no unified cgroup hierarchy can be written");
    };
    let enter = format!(
        "echo 0 >{}/cgroup.procs && exec \"$0\" \"$@\"",
        group.0.display()
    );
    let up = ["up", "-d", "--wait", "--wait-timeout", "60"];
    let status = stage.unmoor_by(&["sh", "-c", &enter], &up).status();
    assert!(status.is_ok_and(|status| status.success()), "no stack");
    assert_eq!(
        group.processes(),
        "",
        "something stayed where the caller was"
    );
    let shims = stage.shims();
    fs::write(group.0.join("cgroup.kill"), "1").expect("the caller's group is killed");
    fs::remove_dir(&group.0).expect("nothing of ours keeps the caller's group");
    goes_on(&stage, &shims);
    let _ = stage.ok(&["down", "-v"]);
}

#[test]
fn a_replica_outlives_the_unit_of_its_caller() {
    if !Path::new("/run/systemd/system").exists() || find("systemd-run").is_none() {
        return skipped("systemd is not the service manager here");
    }
    let Some(stage) = Stage::small(ONE) else {
        return;
    };
    let unit = format!("unmoor-caller-{}.scope", std::process::id());
    let scope = [
        "systemd-run",
        "--quiet",
        "--scope",
        "--collect",
        "--unit",
        &unit,
    ];
    // A shell that stays, as that of a session does.
    let stay = "\"$0\" \"$@\" && echo up && exec sleep 600";
    let words = [&scope[..], &["sh", "-c", stay]].concat();
    let mut session = stage
        .unmoor_by(&words, &["up", "-d", "--wait", "--wait-timeout", "120"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = session.stdout.take().expect("a pipe");
    let up = BufReader::new(out)
        .lines()
        .map_while(Result::ok)
        .any(|line| line == "up");
    let shims = stage.shims();
    let stop = stage.command("systemctl").args(["stop", &unit]).status();
    let ended = session.wait().expect("it ends");
    assert!(up && stop.is_ok_and(|status| status.success()), "{ended}");
    assert!(!ended.success(), "the session was stopped");
    goes_on(&stage, &shims);
    let _ = stage.ok(&["down", "-v"]);
}
