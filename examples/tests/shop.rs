//! The three programs of the example as plain processes on loopback, linked by environment.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use shop::client::{ask, probe};

/// A running program, killed with the test.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(exe: &str, links: &[(&str, &Program)], data: &Path) -> Self {
        let mut command = Command::new(exe);
        command
            .env("PORT", "0")
            .env("DATA_DIR", data)
            .stdout(Stdio::piped());
        for (alias, program) in links {
            let (host, port) = program.address.split_once(':').expect("an address");
            command.env(format!("UNMOOR_LINK_{alias}_HOST"), host);
            command.env(format!("UNMOOR_LINK_{alias}_PORT"), port);
        }
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says where it listens");
        let port = line.trim().rsplit(':').next().expect("a port").to_owned();
        Self {
            child,
            address: format!("127.0.0.1:{port}"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn data_dir(name: &str) -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

#[test]
fn a_visit_is_counted_through_all_three_and_survives_the_store() {
    let dir = data_dir("shop");
    let store = Program::start(env!("CARGO_BIN_EXE_shop-store"), &[], &dir);
    let api = Program::start(env!("CARGO_BIN_EXE_shop-api"), &[("STORE", &store)], &dir);
    let web = Program::start(env!("CARGO_BIN_EXE_shop-web"), &[("API", &api)], &dir);
    for number in 1..=2 {
        let page = ask(&web.address, "GET", "/", "").expect("a page");
        assert!(
            page.contains(&format!("visitor number {number}.")),
            "{page}"
        );
        assert!(page.contains(&shop::replica_name()), "{page}");
    }
    drop(store);
    let page = ask(&web.address, "GET", "/", "").expect_err("no store, no page");
    assert!(page.to_string().contains("503"), "{page}");
    let store = Program::start(env!("CARGO_BIN_EXE_shop-store"), &[], &dir);
    assert_eq!(
        ask(&store.address, "GET", "/keys/visits", "").expect("a number"),
        "2"
    );
    std::fs::remove_dir_all(&dir).expect("the directory was ours");
}

#[test]
fn a_probe_succeeds_only_when_someone_answers() {
    let dir = data_dir("probe");
    let store = Program::start(env!("CARGO_BIN_EXE_shop-store"), &[], &dir);
    let url = format!("http://{}/healthz", store.address);
    probe(&url).expect("healthy");
    let ask_itself = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop-web"));
        command
            .args(["probe", url])
            .stderr(Stdio::null())
            .status()
            .expect("it runs")
    };
    assert!(ask_itself(&url).success());
    assert!(!ask_itself(&format!("http://{}/nothing", store.address)).success());
    drop(store);
    assert!(!ask_itself(&url).success());
    probe("ftp://x").expect_err("not plain HTTP");
    std::fs::remove_dir_all(&dir).expect("the directory was ours");
}

#[test]
fn a_damaged_store_is_refused_and_left_alone() {
    let dir = data_dir("damaged");
    std::fs::write(dir.join("numbers"), "visits many\n").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop-store"));
    let output = command
        .env("PORT", "0")
        .env("DATA_DIR", &dir)
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("damaged"));
    let kept = std::fs::read_to_string(dir.join("numbers")).expect("still there");
    assert_eq!(kept, "visits many\n");
    std::fs::remove_dir_all(&dir).expect("the directory was ours");
}
