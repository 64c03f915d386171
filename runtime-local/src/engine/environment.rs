//! The variables a replica starts with, and what its links tell it.

use unmoor_core::backend::{DesiredService, ImageDefaults};
use unmoor_core::name::Alias;
use unmoor_core::spec::{Exposed, Service};

/// Where programs are looked up if neither image nor user say so.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A name the replica may use, the port it wants there, and what the target listens on.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    pub(super) alias: Alias,
    pub(super) port: Option<u16>,
    pub(super) known: Vec<Exposed>,
}

/// Ports a service listens on: its own, else those its image declares.
pub(super) fn ports_of(service: &DesiredService) -> Vec<Exposed> {
    let own = service.spec.known_ports();
    if own.is_empty() {
        service.image.defaults.exposed.clone()
    } else {
        own
    }
}

/// What the variables are made from.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) spec: &'a Service,
    pub(super) image: &'a ImageDefaults,
    pub(super) hostname: &'a str,
    pub(super) home: Option<&'a str>,
    pub(super) reaches: &'a [Reach],
    /// What lets the replica ask its shim about its services, if there is something to see.
    pub(super) token: Option<&'a str>,
}

/// Where a replica asks: beside its name server, redirected to its own shim.
const DISCOVERY: &str = "http://127.0.0.11/v1";

/// The variables, each once; what the user set wins over the image, the image over us.
pub(super) fn variables(from: &Surroundings<'_>) -> Vec<String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: String| match pairs.iter_mut().find(|(known, _)| known == key)
    {
        Some(pair) => pair.1 = value,
        None => pairs.push((key.to_owned(), value)),
    };
    set("PATH", PATH.to_owned());
    set("HOSTNAME", from.hostname.to_owned());
    if from.spec.tty {
        set("TERM", "xterm".to_owned());
    }
    set("HOME", from.home.unwrap_or("/").to_owned());
    for pair in &from.image.env {
        // An entry without `=` would take its value from whoever starts the program.
        if let Some((key, value)) = pair.split_once('=')
            && !key.is_empty()
        {
            set(key, value.to_owned());
        }
    }
    if let Some(token) = from.token {
        set("UNMOOR_DISCOVERY_URL", DISCOVERY.to_owned());
        set("UNMOOR_DISCOVERY_TOKEN", token.to_owned());
    }
    for reach in from.reaches {
        for (key, value) in link_variables(reach) {
            set(&key, value);
        }
    }
    for (key, value) in &from.spec.environment {
        set(key, value.clone());
    }
    // A NUL ends a string for the kernel: nothing behind it may change its meaning.
    pairs.retain(|(key, value)| !key.contains('\0') && !value.contains('\0'));
    pairs
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn link_variables(reach: &Reach) -> Vec<(String, String)> {
    let stem = format!("UNMOOR_LINK_{}", reach.alias.env_part());
    let host = reach.alias.as_str();
    let mut variables = vec![(format!("{stem}_HOST"), host.to_owned())];
    let first = reach.known.first();
    if let Some(port) = reach.port.or(first.map(|exposed| exposed.port)) {
        let same = reach.known.iter().find(|exposed| exposed.port == port);
        let protocol = same
            .or(first)
            .map(|exposed| exposed.protocol)
            .unwrap_or_default();
        variables.push((format!("{stem}_PORT"), port.to_string()));
        variables.push((format!("{stem}_URL"), format!("{protocol}://{host}:{port}")));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use unmoor_core::spec::Protocol;

    fn variables_of(spec: &Service, env: &[&str], reaches: &[Reach]) -> Vec<String> {
        let image = ImageDefaults {
            env: env.iter().map(|text| (*text).to_owned()).collect(),
            ..ImageDefaults::default()
        };
        let hostname = "h";
        variables(&Surroundings {
            spec,
            image: &image,
            hostname,
            home: Some("/root"),
            reaches,
            token: None,
        })
    }

    #[test]
    fn the_user_wins_over_the_image_and_nothing_leaks_in() {
        let spec = Service::new("a".parse().expect("a reference")).env("A", "user");
        let env = ["A=image", "B=image", "SECRET", "=x", "PATH=/only", "C=a\0b"];
        assert_eq!(
            variables_of(&spec, &env, &[]),
            [
                "PATH=/only",
                "HOSTNAME=h",
                "HOME=/root",
                "A=user",
                "B=image"
            ]
        );
    }

    #[test]
    fn the_token_of_an_image_is_not_taken_and_that_of_the_user_is() {
        let image = ImageDefaults {
            env: vec!["UNMOOR_DISCOVERY_TOKEN=known".to_owned()],
            ..ImageDefaults::default()
        };
        let with = |spec: &Service| {
            let all = variables(&Surroundings {
                spec,
                image: &image,
                hostname: "h",
                home: None,
                reaches: &[],
                token: Some("secret"),
            });
            let found = all
                .into_iter()
                .find_map(|pair| Some(pair.strip_prefix("UNMOOR_DISCOVERY_TOKEN=")?.to_owned()));
            found.expect("it is set")
        };
        let spec = Service::new("a".parse().expect("a reference"));
        assert_eq!(with(&spec), "secret");
        assert_eq!(with(&spec.env("UNMOOR_DISCOVERY_TOKEN", "")), "");
    }

    #[test]
    fn links_tell_host_port_and_url() {
        let reach = Reach {
            alias: "my-db".parse().expect("an alias"),
            port: None,
            known: vec![Exposed {
                port: 5432,
                protocol: Protocol::Tcp,
            }],
        };
        let spec = Service::new("a".parse().expect("a reference"));
        let variables = variables_of(&spec, &[], &[reach]);
        assert_eq!(
            variables[3..],
            [
                "UNMOOR_LINK_MY_DB_HOST=my-db",
                "UNMOOR_LINK_MY_DB_PORT=5432",
                "UNMOOR_LINK_MY_DB_URL=tcp://my-db:5432"
            ]
        );
    }
}
