//! What a replica sees and may do: ids, capabilities, system calls, paths, users, commands.

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use support::Host;
use unmoor_core::ErrorKind;
use unmoor_core::backend::{Action, ExecOptions, ExecOutput, LogOptions, Phase};
use unmoor_core::label::Selector;
use unmoor_core::spec::{Device, Mount, MountSource, Rlimit, Service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_inside_is_nobody_outside_and_stays_in() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let id = host.run("a", Service::new(image)).await;
    let map = host.exec(&id, &["cat", "/proc/self/uid_map"]).await.1;
    let words: Vec<u64> = map
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!((words[0], words[2]), (0, 65_536), "{map}");
    assert!(words[1] >= 524_288, "{map}");
    let status = host.exec(&id, &["cat", "/proc/1/status"]).await.1;
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(field("CapBnd"), "00000000a80425fb", "docker's default set");
    assert_eq!(field("CapInh"), "0000000000000000");
    assert_eq!(field("CapAmb"), "0000000000000000");
    assert_eq!(field("Seccomp:"), "2", "a filter is in force");
    for refused in [
        &["mount", "-t", "tmpfs", "x", "/tmp"][..],
        &["sh", "-c", "echo x > /proc/sys/kernel/hostname"],
        &["sh", "-c", "echo x > /proc/sysrq-trigger"],
        &["mount", "-t", "cgroup", "-o", "memory", "x", "/tmp"],
        &["unshare", "-U", "true"],
        &["sh", "-c", "echo 1 > /sys/kernel/mm/ksm/run"],
    ] {
        let (code, text) = host.exec(&id, refused).await;
        assert_ne!(code, 0, "{refused:?}: {text}");
    }
    let kcore = host
        .exec(
            &id,
            &["sh", "-c", "head -c 1 /proc/kcore 2>/dev/null | wc -c"],
        )
        .await
        .1;
    assert_eq!(kcore, "0", "masked paths read as empty");
    let fds = host.exec(&id, &["sh", "-c", "echo /proc/1/fd/*"]).await.1;
    assert_eq!(
        fds, "/proc/1/fd/0 /proc/1/fd/1 /proc/1/fd/2",
        "nothing of the host is open"
    );
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_limits_and_read_only_roots_are_as_asked() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    for (user, expected) in [
        (
            "ann",
            "uid=1000(ann) gid=1000(ann) groups=1000(ann),2000(more)",
        ),
        (
            "1000:2000",
            "uid=1000(ann) gid=2000(more) groups=2000(more)",
        ),
        ("4000", "uid=4000 gid=0(root) groups=0(root)"),
    ] {
        let mut spec = Service::new(image.clone());
        spec.user = Some(user.to_owned());
        let id = host.run("a", spec).await;
        let (_, text) = host.exec(&id, &["id"]).await;
        assert_eq!(text, expected, "{user}");
        let caps = host
            .exec(&id, &["grep", "CapEff", "/proc/1/status"])
            .await
            .1;
        assert!(caps.ends_with("0000000000000000"), "{user}: {caps}");
        let home = ["sh", "-c", "echo $HOME"];
        let own = host.exec(&id, &home).await.1;
        assert_eq!(own, if user == "4000" { "/" } else { "/home/ann" });
        let (_, other) = host.exec_as(&id, "root", &home).await;
        assert_eq!(other, "/root", "a command has the home of its own user");
        host.down().await;
    }
    for wrong in ["4294967296", "-1", "nobody-there", "1000:nothing"] {
        let mut spec = Service::new(image.clone());
        spec.user = Some(wrong.to_owned());
        host.network("default").await;
        let service = host.declare("a", spec).await;
        let error = host.start(&service, 1).await.expect_err(wrong);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{wrong}: {error:?}");
        host.down().await;
    }
    let mut spec = Service::new(image);
    spec.security.read_only = true;
    spec.security.ulimits.insert(
        "nofile".to_owned(),
        Rlimit {
            soft: 99,
            hard: 199,
        },
    );
    spec.security.cap_drop.push("ALL".to_owned());
    spec.security.new_privileges = Some(false);
    let source = MountSource::Tmpfs {
        size: None,
        mode: 0o1777,
    };
    spec.mounts.push(Mount {
        source,
        target: "/scratch".to_owned(),
        read_only: false,
    });
    let id = host.run("b", spec).await;
    assert_ne!(host.exec(&id, &["touch", "/x"]).await.0, 0);
    assert_eq!(host.exec(&id, &["touch", "/scratch/x"]).await.0, 0);
    assert_eq!(
        host.exec(&id, &["sh", "-c", "ulimit -Sn; ulimit -Hn"])
            .await
            .1,
        "99\n199"
    );
    let status = host.exec(&id, &["cat", "/proc/1/status"]).await.1;
    assert!(status.contains("CapBnd:\t0000000000000000"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_the_node_are_used_and_no_others_are_made() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let give = |target: &str, access: &str| Device {
        source: "/dev/null".to_owned(),
        target: target.to_owned(),
        access: access.to_owned(),
    };
    let mut spec = Service::new(image);
    spec.user = Some("ann".to_owned());
    spec.security.devices = ["/dev/nothing", "/data/deep/null"]
        .map(|target| give(target, "rwm"))
        .into();
    let id = host.run("a", spec.clone()).await;
    for path in ["/dev/nothing", "/data/deep/null"] {
        let line =
            format!("echo lost > {path} && cat {path} && stat -c '%F %u %g %a %t %T' {path}");
        let (code, text) = host.exec(&id, &["sh", "-c", &line]).await;
        let expected = "character special file 0 0 666 1 3";
        assert_eq!((code, text.as_str()), (0, expected), "{path}");
    }
    let (_, mounts) = host.exec(&id, &["cat", "/proc/self/mountinfo"]).await;
    assert!(!mounts.contains(" /devices"), "the stage is gone: {mounts}");
    host.down().await;
    spec.security.devices = vec![give("/dev/nothing", "r")];
    let service = host.desired("b", spec).await;
    let error = host.apply(Action::EnsureService { service }).await;
    let error = error.expect_err("reading alone cannot be given");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_have_streams_codes_terminals_and_end_with_their_session() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let id = host.run("a", Service::new(image)).await;
    assert_eq!(host.exec(&id, &["/no/such"]).await.0, 127);
    assert_eq!(host.exec(&id, &["/etc/passwd"]).await.0, 126);
    assert_eq!(host.exec(&id, &["sh", "-c", "kill -9 $$"]).await.0, 137);
    let exec = host.backend.exec().expect("has exec");

    let mut session = exec
        .exec(&id, &ExecOptions::new(["cat"]).stdin(true))
        .await
        .expect("begun");
    session.write_all(b"to and fro").await.expect("written");
    session.close_stdin().await.expect("closed");
    let mut echoed = Vec::new();
    while let Some(output) = session.next().await.expect("read") {
        match output {
            ExecOutput::Stdout(bytes) => echoed.extend(bytes),
            ExecOutput::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            ExecOutput::Exited(code) => assert_eq!(code, 0),
        }
    }
    assert_eq!(echoed, b"to and fro");

    let options = ExecOptions::new(["sh", "-c", "tty; stty size; id -u"])
        .tty(Some((101, 41)))
        .user(Some("ann".to_owned()));
    let mut session = exec.exec(&id, &options).await.expect("begun");
    let mut text = String::new();
    while let Some(output) = session.next().await.expect("read") {
        if let ExecOutput::Stdout(bytes) = output {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    assert_eq!(text, "/dev/pts/0\r\n41 101\r\n1000\r\n");

    let options = ExecOptions::new(["sleep", "4242"]);
    let session = exec.exec(&id, &options).await.expect("begun");
    drop(session);
    let gone = async {
        // The kernel tells nobody outside that a process inside has ended.
        while host
            .exec(&id, &["sh", "-c", "grep -l '[4]242' /proc/[0-9]*/cmdline"])
            .await
            .0
            == 0
        {}
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("killed with its session");
    host.down().await;
    let error = exec.exec(&id, &options).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_also_of_replicas_that_come_later() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let line = "i=0; while [ $i -lt 3 ]; do echo $HOSTNAME $i; i=$((i+1)); done; exec sleep 1000";
    let spec = Service::new(image).command(["sh", "-c", line]);
    let first = host.run("a", spec.clone()).await;
    let logs = host.backend.logs().expect("has logs");
    let selector = Selector::stack(host.stack.clone());
    let mut options = LogOptions::new();
    options.follow = true;
    let mut lines = logs.logs(&selector, &options).await.expect("followed");
    let service = host.desired("a", spec).await;
    host.start(&service, 2).await.expect("started");
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let next = tokio::time::timeout(Duration::from_secs(10), lines.next()).await;
        seen.push(next.expect("in time").expect("a line").expect("read").text);
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "t-a-1 0", "t-a-1 1", "t-a-1 2", "t-a-2 0", "t-a-2 1", "t-a-2 2"
        ]
    );
    let mut options = LogOptions::new();
    options.tail = Some(1);
    let lines = logs
        .logs(&Selector::replica(&first), &options)
        .await
        .expect("read");
    let lines: Vec<_> = lines.map(|line| line.expect("read").text).collect().await;
    assert_eq!(lines, ["t-a-1 2"]);
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_follow_the_policy_and_a_stop_ends_them() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let spec = Service::new(image)
        .command(["sh", "-c", "exit 1"])
        .restart(unmoor_core::spec::RestartPolicy::OnFailure { max: Some(2) });
    let id = host.run("a", spec.clone()).await;
    host.until(&id, |seen| {
        seen.phase == Phase::Failed && seen.restarts == 2
    })
    .await;
    let always = spec.restart(unmoor_core::spec::RestartPolicy::Always);
    let id = host.run("b", always).await;
    host.until(&id, |seen| seen.restarts >= 2).await;
    let stop = Action::StopReplica {
        replica: id.clone(),
        grace: None,
    };
    host.apply(stop).await.expect("stopped");
    assert_eq!(host.seen(&id).await.expect("kept").phase, Phase::Stopped);
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_input_has_ended_starts_again_with_a_new_one() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let mut spec = Service::new(image).command(["cat"]);
    spec.stdin_open = true;
    let id = host.run("a", spec).await;
    for word in ["one", "two"] {
        let attach = host.backend.attach().expect("can be joined");
        let mut session = attach.attach(&id).await.expect("joined");
        session.write_all(word.as_bytes()).await.expect("written");
        session.close_stdin().await.expect("closed");
        let mut echoed = Vec::new();
        while let Some(output) = session.next().await.expect("read") {
            match output {
                ExecOutput::Stdout(bytes) => echoed.extend(bytes),
                ExecOutput::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
                ExecOutput::Exited(code) => assert_eq!(code, 0),
            }
        }
        assert_eq!(echoed, word.as_bytes());
        host.until(&id, |seen| seen.phase == Phase::Stopped).await;
        let start = Action::RestartReplica {
            replica: id.clone(),
            grace: None,
        };
        host.apply(start).await.expect("started again");
    }
    host.down().await;
}
