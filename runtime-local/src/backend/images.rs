//! The facet for images.

use std::time::Duration;

use async_trait::async_trait;
use unmoor_core::Result;
use unmoor_core::backend::{ImageDefaults, ImageEntry, ImageInput, Images, OnPull, ResolvedImage};
use unmoor_core::image::{Digest, ImageRef, Platform};
use unmoor_core::spec::{Exposed, Health, HealthTest, Protocol, PullPolicy};
use unmoor_image::archive::{ImportOptions, LoadOptions};
use unmoor_image::{HealthTest as ImageTest, Healthcheck, ImageConfig, Replace, StoredImage};

use super::LocalBackend;
use crate::engine::Runtime;
use crate::error::LocalError;

#[async_trait]
impl Images for LocalBackend {
    async fn resolve(
        &self,
        reference: &ImageRef,
        platform: Option<&Platform>,
        policy: PullPolicy,
        progress: OnPull<'_>,
    ) -> Result<ResolvedImage> {
        let platform = platform.cloned().unwrap_or_else(Platform::linux_here);
        let there = match policy {
            PullPolicy::Always => None,
            _ => self.place.there().await?,
        };
        if let Some(runtime) = there {
            let (wanted, on) = (reference.clone(), platform.clone());
            let find = move |runtime: &Runtime| runtime.find_image(&wanted, &on);
            if let Some(image) = runtime.look("finds an image", find).await? {
                return Ok(resolved(reference, &image));
            }
        }
        if policy == PullPolicy::Never {
            let error = unmoor_image::ImageError::NotFound(reference.clone());
            return Err(LocalError::from(error).into());
        }
        let image = self.pull(reference, &platform, progress).await?;
        Ok(resolved(reference, &image))
    }

    async fn load(&self, input: &ImageInput, replace: bool) -> Result<Vec<ImageEntry>> {
        let input = input.clone();
        let replace = if replace { Replace::Yes } else { Replace::No };
        let load = move |runtime: &Runtime| load(runtime, &input, replace);
        let runtime = self.place.made().await?;
        let images = runtime.block("loads an image", load).await?;
        Ok(images.iter().map(entry).collect())
    }

    async fn list(&self) -> Result<Vec<ImageEntry>> {
        let list = |runtime: &Runtime| Ok(runtime.images().images()?);
        let Some(runtime) = self.place.there().await? else {
            return Ok(Vec::new());
        };
        let listing = runtime.block("lists images", list).await?;
        if let Some((_, error)) = listing.unreadable.into_iter().next() {
            return Err(LocalError::from(error).into());
        }
        Ok(listing.images.iter().map(entry).collect())
    }

    async fn push(&self, reference: &ImageRef, progress: OnPull<'_>) -> Result<Digest> {
        let wanted = reference.clone();
        let find = move |runtime: &Runtime| Ok(runtime.images().get(&wanted)?);
        let runtime = self.kept(reference).await?;
        let image = runtime.block("finds an image", find).await?;
        self.send(&image, reference, progress).await
    }

    async fn remove(&self, reference: &ImageRef) -> Result<()> {
        let runtime = self.kept(reference).await?;
        let reference = reference.clone();
        let remove = move |runtime: &Runtime| runtime.remove_image(&reference);
        Ok(runtime.block("removes an image", remove).await?)
    }
}

impl LocalBackend {
    /// The installation that may keep this image.
    async fn kept(&self, reference: &ImageRef) -> Result<&Runtime, LocalError> {
        let none = || LocalError::from(unmoor_image::ImageError::NotFound(reference.clone()));
        self.place.there().await?.ok_or_else(none)
    }

    #[cfg(not(feature = "pull"))]
    async fn pull(
        &self,
        reference: &ImageRef,
        _platform: &Platform,
        _progress: OnPull<'_>,
    ) -> Result<StoredImage> {
        let name = reference.familiar();
        let text = format!("image {name} is not here, and this build cannot pull");
        Err(
            unmoor_core::Error::new(unmoor_core::ErrorKind::NotFound, text)
                .hint("load it from a file, or build with the cargo feature `pull`"),
        )
    }

    #[cfg(not(feature = "pull"))]
    async fn send(
        &self,
        _image: &StoredImage,
        reference: &ImageRef,
        _progress: OnPull<'_>,
    ) -> Result<Digest> {
        let text = format!(
            "push image {}: this build speaks to no registry",
            reference.familiar()
        );
        let error = unmoor_core::Error::new(unmoor_core::ErrorKind::Unsupported, text);
        Err(error.hint("build with the cargo feature `pull`"))
    }
}

/// How far each layer of a pull has come.
#[cfg(feature = "pull")]
#[derive(Default)]
struct Travelled {
    total: Option<u64>,
    sizes: std::collections::BTreeMap<unmoor_core::image::Digest, u64>,
}

#[cfg(feature = "pull")]
impl Travelled {
    /// Tells how far an image has come, layer by layer.
    fn teller<'a>(
        reference: &'a ImageRef,
        progress: OnPull<'a>,
    ) -> impl Fn(unmoor_image::registry::Progress) + Send + Sync + 'a {
        use std::sync::{Mutex, PoisonError};
        use unmoor_core::backend::PullProgress;
        use unmoor_image::registry::Progress;

        let travelled = Mutex::new(Self::default());
        move |event: Progress| {
            let mut travelled = travelled.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Progress::Resolved { bytes, .. } => travelled.total = Some(bytes),
                Progress::Transferring { layer, done, .. } => {
                    travelled.sizes.insert(layer, done);
                }
                _ => return,
            }
            let (done, total) = (travelled.sizes.values().sum(), travelled.total);
            drop(travelled);
            progress(PullProgress {
                reference: reference.familiar(),
                done,
                total,
            });
        }
    }
}

/// Whatever credential files are in their usual places.
#[cfg(feature = "pull")]
fn credentials() -> unmoor_image::registry::Credentials {
    use unmoor_image::registry::{CredentialFiles, Credentials};
    Credentials::Files(CredentialFiles::usual(|name| std::env::var(name).ok()))
}

#[cfg(feature = "pull")]
impl LocalBackend {
    async fn pull(
        &self,
        reference: &ImageRef,
        platform: &Platform,
        progress: OnPull<'_>,
    ) -> Result<StoredImage> {
        use unmoor_image::registry::{PullOptions, pull};

        let mut options = PullOptions::default();
        options.platform = platform.clone();
        options.access.credentials = credentials();
        let tell = Travelled::teller(reference, progress);
        let runtime = self.place.made().await?;
        let image = pull(runtime.images(), reference, &options, tell).await;
        let image = image.map_err(LocalError::from)?;
        let unpacked = image.clone();
        let unpack = move |runtime: &Runtime| Ok(runtime.images().unpack(&unpacked)?);
        runtime.block("unpacks an image", unpack).await?;
        Ok(image)
    }

    async fn send(
        &self,
        image: &StoredImage,
        reference: &ImageRef,
        progress: OnPull<'_>,
    ) -> Result<Digest> {
        use unmoor_image::registry::{Access, push};

        let mut access = Access::default();
        access.credentials = credentials();
        let tell = Travelled::teller(reference, progress);
        let runtime = self.place.made().await?;
        let sent = push(runtime.images(), image, reference, &access, tell).await;
        Ok(sent.map_err(LocalError::from)?)
    }
}

fn load(
    runtime: &Runtime,
    input: &ImageInput,
    replace: Replace,
) -> Result<Vec<StoredImage>, LocalError> {
    let store = runtime.images();
    match input {
        ImageInput::Archive(path) => {
            let mut options = LoadOptions::default();
            options.replace = replace;
            Ok(unmoor_image::archive::load(store, path, &options)?)
        }
        ImageInput::Rootfs {
            path,
            reference,
            changes,
        } => {
            let mut options = ImportOptions::default();
            options.changes.clone_from(changes);
            options.replace = replace;
            Ok(vec![unmoor_image::archive::import(
                store, path, reference, &options,
            )?])
        }
        _ => Err(LocalError::Unsupported {
            what: "this kind of image file is not known here".to_owned(),
            hint: "give an OCI layout, a docker archive or a root file system".to_owned(),
        }),
    }
}

fn entry(image: &StoredImage) -> ImageEntry {
    ImageEntry {
        reference: Some(image.reference.clone()),
        digest: image.manifest_digest.clone(),
        size: image.packed_size(),
        created: None,
    }
}

fn resolved(reference: &ImageRef, image: &StoredImage) -> ResolvedImage {
    ResolvedImage {
        reference: reference.clone(),
        digest: image.manifest_digest.clone(),
        defaults: defaults(&image.config),
    }
}

/// What the image's author says, as the specification names it. Labels stay where they are: they
/// are never read as settings.
fn defaults(config: &ImageConfig) -> ImageDefaults {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    ImageDefaults {
        entrypoint: config.entrypoint.clone(),
        command: config.cmd.clone(),
        env: config
            .env
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        user: text(&config.user),
        working_dir: text(&config.working_dir),
        exposed: config.exposed_ports.iter().filter_map(exposed).collect(),
        volumes: config.volumes.clone(),
        stop_signal: config.stop_signal.clone(),
        health: config.healthcheck.as_ref().and_then(health),
    }
}

fn exposed(port: &unmoor_image::ExposedPort) -> Option<Exposed> {
    let protocol = match port.protocol.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some(Exposed {
        port: port.port,
        protocol,
    })
}

fn health(check: &Healthcheck) -> Option<Health> {
    let test = match &check.test {
        ImageTest::Disabled => return None,
        ImageTest::Exec(words) => HealthTest::Exec(words.clone()),
        ImageTest::Shell(line) => HealthTest::Shell(line.clone()),
    };
    let mut health = Health::new(test);
    let set = |field: &mut Duration, wanted: Option<Duration>| {
        if let Some(wanted) = wanted.filter(|wanted| !wanted.is_zero()) {
            *field = wanted;
        }
    };
    set(&mut health.interval, check.interval);
    set(&mut health.timeout, check.timeout);
    set(&mut health.start_period, check.start_period);
    set(&mut health.start_interval, check.start_interval);
    if let Some(retries) = check.retries.filter(|retries| *retries > 0) {
        health.retries = retries;
    }
    Some(health)
}
