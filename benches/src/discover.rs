//! Discovery as an application meets it: lookups in a directory, and how soon a change is told.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use unmoor::apply::RunOptions;
use unmoor::backend::Stream;
use unmoor::client::{DownOptions, UpOptions};
use unmoor::discover::{Directory, EndpointEvent};
use unmoor::label::Selector;
use unmoor::name::{ServiceName, StackName};
use unmoor::signal::Signal;
use unmoor::spec::{RestartPolicy, Stack};
use unmoor::{Client, Error, ErrorKind, Result};

use crate::contest::{Row, order, table};
use crate::local::{Bench, Way};

/// Lookups that are timed together: a clock is slower than a lookup.
const BATCH: u32 = 1_000;
/// How many batches.
const BATCHES: usize = 2_000;
/// What is killed and started again.
const TARGET: &str = "s1";

/// Starts with and without discovery inside, in turns, and what its shims hold when idle.
pub(crate) async fn cost(bench: &Bench, rounds: usize, idle: u32) -> Result<String> {
    let ways = [Way::Network, Way::Unasked];
    for way in ways {
        // A start is measured, not the making of its network.
        bench.run_true(way).await?;
    }
    let mut rows = ways.map(|way| Row::new(way.name()));
    for round in 0..rounds {
        for at in order(round, ways.len()) {
            let (time, _) = bench.run_true(ways[at]).await?;
            rows[at].add(time);
        }
    }
    let mut text = table(&rows);
    for way in ways {
        let memory = bench.idle(way, idle).await?;
        text += &format!("{}\n", memory.line(way.name(), idle));
    }
    Ok(text)
}

/// The value below which this part of the sorted times is.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list of some thousands"
    )]
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn line(name: &str, unit: &str, mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let [median, p99, most] = [0.5, 0.99, 1.0].map(|part| percentile(&times, part));
    let count = times.len();
    format!("| {name} | {median:.2} | {p99:.2} | {most:.2} | {unit}, {count} times |\n")
}

/// Measures with so many services of one replica each.
pub(crate) async fn run(bench: &Bench, services: u32, rounds: usize) -> Result<String> {
    let stack = StackName::parse("bench-discover")?;
    let mut wanted = Stack::new(stack.clone());
    for number in 1..=services.max(1) {
        let mut service = Bench::idle_service()?;
        service.restart = RestartPolicy::No;
        wanted = wanted.service(ServiceName::parse(format!("s{number}"))?, service);
    }
    let client = bench.client();
    client.up(&wanted, &UpOptions::new()).await?;
    let directory = client.directory(&Selector::stack(stack.clone())).await?;
    let mut text = String::from("| | median | p99 | most | |\n|---|---|---|---|---|\n");
    let names: Vec<ServiceName> = wanted.services.keys().cloned().collect();
    let found = lookups(&directory, &stack, &names);
    text += &line("lookup in a directory", "ns, mean of 1,000", found);
    let (watched, held) = changes(client, &directory, &stack, rounds).await?;
    text += &line("kill asked for, until a watch tells", "ms", watched);
    text += &line("the same, until a directory has it", "ms", held);
    client.down(&stack, &DownOptions::new()).await?;
    Ok(text)
}

fn lookups(directory: &Directory, stack: &StackName, names: &[ServiceName]) -> Vec<f64> {
    let mut times = Vec::with_capacity(BATCHES);
    let mut names = names.iter().cycle();
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..BATCH {
            let name = names.next().expect("there is a service");
            black_box(directory.lookup(black_box(stack), black_box(name)));
        }
        times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
    }
    times
}

async fn changes(
    client: &Client,
    directory: &Directory,
    stack: &StackName,
    rounds: usize,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let name = ServiceName::parse(TARGET)?;
    let selector = Selector::service(stack.clone(), name.clone());
    let mut events = client.watch(&selector).await?;
    let (mut watched, mut held) = (Vec::new(), Vec::new());
    until(&mut events, true).await?;
    for _ in 0..rounds {
        let start = Instant::now();
        let since = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
        let kill = client.signal(&selector, Signal::KILL, RunOptions::default());
        let told = async { until(&mut events, false).await.map(|()| since(start)) };
        let kept = async {
            until_held(directory, stack, &name, false).await;
            since(start)
        };
        let (killed, told, kept) = tokio::join!(kill, told, kept);
        killed?;
        watched.push(told?);
        held.push(kept);
        client.start(&selector, RunOptions::default()).await?;
        until(&mut events, true).await?;
        until_held(directory, stack, &name, true).await;
        // What the start has left to do is not what is measured next.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((watched, held))
}

/// Reads events until the replica is ready, or is not.
async fn until(events: &mut Stream<EndpointEvent>, ready: bool) -> Result<()> {
    let of_replica = |e: &unmoor::discover::Endpoint| e.replica.is_some() && e.weight > 0;
    while let Some(event) = events.next().await {
        let now = match event? {
            EndpointEvent::Resync { endpoints, .. } => endpoints.iter().any(of_replica),
            EndpointEvent::Added { endpoint, .. } | EndpointEvent::Changed { endpoint, .. }
                if endpoint.replica.is_some() =>
            {
                of_replica(&endpoint)
            }
            EndpointEvent::Removed { endpoint, .. } if endpoint.replica.is_some() => false,
            _ => continue,
        };
        if now == ready {
            return Ok(());
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the watch has ended"))
}

async fn until_held(directory: &Directory, stack: &StackName, name: &ServiceName, ready: bool) {
    let mut view = directory.view();
    loop {
        let list = view.lookup(stack, name);
        if list.iter().any(|e| e.replica.is_some() && e.weight > 0) == ready {
            return;
        }
        view = directory.changed(view.cursor()).await;
    }
}
