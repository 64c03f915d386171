//! Side-by-side measurements: every round runs each contestant once, in alternating order, so that
//! the machine's mood falls on all of them alike. Medians and ratios are printed, nothing is judged.

mod contest;
mod discover;
mod local;
mod memory;
mod planner;
mod profile;
mod trace;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use contest::{Peer, Row, load, order, table};
use local::{Bench, SETTLED, Way};
use memory::{Memory, processes};
use unmoor::{Error, ErrorKind};

/// Measures the local runtime beside named peers.
#[derive(Debug, Parser)]
struct Args {
    /// Directory with `bin/true` and `bin/sleep`, both static; `plan` needs none.
    #[arg(long)]
    rootfs: Option<PathBuf>,
    /// State directory; default: a new one under the temporary directory.
    #[arg(long)]
    root: Option<PathBuf>,
    /// A peer as NAME=COMMAND; the command runs by `sh -c` with `exec`. Repeatable.
    #[arg(long = "peer")]
    peers: Vec<String>,
    /// What removes a peer's leavings after each run, untimed, as NAME=COMMAND. Repeatable.
    #[arg(long)]
    after: Vec<String>,
    /// The processes that supervise a peer's containers, as NAME=COMM. Repeatable.
    #[arg(long)]
    process: Vec<String>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Start to exit of `/bin/true`.
    True {
        /// Rounds.
        #[arg(short, long, default_value_t = 20)]
        rounds: usize,
        /// Pause before each start, in milliseconds.
        #[arg(short, long, default_value_t = 0)]
        gap: u64,
    },
    /// Many replicas at once; a peer starts as many by one command.
    Many {
        /// How many replicas.
        #[arg(default_value_t = 50)]
        count: u32,
        /// Rounds.
        #[arg(short, long, default_value_t = 3)]
        rounds: usize,
    },
    /// Memory of the processes beside idle replicas; a peer starts as many by one command.
    Idle {
        /// How many replicas.
        #[arg(default_value_t = 20)]
        count: u32,
    },
    /// Many services of one replica each on one network.
    Services {
        /// How many services.
        #[arg(default_value_t = 200)]
        count: u32,
        /// Rounds.
        #[arg(short, long, default_value_t = 1)]
        rounds: usize,
    },
    /// Lookups in a directory, and the time from a change to those who watch.
    Discover {
        /// How many services.
        #[arg(default_value_t = 20)]
        services: u32,
        /// Changes.
        #[arg(short, long, default_value_t = 200)]
        rounds: usize,
    },
    /// One measurement for each line of the input, so that two builds can take turns: `none` and
    /// `network` answer the milliseconds of start to exit and of the removal; `many COUNT` and
    /// `services COUNT` those of up and down.
    Turns,
    /// Plans of a stack: of nothing there, of all there, of one service changed.
    Plan {
        /// How many services.
        #[arg(default_value_t = 10_000)]
        services: usize,
        /// Rounds.
        #[arg(short, long, default_value_t = 20)]
        rounds: usize,
        /// A Compose file in the place of a made-up stack.
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
    /// Where the time of a start to exit goes, by the kernel's own trace.
    Profile {
        /// Rounds.
        #[arg(short, long, default_value_t = 20)]
        rounds: usize,
        /// Pause before each start, in milliseconds.
        #[arg(short, long, default_value_t = 100)]
        gap: u64,
    },
}

#[tokio::main]
async fn main() -> unmoor::Result<()> {
    let args = Args::parse();
    if let What::Plan {
        services,
        rounds,
        file,
    } = &args.what
    {
        let before = load();
        print!("{}", planner::run(*services, *rounds, file.as_deref())?);
        println!("load {before} before, {} after", load());
        return Ok(());
    }
    let Some(rootfs) = &args.rootfs else {
        let text = "--rootfs is missing";
        return Err(Error::new(ErrorKind::InvalidSpec, text));
    };
    let peers = Peer::all(&args.peers, &args.after, &args.process)?;
    let bench = Bench::open(args.root.as_deref(), rootfs).await?;
    let before = load();
    match args.what {
        What::True { rounds, gap } => {
            let rows = starts(&bench, &peers, rounds, Duration::from_millis(gap)).await?;
            print!("{}", table(&rows));
        }
        What::Many { count, rounds } => {
            for rows in many(&bench, &peers, count, rounds).await? {
                print!("{}", table(&rows));
            }
        }
        What::Idle { count } => idle(&bench, &peers, count).await?,
        What::Services { count, rounds } => {
            let rows = [
                format!("{count} services up"),
                format!("{count} services down"),
            ];
            let mut rows = rows.map(|name| Row::new(&name));
            for _ in 0..rounds {
                let (up, down) = bench.services(count).await?;
                rows[0].add(up);
                rows[1].add(down);
            }
            print!("{}", table(&rows));
        }
        What::Discover { services, rounds } => {
            print!("{}", discover::run(&bench, services, rounds).await?);
            print!("{}", discover::cost(&bench, rounds, services).await?);
        }
        What::Turns => turns(&bench).await?,
        // Done above: it touches nothing.
        What::Plan { .. } => {}
        What::Profile { rounds, gap } => {
            let gap = Duration::from_millis(gap);
            for way in Way::ALL {
                print!("{}", profile::run(&bench, way, rounds, gap).await?);
            }
        }
    }
    println!("load {before} before, {} after", load());
    bench.close().await
}

/// Measures what it is asked for, line by line.
async fn turns(bench: &Bench) -> unmoor::Result<()> {
    for line in std::io::stdin().lines() {
        let failed = |error| Error::new(ErrorKind::Internal, "read what to do").because(error);
        let line = line.map_err(failed)?;
        let (what, count) = line.split_once(' ').unwrap_or((&line, "50"));
        let count = count.parse().unwrap_or(50);
        let (first, second) = match what {
            "none" => bench.run_true(Way::NoNetwork).await?,
            "network" => bench.run_true(Way::Network).await?,
            "many" => bench.many(Way::Network, count).await?,
            "services" => bench.services(count).await?,
            _ => {
                let text = format!("`{line}` is nothing to measure");
                return Err(Error::new(ErrorKind::InvalidSpec, text));
            }
        };
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{:.3} {:.3}", ms(first), ms(second));
    }
    Ok(())
}

/// Start to exit and removal, every contestant once a round.
async fn starts(
    bench: &Bench,
    peers: &[Peer],
    rounds: usize,
    gap: Duration,
) -> unmoor::Result<Vec<Row>> {
    let mut rows: Vec<Row> = Way::ALL.iter().map(|way| Row::new(way.name())).collect();
    let removed = |way: &Way| Row::new(&format!("{}: its removal", way.name()));
    let mut removals: Vec<Row> = Way::ALL.iter().map(removed).collect();
    rows.extend(peers.iter().map(|peer| Row::new(&peer.name)));
    for round in 0..rounds {
        for index in order(round, rows.len()) {
            tokio::time::sleep(gap).await;
            let time = match Way::ALL.get(index) {
                Some(way) => {
                    let (time, removal) = bench.run_true(*way).await?;
                    removals[index].add(removal);
                    time
                }
                None => {
                    let peer = &peers[index - Way::ALL.len()];
                    let time = peer.run()?;
                    peer.clean()?;
                    time
                }
            };
            rows[index].add(time);
        }
    }
    rows.extend(removals);
    Ok(rows)
}

/// Many at once, every contestant once a round: a table of starts, and one of our own ends.
async fn many(
    bench: &Bench,
    peers: &[Peer],
    count: u32,
    rounds: usize,
) -> unmoor::Result<[Vec<Row>; 2]> {
    let name = |way: &Way, what: &str| Row::new(&format!("{}: {count} {what}", way.name()));
    let mut up: Vec<Row> = Way::ALL.iter().map(|way| name(way, "up")).collect();
    let mut down: Vec<Row> = Way::ALL.iter().map(|way| name(way, "down")).collect();
    up.extend(peers.iter().map(|peer| Row::new(&peer.name)));
    for round in 0..rounds {
        for index in order(round, up.len()) {
            match Way::ALL.get(index) {
                Some(way) => {
                    let (started, ended) = bench.many(*way, count).await?;
                    up[index].add(started);
                    down[index].add(ended);
                }
                None => {
                    let peer = &peers[index - Way::ALL.len()];
                    up[index].add(peer.run()?);
                    peer.clean()?;
                }
            }
        }
    }
    Ok([up, down])
}

/// Memory beside idle replicas, one contestant after the other.
async fn idle(bench: &Bench, peers: &[Peer], count: u32) -> unmoor::Result<()> {
    for way in Way::ALL {
        let memory = bench.idle(way, count).await?;
        println!("{}", memory.line(way.name(), count));
    }
    for peer in peers {
        let Some(process) = &peer.process else {
            continue;
        };
        let others = processes(process, "");
        peer.run()?;
        tokio::time::sleep(SETTLED).await;
        let memory = Memory::of(&(&processes(process, "") - &others));
        println!("{}", memory.line(&peer.name, count));
        peer.clean()?;
    }
    Ok(())
}
