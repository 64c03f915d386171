//! One replica: its start, its end, what it may and may not do, and that nothing of it stays.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::Host;
use unmoor_core::backend::{Applied, LogOptions, Phase};
use unmoor_core::label::Selector;
use unmoor_core::spec::{Mount, MountSource, Service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_runs_and_goes_without_a_trace() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let service = Service::new(image).command(["sh", "-c", "echo hello; exec sleep 1000"]);
    let id = host.run("a", service.clone()).await;
    let seen = host.seen(&id).await.expect("there");
    assert_eq!(seen.phase, Phase::Running);
    assert!(seen.in_discovery);
    let again = host.desired("a", service).await;
    assert_eq!(
        host.start(&again, 1).await.expect("known"),
        Applied::Unchanged
    );
    let (code, text) = host
        .exec(&id, &["sh", "-c", "id -u; hostname; exit 3"])
        .await;
    assert_eq!((code, text.as_str()), (3, "0\nt-a-1"));
    host.down().await;
    assert!(host.seen(&id).await.is_none());
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_and_logs_are_kept() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let command = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    let id = host.run("a", Service::new(image).command(command)).await;
    host.until(&id, |seen| seen.phase == Phase::Failed).await;
    let exit = host.seen(&id).await.expect("there").exit.expect("ended");
    assert_eq!((exit.code, exit.out_of_memory), (7, false));
    let logs = host.backend.logs().expect("has logs");
    let lines = logs
        .logs(&Selector::replica(&id), &LogOptions::new())
        .await
        .expect("read");
    let lines: Vec<_> = futures_util::StreamExt::collect::<Vec<_>>(lines).await;
    let mut texts: Vec<_> = lines
        .into_iter()
        .map(|line| line.expect("a line").text)
        .collect();
    texts.sort();
    assert_eq!(texts, ["err", "out"]);
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there_leaves_nothing() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let service = host
        .declare("a", Service::new(image).command(["/no/such"]))
        .await;
    let error = host
        .start(&service, 1)
        .await
        .expect_err("there is no such program");
    assert!(error.to_string().contains("/no/such"), "{error:?}");
    assert!(host.seen(&host.id("a", 1)).await.is_none());
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_asks_first_and_kills_after_the_grace() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let polite = [
        "sh",
        "-c",
        "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done",
    ];
    let term = |command: [&str; 3]| {
        let mut spec = Service::new(image.clone()).command(command);
        spec.stop.signal = Some("TERM".to_owned());
        spec
    };
    let id = host.run("a", term(polite)).await;
    host.said(&id, "ready").await;
    let stop = |replica| unmoor_core::backend::Action::StopReplica {
        replica,
        grace: None,
    };
    host.apply(stop(id.clone())).await.expect("stopped");
    let seen = host.seen(&id).await.expect("kept");
    assert_eq!(
        (seen.phase, seen.exit.expect("ended").code),
        (Phase::Stopped, 5)
    );
    assert_eq!(
        host.apply(stop(id)).await.expect("again"),
        Applied::Unchanged
    );

    let stubborn = [
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.01; done",
    ];
    let id = host.run("b", term(stubborn)).await;
    host.said(&id, "ready").await;
    let stop = unmoor_core::backend::Action::StopReplica {
        replica: id.clone(),
        grace: Some(Duration::from_millis(200)),
    };
    host.apply(stop).await.expect("killed");
    assert_eq!(
        host.seen(&id)
            .await
            .expect("kept")
            .exit
            .expect("ended")
            .code,
        137
    );
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_etc_are_bounded_and_read_only_where_the_root_is() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let open = host.run("open", Service::new(image.clone())).await;
    let append = ["sh", "-c", "echo 10.0.0.9 nine >> /etc/hosts"];
    assert_eq!(host.exec(&open, &append).await.0, 0);
    let fill = "dd if=/dev/zero of=/etc/hosts bs=1M count=8";
    let (code, text) = host.exec(&open, &["sh", "-c", fill]).await;
    assert_ne!(code, 0, "memory of the node is not for the taking: {text}");
    let mut spec = Service::new(image);
    spec.security.read_only = true;
    let closed = host.run("closed", spec).await;
    for file in ["hosts", "hostname", "resolv.conf"] {
        let write = format!("echo x >> /etc/{file}");
        assert_ne!(
            host.exec(&closed, &["sh", "-c", &write]).await.0,
            0,
            "{file}"
        );
        let look = format!("/etc/{file}");
        assert_eq!(
            host.exec(&closed, &["test", "-s", &look]).await.0,
            0,
            "{file}"
        );
    }
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_made_for_a_bind_is_open_to_all_and_a_file_is_no_directory() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let place = tempfile::tempdir().expect("a directory");
    let made = place.path().join("one/two");
    let mut spec = Service::new(image.clone()).mount(Mount::bind(&made, "/data"));
    let MountSource::Bind { create, .. } = &mut spec.mounts[0].source else {
        panic!("{:?}", spec.mounts);
    };
    *create = true;
    // The mask belongs to the whole process, which runs this test alone.
    let former = rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o077));
    host.run("a", spec).await;
    rustix::process::umask(former);
    for path in [&made, made.parent().expect("one")] {
        let mode = std::fs::metadata(path).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{}", path.display());
    }
    let file = place.path().join("file");
    std::fs::write(&file, "x").expect("written");
    for (source, target, why) in [
        (
            &file,
            "/tmp",
            "is a directory here, and what comes there is a file",
        ),
        (
            &made,
            "/etc/passwd",
            "is a file here, and what comes there is a directory",
        ),
    ] {
        let spec = Service::new(image.clone()).mount(Mount::bind(source, target));
        let service = host.declare("b", spec).await;
        let error = host.start(&service, 1).await.expect_err("they do not fit");
        let text = error.chain().to_string();
        assert!(text.contains(&format!("{target} {why}")), "{text}");
    }
    host.down().await;
}
