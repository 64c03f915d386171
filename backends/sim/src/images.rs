//! Images that were loaded; there is no registry to fetch others from.

use async_trait::async_trait;
use unmoor_core::backend::{ImageEntry, ImageInput, Images, OnPull, ResolvedImage};
use unmoor_core::image::{ImageRef, Platform};
use unmoor_core::spec::PullPolicy;
use unmoor_core::{Error, ErrorKind, Result};

use crate::bug::Bug;
use crate::fault::Call;
use crate::image;
use crate::sim::Sim;

#[async_trait]
impl Images for Sim {
    async fn resolve(
        &self,
        reference: &ImageRef,
        _platform: Option<&Platform>,
        _policy: PullPolicy,
        _progress: OnPull<'_>,
    ) -> Result<ResolvedImage> {
        let label = format!("resolve image {reference}");
        let clock = self.world.clock.as_ref();
        let hit = self
            .world
            .faults
            .before(clock, Call::Resolve, &label)
            .await?;
        let found = self.world.with(|model| model.images.resolve(reference));
        hit.after(&label).await?;
        found.ok_or_else(|| absent("resolve", reference))
    }

    async fn load(&self, input: &ImageInput, replace: bool) -> Result<Vec<ImageEntry>> {
        let hit = self.before(Call::Images, "load image").await?;
        hit.after("load image").await?;
        let found = image::read(input)?;
        self.world.with(|model| model.images.add(found, replace))
    }

    async fn list(&self) -> Result<Vec<ImageEntry>> {
        let hit = self.before(Call::Images, "list images").await?;
        hit.after("list images").await?;
        Ok(self.world.with(|model| model.images.list()))
    }

    async fn remove(&self, reference: &ImageRef) -> Result<()> {
        let hit = self.before(Call::Images, "remove image").await?;
        hit.after("remove image").await?;
        self.world.with(|model| {
            let Some(digest) = model.images.digest_of(reference) else {
                return Err(absent("remove", reference));
            };
            let last = model.images.other_names(reference, &digest) == 0;
            let mut replicas = model
                .stacks
                .values()
                .flat_map(|holding| holding.replicas.values());
            let user = replicas.find(|replica| replica.service.image.digest == digest);
            let careless = model.bugs.has(Bug::ImageRemovedInUse);
            if let Some(user) = user.filter(|_| last && !careless) {
                let text = format!(
                    "remove image {}: replica {} uses it",
                    reference.familiar(),
                    user.id
                );
                return Err(Error::new(ErrorKind::WrongPhase, text));
            }
            model.images.remove(reference, &digest);
            Ok(())
        })
    }
}

fn absent(what: &str, reference: &ImageRef) -> Error {
    let text = format!("{what} image {}: it is not loaded", reference.familiar());
    Error::new(ErrorKind::NotFound, text).hint("load it from a file; the model has no registry")
}
