//! Bad input, row by row: each is refused or read in one documented way, soon, with a place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use unmoor_core::compose::{
    Environment, Form, LoadOptions, ReadRequest, Source, document, load, read,
};

/// A directory that is gone when the test is.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bad-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).expect("a file");
    }

    /// Why the files of the directory do not load.
    fn refused(&self) -> String {
        let request = ReadRequest::new(&self.0, Environment::new());
        match read(&request) {
            Err(error) => error.to_string(),
            Ok(input) => input.load().expect_err("refused").to_string(),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn source(text: &str) -> Source {
    Source::new("compose.yaml", text).directory("/srv/t")
}

/// Why a text does not load; found within a minute on any machine.
fn refused(text: &str) -> String {
    let (said, hear) = mpsc::channel();
    let source = source(text);
    let worker = std::thread::spawn(move || {
        let loaded = load(&[source], &Environment::new(), &LoadOptions::default());
        let _ = said.send(loaded.expect_err("refused").to_string());
    });
    let text = hear
        .recv_timeout(Duration::from_mins(1))
        .expect("an answer");
    worker.join().expect("it ended");
    text
}

fn service(body: &str) -> String {
    refused(&format!("services:\n  a:\n    image: x\n    {body}\n"))
}

#[test]
fn b1_bombs_depth_and_size() {
    let mut bomb = "x0: &x0 [1]\n".to_owned();
    for level in 1..10 {
        let many = vec![format!("*x{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("x{level}: &x{level} [{many}]\n"));
    }
    assert!(
        refused(&bomb).starts_with("compose.yaml:"),
        "{}",
        refused(&bomb)
    );
    assert!(refused("a: &a [*a]\n").contains("compose.yaml:1:8"));
    assert!(refused(&"- ".repeat(100_000)).contains("levels deep"));
    let anchors: String = (0..300_000).map(|n| format!("a{n}: &b{n} x\n")).collect();
    assert!(refused(&anchors).contains("compose.yaml:"));
}

#[test]
fn b1_files_that_do_not_end_or_do_not_answer() {
    let place = Directory::new("files");
    let large = fs::File::create(place.0.join("compose.yaml")).expect("a file");
    large.set_len(1 << 30).expect("a sparse file");
    assert!(place.refused().contains("larger than 4 MiB"));
    fs::remove_file(place.0.join("compose.yaml")).expect("there");
    let made = Command::new("mkfifo")
        .arg(place.0.join("compose.yaml"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    assert!(place.refused().contains("not a regular file"));
    fs::remove_file(place.0.join("compose.yaml")).expect("there");
    std::os::unix::fs::symlink("/dev/zero", place.0.join("compose.yaml")).expect("a link");
    assert!(place.refused().contains("not a regular file"));
}

#[test]
fn b2_what_yaml_may_and_may_not() {
    assert!(refused("services: {a: {image: x}}\nservices: {}\n").contains("2:1"));
    assert!(refused("services:\n\ta: 1\n").contains("tab"));
    assert!(refused("x: !!python/object:os.system 1\n").contains("means nothing here"));
    assert!(refused("80: x\n").contains("not a string"));
    let place = Directory::new("encodings");
    place.write("compose.yaml", b"\xff\xfes\x00e\x00");
    assert!(place.refused().contains("UTF-16"));
    place.write("compose.yaml", b"services:\n  a: {image: \"\xe9\"}\n");
    assert!(
        place.refused().contains("compose.yaml:2:"),
        "{}",
        place.refused()
    );
    for fine in [
        "\u{feff}services: {a: {image: x}}\n",
        "services:\r\n  a: {image: x}\r\n",
        "services: {a: {image: x}}\n---\nservices: {b: {image: y}}\n",
    ] {
        let loaded = load(
            &[source(fine)],
            &Environment::new(),
            &LoadOptions::default(),
        );
        loaded.unwrap_or_else(|failed| panic!("{failed}\n{fine}"));
    }
}

#[test]
fn b3_fields_that_are_unknown_or_of_a_wrong_kind() {
    assert!(service("prots: [80]").contains("did you mean `ports`?"));
    assert!(service("tty: 5").contains("services.a.tty: must be a string or true or false"));
    assert!(service("build: {contxt: .}").contains("did you mean `context`?"));
    assert!(service("ports: {}").contains("must be a list"));
    let both = service("prots: [80]\n    imge: x\n    tty: 5");
    assert_eq!(both.lines().count(), 3, "{both}");
}

#[test]
fn b5_places_that_nothing_is_mounted_at() {
    for target in ["/", "/proc", "/sys", "/dev"] {
        let said = service(&format!("volumes: [\"./x:{target}\"]"));
        assert!(said.contains("compose.yaml:4:15"), "{target}: {said}");
    }
    let said = service("volumes: [\"./x:/y\", \"./z:/y\"]\n    tmpfs: [/y]");
    assert!(said.contains("mounted at /y already"), "{said}");
    let text = "services: {a: {image: x, volumes: [\"../../etc:/x\", \"/:/host\"]}}\n";
    let loaded = load(
        &[source(text)],
        &Environment::new(),
        &LoadOptions::default(),
    );
    let loaded = loaded.expect("allowed");
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.text.contains("whole file system"))
    );
}

#[test]
fn b6_ports_that_are_none_and_ports_that_meet() {
    for port in [
        "0",
        "65536",
        "-1",
        "80-79",
        "x",
        "1:2:3:4",
        "::1:80:80",
        "80/xyz",
    ] {
        let said = service(&format!("ports: [\"{port}\"]"));
        assert!(said.contains("compose.yaml:4:"), "{port}: {said}");
    }
    let text =
        "services:\n  a: {image: x, ports: [\"80:1\"]}\n  b: {image: x, ports: [\"80:2\"]}\n";
    assert!(refused(text).contains("published by `a` too"));
    let apart = "services:\n  a: {image: x, ports: [\"80:1\", \"80:1/udp\"]}\n";
    assert!(
        load(
            &[source(apart)],
            &Environment::new(),
            &LoadOptions::default()
        )
        .is_ok()
    );
}

#[test]
fn b7_circles_and_what_is_not_there() {
    let circle = "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n";
    assert!(refused(circle).contains("a -> b -> a"));
    let itself = "services:\n  a: {image: x, depends_on: [a]}\n";
    assert!(refused(itself).contains("a -> a"));
    assert!(service("depends_on: [zz]").contains("there is no service `zz`"));
}

#[test]
fn b8_variables_bring_in_text_and_nothing_else() {
    let env = Environment::new()
        .variable("LINES", "x\nservices: {}")
        .variable("TWICE", "${LINES}")
        .variable("BIG", "x".repeat(1 << 20));
    let text = "services: {a: {image: x, labels: {a: \"$LINES\", b: \"${TWICE}\", c: \"${N:-$(id)}\", d: \"$BIG\"}}}\n";
    let loaded = load(&[source(text)], &env, &LoadOptions::default()).expect("valid");
    let labels = &loaded.stack.services.values().next().expect("a").labels;
    assert_eq!(labels["a"], "x\nservices: {}");
    assert_eq!(labels["b"], "${LINES}");
    assert_eq!(labels["c"], "$(id)");
    assert_eq!(labels["d"].len(), 1 << 20);
    assert!(service("user: \"${U:?set it}\"").contains("set it"));
}

#[test]
fn b9_numbers_that_do_not_fit() {
    for body in [
        "mem_limit: 1e30",
        "mem_limit: -1",
        "mem_limit: \"1.5.3\"",
        "cpus: NaN",
        "cpus: 1e-12",
        "stop_grace_period: 9999999999999h",
        "stop_grace_period: 1.5.3",
        "scale: 99999999999999999999",
    ] {
        assert!(
            service(body).contains("compose.yaml:4:"),
            "{body}: {}",
            service(body)
        );
    }
}

#[test]
fn b10_files_of_variables() {
    let place = Directory::new("variables");
    place.write(
        "compose.yaml",
        "services: {a: {image: \"${A}\", env_file: [e.env]}}\n",
    );
    place.write(".env", "A=no-newline");
    place.write("e.env", "B=c");
    let request = ReadRequest::new(&place.0, Environment::new());
    let loaded = read(&request).expect("reads").load().expect("valid");
    let service = loaded.stack.services.values().next().expect("a");
    assert_eq!(service.environment["B"], "c");
    place.write("e.env", "A B=1\n");
    assert!(place.refused().contains("e.env:1"), "{}", place.refused());
    fs::remove_file(place.0.join("e.env")).expect("there");
    let made = Command::new("mkfifo").arg(place.0.join("e.env")).status();
    assert!(made.expect("mkfifo runs").success());
    assert!(place.refused().contains("not a regular file"));
    let large = fs::File::create(place.0.join(".env")).expect("a file");
    large.set_len(1 << 30).expect("a sparse file");
    assert!(place.refused().contains("larger than 4 MiB"));
}

#[test]
fn b10_secrets_are_not_shown() {
    let text = "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {environment: TOKEN}}\n";
    let env = Environment::new().variable("TOKEN", "hunter2");
    for interpolate in [true, false] {
        let mut form = Form::default();
        form.interpolate = interpolate;
        let found = document(&[source(text)], &env, &LoadOptions::default(), form);
        let found = found.expect("valid");
        let shown = format!("{}{}", found.to_json(), found.to_yaml());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
