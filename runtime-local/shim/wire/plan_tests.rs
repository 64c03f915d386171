//! What the encoding of a plan must keep, and what it must refuse.

use super::super::Restart;
use super::*;

fn text(text: &str) -> String {
    text.to_owned()
}

fn mounts() -> Vec<Mount> {
    vec![
        Mount {
            target: text("/data"),
            kind: MountKind::Bind {
                source: text("/host"),
                idmapped: true,
                read_only: false,
                recursive: false,
                populate: true,
            },
        },
        Mount {
            target: text("/tmp"),
            kind: MountKind::Tmpfs {
                size: 1,
                mode: 2,
                uid: 3,
                gid: 4,
                read_only: true,
                no_exec: true,
            },
        },
        Mount {
            target: text("/dev/x"),
            kind: MountKind::Device {
                block: true,
                major: 8,
                minor: 300,
                mode: 0o660,
                uid: 0,
                gid: 6,
            },
        },
        Mount {
            target: text("/etc/hosts"),
            kind: MountKind::File {
                content: vec![0, 255],
                mode: 0o400,
                uid: 1,
                gid: 2,
                read_only: true,
            },
        },
    ]
}

fn process() -> Process {
    Process {
        argv: vec![text("app"), text("")],
        env: vec![text("A=é")],
        cwd: text("/"),
        uid: 1,
        gid: 2,
        groups: vec![3, 4],
        caps: Capabilities {
            bounding: u64::MAX,
            effective: 1,
            permitted: 2,
            inheritable: 3,
            ambient: 4,
        },
        no_new_privs: true,
        seccomp: vec![6, 0, 0, 0, 0, 0, 255, 127],
        rlimits: vec![Rlimit {
            resource: 7,
            soft: 1,
            hard: u64::MAX,
        }],
        oom_score_adj: Some(-5),
        tty: true,
        open_stdin: true,
    }
}

fn sample() -> Plan {
    Plan {
        replica: text("web-1"),
        replica_dir: text("/state/web-1"),
        run_dir: text("/run/web-1"),
        id_map: Some(IdMap {
            base: 100_000,
            size: 65_536,
        }),
        hostname: text("web"),
        root: Root::Layers {
            store: text("/store"),
            layers: vec![text("b"), text("a")],
        },
        read_only_root: true,
        mounts: mounts(),
        masked_paths: vec![text("/proc/kcore")],
        read_only_paths: vec![text("/proc/sys")],
        shm_size: 64 << 20,
        sysctls: vec![(text("net.core.somaxconn"), text("1024"))],
        process: process(),
        cgroups: vec![Cgroup {
            version: CgroupVersion::V1,
            base: text("/sys/fs/cgroup/memory"),
            path: text("unmoor/web-1"),
            controllers: vec![text("memory")],
            writes: vec![(text("memory.limit_in_bytes"), text("1"))],
        }],
        stop_signal: 15,
        stop_grace_ms: 10_000,
        restart: Restart::OnFailure { max: 3 },
        health: Some(Health {
            test: HealthTest::Http {
                port: 80,
                path: text("/"),
            },
            interval_ms: 1,
            timeout_ms: 2,
            start_period_ms: 3,
            start_interval_ms: 4,
            retries: 5,
        }),
        log: LogLimits {
            max_bytes: 9,
            files: 2,
        },
        net: Some(vec![1, 2, 3]),
        init: true,
        host_network: false,
    }
}

#[test]
fn a_plan_comes_back_as_it_was_written() {
    assert_eq!(decode(&encode(&sample())), Ok(sample()));
    let bare = Plan {
        id_map: None,
        root: Root::Directory {
            path: "/root".to_owned(),
        },
        health: None,
        net: None,
        restart: Restart::No,
        ..sample()
    };
    assert_eq!(decode(&encode(&bare)), Ok(bare));
    let on_node = Plan {
        host_network: true,
        net: None,
        ..sample()
    };
    assert_eq!(decode(&encode(&on_node)), Ok(on_node));
}

#[test]
fn every_cut_and_every_other_version_is_refused() {
    let on_node = Plan {
        host_network: true,
        ..sample()
    };
    for bytes in [encode(&sample()), encode(&on_node)] {
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        for other in [0, 3] {
            let mut bytes = bytes.clone();
            bytes[4] = other;
            let expected = Err(CodecError::Unknown(u32::from(other)));
            assert_eq!(decode(&bytes), expected);
        }
    }
    assert_eq!(encode(&sample())[4], 1, "older sources read it");
}
