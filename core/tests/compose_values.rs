//! How single values are read: what docker compose makes of them, row by row, and what of a file
//! is bad input.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use unmoor_core::ErrorKind;
use unmoor_core::compose::{
    Environment, Form, Level, LoadErrors, LoadOptions, Loaded, Source, document, load,
};
use unmoor_core::name::ServiceName;
use unmoor_core::spec::{HealthWish, RestartPolicy, Service};
use unmoor_tools::Work;

fn try_load(text: &str, env: &Environment) -> Result<Loaded, LoadErrors> {
    let source = Source::new("compose.yaml", text).directory("/srv/t");
    load(&[source], env, &LoadOptions::default())
}

/// The service `a` of a file that holds only it.
fn service(body: &str) -> Service {
    service_in(body, &Environment::new())
}

fn service_in(body: &str, env: &Environment) -> Service {
    let text = format!("services:\n  a:\n    image: x\n{body}");
    let loaded = try_load(&text, env).unwrap_or_else(|failed| panic!("{failed}\n{text}"));
    let name = ServiceName::parse("a").expect("valid");
    loaded.stack.services[&name].clone()
}

fn refused(text: &str) -> LoadErrors {
    try_load(text, &Environment::new())
        .err()
        .unwrap_or_else(|| panic!("accepted:\n{text}"))
}

fn refused_service(body: &str) -> String {
    refused(&format!("services:\n  a:\n    image: x\n{body}")).to_string()
}

#[test]
fn variables_of_a_mapping_are_resolved_and_those_of_a_list_stay() {
    for (raw, value) in [
        ("yes", "yes"),
        ("on", "on"),
        ("true", "true"),
        ("0644", "420"),
        ("0o17", "15"),
        ("0x1F", "31"),
        ("1_000", "1000"),
        ("1e3", "1000"),
        ("1.10", "1.1"),
        (".5", "0.5"),
        ("08", "8"),
        ("12:30", "12:30"),
        ("12345678901234567890", "12345678901234567890"),
        ("\"\"", ""),
        ("\"1.10\"", "1.10"),
        ("2024-01-01", "2024-01-01"),
    ] {
        let found = service(&format!("    environment:\n      V: {raw}\n"));
        assert_eq!(
            found.environment.get("V").map(String::as_str),
            Some(value),
            "{raw}"
        );
    }
    let found = service("    environment: [\"A=1.10\", \"B=\", \"C=x=y\"]\n");
    let pairs: Vec<_> = found.environment.into_iter().collect();
    let expected = [("A", "1.10"), ("B", ""), ("C", "x=y")];
    assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn variables_without_a_value_come_from_outside() {
    let env = Environment::new().variable("A", "outside");
    for body in [
        "    environment: {A: null, B: ~}\n",
        "    environment: {A: , B: }\n",
        "    environment: [A, B]\n",
    ] {
        let found = service_in(body, &env).environment;
        assert_eq!(
            found.get("A").map(String::as_str),
            Some("outside"),
            "{body}"
        );
        assert_eq!(found.get("B"), None, "{body}");
    }
}

#[test]
fn labels_are_resolved_but_their_keys_are_not_interpolated() {
    let found = service("    labels: {a: 1.50, b: true, \"$c\": d}\n").labels;
    assert_eq!(found.get("a").map(String::as_str), Some("1.5"));
    assert_eq!(found.get("b").map(String::as_str), Some("true"));
    assert_eq!(found.get("$c").map(String::as_str), Some("d"));
}

#[test]
fn ports_are_never_sexagesimal_and_doubles_are_dropped() {
    let ports = |body: &str| {
        let ports = service(body).ports;
        ports
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(ports("    ports: [22:22]\n"), "22->22/tcp");
    assert_eq!(
        ports("    ports: [\"80:80\", \"80:80\", 80:80/tcp]\n"),
        "80->80/tcp"
    );
    assert_eq!(
        ports("    ports: [\"127.0.0.1::80\"]\n"),
        "127.0.0.1:80/tcp"
    );
    assert_eq!(ports("    ports: [\"[::1]:80:80\"]\n"), "[::1]:80->80/tcp");
    assert_eq!(ports("    ports: [\"1-2:3-4\"]\n"), "1->3/tcp 2->4/tcp");
}

#[test]
fn a_secrets_mode_is_octal_however_it_is_written() {
    for raw in ["0440", "\"0440\"", "0o440", "\"440\""] {
        let text = format!(
            "services: {{a: {{image: x, secrets: [{{source: s, mode: {raw}}}]}}}}\n\
             secrets: {{s: {{file: ./s}}}}\n"
        );
        let loaded = try_load(&text, &Environment::new()).expect("valid");
        let grant = &loaded.stack.services.values().next().expect("a").secrets[0];
        assert_eq!(grant.mode, 0o440, "{raw}");
    }
}

#[test]
fn merge_keys_are_shallow() {
    let text = "x-a: &a {environment: {A: 1}, restart: always}\nx-b: &b {user: root}\n\
                services: {a: {<<: [*a, *b], image: x, environment: {B: 2}}}\n";
    let loaded = try_load(text, &Environment::new()).expect("valid");
    let found = loaded.stack.services.values().next().expect("a").clone();
    assert_eq!(found.environment.keys().collect::<Vec<_>>(), ["B"]);
    assert_eq!(found.restart, RestartPolicy::Always);
    assert_eq!(found.user.as_deref(), Some("root"));
}

#[test]
fn interpolation_works_on_values_once() {
    let env = Environment::new()
        .variable("INJECT", "x\nprivileged: true")
        .variable("REF", "${SECRET}")
        .variable("SECRET", "no")
        .variable("Z", "z");
    let body = "    environment:\n      A: ${X:-${Y:-deep}}\n      B: ${Z:+set}\n      C: $U\n      \
                D: $$HOME\n      E: $INJECT\n      F: $REF\n      G: ${X:-$(id)}\n";
    let found = service_in(body, &env);
    let get = |name: &str| found.environment.get(name).map(String::as_str);
    assert_eq!(get("A"), Some("deep"));
    assert_eq!(get("B"), Some("set"));
    assert_eq!(get("C"), Some(""));
    assert_eq!(get("D"), Some("$HOME"));
    assert_eq!(get("E"), Some("x\nprivileged: true"));
    assert_eq!(get("F"), Some("${SECRET}"));
    assert_eq!(get("G"), Some("$(id)"));
    assert!(!found.security.privileged);
}

#[test]
fn an_unset_variable_warns_once_and_is_listed() {
    let text =
        "services: {a: {image: x, user: \"$U\", hostname: \"${U}x\", working_dir: \"${D:-/d}\"}}\n";
    let loaded = try_load(text, &Environment::new()).expect("valid");
    let about = loaded
        .warnings
        .iter()
        .filter(|w| w.text.contains("variable U"));
    assert_eq!(about.count(), 1);
    assert!(!loaded.variables["U"].is_set);
    assert_eq!(loaded.variables["D"].default.as_deref(), Some("/d"));
}

#[test]
fn times_and_sizes() {
    let health = |interval: &str| {
        let found = service(&format!(
            "    healthcheck: {{test: x, interval: {interval}}}\n"
        ));
        let HealthWish::Check(health) = found.health else {
            panic!("a check");
        };
        health.interval
    };
    assert_eq!(health("1.5h"), Duration::from_secs(5400));
    assert_eq!(health("1w"), Duration::from_secs(604_800));
    assert_eq!(health("1d"), Duration::from_secs(86_400));
    assert!(
        refused_service("    healthcheck: {test: x, interval: 90}\n").contains("must be a string")
    );
    for (raw, bytes) in [
        ("1g", 1u64 << 30),
        ("64mb", 64 << 20),
        ("1.5GiB", (3 << 30) / 2),
    ] {
        let found = service(&format!("    mem_limit: {raw}\n"));
        assert_eq!(found.resources.memory.map(|m| m.0), Some(bytes), "{raw}");
    }
    for raw in ["1e30", "-1", "\"1.5.3\"", "NaN"] {
        assert!(
            !refused_service(&format!("    mem_limit: {raw}\n")).is_empty(),
            "{raw}"
        );
    }
    for raw in ["NaN", "1e-12", "-1"] {
        assert!(
            !refused_service(&format!("    cpus: {raw}\n")).is_empty(),
            "{raw}"
        );
    }
}

#[test]
fn restart_accepts_the_unquoted_no() {
    assert_eq!(service("    restart: no\n").restart, RestartPolicy::No);
    let limited = service("    restart: on-failure:3\n").restart;
    assert_eq!(limited, RestartPolicy::OnFailure { max: Some(3) });
    assert!(refused_service("    restart: false\n").contains("must be a string"));
}

#[test]
fn names_that_could_reach_a_path_or_terminal_are_refused() {
    for name in [
        ".",
        "..",
        "-rf",
        "\"a\\nb\"",
        "\"../../x\"",
        "\"a\\u202eb\"",
        "аpp",
        "\"\"",
        "😀",
    ] {
        let failed = refused(&format!("services:\n  {name}: {{image: x}}\n")).to_string();
        assert!(failed.contains("is not a service name"), "{name}: {failed}");
        assert!(
            failed.chars().all(|c| c == '\n' || !c.is_control()),
            "{name}"
        );
    }
    let long = "x".repeat(256);
    assert!(
        refused(&format!("services:\n  {long}: {{image: x}}\n"))
            .to_string()
            .contains("longer")
    );
}

#[test]
fn names_of_stacks() {
    let name = |text: &str, options: &LoadOptions, env: &Environment| {
        let source = Source::new("c.yaml", text).directory("/srv/My.Shop_1");
        load(&[source], env, options)
            .map(|loaded| loaded.stack.name.to_string())
            .map_err(|failed| failed.to_string())
    };
    let plain = "services: {a: {image: x}}\n";
    let named = format!("name: ${{N:-inner}}\n{plain}");
    let (none, env) = (LoadOptions::default(), Environment::new());
    assert_eq!(name(plain, &none, &env).as_deref(), Ok("myshop_1"));
    assert_eq!(name(&named, &none, &env).as_deref(), Ok("inner"));
    let variable = Environment::new().variable("COMPOSE_PROJECT_NAME", "outer");
    assert_eq!(name(&named, &none, &variable).as_deref(), Ok("outer"));
    let given = LoadOptions::default().name("given");
    assert_eq!(name(&named, &given, &variable).as_deref(), Ok("given"));
    let wrong = LoadOptions::default().name("No Good");
    assert!(name(plain, &wrong, &env).is_err());
}

#[test]
fn dependency_cycles_and_long_chains() {
    let failed =
        refused("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}\n");
    assert!(failed.to_string().contains("a -> b -> a"));
    let mut text = "services:\n  s0: {image: x}\n".to_owned();
    for i in 1..10_000 {
        writeln!(text, "  s{i}: {{image: x, depends_on: [s{}]}}", i - 1).expect("a string");
    }
    let work = Work::new();
    assert_eq!(
        try_load(&text, &Environment::new())
            .expect("valid")
            .stack
            .services
            .len(),
        10_000
    );
    assert!(work.done() < Duration::from_secs(10), "{:?}", work.done());
}

#[test]
fn bombs_end_within_a_second() {
    let work = Work::new();
    let mut bomb = "x0: &x0 {image: x}\n".to_owned();
    for i in 1..40 {
        let many = vec![format!("*x{}", i - 1); 9].join(", ");
        writeln!(bomb, "x{i}: &x{i} [{many}]").expect("a string");
    }
    let failed = refused(&bomb);
    assert_eq!(failed.errors[0].places()[0].file, "compose.yaml");
    assert!(
        refused(&"[".repeat(100_000))
            .to_string()
            .contains("levels deep")
    );
    assert!(
        refused(&"{a: ".repeat(100_000))
            .to_string()
            .contains("levels deep")
    );
    assert!(
        refused(&"- ".repeat(100_000))
            .to_string()
            .contains("levels deep")
    );
    assert!(
        refused("a: &a [*a]\n")
            .to_string()
            .contains("part of what it stands for")
    );
    // What variables bring in is bounded too.
    let env = Environment::new().variable("BIG", "x".repeat(1 << 20));
    let text = format!(
        "services: {{a: {{image: x, user: \"{}\"}}}}\n",
        "$BIG".repeat(10_000)
    );
    let failed = try_load(&text, &env).expect_err("too long");
    assert!(failed.to_string().contains("too long"));
    let limit = if cfg!(debug_assertions) { 10 } else { 1 };
    let taken = work.done();
    assert!(taken < Duration::from_secs(limit), "{taken:?}");
}

#[test]
fn circles_of_files_and_services_are_seen() {
    let files = std::collections::BTreeMap::from([
        (
            "/srv/t/b.yaml".into(),
            "include: [c.yaml]\nservices: {b: {image: x}}\n".to_owned(),
        ),
        (
            "/srv/t/c.yaml".into(),
            "include: [b.yaml]\nservices: {c: {image: x}}\n".to_owned(),
        ),
        (
            "/srv/t/d.yaml".into(),
            "services: {d: {extends: {file: d.yaml, service: e}}, e: {extends: d}}\n".to_owned(),
        ),
    ]);
    let env = Environment::new().files(files);
    for text in [
        "include: [b.yaml]\nservices: {a: {image: x}}\n",
        "services: {a: {extends: b}, b: {extends: a}}\n",
        "services: {a: {extends: a}}\n",
        "services: {a: {extends: {file: d.yaml, service: d}}}\n",
    ] {
        let failed = try_load(text, &env).expect_err("a circle");
        let said = failed.to_string();
        assert!(
            said.contains("circle") || said.contains("itself"),
            "{text}: {said}"
        );
    }
}

#[test]
fn errors_carry_place_subject_and_hint() {
    let failed = refused("services:\n  a:\n    image: x\n    prots:\n      - 80\n");
    let error = &failed.errors[0];
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    assert_eq!(
        error.to_string(),
        "compose.yaml:4:5: services.a: unknown key `prots`"
    );
    assert_eq!(error.hint_text(), Some("did you mean `ports`?"));
}

#[test]
fn foreign_extensions_are_left_alone_and_ours_are_checked() {
    let text = "x-y: [1]\nservices:\n  a: {image: x, x-other: {z: 1}, deploy: {x-z: 1}}\n";
    assert!(try_load(text, &Environment::new()).is_ok());
    assert!(refused_service("    x-unmoor: {lniks: []}\n").contains("did you mean `links`?"));
}

#[test]
fn a_decimal_mode_and_an_unquoted_yes_are_traps() {
    let text = "services: {a: {image: x, tty: yes}}\n";
    let loaded = try_load(text, &Environment::new()).expect("valid");
    assert!(loaded.stack.services.values().all(|service| service.tty));
    assert_eq!(loaded.warnings[0].level, Level::Trap);
}

#[test]
fn a_large_file_loads_fast() {
    let mut text = "services:\n".to_owned();
    for i in 0..44 {
        write!(
            text,
            "  s{i}:\n    image: example/s{i}:${{TAG:-1}}\n    restart: unless-stopped\n    \
             environment:\n      - A=${{A:-a}}\n      - B=b\n      - C=c\n    ports:\n      \
             - \"{}:80\"\n    volumes:\n      - ./data{i}:/data\n      - v{i}:/v:ro\n    \
             healthcheck:\n      test: [CMD, \"true\"]\n      interval: 10s\n    deploy:\n      \
             resources:\n        limits: {{memory: 64m, cpus: \"0.5\"}}\n",
            8000 + i
        )
        .expect("a string");
    }
    text.push_str("volumes:\n");
    for i in 0..44 {
        writeln!(text, "  v{i}:").expect("a string");
    }
    let lines = text.lines().count();
    assert!(lines > 780, "{lines}");
    let env = Environment::new();
    let best = (0..20)
        .map(|_| {
            let work = Work::new();
            try_load(&text, &env).expect("valid");
            work.done()
        })
        .min()
        .expect("twenty runs");
    println!("{lines} lines in {best:?}");
    let limit = if cfg!(debug_assertions) { 250 } else { 5 };
    assert!(best < Duration::from_millis(limit), "{best:?}");
}

#[test]
fn images_are_those_of_active_services_however_they_are_written() {
    let text = "services: {a: {image: \"x:${A}\"}, b: {image: y, profiles: [p]}}\n";
    let source = || [Source::new("c.yaml", text).directory("/srv/t")];
    let mut form = Form::default();
    let env = Environment::new().variable("A", "1");
    for (interpolate, image) in [(true, "x:1"), (false, "x:${A}")] {
        form.interpolate = interpolate;
        let images = |options: &LoadOptions| {
            let found = document(&source(), &env, options, form);
            found.expect("valid").images()
        };
        assert_eq!(images(&LoadOptions::default()), [image]);
        assert_eq!(images(&LoadOptions::default().profile("p")), [image, "y"]);
    }
}

#[test]
fn a_service_that_is_named_switches_its_profiles_on_unless_one_is_on() {
    let text = "services: {two: {image: x, profiles: [a, b]}, in_b: {image: y, profiles: [b]}, \
        no: {image: z, profiles: [c]}}\n";
    let names = |options: &LoadOptions| {
        let source = Source::new("c.yaml", text).directory("/srv/t");
        let loaded = load(&[source], &Environment::new(), options).expect("valid");
        let names: Vec<String> = loaded
            .stack
            .services
            .keys()
            .map(ToString::to_string)
            .collect();
        (names.join(" "), loaded.inactive)
    };
    let (active, inactive) = names(&LoadOptions::default().service("two"));
    assert_eq!(active, "in_b two");
    assert_eq!(inactive["no"], ["c"]);
    let (active, inactive) = names(&LoadOptions::default().profile("a").service("two"));
    assert_eq!(active, "two");
    assert_eq!(inactive.keys().collect::<Vec<_>>(), ["in_b", "no"]);
}

#[test]
fn limits_of_zero_are_read_again() {
    let text = "services: {a: {image: x, ulimits: {core: 0, nofile: {soft: 0, hard: 5}}}}\n";
    let source = |text: &str| [Source::new("c.yaml", text).directory("/srv/t")];
    let options = LoadOptions::default();
    let read = |text: &str| {
        document(
            &source(text),
            &Environment::new(),
            &options,
            Form::default(),
        )
    };
    let found = read(text).expect("valid");
    let limits = found.to_value()["services"]["a"]["ulimits"].to_string();
    assert_eq!(limits, r#"{"core":{},"nofile":{"hard":5}}"#);
    let again = read(&found.to_yaml()).expect("what was printed is valid");
    assert_eq!(again.to_json(), found.to_json());
    let stack = |text: &str| {
        load(&source(text), &Environment::new(), &options)
            .expect("valid")
            .stack
    };
    assert_eq!(stack(&found.to_yaml()), stack(text));
    let service = stack(text).services.into_values().next().expect("a");
    assert_eq!(service.security.ulimits["core"].hard, 0);
}

#[test]
fn what_files_of_variables_and_labels_say_stands_where_the_format_has_it() {
    let files = BTreeMap::from([
        (PathBuf::from("/srv/t/e.env"), "A=1\n".to_owned()),
        (PathBuf::from("/srv/t/l.labels"), "b=2\n".to_owned()),
    ]);
    let env = Environment::new().files(files);
    let text = "services: {a: {image: x, user: u, env_file: e.env, label_file: l.labels}}\n";
    let source = Source::new("c.yaml", text).directory("/srv/t");
    let found = document(&[source], &env, &LoadOptions::default(), Form::default());
    let service = found.expect("valid").to_value()["services"]["a"].clone();
    let keys: Vec<&String> = service.as_object().expect("a mapping").keys().collect();
    let wanted = [
        "command",
        "entrypoint",
        "environment",
        "image",
        "labels",
        "networks",
        "user",
    ];
    assert_eq!(keys, wanted);
}

#[test]
fn an_escaped_apostrophe_in_double_quotes_is_one() {
    let found = service("    command: [\"it\\'s\", \"a\\\\'b\\\"c\"]\n    user: \"o\\'x\"\n");
    let words: Vec<String> = ["it's", "a\\'b\"c"].map(str::to_owned).into();
    assert_eq!(found.command, Some(words));
    assert_eq!(found.user.as_deref(), Some("o'x"));
    let wrong = refused("services: {a: {image: x, user: \"\\q\\'\"}}\n").to_string();
    assert!(wrong.starts_with("compose.yaml:1:32: "), "{wrong}");
    let endless = refused("services: {a: {image: x, user: \"\\'}}\n").to_string();
    assert!(endless.contains("compose.yaml:1:"), "{endless}");
}
