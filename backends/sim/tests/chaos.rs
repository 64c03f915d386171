//! The client over a world in which calls fail, answers get lost and callers give up: whatever
//! happened, the next undisturbed `up` reaches what is wanted, and `down` leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use unmoor_core::backend::{ImageInput, Images};
use unmoor_core::client::{DownOptions, UpOptions};
use unmoor_core::label::Selector;
use unmoor_core::name::{ServiceName, StackName, VolumeName};
use unmoor_core::spec::{Dependency, Mount, Service, Stack, Volume};
use unmoor_core::{Client, Error};
use unmoor_sim::{MARKER, Sim, VirtualClock, drive};

/// How many runs there are, unless `UNMOOR_SEEDS` says otherwise; `UNMOOR_SEED_FROM` is the first.
const SEEDS: u64 = 400;

/// SplitMix64, as the world's own.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn named(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("valid")
}

/// A stack whose counts and contents depend on the draw.
fn stack(rng: &mut Rng) -> Stack {
    let data = VolumeName::parse("data").expect("valid");
    let mut stack =
        Stack::new(StackName::parse("s").expect("valid")).volume(data.clone(), Volume::default());
    let version = rng.below(4);
    for (number, name) in ["a", "b", "c", "d"].iter().enumerate() {
        if number > 1 && rng.below(4) == 0 {
            continue;
        }
        let image = "probe:1".parse().expect("valid");
        let count = u32::try_from(1 + rng.below(3)).expect("small");
        let mut service = Service::new(image)
            .entrypoint(["/probe", "serve", "--tcp", "80"])
            .env("VERSION", (version + rng.below(2)).to_string())
            .replicas(count);
        if number == 0 {
            service = service.mount(Mount::volume(data.clone(), "/data"));
        } else {
            service = service.after(named("a"), Dependency::default());
        }
        stack = stack.service(named(name), service);
    }
    stack
}

async fn prepare(sim: &Sim) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("probe");
    std::fs::write(&program, MARKER).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("made executable");
    let reference = "probe:1".parse().expect("valid");
    let path = folder.path().to_owned();
    let input = ImageInput::Rootfs {
        path,
        reference,
        changes: Vec::new(),
    };
    Images::load(sim, &input, false).await.expect("loaded");
}

/// One disturbed call, which may fail, or be given up after some rounds.
async fn disturbed(client: &Client, stack: &Stack, rng: &mut Rng) {
    let options = UpOptions::new().remove_orphans(rng.below(2) == 0);
    let down = rng.below(6) == 0;
    let volumes = DownOptions::new();
    let rounds = rng.below(60);
    let give_up = rng.below(2) == 0;
    let call = async {
        if down {
            client.down(&stack.name, &volumes).await
        } else {
            client.up(stack, &options).await
        }
    };
    let patience = async {
        for _ in 0..rounds {
            tokio::task::yield_now().await;
        }
        if !give_up {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        // What a disturbed call answers is not claimed; what it leaves behind is.
        _ = call => {}
        () = patience => {}
    }
}

fn check_reached(seen: &unmoor_core::backend::ObservedStack, stack: &Stack, seed: u64) {
    let mut found: BTreeMap<&str, u32> = BTreeMap::new();
    let mut places = BTreeSet::new();
    for replica in &seen.replicas {
        assert!(replica.is_ready(), "seed {seed}: {replica:?}");
        assert!(
            replica.in_discovery,
            "seed {seed}: drained for ever: {replica:?}"
        );
        assert!(
            places.insert(&replica.id),
            "seed {seed}: twice: {}",
            replica.id
        );
        let wanted = seen.services.get(&replica.id.service).map(|s| &s.spec_hash);
        assert_eq!(
            wanted,
            Some(&replica.spec_hash),
            "seed {seed}: outdated {}",
            replica.id
        );
        *found.entry(replica.id.service.as_str()).or_default() += 1;
    }
    let wanted: BTreeMap<&str, u32> = stack
        .services
        .iter()
        .map(|(name, spec)| (name.as_str(), spec.replicas))
        .collect();
    assert_eq!(found, wanted, "seed {seed}: replicas by service");
    assert_eq!(
        seen.services.len(),
        stack.services.len(),
        "seed {seed}: services declared"
    );
}

async fn run(seed: u64, clock: VirtualClock) -> Result<(), Error> {
    let mut rng = Rng(seed);
    let sim = Sim::builder().seed(seed).clock(Arc::new(clock)).build();
    prepare(&sim).await;
    let client = Client::with_clock(sim.backend(), sim.clock());
    sim.faults()
        .random(seed, u32::try_from(rng.below(200)).expect("small"));
    let mut last = stack(&mut rng);
    for _ in 0..1 + rng.below(5) {
        disturbed(&client, &last, &mut rng).await;
        if rng.below(2) == 0 {
            last = stack(&mut rng);
        }
    }
    sim.faults().clear();
    let options = UpOptions::new()
        .remove_orphans(true)
        .wait(Duration::from_secs(60));
    client.up(&last, &options).await?;
    let selector = Selector::stack(last.name.clone());
    let seen = client.observe(&selector).await?.stack(&last.name);
    check_reached(&seen, &last, seed);
    let again = client.up(&last, &options).await?;
    assert_eq!(again.changed, 0, "seed {seed}: a second `up` wrote");
    client
        .down(&last.name, &DownOptions::new().volumes(true))
        .await?;
    let left = client.observe(&selector).await?.stack(&last.name);
    assert!(left.is_empty(), "seed {seed}: left after `down`: {left:?}");
    Ok(())
}

#[test]
fn whatever_happened_the_next_up_gets_there() {
    let setting = |name| {
        let wanted = std::env::var(name);
        wanted.ok().and_then(|text| text.parse::<u64>().ok())
    };
    let from = setting("UNMOOR_SEED_FROM").unwrap_or(0);
    for seed in from..from + setting("UNMOOR_SEEDS").unwrap_or(SEEDS) {
        let clock = VirtualClock::manual();
        if let Err(error) = drive(&clock, run(seed, clock.clone())) {
            panic!("seed {seed}: {error:?}");
        }
    }
}
