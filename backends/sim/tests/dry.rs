//! A dry run sends nothing: a backend that notes every call which is no read, under every verb.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unmoor_core::apply::RunOptions;
use unmoor_core::backend::wrap::{Operation, Policy, Wrapped};
use unmoor_core::backend::{ExecOptions, ImageInput, Images, Ownership, Until};
use unmoor_core::client::{DownOptions, StoredPlan, UpOptions};
use unmoor_core::image::ImageRef;
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, BlobName, ReplicaId, ServiceName, StackName, VolumeName};
use unmoor_core::signal::Signal;
use unmoor_core::spec::{
    Blob, BlobGrant, BlobKind, BlobSource, Link, Mount, SecretBytes, Service, Stack, Volume,
};
use unmoor_core::{Client, Error, Result};
use unmoor_sim::{MARKER, Sim, VirtualClock, drive};

/// Notes what is no read.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Policy for Recorder {
    fn before(&self, operation: &Operation<'_>) -> Result<()> {
        if !operation.is_read() {
            let mut noted = self.0.lock().expect("no panic");
            noted.push(operation.to_string());
        }
        Ok(())
    }
}

fn name() -> StackName {
    StackName::parse("s").expect("valid")
}

fn named(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("valid")
}

fn image(tag: &str) -> ImageRef {
    format!("probe:{tag}").parse().expect("valid")
}

fn rootfs(folder: &Path) -> ImageInput {
    let program = folder.join("probe");
    std::fs::write(&program, MARKER).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("made executable");
    ImageInput::Rootfs {
        path: folder.to_owned(),
        reference: image("1"),
        changes: Vec::new(),
    }
}

fn serving() -> Service {
    Service::new(image("1")).entrypoint(["/probe", "serve", "--tcp", "80"])
}

/// One of everything that a plan can be about.
fn stack(version: &str) -> Stack {
    let data = VolumeName::parse("data").expect("valid");
    let key = BlobName::parse("key").expect("valid");
    let mut with_key = serving();
    let grant = BlobGrant::new(BlobKind::Secret, key.clone());
    with_key.secrets.push(grant);
    let mut stack = Stack::new(name())
        .volume(data.clone(), Volume::default())
        .service(named("web"), serving().env("V", version).replicas(2))
        .service(
            named("db"),
            serving()
                .env("V", version)
                .mount(Mount::volume(data, "/data")),
        )
        .service(named("key"), with_key.env("V", version));
    let source = BlobSource::Inline(SecretBytes::new(version));
    stack.secrets.insert(key, Blob { source });
    stack
}

/// Verbs about the whole stack.
async fn whole(client: &Client, verb: &str, stored: &StoredPlan) -> Result<()> {
    let options = UpOptions::new().wait(Duration::from_secs(60));
    match verb {
        "plan" => client.plan(&stack("2"), &options).await.map(drop),
        "up" => client.up(&stack("2"), &options).await.map(drop),
        "up of less" => {
            let mut less = stack("1");
            less.services.remove(&named("web"));
            let options = options.remove_orphans(true);
            client.up(&less, &options).await.map(drop)
        }
        "apply" => {
            let planned = client.recall(stored, &|_| {}).await?;
            client.apply(&planned, &options).await.map(drop)
        }
        "down" => {
            let options = DownOptions::new().volumes(true);
            client.down(&name(), &options).await.map(drop)
        }
        other => panic!("no verb `{other}`"),
    }
}

/// Verbs about one service.
async fn single(client: &Client, verb: &str) -> Result<()> {
    let (web, options) = (named("web"), UpOptions::new());
    let report = match verb {
        "scale" => client.scale(&name(), &web, 5, &options).await?,
        "update" => {
            let change = |service: Service| service.env("V", "3");
            client.update(&name(), &web, change).await?
        }
        "rollback" => client.rollback(&name(), &web, &options).await?,
        "link" => {
            let link = Link::to(named("db")).alias(Alias::parse("store")?);
            client.link(&name(), &web, link).await?
        }
        "unlink" => client.unlink(&name(), &web, &Alias::parse("made")?).await?,
        "remove" => client.remove(&name(), &web).await?,
        "spawn" => {
            let spawned = client.in_stack(name()).spawn("new", serving()).await?;
            return spawned.wait_ready(Duration::from_secs(60)).await;
        }
        other => panic!("no verb `{other}`"),
    };
    assert!(report.changed > 0, "`{verb}` found nothing to do");
    Ok(())
}

/// Verbs about replicas.
async fn replicas(client: &Client, verb: &str, one: &ReplicaId) -> Result<()> {
    let (web, run) = (Selector::replica(one), RunOptions::default());
    match verb {
        "stop" => client.stop(&web, None, run).await.map(drop),
        "restart" => client.restart(&web, None, run).await.map(drop),
        "start" => client.start(&web, run).await.map(drop),
        "kill" => client.signal(&web, Signal::KILL, run).await.map(drop),
        "pause" => client.pause(&web, run).await.map(drop),
        "unpause" => client.resume(&web, run).await.map(drop),
        "rm" => client.remove_ended(&web, run).await.map(drop),
        "wait" => {
            let patience = Duration::from_secs(60);
            client
                .wait(&name(), &named("web"), Until::Ready, patience)
                .await
        }
        "exec" => refused(client.exec(one, &ExecOptions::new(["/probe", "id"])).await),
        "attach" => refused(client.attach(one).await),
        "cp" => {
            let nothing = Box::pin(futures_util::stream::empty());
            refused(
                client
                    .write_files(one, "/", nothing, Ownership::default())
                    .await,
            )
        }
        other => panic!("no verb `{other}`"),
    }
}

/// Verbs about images.
async fn images(client: &Client, verb: &str, folder: &Path) -> Result<()> {
    let images = client.images()?;
    match verb {
        "load" => refused(images.load(&rootfs(folder), true).await),
        "push" => refused(images.push(&image("1"), &|_| {}).await),
        "image rm" => refused(images.remove(&image("1")).await),
        other => panic!("no verb `{other}`"),
    }
}

/// What cannot be done in memory must say so.
fn refused<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => panic!("it was done"),
        Err(error) if error.kind() == unmoor_core::ErrorKind::Unsupported => Ok(()),
        Err(error) => Err(error),
    }
}

const WHOLE: [&str; 5] = ["plan", "up", "up of less", "apply", "down"];
const SINGLE: [&str; 7] = [
    "scale", "update", "rollback", "link", "unlink", "remove", "spawn",
];
const REPLICAS: [&str; 11] = [
    "stop", "restart", "start", "kill", "pause", "unpause", "rm", "wait", "exec", "attach", "cp",
];
const IMAGES: [&str; 3] = ["load", "push", "image rm"];

#[test]
fn a_dry_run_of_every_verb_sends_nothing() {
    let clock = VirtualClock::manual();
    let sim = Sim::builder().clock(Arc::new(clock.clone())).build();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let outcome: Result<(), Error> = drive(&clock, async {
        Images::load(&sim, &rootfs(folder.path()), false).await?;
        let recorder = Recorder::default();
        let noted = Wrapped::new(sim.backend(), recorder.clone(), sim.clock());
        let client = Client::with_clock(Arc::new(noted), sim.clock());
        client.up(&stack("1"), &UpOptions::new()).await?;
        let link = Link::to(named("db")).alias(Alias::parse("made")?);
        client.link(&name(), &named("web"), link).await?;
        let change = |service: Service| service.env("V", "1a");
        client.update(&name(), &named("web"), change).await?;
        let wanted = stack("2");
        let mut stored = client
            .plan(&wanted, &UpOptions::new())
            .await?
            .store(&client);
        stored.supply(&wanted);
        assert!(recorder.take().len() > 10, "what is done is not noted");
        let replica = sim.glance(&name()).into_iter();
        let one = replica
            .map(|seen| seen.id)
            .find(|id| id.service == named("web"));
        let one = one.expect("it runs");
        let before = sim.version();
        let check = |verb: &str| {
            assert_eq!(recorder.take(), [""; 0], "sent by a dry run of `{verb}`");
            assert_eq!(sim.version(), before, "`{verb}` changed something");
        };
        // A client each: what one would have done is not there for the next.
        for verb in WHOLE {
            whole(&client.dry_run(), verb, &stored).await?;
            check(verb);
        }
        for verb in SINGLE {
            single(&client.dry_run(), verb).await?;
            check(verb);
        }
        for verb in REPLICAS {
            replicas(&client.dry_run(), verb, &one).await?;
            check(verb);
        }
        for verb in IMAGES {
            images(&client.dry_run(), verb, folder.path()).await?;
            check(verb);
        }
        Ok(())
    });
    outcome.expect("every verb goes the whole way");
}
