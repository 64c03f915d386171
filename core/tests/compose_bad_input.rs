//! Bad input, row by row: each is refused or read in one documented way, soon, with a place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use unmoor_core::backend::Capabilities;
use unmoor_core::compose::{
    Environment, Form, LoadOptions, ReadRequest, Source, document, load, read,
};
use unmoor_core::name::ServiceName;
use unmoor_core::plan::{PlanOptions, Scope, check};

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
    for odd in [&b"\xff\xfes\x00e"[..], b"\xff\xfes\x00\x00\xd8"] {
        place.write("compose.yaml", odd);
        assert!(place.refused().contains("UTF-16"));
    }
    let wide = |bytes: fn(u16) -> [u8; 2]| {
        let text = "\u{feff}services: {a: {image: \"x:é\u{1f600}\"}}\n";
        text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
    };
    for bytes in [wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
        place.write("compose.yaml", bytes);
        let input = read(&ReadRequest::new(&place.0, Environment::new())).expect("text");
        let document = input.document(Form::default()).expect("valid");
        assert_eq!(
            document.to_value()["services"]["a"]["image"],
            "x:é\u{1f600}"
        );
    }
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
fn b4_names_that_are_none() {
    let long = "x".repeat(256);
    let names = [
        "",
        ".",
        "..",
        "-rf",
        &long,
        "a\0b",
        "a\nb",
        "../../x",
        "a\u{202e}b",
        "\u{430}pp",
        "e\u{301}",
        "é",
        "🦀",
        "a b",
        "a/b",
        "$(id)",
    ];
    for name in names {
        let quoted = serde_json::to_string(name).expect("JSON");
        let texts = [
            format!("services: {{{quoted}: {{image: x}}}}\n"),
            format!(
                "services: {{a: {{image: x, networks: [{quoted}]}}}}\nnetworks: {{{quoted}: {{}}}}\n"
            ),
            format!(
                "services: {{a: {{image: x, volumes: [{{type: volume, source: {quoted}, target: /t}}]}}}}\nvolumes: {{{quoted}: {{}}}}\n"
            ),
            format!(
                "services: {{a: {{image: x, secrets: [{{source: {quoted}}}]}}}}\nsecrets: {{{quoted}: {{file: f}}}}\n"
            ),
            format!(
                "services: {{a: {{image: x, x-unmoor: {{links: [{{service: a, alias: {quoted}}}]}}}}}}\n"
            ),
        ];
        for text in texts {
            // An empty source is a volume without a name.
            if name.is_empty() && text.contains("volumes") {
                continue;
            }
            let said = refused(&text);
            assert!(said.starts_with("compose.yaml:"), "{text}{said}");
            let plain = |c: char| c == '\n' || (c.is_ascii() && !c.is_control()) || c == '…';
            let shown = said
                .replace(['é', '🦀', '\u{430}'], "")
                .replace("e\u{301}", "");
            assert!(shown.chars().all(plain), "{shown:?}");
        }
    }
    let twins = "services: {App: {image: x}, app: {image: x}}\n";
    let loaded = load(
        &[source(twins)],
        &Environment::new(),
        &LoadOptions::default(),
    );
    let warnings = loaded.expect("docker compose takes them").warnings;
    assert!(
        warnings.iter().any(|w| w.text.contains("one name to DNS")),
        "{warnings:?}"
    );
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
fn b5_sources_are_found_from_the_file_and_mounts_keep_their_order() {
    let text = "services: {a: {image: x, volumes: [\"~/h:/h\", \"../up:/u\", \"./d:/deep/er\", \"./e:/deep\", {type: bind, source: \"./a:b,c\", target: /odd}]}}\n";
    let env = Environment::new().home("/home/me");
    let loaded = load(&[source(text)], &env, &LoadOptions::default()).expect("valid");
    let mounts = &loaded.stack.services.values().next().expect("a").mounts;
    let shown: Vec<String> = mounts
        .iter()
        .map(|mount| format!("{:?} {}", mount.source, mount.target))
        .collect();
    let wanted = [
        ("/home/me/h", "/h"),
        ("/srv/up", "/u"),
        ("/srv/t/d", "/deep/er"),
        ("/srv/t/e", "/deep"),
        ("/srv/t/a:b,c", "/odd"),
    ];
    assert_eq!(shown.len(), wanted.len(), "{shown:?}");
    for (shown, (from, to)) in shown.iter().zip(wanted) {
        assert!(
            shown.contains(&format!("{from:?}")) && shown.ends_with(to),
            "{shown}"
        );
    }
    let homeless = "services: {a: {image: x, volumes: [\"~/h:/h\"]}}\n";
    assert!(refused(homeless).contains("home directory"));
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
    // Alternatives may stand in one file: only a plan of both is refused, with both places.
    let loaded = load(
        &[source(text)],
        &Environment::new(),
        &LoadOptions::default(),
    );
    let stack = loaded.expect("valid").stack;
    let refused = |only: Scope| {
        let options = PlanOptions::default().only(only);
        check(&stack, &Capabilities::default(), &options).map_err(|error| {
            let places = error
                .places()
                .iter()
                .map(|at| format!("{}:{}", at.line, at.column));
            (error.to_string(), places.collect::<Vec<_>>())
        })
    };
    let (said, places) = refused(Scope::All).expect_err("both would run");
    assert!(
        said.ends_with("services.b.ports: port 80/tcp is published by `a` too"),
        "{said}"
    );
    assert_eq!(places, ["3:25", "2:25"]);
    let one = refused(Scope::services([ServiceName::parse("b").expect("valid")]));
    assert!(!one.is_err_and(|(said, _)| said.contains("published")));
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
fn b6_wide_ranges_and_brackets() {
    let said = service("ports: [\"1-65536:1-65536\"]");
    assert!(said.contains("compose.yaml:4:"), "{said}");
    let said = service("ports: [\"80-82:80-81\"]");
    assert!(said.contains("compose.yaml:4:"), "{said}");
    let text =
        "services: {a: {image: x, ports: [\"[::1]:80:80\", \"127.0.0.1:80:80\", \"22:22\"]}}\n";
    let loaded = load(
        &[source(text)],
        &Environment::new(),
        &LoadOptions::default(),
    );
    let ports = &loaded
        .expect("valid")
        .stack
        .services
        .values()
        .next()
        .expect("a")
        .ports
        .clone();
    assert_eq!(ports.len(), 3, "{ports:?}");
    assert_eq!(ports[2].target, 22, "no number to the base of sixty");
    let all = "services: {a: {image: x, ports: [\"1-9999:1-9999\"]}}\n";
    let loaded = load(&[source(all)], &Environment::new(), &LoadOptions::default());
    assert_eq!(
        loaded
            .expect("valid")
            .stack
            .services
            .values()
            .next()
            .expect("a")
            .ports
            .len(),
        9999
    );
}

#[test]
fn b7_long_chains_and_health_that_nothing_checks() {
    let mut text = "services:\n  s0: {image: x}\n".to_owned();
    for number in 1..10_000 {
        text.push_str(&format!(
            "  s{number}: {{image: x, depends_on: [s{}]}}\n",
            number - 1
        ));
    }
    let loaded = load(
        &[source(&text)],
        &Environment::new(),
        &LoadOptions::default(),
    );
    assert_eq!(loaded.expect("valid").stack.services.len(), 10_000);
    let closed = text.replace("  s0: {image: x}", "  s0: {image: x, depends_on: [s9999]}");
    assert!(refused(&closed).contains("s0 -> s9999"));
    for off in ["{disable: true}", "{test: [NONE]}"] {
        let text = format!(
            "services:\n  a: {{image: x, depends_on: {{b: {{condition: service_healthy}}}}}}\n  b: {{image: y, healthcheck: {off}}}\n"
        );
        let said = refused(&text);
        assert!(said.contains("compose.yaml:2:30: "), "{said}");
        assert!(
            said.contains("`b` is waited for until it is healthy"),
            "{said}"
        );
    }
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
fn b10_links_are_followed_and_a_slip_of_a_name_is_told() {
    let place = Directory::new("slips");
    place.write(
        "compose.yaml",
        "services: {a: {image: \"x:${DB_PASSWORD}\", labels: {l: \"${USED}\"}}}\n",
    );
    place.write("real.env", "DB_PASSWROD=1\nUSED=2\nOTHER=3\n");
    std::os::unix::fs::symlink("real.env", place.0.join(".env")).expect("a link");
    let request = ReadRequest::new(&place.0, Environment::new());
    let loaded = read(&request).expect("reads").load();
    let said = loaded.expect_err("no tag").to_string();
    assert!(said.contains("tag \"\" is not valid"), "{said}");
    let document = read(&request).expect("reads").document(Form::default());
    let warnings = document.expect("docker compose takes it").warnings;
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let slips: Vec<&String> = texts
        .iter()
        .filter(|text| text.contains("did you mean"))
        .collect();
    assert_eq!(slips.len(), 1, "{texts:?}");
    assert!(
        slips[0].contains("did you mean DB_PASSWROD, which "),
        "{texts:?}"
    );
    assert!(slips[0].contains(".env:1"), "{texts:?}");
    assert!(
        !texts.iter().any(|text| text.contains("OTHER")),
        "{texts:?}"
    );
}

#[test]
fn b10_a_secret_that_everyone_may_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let place = Directory::new("open");
    place.write(
        "compose.yaml",
        "services: {a: {image: x, secrets: [s], configs: [c]}}\nsecrets: {s: {file: s.txt}}\nconfigs: {c: {file: s.txt}}\n",
    );
    place.write("s.txt", "hunter2");
    let mode = |name: &str, mode: u32| {
        let path = place.0.join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let warned = || {
        let request = ReadRequest::new(&place.0, Environment::new());
        let loaded = read(&request).expect("reads").load().expect("valid");
        let texts = loaded.warnings.iter().map(ToString::to_string);
        texts
            .filter(|text| text.contains("may read the file"))
            .collect::<Vec<_>>()
    };
    mode("", 0o755);
    mode("s.txt", 0o644);
    let reachable = place
        .0
        .ancestors()
        .all(|above| fs::metadata(above).is_ok_and(|found| found.permissions().mode() & 1 != 0));
    if reachable {
        let warned = warned();
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].contains("compose.yaml:2:"), "{warned:?}");
    } else {
        unmoor_tools::skipped("others cannot enter the directory of the tests at all");
    }
    mode("", 0o700);
    assert!(warned().is_empty(), "nobody else gets there");
    mode("", 0o755);
    mode("s.txt", 0o640);
    assert!(warned().is_empty(), "others may not read it");
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
