//! What `run` says of a service in the short forms of a Compose file, read as a Compose file is.

use std::env;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use unmoor::compose::{self, LoadOptions, Source};
use unmoor::name::ServiceName;
use unmoor::spec::{Attachment, Service, Stack, default_network};

use crate::app::App;
use crate::exit::Failure;
use crate::project;

/// How the copy differs from the service.
#[derive(Debug, clap::Args)]
pub(super) struct Wishes {
    /// Program in place of the image's entrypoint; its words as a shell splits them
    #[arg(long, value_name = "WORDS")]
    entrypoint: Option<String>,
    /// Port to publish, as in a file; repeatable
    #[arg(short, long, value_name = "[[IP:]PORT:]PORT")]
    publish: Vec<String>,
    /// Publish the service's own ports too
    #[arg(short = 'P', long)]
    service_ports: bool,
    /// Mount, as in a file; a name is a volume of the stack; repeatable
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    volume: Vec<String>,
    /// File with variables, as for `env_file`; `-e` counts more; repeatable
    #[arg(long, value_name = "FILE")]
    env_from_file: Vec<PathBuf>,
    /// Label, as `KEY=value`; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Capability to add; repeatable
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Capability to take away; repeatable
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Answer to the service's names as well
    #[arg(long)]
    use_aliases: bool,
}

impl Wishes {
    /// The service with these wishes over its own settings.
    pub(super) fn over(
        &self,
        mut spec: Service,
        (stack, name): (&Stack, &ServiceName),
        app: &App,
    ) -> Result<Service, Failure> {
        let said = self.read(stack, app)?;
        if !self.service_ports {
            spec.ports.clear();
        }
        spec.ports.extend(said.ports);
        for mount in said.mounts {
            spec.mounts.retain(|other| other.target != mount.target);
            spec.mounts.push(mount);
        }
        if said.entrypoint.is_some() {
            // Arguments of the former program mean nothing to another.
            spec.entrypoint = said.entrypoint;
            spec.command = None;
        }
        spec.labels.extend(said.labels);
        spec.environment.extend(said.environment);
        let (own, said) = (&mut spec.security, said.security);
        own.cap_drop.retain(|cap| !said.cap_add.contains(cap));
        own.cap_add.retain(|cap| !said.cap_drop.contains(cap));
        own.cap_add.extend(said.cap_add);
        own.cap_drop.extend(said.cap_drop);
        self.names(&mut spec, name);
        Ok(spec)
    }

    /// Who looks the service up must not get the copy, unless that was asked for.
    fn names(&self, spec: &mut Service, name: &ServiceName) {
        if !self.use_aliases {
            for attachment in spec.networks.values_mut() {
                attachment.aliases.clear();
            }
            return;
        }
        if spec.networks.is_empty() {
            spec.networks
                .insert(default_network(), Attachment::default());
        }
        for attachment in spec.networks.values_mut() {
            attachment.aliases.push(name.into());
        }
    }

    fn read(&self, stack: &Stack, app: &App) -> Result<Service, Failure> {
        let directory = env::current_dir()
            .map_err(|error| Failure::System("find the working directory", error))?;
        let volumes: Map<String, Value> = stack
            .volumes
            .keys()
            .map(|name| (name.to_string(), json!({})))
            .collect();
        let file = json!({
            "name": stack.name,
            "services": { "run": self.as_service()? },
            "volumes": volumes,
        });
        // What the shell has left of a dollar sign is meant.
        let text = file.to_string().replace('$', "$$");
        let source = Source::new("run", text).directory(directory);
        let environment = project::input(&app.globals)?.environment;
        let loaded = compose::load(&[source], &environment, &LoadOptions::default());
        let loaded = loaded.map_err(|failed| {
            let messages = failed.errors.iter().map(unmoor::Error::chain);
            Failure::Usage(messages.collect::<Vec<_>>().join("; "))
        })?;
        app.warn(&loaded.warnings);
        let mut services = loaded.stack.services.into_values();
        Ok(services.next().expect("the file has one service"))
    }

    fn as_service(&self) -> Result<Value, Failure> {
        // Whose image it is does not matter: it is not taken from here.
        let mut service = json!({ "image": "run" });
        let lists = [
            ("ports", &self.publish),
            ("volumes", &self.volume),
            ("labels", &self.label),
            ("cap_add", &self.cap_add),
            ("cap_drop", &self.cap_drop),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                service[key] = json!(list);
            }
        }
        if let Some(words) = &self.entrypoint {
            service["entrypoint"] = json!(words);
        }
        if !self.env_from_file.is_empty() {
            let whole = |path: &PathBuf| {
                let path = std::path::absolute(path);
                path.map_err(|error| Failure::System("find the file of variables", error))
            };
            let files: Vec<PathBuf> = self
                .env_from_file
                .iter()
                .map(whole)
                .collect::<Result<_, _>>()?;
            service["env_file"] = json!(files);
        }
        Ok(service)
    }
}
