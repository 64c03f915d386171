//! A platform that hangs at any call never hangs its caller: each is given up after its time, with
//! an error that says what was waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use unmoor_core::apply::{Report, RunOptions};
use unmoor_core::backend::wrap::Deadlines;
use unmoor_core::backend::{ExecOptions, ImageInput, Images, LogOptions};
use unmoor_core::client::{DownOptions, UpOptions};
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, ReplicaId, ServiceName, StackName, VolumeName};
use unmoor_core::signal::Signal;
use unmoor_core::spec::{
    Blob, BlobGrant, BlobKind, BlobSource, Link, Mount, PullPolicy, SecretBytes, Service, Stack,
    Volume,
};
use unmoor_core::{Client, ErrorKind, Result};
use unmoor_sim::{Call, Effect, Fault, Gate, MARKER, Sim, VirtualClock, drive};

/// What a caller allows each call in these worlds.
const LIMIT: Duration = Duration::from_secs(7);
/// What a service may take to end.
const GRACE: Duration = Duration::from_secs(20);

fn named(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("valid")
}

fn stack_name() -> StackName {
    StackName::parse("s").expect("valid")
}

fn replica() -> ReplicaId {
    ReplicaId::new(stack_name(), named("web"), 1)
}

/// A stack with something of everything.
fn stack(version: &str) -> Stack {
    let data = VolumeName::parse("data").expect("valid");
    let mut web = Service::new("probe:1".parse().expect("valid"))
        .entrypoint(["/probe", "serve", "--tcp", "80"])
        .env("VERSION", version)
        .mount(Mount::volume(data.clone(), "/data"));
    web.stop.grace = Some(GRACE);
    web.secrets.push(BlobGrant::new(
        BlobKind::Secret,
        "key".parse().expect("valid"),
    ));
    let db = Service::new("probe:1".parse().expect("valid"))
        .entrypoint(["/probe", "serve", "--tcp", "80"])
        .replicas(2)
        .env("VERSION", version);
    let mut stack = Stack::new(stack_name())
        .volume(data, Volume::default())
        .service(named("web"), web)
        .service(named("db"), db);
    let key = SecretBytes::new("secret");
    stack.secrets.insert(
        "key".parse().expect("valid"),
        Blob {
            source: BlobSource::Inline(key),
        },
    );
    stack
}

/// A world of virtual time with the probe's image, and a client of it.
async fn prepared(sim: &Sim) -> Client {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("probe");
    std::fs::write(&program, MARKER).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("made executable");
    let input = ImageInput::Rootfs {
        path: folder.path().to_owned(),
        reference: "probe:1".parse().expect("valid"),
        changes: Vec::new(),
    };
    Images::load(sim, &input, false).await.expect("loaded");
    Client::with_clock(sim.backend(), sim.clock()).with_deadlines(Deadlines::all(LIMIT))
}

fn run() -> RunOptions<'static> {
    let mut run = RunOptions::default();
    run.deadline = Some(LIMIT);
    run
}

fn up() -> UpOptions<'static> {
    let mut options = UpOptions::new().remove_orphans(true).wait(LIMIT);
    options.run = run();
    options
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;
/// What is asked for; the stack is up before it.
type Ask = for<'a> fn(&'a Client) -> Asked<'a>;

fn done(report: Result<Report>) -> Result<()> {
    report.map(drop)
}

/// Every operation that reaches a platform, and what is waited for when it hangs.
const OPERATIONS: &[(Call, &str, Ask)] = &[
    (Call::Observe, "observe", |c| {
        Box::pin(async { c.observe(&Selector::all()).await.map(drop) })
    }),
    (Call::Observe, "probe", |c| {
        Box::pin(async { c.probe().await.map(drop) })
    }),
    (Call::Endpoints, "list endpoints", |c| {
        Box::pin(async { c.discover(&Selector::all()).await.map(drop) })
    }),
    (Call::Watch, "watch endpoints", |c| {
        Box::pin(async { c.watch(&Selector::all()).await.map(drop) })
    }),
    (Call::Watch, "watch replicas", |c| {
        Box::pin(async { c.events(&Selector::all()).await.map(drop) })
    }),
    (Call::Logs, "read logs", |c| Box::pin(read_logs(c))),
    (Call::Piece, "log line", |c| Box::pin(read_logs(c))),
    (Call::Exec, "exec in s-web-1", |c| {
        Box::pin(async {
            let options = ExecOptions::new(["/probe", "say", "x"]);
            c.exec(&replica(), &options).await.map(drop)
        })
    }),
    (Call::Inside, "attach", |c| {
        Box::pin(async { c.attach(&replica()).await.map(drop) })
    }),
    (Call::Inside, "signal", |c| {
        Box::pin(async {
            let to = Selector::replica(&replica());
            done(c.signal(&to, Signal::TERM, run()).await)
        })
    }),
    (Call::Inside, "read statistics", |c| {
        Box::pin(async { c.usage(&Selector::all()).await.map(drop) })
    }),
    (Call::Inside, "list processes", |c| {
        Box::pin(async { c.processes(&replica()).await.map(drop) })
    }),
    (Call::Inside, "read files", |c| Box::pin(read_file(c))),
    (Call::Piece, "piece of a file", |c| Box::pin(read_file(c))),
    (Call::Resolve, "resolve image", |c| {
        Box::pin(async {
            let image = "probe:1".parse().expect("valid");
            let images = c.images()?;
            let found = images.resolve(&image, None, PullPolicy::Missing, &|_| {});
            found.await.map(drop)
        })
    }),
    (Call::Images, "load image", |c| {
        Box::pin(async {
            let input = ImageInput::Archive("/nowhere".into());
            c.images()?.load(&input, false).await.map(drop)
        })
    }),
    (Call::Images, "list images", |c| {
        Box::pin(async { c.images()?.list().await.map(drop) })
    }),
    (Call::Images, "remove image", |c| {
        Box::pin(async {
            let image = "probe:1".parse().expect("valid");
            c.images()?.remove(&image).await
        })
    }),
    (Call::State, "load record", |c| {
        Box::pin(async { c.record(&stack_name()).await.map(drop) })
    }),
    (Call::Lock, "list stacks", |c| {
        Box::pin(async { c.stacks().await.map(drop) })
    }),
    (Call::Lock, "lock", |c| {
        Box::pin(async { done(c.up(&stack("1"), &up()).await) })
    }),
    (Call::State, "store record", |c| {
        Box::pin(async { done(c.up(&stack("2"), &up()).await) })
    }),
    (Call::State, "remove record", |c| Box::pin(down(c))),
    (Call::Apply, "start replica s-db", |c| {
        Box::pin(async { done(c.up(&stack("2"), &up()).await) })
    }),
    (Call::Apply, "drain replica s-db", |c| {
        Box::pin(async { done(c.up(&stack("2"), &up()).await) })
    }),
    (Call::Apply, "declare service web", |c| {
        Box::pin(async { done(c.up(&stack("2"), &up()).await) })
    }),
    (Call::Apply, "create volume more", |c| {
        Box::pin(async {
            let more = VolumeName::parse("more").expect("valid");
            let stack = stack("1").volume(more, Volume::default());
            done(c.up(&stack, &up()).await)
        })
    }),
    (Call::Apply, "create network other", |c| {
        Box::pin(async {
            let other: unmoor_core::name::NetworkName = "other".parse().expect("valid");
            let mut stack = stack("1").network(other.clone(), Default::default());
            let web = stack.services.get_mut(&named("web")).expect("there");
            web.networks.insert(other, Default::default());
            done(c.up(&stack, &up()).await)
        })
    }),
    (Call::Apply, "create secret key", |c| {
        Box::pin(async {
            let mut stack = stack("1");
            let key = Blob {
                source: BlobSource::Inline(SecretBytes::new("other")),
            };
            stack.secrets.insert("key".parse().expect("valid"), key);
            done(c.up(&stack, &up()).await)
        })
    }),
    (Call::Apply, "declare service db", |c| {
        Box::pin(async {
            let link = Link::to(named("web")).alias(Alias::parse("w").expect("valid"));
            done(c.link(&stack_name(), &named("db"), link).await)
        })
    }),
    (Call::Apply, "stop replica s-web-1", |c| {
        Box::pin(async { done(c.stop(&Selector::all(), None, run()).await) })
    }),
    (Call::Apply, "restart replica s-web-1", |c| {
        Box::pin(async { done(c.restart(&Selector::all(), None, run()).await) })
    }),
    (Call::Apply, "pause replica s-web-1", |c| {
        Box::pin(async { done(c.pause(&Selector::all(), run()).await) })
    }),
    (Call::Apply, "remove replica s-web-1", |c| Box::pin(down(c))),
    (Call::Apply, "remove service web", |c| Box::pin(down(c))),
    (Call::Apply, "remove network default", |c| Box::pin(down(c))),
    (Call::Apply, "remove secret key", |c| Box::pin(down(c))),
    (Call::Apply, "remove volume data", |c| Box::pin(down(c))),
];

async fn read_logs(client: &Client) -> Result<()> {
    let options = LogOptions::new();
    let mut lines = client.logs(&Selector::all(), &options).await?;
    while let Some(line) = lines.next().await {
        line?;
    }
    Ok(())
}

async fn read_file(client: &Client) -> Result<()> {
    let mut pieces = client.read_files(&replica(), "/data").await?;
    while let Some(piece) = pieces.next().await {
        piece?;
    }
    Ok(())
}

async fn down(client: &Client) -> Result<()> {
    let mut options = DownOptions::new().volumes(true);
    options.run = run();
    done(client.down(&stack_name(), &options).await)
}

/// Asks where every such call hangs, before its effect or after it.
fn asked(call: Call, part: &str, ask: Ask, effect: fn(Gate) -> Effect) {
    let clock = VirtualClock::manual();
    let sim = Sim::builder().clock(Arc::new(clock.clone())).build();
    drive(&clock, async {
        let client = prepared(&sim).await;
        client.up(&stack("1"), &up()).await.expect("it comes up");
        let gate = Gate::new();
        let fault = Fault::on(call, effect(gate)).matching(part).times(u64::MAX);
        sim.faults().inject(fault);
        let before = sim.time();
        let error = ask(&client).await.expect_err(part);
        assert_eq!(error.kind(), ErrorKind::Timeout, "{part}: {error:?}");
        assert!(error.message().contains("took longer than"), "{error:?}");
        // A few calls at most stand behind one request, and one of them hangs.
        let took = sim.time() - before;
        let most = LIMIT * 2 + GRACE * 2;
        assert!(took >= LIMIT && took <= most, "{part} took {took:?}");
        sim.faults().clear();
        // What was frozen, if it was.
        let _ = client.resume(&Selector::all(), run()).await;
        // The lock is let go, and the next call gets there.
        client
            .up(&stack("1"), &up())
            .await
            .expect("it comes up again");
    });
}

#[test]
fn a_call_that_hangs_before_its_effect_is_given_up() {
    for (call, part, ask) in OPERATIONS {
        asked(*call, part, *ask, Effect::HangBefore);
    }
}

#[test]
fn a_call_that_hangs_after_its_effect_is_given_up() {
    for (call, part, ask) in OPERATIONS {
        // These two hang in a stream, which has no effect.
        if *call != Call::Piece {
            asked(*call, part, *ask, Effect::HangAfter);
        }
    }
}
