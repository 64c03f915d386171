//! Images from files, and what happens without them.

use unmoor_core::ErrorKind;
use unmoor_core::backend::{ImageInput, Phase};
use unmoor_core::image::ImageRef;
use unmoor_core::spec::{PullPolicy, Service};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};
use crate::image;

cases! { "images";
    /// An image that `docker save` wrote is loaded and runs.
    image_from_docker_archive [Spawn, ImageLoad];
    /// A root file system is loaded with its changes and runs.
    image_from_rootfs [Spawn, ImageLoad, Exec];
    /// Loading the same file again changes nothing.
    loading_twice_changes_nothing [ImageLoad];
    /// A name is not given to other content unless that is asked for.
    image_name_is_not_taken_silently [ImageLoad];
    /// An image that a replica runs on is not removed under it.
    image_in_use_is_not_removed [Spawn, ImageLoad];
    /// A file that is no image is refused.
    no_image_is_refused [ImageLoad];
    /// An image that is not there stops `up` before anything is written.
    missing_image_is_not_found [Spawn];
    /// An image of a registry that does not answer stops `up` before anything is written.
    unreachable_registry_stops_up [Spawn, ImagePull];
}

async fn load(t: &Fixture, input: ImageInput, replace: bool) -> Result<Vec<ImageRef>, Failure> {
    let entries = t.client().images()?.load(&input, replace).await?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| entry.reference)
        .collect())
}

async fn is_listed(t: &Fixture, reference: &ImageRef) -> Result<bool, Failure> {
    let list = t.client().images()?.list().await?;
    Ok(list
        .iter()
        .any(|entry| entry.reference.as_ref() == Some(reference)))
}

async fn forget(t: &Fixture, reference: &ImageRef) -> Verdict {
    t.client().images()?.remove(reference).await?;
    ensure!(
        !is_listed(t, reference).await?,
        "{reference} is listed after its removal"
    );
    Ok(())
}

fn of(reference: &ImageRef) -> Service {
    Service::new(reference.clone()).command(["serve", "--tcp", "7070"])
}

async fn image_from_docker_archive(t: &Fixture) -> Verdict {
    let path = image::write_docker(t.folder(), "docker")?;
    let loaded = load(t, ImageInput::Archive(path), true).await?;
    let reference = t.image("docker");
    ensure_eq!(
        loaded,
        std::slice::from_ref(&reference),
        "names of what was loaded"
    );
    ensure!(is_listed(t, &reference).await?, "it is not listed");
    let stack = t.stack().service(named("a"), of(&reference));
    t.up(&stack).await?;
    ensure_eq!(
        t.replica(&stack.name, "a").await?.phase,
        Phase::Running,
        "its phase"
    );
    t.down(&stack.name).await?;
    forget(t, &reference).await
}

async fn image_from_rootfs(t: &Fixture) -> Verdict {
    let reference = t.image("rootfs");
    let input = ImageInput::Rootfs {
        path: image::write_rootfs(t.folder())?,
        reference: reference.clone(),
        changes: vec![
            "ENTRYPOINT [\"/probe\"]".to_owned(),
            "CMD [\"serve\", \"--tcp\", \"7070\"]".to_owned(),
            "ENV CHANGED=yes".to_owned(),
            "WORKDIR /area".to_owned(),
        ],
    };
    load(t, input, true).await?;
    let stack = t
        .stack()
        .service(named("a"), Service::new(reference.clone()));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let options = |words: [&str; 2]| unmoor_core::backend::ExecOptions::new(words);
    let cwd = t.exec(&a, &options(["/probe", "cwd"])).await?;
    ensure_eq!(cwd.out, "/area\n", "the working directory");
    ensure_eq!(t.ok(&a, "env CHANGED").await?, "yes\n", "the variable");
    t.down(&stack.name).await?;
    forget(t, &reference).await
}

async fn loading_twice_changes_nothing(t: &Fixture) -> Verdict {
    let path = image::write_docker(t.folder(), "twice")?;
    let reference = t.image("twice");
    load(t, ImageInput::Archive(path.clone()), true).await?;
    let before = t.client().images()?.list().await?.len();
    load(t, ImageInput::Archive(path), false).await?;
    ensure_eq!(
        t.client().images()?.list().await?.len(),
        before,
        "number of images"
    );
    forget(t, &reference).await
}

async fn image_name_is_not_taken_silently(t: &Fixture) -> Verdict {
    let reference = t.image("taken");
    let path = image::write_rootfs(t.folder())?;
    let with = |value: &str| ImageInput::Rootfs {
        path: path.clone(),
        reference: reference.clone(),
        changes: vec![format!("ENV VALUE={value}")],
    };
    load(t, with("one"), true).await?;
    let digest = async || -> Result<_, Failure> {
        let policy = PullPolicy::Never;
        let found = t
            .client()
            .images()?
            .resolve(&reference, None, policy, &|_| {})
            .await?;
        Ok(found.digest)
    };
    let first = digest().await?;
    let Err(Failure::Failed(_)) = load(t, with("two"), false).await else {
        return Err("a name was given to other content silently"
            .to_owned()
            .into());
    };
    ensure_eq!(
        digest().await?,
        first,
        "content of the name after the refusal"
    );
    load(t, with("two"), true).await?;
    ensure!(
        digest().await? != first,
        "the name was not given to the other content"
    );
    forget(t, &reference).await
}

async fn image_in_use_is_not_removed(t: &Fixture) -> Verdict {
    let path = image::write_docker(t.folder(), "used")?;
    let reference = t.image("used");
    load(t, ImageInput::Archive(path), true).await?;
    let stack = t.stack().service(named("a"), of(&reference));
    t.up(&stack).await?;
    let outcome = t.client().images()?.remove(&reference).await;
    let kind = outcome.err().map(|error| error.kind());
    ensure_eq!(kind, Some(ErrorKind::WrongPhase), "kind of the refusal");
    t.ok(&slot(&stack.name, "a", 1), "print here").await?;
    t.down(&stack.name).await?;
    forget(t, &reference).await
}

async fn no_image_is_refused(t: &Fixture) -> Verdict {
    let path = t.folder().join("no-image");
    let written = std::fs::write(&path, b"neither a tar file nor anything else");
    written.map_err(|error| Failure::Failed(format!("write a file: {error}")))?;
    for path in [path, t.folder().join("not-there")] {
        let outcome = t
            .client()
            .images()?
            .load(&ImageInput::Archive(path), true)
            .await;
        let Err(error) = outcome else {
            return Err("a file that is no image was loaded".to_owned().into());
        };
        let fits = [
            ErrorKind::InvalidSpec,
            ErrorKind::Corrupt,
            ErrorKind::NotFound,
        ];
        ensure!(fits.contains(&error.kind()), "kind of the error: {error:?}");
    }
    Ok(())
}

async fn refused_for_its_image(t: &Fixture, text: &str, kinds: &[ErrorKind]) -> Verdict {
    let reference: ImageRef = text.parse().map_err(|e| Failure::Failed(format!("{e}")))?;
    let stack = t
        .stack()
        .service(named("ok"), t.server(""))
        .service(named("a"), of(&reference));
    let Err(error) = t.up(&stack).await else {
        return Err("`up` succeeded without the image".to_owned().into());
    };
    ensure!(
        kinds.contains(&error.kind()),
        "kind of the error: {error:?}"
    );
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something was written"
    );
    Ok(())
}

async fn missing_image_is_not_found(t: &Fixture) -> Verdict {
    let reference: ImageRef = "unmoor-conformance/none:1"
        .parse()
        .map_err(|e| Failure::Failed(format!("{e}")))?;
    let mut service = of(&reference);
    service.pull = PullPolicy::Never;
    let stack = t
        .stack()
        .service(named("ok"), t.server(""))
        .service(named("a"), service);
    let Err(error) = t.up(&stack).await else {
        return Err("`up` succeeded without the image".to_owned().into());
    };
    ensure_eq!(
        error.kind(),
        ErrorKind::NotFound,
        "kind of the error {error:?}"
    );
    ensure!(
        error.chain().contains("none"),
        "the error does not name the image: {error:?}"
    );
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something was written"
    );
    Ok(())
}

async fn unreachable_registry_stops_up(t: &Fixture) -> Verdict {
    // Nobody listens on the first port of a machine's own address.
    let kinds = [
        ErrorKind::Unavailable,
        ErrorKind::NotFound,
        ErrorKind::Timeout,
    ];
    refused_for_its_image(t, "127.0.0.1:1/unmoor-conformance/none:1", &kinds).await
}
