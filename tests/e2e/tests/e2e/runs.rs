//! One-off copies with everything that `run` can be told about them.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, text};

const FILE: &str = "\
name: once
services:
  web:
    image: small:1
    command: [httpd, -f, -p, \"80\", -h, /www]
    stop_grace_period: 0s
    ports: [\"127.0.0.1:8085:80\"]
    networks:
      default: {aliases: [site]}
    volumes: [data:/data]
  other:
    image: small:1
    command: [sleep, \"1000000\"]
    stop_grace_period: 0s
volumes:
  data:
";

fn stage() -> Option<Stage> {
    Stage::small(FILE)
}

/// Exit code, standard output and standard error of a command line.
fn ran(stage: &Stage, words: &[&str]) -> (Option<i32>, String, String) {
    let output = stage.run(words);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), out, err)
}

#[test]
fn input_goes_in_and_output_comes_out_apart() {
    let Some(stage) = stage() else { return };
    let fed = |flags: &[&str], data: &[u8]| {
        let run = [&["--progress", "quiet", "run", "--rm"], flags];
        let mut child = stage
            .unmoor(&run.concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        let data = data.to_vec();
        let writer = std::thread::spawn(move || drop(input.write_all(&data)));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("no panic");
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let script = "cat; echo beside >&2; exit 3";
    let words = ["other", "sh", "-c", script];
    assert_eq!(
        fed(&words, b"first\nsecond\n"),
        (Some(3), "first\nsecond\n".to_owned(), "beside\n".to_owned())
    );
    let many: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let (code, out, _) = fed(&["other", "cat"], many.as_bytes());
    assert_eq!((code, out.len()), (Some(0), many.len()));
    assert!(out == many, "another order");
    let off = ["--interactive=false", "other", "cat"];
    assert_eq!(fed(&off, b"nobody reads this\n").1, "");
}

#[test]
fn a_copy_is_left_alone_with_d() {
    let Some(stage) = stage() else { return };
    let (code, out, err) = ran(&stage, &["run", "-d", "--name", "left", "other"]);
    assert_eq!((code, out.as_str()), (Some(0), "once-left-1\n"), "{err}");
    assert_eq!(stage.phases()["once-left-1"], "running");
    let (refused, _, why) = ran(&stage, &["run", "-d", "--rm", "other"]);
    assert_eq!(refused, Some(125), "{why}");
    assert!(why.contains("nobody would be there to remove"), "{why}");
    let _ = stage.ok(&["rm", "-s", "left"]);
    assert_eq!(stage.phases().len(), 0, "{:?}", stage.phases());
}

#[test]
fn a_copy_that_has_ended_is_not_run_again_and_not_in_the_way() {
    let Some(stage) = stage() else { return };
    let _ = stage.ok(&["up", "-d"]);
    let work = "echo migrated >> /data/log; echo said";
    let _ = stage.ok(&["run", "--name", "once", "web", "sh", "-c", work]);
    for words in [&["stop"][..], &["start"], &["restart"], &["up", "-d"]] {
        let _ = stage.ok(words);
    }
    let log = stage.ok(&["exec", "web", "cat", "/data/log"]);
    assert_eq!(log, "migrated\n", "it ran again");
    let logs = stage.ok(&["logs"]);
    assert!(!logs.contains("said"), "{logs}");
    assert!(stage.ok(&["logs", "once"]).contains("said"));
    let shown = stage.ok(&["ps"]);
    assert!(!shown.contains("once-once-1"), "{shown}");
    let all = stage.ok(&["ps", "-a", "--format", "{{.Name}} {{.Service}} {{.State}}"]);
    assert!(all.contains("once-once-1 web exited"), "{all}");
    let listed = stage.ok(&["ls", "--format", "json"]);
    assert!(!listed.contains("\"once\",\"other\""), "{listed}");
    let again = stage.run(&["up", "-d"]);
    let said = text(&again.stderr);
    assert!(!said.contains("by hand"), "{said}");
}

#[test]
fn output_is_what_was_written_byte_for_byte() {
    let Some(stage) = stage() else { return };
    let output = |script: &str| {
        let words = [
            "--progress",
            "quiet",
            "run",
            "--rm",
            "-T",
            "other",
            "sh",
            "-c",
            script,
        ];
        let output = stage.run(&words);
        (output.stdout, output.stderr)
    };
    let (out, err) = output("printf out; printf err >&2");
    assert_eq!((&out[..], &err[..]), (&b"out"[..], &b"err"[..]));
    let script =
        "i=0; while [ $i -lt 300 ]; do printf '\\377\\000\\n\\r\\n%60000s' $i; i=$((i+1)); done";
    let (out, _) = output(script);
    let piece = |i: usize| [&b"\xff\0\n\r\n"[..], format!("{i:>60000}").as_bytes()].concat();
    let wanted: Vec<u8> = (0..300).flat_map(piece).collect();
    assert_eq!(out.len(), wanted.len());
    assert!(out == wanted, "other bytes");
}

#[test]
fn the_last_words_of_a_program_are_a_line_of_their_own() {
    let Some(stage) = stage() else { return };
    let _ = stage.ok(&[
        "run",
        "--name",
        "dies",
        "other",
        "sh",
        "-c",
        "echo a; printf fatal",
    ]);
    let _ = stage.ok(&["restart", "dies"]);
    until("the second run has ended", PATIENCE, || {
        let logs = stage.ok(&["logs", "--no-log-prefix", "dies"]);
        let lines: Vec<&str> = logs.lines().collect();
        (lines == ["a", "fatal", "a", "fatal"])
            .then_some(())
            .ok_or(logs)
    });
}

#[test]
fn a_program_that_is_not_there_or_not_executable_has_its_code() {
    let Some(stage) = stage() else { return };
    for (program, wanted) in [("nosuch", 127), ("/", 126)] {
        let (code, _, err) = ran(&stage, &["run", "--rm", "other", program]);
        assert_eq!(code, Some(wanted), "{program}: {err}");
    }
    assert_eq!(stage.phases().len(), 0, "{:?}", stage.phases());
}

#[test]
fn ports_are_published_only_when_asked_for() {
    let Some(stage) = stage() else { return };
    let get = |port: u16| stage.get(&format!("http://127.0.0.1:{port}/"));
    let _ = stage.ok(&["run", "-d", "--name", "none", "web"]);
    assert!(get(8085).is_err(), "a copy took the service's port");
    let _ = stage.ok(&[
        "run",
        "-d",
        "-p",
        "127.0.0.1:8086:80",
        "--name",
        "one",
        "web",
    ]);
    until("the port that was named", PATIENCE, || get(8086));
    let _ = stage.ok(&["run", "-d", "--service-ports", "--name", "own", "web"]);
    until("the service's port", PATIENCE, || get(8085));
    let (code, _, err) = ran(&stage, &["run", "-p", "eighty", "web"]);
    assert_eq!(code, Some(64), "{err}");
}

#[test]
fn mounts_programs_labels_and_capabilities_are_as_said() {
    let Some(stage) = stage() else { return };
    stage.write("note", "from outside\n");
    let said = |flags: &[&str], command: &[&str]| {
        let words = [&["run", "--rm", "--quiet"], flags, &["web"], command].concat();
        let (code, out, err) = ran(&stage, &words);
        assert_eq!(code, Some(0), "{words:?}: {err}");
        out
    };
    let _ = said(&[], &["sh", "-c", "echo kept >/data/x"]);
    assert_eq!(said(&["-v", "data:/else"], &["cat", "/else/x"]), "kept\n");
    let bind = ["-v", "./note:/note:ro"];
    assert_eq!(said(&bind, &["cat", "/note"]), "from outside\n");
    // The named mount takes the place of the service's own at the same path.
    assert_eq!(said(&["-v", "/data"], &["ls", "/data"]), "");
    assert_eq!(
        said(&["--entrypoint", "echo 'two words' and"], &[]),
        "two words and\n"
    );
    let arguments = said(&["--entrypoint", "echo first"], &["second"]);
    assert_eq!(arguments, "first second\n");
    let status = ["grep", "CapBnd", "/proc/1/status"];
    let bounded = said(&["--cap-drop", "ALL"], &status);
    assert_eq!(bounded, "CapBnd:\t0000000000000000\n");
    let user = said(
        &["-u", "7:8", "-w", "/www"],
        &["sh", "-c", "id -u; id -g; pwd"],
    );
    assert_eq!(user, "7\n8\n/www\n");
    assert_eq!(
        said(&["-e", "X=$HOME"], &["sh", "-c", "echo $X"]),
        "$HOME\n"
    );
    let _ = stage.ok(&["run", "-d", "-l", "tier=back", "--name", "marked", "web"]);
    let list = stage.json(&["ps", "--format", "json", "marked"]);
    assert_eq!(list[0]["labels"]["tier"], "back", "{list}");
}

#[test]
fn a_copy_does_not_answer_for_its_service_unless_asked() {
    let Some(stage) = stage() else { return };
    let _ = stage.ok(&["up", "-d", "other"]);
    let page = |name: &str| {
        let url = format!("http://{name}/");
        ran(
            &stage,
            &["exec", "-T", "other", "curl", "-sf", "-m", "5", &url],
        )
        .0
    };
    let _ = stage.ok(&["run", "-d", "--name", "quiet", "web"]);
    until("the copy serves", PATIENCE, || match page("quiet") {
        Some(0) => Ok(()),
        code => Err(format!("{code:?}")),
    });
    assert_ne!(page("site"), Some(0), "it took the alias of its service");
    let _ = stage.ok(&["run", "-d", "--use-aliases", "--name", "loud", "web"]);
    for name in ["site", "web"] {
        until(
            "the copy answers for its service",
            PATIENCE,
            || match page(name) {
                Some(0) => Ok(()),
                code => Err(format!("{name}: {code:?}")),
            },
        );
    }
}

#[test]
fn a_signal_stops_the_copy_and_rm_removes_it() {
    let Some(stage) = stage() else { return };
    let words = [
        "run",
        "--rm",
        "other",
        "sh",
        "-c",
        "echo here; exec sleep 1000",
    ];
    let mut child = stage
        .unmoor(&words)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = child.stdout.take().expect("a pipe");
    let mut first = [0; 5];
    out.read_exact(&mut first).expect("it writes");
    assert_eq!(&first, b"here\n");
    unmoor_e2e::stage::send(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    assert_eq!(stage.phases().len(), 0, "{:?}", stage.phases());
}
