//! The 32-bit ways into the kernel: the same rules hold there as on the usual one.

#![cfg(target_arch = "x86_64")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::Host;
use unmoor_core::spec::{Mount, MountSource, Service};

/// `int 0x80`.
const GATE: [u8; 2] = [0xcd, 0x80];
/// `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const X32: u32 = 0x4000_0000;

/// Calls of i386 with two arguments, and the error number that each is to end with.
const CALLS: [(&str, u32, [u32; 2], i32); 10] = [
    ("getuid32", 199, [0, 0], 0),
    // Descriptor 3, negated as if it were an error number.
    ("socket-inet", 359, [2, 1], 256 - 3),
    ("socket-alg", 359, [38, 5], 1),
    ("socketcall", 102, [1, 0], 38),
    ("keyctl", 288, [0, 0], 1),
    ("mount", 21, [0, 0], 1),
    ("unshare-user", 310, [0x1000_0000, 0], 1),
    ("bpf", 357, [0, 0], 1),
    ("io_uring_setup", 425, [0, 0], 1),
    ("clone3", 435, [0, 0], 38),
];

/// Makes a call by `int 0x80` and exits with the error number; the same bytes in both modes.
fn old_call(number: u32, [first, second]: [u32; 2]) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.push(0xbb);
    code.extend(first.to_le_bytes());
    code.push(0xb9);
    code.extend(second.to_le_bytes());
    // No third argument; the call; its result negated; exit with that.
    code.extend([0x31, 0xd2]);
    code.extend(GATE);
    code.extend([0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0]);
    code.extend(GATE);
    code
}

/// The same by `syscall`, as x32 and 64-bit programs do.
fn new_call(number: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.extend([0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2]);
    code.extend(SYSCALL);
    code.extend([0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0]);
    code.extend(SYSCALL);
    code
}

/// A static program of a 64-bit machine.
fn elf64(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let size = HEADERS + code.len() as u64;
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    for word in [0, BASE, BASE, size, size, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// A static program of a 32-bit machine.
fn elf32(code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x804_8000;
    const HEADERS: u32 = 52 + 32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2_u16, 3] {
        file.extend(half.to_le_bytes());
    }
    for word in [1, BASE + HEADERS, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let size = HEADERS + u32::try_from(code.len()).expect("short");
    for word in [1, 0, BASE, BASE, size, size, 5, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

fn install(path: &Path, program: &[u8]) {
    std::fs::write(path, program).expect("written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("set");
}

/// What a program on this host, outside of any replica, ends with; `None`: it does not run.
fn outside(path: &Path) -> Option<i32> {
    let status = std::process::Command::new(path).status().ok()?;
    status.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_32_bit_programs_are_judged_by_the_same_list() {
    runnable!();
    let host = Host::new().await;
    let dir = host.dir.path().join("abi");
    std::fs::create_dir(&dir).expect("made");
    for (name, number, arguments, _) in CALLS {
        let code = old_call(number, arguments);
        install(&dir.join(format!("{name}.32")), &elf32(&code));
        install(&dir.join(format!("{name}.64")), &elf64(&code));
    }
    install(&dir.join("getuid.x32"), &elf64(&new_call(X32 | 102)));
    let uid = rustix::process::getuid().as_raw();
    let works = |kind: &str| {
        let ended = outside(&dir.join(format!("getuid32.{kind}")));
        ended == Some(uid.cast_signed().wrapping_neg() & 0xff)
    };
    if !works("32") || !works("64") {
        return unmoor_tools::skipped("this kernel runs no 32-bit programs");
    }
    let image = host.busybox().await;
    let given = |unconfined| {
        let mut spec = Service::new(image.clone());
        let path = dir.clone();
        let create = false;
        spec.mounts.push(Mount {
            source: MountSource::Bind { path, create },
            target: "/abi".to_owned(),
            read_only: true,
        });
        spec.security.seccomp_unconfined = unconfined;
        spec
    };
    let judged = host.run("judged", given(false)).await;
    let all = ["sh", "-c", "cd /abi; for p in *; do ./$p; echo $p $?; done"];
    let (_, text) = host.exec(&judged, &all).await;
    let ended = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let line = lines.find(|(program, _)| *program == name);
        line.and_then(|(_, code)| code.parse::<i32>().ok())
    };
    for (name, _, _, expected) in CALLS {
        for kind in ["32", "64"] {
            let program = format!("{name}.{kind}");
            assert_eq!(ended(&program), Some(expected), "{program} in\n{text}");
        }
    }
    assert_eq!(ended("getuid.x32"), Some(38), "{text}");

    // The filter is what refuses: without it the kernel finds other faults.
    let free = host.run("free", given(true)).await;
    for program in ["clone3.32", "clone3.64"] {
        let (code, _) = host.exec(&free, &[&format!("/abi/{program}")]).await;
        assert_eq!(code, 22, "{program} without a filter");
    }
    host.down().await;
}
