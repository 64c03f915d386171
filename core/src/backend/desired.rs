//! A service as a backend gets it, with what every backend works out of it alike.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::ResolvedImage;
use crate::name::ServiceName;
use crate::spec::{BlobId, Exposed, Link, Service};

/// Time between the stop signal and the kill if nobody says otherwise.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// A service as it is handed to a backend: nothing in it is left to look up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredService {
    /// Its name.
    pub name: ServiceName,
    /// What was asked for. `replicas` counts only for backends that scale by themselves.
    pub spec: Service,
    /// The image, by digest, with its defaults.
    pub image: ResolvedImage,
    /// Hash over everything that makes a running replica outdated: specification without count and
    /// placement, image digest, fingerprints of secrets and configs.
    pub spec_hash: String,
    /// Explicit links, implicit ones left out.
    pub links: Vec<Link>,
    /// Fingerprints of the secrets and configs it uses.
    pub blobs: BTreeMap<BlobId, String>,
}

impl DesiredService {
    /// Program and arguments: the service's words over the image's; empty if neither has any.
    ///
    /// An entrypoint of the service drops the image's command, which was meant for the other one.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let (spec, image) = (&self.spec, &self.image.defaults);
        let entrypoint = spec.entrypoint.as_ref().unwrap_or(&image.entrypoint);
        let mut words = entrypoint.clone();
        match (&spec.command, &spec.entrypoint) {
            (Some(command), _) => words.extend(command.iter().cloned()),
            (None, Some(_)) => {}
            (None, None) => words.extend(image.command.iter().cloned()),
        }
        words
    }

    /// Variables: the service's over the image's. Those of links are the backend's to add, beneath
    /// what the service sets.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let image = self.image.defaults.env.iter();
        let image = image.filter_map(|pair| pair.split_once('='));
        let mut env: BTreeMap<String, String> = image
            .filter(|(key, _)| !key.is_empty())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        env.extend(self.spec.environment.clone());
        env
    }

    /// The signal that asks a replica to end, by name or number.
    #[must_use]
    pub fn stop_signal(&self) -> &str {
        let own = self.spec.stop.signal.as_deref();
        own.or(self.image.defaults.stop_signal.as_deref())
            .unwrap_or("SIGTERM")
    }

    /// Time between the stop signal and the kill.
    #[must_use]
    pub fn stop_grace(&self) -> Duration {
        self.spec.stop.grace.unwrap_or(GRACE)
    }

    /// Every container port it is known to listen on, the image's included.
    #[must_use]
    pub fn known_ports(&self) -> Vec<Exposed> {
        let mut ports = self.spec.known_ports();
        for port in &self.image.defaults.exposed {
            if !ports.contains(port) {
                ports.push(*port);
            }
        }
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ImageDefaults;

    fn desired(spec: impl FnOnce(Service) -> Service) -> DesiredService {
        let service = Service::new("app:1".parse().expect("valid reference"));
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let defaults = ImageDefaults {
            entrypoint: words("/init --"),
            command: words("serve all"),
            env: words("A=image B=image C"),
            stop_signal: Some("SIGQUIT".to_owned()),
            ..ImageDefaults::default()
        };
        DesiredService {
            name: "app".parse().expect("valid name"),
            spec: spec(service),
            image: ResolvedImage {
                reference: "app:1".parse().expect("valid reference"),
                digest: format!("sha256:{}", "a".repeat(64)).parse().expect("valid"),
                defaults,
            },
            spec_hash: String::new(),
            links: Vec::new(),
            blobs: BTreeMap::new(),
        }
    }

    #[test]
    fn words_of_the_service_stand_over_those_of_the_image() {
        let words = |spec: fn(Service) -> Service| desired(spec).command().join(" ");
        assert_eq!(words(|s| s), "/init -- serve all");
        assert_eq!(words(|s| s.command(["one"])), "/init -- one");
        assert_eq!(words(|s| s.entrypoint(["/own"])), "/own");
        assert_eq!(
            words(|s| s.entrypoint(["/own"]).command(["one"])),
            "/own one"
        );
    }

    #[test]
    fn what_the_service_sets_wins_and_what_is_no_pair_is_left_out() {
        let env = desired(|service| service.env("A", "own")).environment();
        let pairs: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(pairs, ["A=own", "B=image"]);
    }

    #[test]
    fn a_service_that_says_nothing_ends_as_its_image_says() {
        assert_eq!(desired(|s| s).stop_signal(), "SIGQUIT");
        assert_eq!(desired(|s| s).stop_grace(), Duration::from_secs(10));
    }
}
