//! Compose files: what they come to, and why they do not.

use crate::place::{Place, SHOP, ran};

#[test]
fn config_prints_what_the_file_means() {
    let place = Place::with(SHOP);
    let mut command = place.command(&["config"]);
    let ran = ran(command.env("LEVEL", "debug"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let golden = include_str!("golden/shop.yaml");
    assert_eq!(ran.out, golden);
}

#[test]
fn what_config_prints_means_the_same_again() {
    let place = Place::with(SHOP);
    let first = place.run(&["config"]);
    place.write("again.yaml", &first.out);
    let second = place.run(&["-f", "again.yaml", "config"]);
    assert_eq!(second.code, Some(0), "{}", second.err);
    assert_eq!(first.out, second.out);
}

#[test]
fn config_gives_lists_and_json() {
    let place = Place::with(SHOP);
    assert_eq!(place.run(&["config", "--services"]).out, "api\nweb\n");
    assert_eq!(place.run(&["config", "--volumes"]).out, "data\n");
    assert_eq!(
        place.run(&["config", "--images"]).out,
        "shop/api:1\nnginx:1.27\n"
    );
    let quiet = place.run(&["config", "-q"]);
    assert_eq!(
        (quiet.code, quiet.out.as_str(), quiet.err.as_str()),
        (Some(0), "", "")
    );
    let json = place.run(&["config", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["name"], "shop");
    assert_eq!(json["services"]["api"]["environment"]["LEVEL"], "info");
}

#[test]
fn all_resources_are_those_that_nobody_uses_too() {
    let place = Place::with(&(SHOP.to_owned() + "  spare:\nnetworks:\n  idle:\n"));
    let volumes = |words: &[&str]| place.run(&[words, &["config", "--volumes"]].concat()).out;
    assert_eq!(volumes(&[]), "data\n");
    assert_eq!(volumes(&["--all-resources"]), "data\nspare\n");
    let whole = place.run(&["--all-resources", "config"]).out;
    assert!(whole.contains("  idle:\n    name: shop_idle\n"), "{whole}");
}

#[test]
fn config_says_where_values_come_from() {
    let place = Place::with(SHOP);
    place.write(".env", "\nLEVEL=trace\n");
    let ran = place.run(&["config", "--explain", "services.api.environment"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let first = ran.out.lines().next();
    assert_eq!(first, Some("services.api.environment.LEVEL: trace"));
    assert!(ran.out.contains("compose.yaml:"), "{}", ran.out);
    assert!(ran.out.contains(".env:2:1"), "{}", ran.out);
    let name = place.run(&["config", "--explain", "volumes.data.name"]).out;
    assert!(name.contains("default, for "), "{name}");
    assert!(name.contains("compose.yaml:15:3"), "{name}");
    for (field, lines) in [
        ("services.web.ports[0].target", 1),
        ("services.web.ports.0.target", 1),
        ("services.web.ports[0]", 4),
        ("services.web.ports.*.published", 1),
        ("services.api.volumes[0].volume", 1),
        ("services.web.ports[1]", 0),
    ] {
        let said = place.run(&["config", "--explain", field]).out;
        let values = said.lines().filter(|line| line.starts_with("services."));
        assert_eq!(values.count(), lines, "{field}: {said}");
    }
    let nothing = place.run(&["config", "--explain", "services.nobody"]);
    assert_eq!(nothing.code, Some(1));
}

#[test]
fn config_lists_variables_and_hashes() {
    let place = Place::with(SHOP);
    let variables = place.run(&["config", "--variables"]).out;
    let title = "NAME                REQUIRED            DEFAULT VALUE       ALTERNATE VALUE\n";
    assert!(variables.starts_with(title), "{variables}");
    assert!(variables.contains("LEVEL"), "{variables}");
    let raw = place.run(&["config", "--no-interpolate"]).out;
    assert!(raw.contains("${LEVEL"), "{raw}");
    let hashes = place.run(&["config", "--hash", "*"]).out;
    assert_eq!(hashes.lines().count(), 2, "{hashes}");
    let raw = place
        .run(&["config", "--no-interpolate", "--hash", "*"])
        .out;
    assert_eq!(raw, hashes, "a fingerprint is that of what would run");
    let one = place.run(&["config", "--services", "api"]).out;
    assert_eq!(one, "api\n");
    place.run(&["config", "-o", "out.yaml"]);
    let again = place.run(&["-f", "out.yaml", "config"]);
    assert_eq!(again.out, place.run(&["config"]).out);
}

#[test]
fn every_error_stands_with_its_place_and_the_line() {
    let place =
        Place::with("services:\n  web:\n    image: x\n    prots: [\"80\"]\n    tty: sometimes\n");
    let ran = place.run(&["config", "-q"]);
    assert_eq!(ran.code, Some(1));
    let wanted = "\
error: compose.yaml:4:5: services.web: unknown key `prots`
    |
  4 |     prots: [\"80\"]
    |     ^
hint: did you mean `ports`?
";
    let err = ran.err;
    assert!(err.starts_with(wanted), "{err}");
    assert!(err.contains("compose.yaml:5:10: services.web.tty"), "{err}");
    assert_eq!(err.matches("error:").count(), 2, "{err}");
}

#[test]
fn a_file_cannot_steer_the_terminal() {
    let place =
        Place::with("services:\n  web:\n    image: x\n    \"a\\e]52;c;eA==\\a\u{9b}2J\": 1\n");
    let ran = place.run(&["config", "-q"]);
    assert_eq!(ran.code, Some(1));
    let steering = |c: char| c.is_control() && c != '\n';
    assert!(!ran.err.chars().any(steering), "{:?}", ran.err);
}

#[test]
fn with_json_progress_errors_are_json_too() {
    let place = Place::with("services:\n  web:\n    imag: x\n");
    let ran = place.run(&["--progress", "json", "up", "-d"]);
    assert_eq!(ran.code, Some(1));
    let mut events = ran.err.lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is a JSON object")
    });
    let error = events
        .find(|event| event["event"] == "error")
        .expect("an error");
    assert_eq!(error["exit_code"], 1);
    let errors = error["errors"].as_array().expect("a list");
    let mut hinted = errors
        .iter()
        .filter(|error| error["hint"] == "did you mean `image`?");
    assert_eq!(
        hinted.next().expect("the hint")["places"][0]["line"],
        3,
        "{error}"
    );
}

#[test]
fn no_file_says_where_it_was_looked_for_and_what_else_to_do() {
    let place = Place::new();
    let ran = place.run(&["up", "-d"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no compose.yaml in"), "{}", ran.err);
    let ran = place.run(&["ps"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("name the stack with -p"), "{}", ran.err);
    let ran = place.run(&["-f", "absent.yaml", "config"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("absent.yaml"), "{}", ran.err);
}

#[test]
fn a_name_needs_no_file() {
    let place = Place::new();
    for words in [
        vec!["-p", "shop", "ps", "-q"],
        vec!["-p", "shop", "down"],
        vec!["-p", "shop", "endpoints"],
    ] {
        let ran = place.run(&words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.err);
    }
    let mut command = place.command(&["ps", "-q"]);
    let by_variable = ran(command.env("COMPOSE_PROJECT_NAME", "shop"));
    assert_eq!(by_variable.code, Some(0), "{}", by_variable.err);
    let wrong = place.run(&["-p", "../x", "ps"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("is not a stack name"), "{}", wrong.err);
}

#[test]
fn files_come_from_options_variables_and_standard_input() {
    let place = Place::with(SHOP);
    place.write("more.yaml", "services:\n  cron:\n    image: cron:1\n");
    let both = place.run(&[
        "-f",
        "compose.yaml",
        "-f",
        "more.yaml",
        "config",
        "--services",
    ]);
    assert_eq!(both.out, "api\ncron\nweb\n", "{}", both.err);
    let mut command = place.command(&["config", "--services"]);
    let named = ran(command.env("COMPOSE_FILE", "compose.yaml:more.yaml"));
    assert_eq!(named.out, "api\ncron\nweb\n", "{}", named.err);
    let file = std::fs::File::open(place.path().join("more.yaml")).expect("a file");
    let mut command = place.command(&["-f", "-", "config", "--services"]);
    let piped = ran(command.stdin(file));
    assert_eq!(piped.out, "cron\n", "{}", piped.err);
}

#[test]
fn a_pipe_may_be_named_and_is_read_once() {
    let place = Place::with(SHOP);
    let run = |line: &str| {
        let mut command = std::process::Command::new("/bin/bash");
        command
            .args(["-c", line, env!("CARGO_BIN_EXE_unmoor")])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("UNMOOR_BACKEND", "sim:")
            .current_dir(place.path());
        ran(&mut command)
    };
    for line in [
        "\"$0\" -f <(cat compose.yaml) config --services",
        "cat compose.yaml | \"$0\" -f /dev/stdin config --services",
        "cat compose.yaml | \"$0\" -f - config --services",
    ] {
        let ran = run(line);
        assert_eq!(ran.out, "api\nweb\n", "{line}: {}", ran.err);
    }
    // The name and then the services: both come of what was read once.
    let ran = run("cat compose.yaml | \"$0\" -f /dev/stdin ps -q --orphans=false web");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let ran = run("\"$0\" --env-file <(echo LEVEL=piped) config --environment");
    assert!(ran.out.contains("LEVEL=piped\n"), "{}{}", ran.out, ran.err);
    let ran = run("mkfifo f; \"$0\" -f f config");
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("f is not a regular file"), "{}", ran.err);
    assert!(
        ran.err
            .contains("hint: a Compose file may come through a pipe: `-f -`"),
        "{}",
        ran.err
    );
    let ran = run("\"$0\" -f <(true) config");
    assert!(ran.err.contains("/dev/fd/"), "{}", ran.err);
    assert!(ran.err.contains(" is empty"), "{}", ran.err);
}

#[test]
fn a_directory_that_is_gone_is_an_error_not_a_panic() {
    let place = Place::with(SHOP);
    let mut command = std::process::Command::new("/bin/sh");
    let gone = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" -b sim: ps";
    command
        .args(["-c", gone, env!("CARGO_BIN_EXE_unmoor")])
        .current_dir(place.path());
    let ran = ran(&mut command);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.starts_with("error: "), "{}", ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

#[test]
fn an_environment_with_nothing_in_it_is_enough() {
    let place = Place::with(SHOP);
    let mut command = place.command(&["config", "-q"]);
    let ran = ran(command.env_clear());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}
