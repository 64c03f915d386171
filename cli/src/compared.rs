//! What docker compose 2.40.3 takes, verb by verb, so that no flag of it is missing here.

/// Verbs with their flags: `-x/` before a name is its letter, `=` behind it takes a value.
const FLAGS: &str = "
--all-resources --ansi= --compatibility --dry-run --env-file= -f/--file= --parallel= --profile= --progress= --project-directory= -p/--project-name=
up --abort-on-container-exit --abort-on-container-failure --always-recreate-deps --attach= --attach-dependencies --build -d/--detach --exit-code-from= --force-recreate --menu --no-attach= --no-build --no-color --no-deps --no-log-prefix --no-recreate --no-start --pull= --quiet-build --quiet-pull --remove-orphans -V/--renew-anon-volumes --scale= -t/--timeout= --timestamps --wait --wait-timeout= -w/--watch -y/--yes
down --remove-orphans --rmi= -t/--timeout= -v/--volumes
ps -a/--all --filter= --format= --no-trunc --orphans -q/--quiet --services --status=
logs -f/--follow --index= --no-color --no-log-prefix --since= -n/--tail= -t/--timestamps --until=
exec -d/--detach -e/--env= --index= -T/--no-tty --privileged -u/--user= -w/--workdir=
run --build --cap-add= --cap-drop= -d/--detach --entrypoint= -e/--env= --env-from-file= -i/--interactive -l/--label= --name= -T/--no-TTY --no-deps -p/--publish= --pull= -q/--quiet --quiet-build --quiet-pull --remove-orphans --rm -P/--service-ports --use-aliases -u/--user= -v/--volume= -w/--workdir=
config --environment --format= --hash= --images --lock-image-digests --models --networks --no-consistency --no-env-resolution --no-interpolate --no-normalize --no-path-resolution -o/--output= --profiles -q/--quiet --resolve-image-digests --services --variables --volumes
start
stop -t/--timeout=
restart --no-deps -t/--timeout=
kill --remove-orphans -s/--signal=
pause
unpause
rm -f/--force -s/--stop -v/--volumes
create --build --force-recreate --no-build --no-recreate --pull= --quiet-pull --remove-orphans --scale= -y/--yes
pull --ignore-buildable --ignore-pull-failures --include-deps --policy= -q/--quiet
push --ignore-push-failures --include-deps -q/--quiet
cp --all -a/--archive -L/--follow-link --index=
attach --detach-keys= --index= --no-stdin --sig-proxy
watch --no-up --prune --quiet
wait --down-project
events --json --since= --until=
top
stats -a/--all --format= --no-stream --no-trunc
port --index= --protocol=
images --format= -q/--quiet
volumes --format= -q/--quiet
ls -a/--all --filter= --format= -q/--quiet
scale --no-deps
version -f/--format= --short
";

use clap::{Arg, Command};

use crate::args;

/// The argument of this long name, or of a name beside it.
fn argument<'c>(verb: &'c Command, name: &str) -> Option<&'c Arg> {
    verb.get_arguments().find(|arg| {
        let beside = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || beside.contains(&name)
    })
}

/// What differs in a flag, if something does.
fn differs(verb: &Command, flag: &str) -> Option<String> {
    let takes_value = flag.ends_with('=');
    let (letter, name) = match flag.split_once('/') {
        Some((letter, name)) => (letter.chars().nth(1), name),
        None => (None, flag),
    };
    let name = name.trim_start_matches('-').trim_end_matches('=');
    let Some(arg) = argument(verb, name) else {
        return Some("is missing".to_owned());
    };
    let letters = arg.get_short_and_visible_aliases().unwrap_or_default();
    if letter.is_some_and(|letter| !letters.contains(&letter)) {
        return Some(format!("has the letters {letters:?}"));
    }
    let least = arg.get_num_args().map_or(0, |range| range.min_values());
    let needs_value = arg.get_action().takes_values() && least > 0;
    (needs_value != takes_value).then(|| format!("takes a value: {needs_value}"))
}

#[test]
fn every_flag_of_docker_compose_is_here_under_its_letter() {
    let mut command = args::command();
    command.build();
    let mut problems = Vec::new();
    for line in FLAGS.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ').peekable();
        let name = words.next_if(|word| !word.starts_with('-'));
        let verb = match name {
            Some(name) => command.find_subcommand(name).expect("the verb is there"),
            None => &command,
        };
        for flag in words {
            if let Some(problem) = differs(verb, flag) {
                problems.push(format!("{} {flag} {problem}", verb.get_name()));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Documents that are not rows, and logs, which are one object a line.
const NO_LISTING: [&str; 5] = ["config", "logs", "plan", "version", "system info"];

#[test]
fn every_listing_takes_json_and_templates() {
    let mut listings = Vec::new();
    let command = args::command();
    let mut waiting: Vec<(String, &Command)> = vec![(String::new(), &command)];
    while let Some((path, verb)) = waiting.pop() {
        for verb in verb.get_subcommands() {
            let path = format!("{path} {}", verb.get_name());
            waiting.push((path.trim_start().to_owned(), verb));
        }
        let lists = verb
            .get_about()
            .is_some_and(|about| about.to_string().starts_with("List"));
        let is_group = verb.has_subcommands();
        let has_format = argument(verb, "format").is_some();
        assert!(
            has_format || !lists || is_group,
            "`{path}` lists without --format"
        );
        if has_format && !NO_LISTING.contains(&path.as_str()) {
            listings.push(path);
        }
    }
    assert!(listings.len() >= 14, "{listings:?}");
    for path in listings {
        for format in ["json", "table", "{{.Name}}", "table {{.Name}}"] {
            let words = ["unmoor"].into_iter().chain(path.split(' '));
            let words = words.chain(["--format", format]);
            let parsed = args::command().try_get_matches_from(words);
            assert!(
                parsed.is_ok(),
                "{path} --format {format}: {:?}",
                parsed.err()
            );
        }
    }
}
