//! Side-by-side measurements: every round runs each contestant once, in alternating order, so that
//! the machine's mood falls on all of them alike. Medians and ratios are printed, nothing is judged.

mod contest;
mod local;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use contest::{Contestant, table};
use local::Bench;

/// Measures the local runtime beside named peers.
#[derive(Debug, Parser)]
struct Args {
    /// Directory with `bin/true` and `bin/sleep`, both static.
    #[arg(long)]
    rootfs: PathBuf,
    /// State directory; default: a new one under the temporary directory.
    #[arg(long)]
    root: Option<PathBuf>,
    /// A peer as NAME=COMMAND; the command runs by `sh -c` with `exec`. Repeatable.
    #[arg(long = "peer")]
    peers: Vec<String>,
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
    /// Many replicas at once; peers start theirs by one command.
    Many {
        /// How many replicas.
        #[arg(default_value_t = 50)]
        count: u32,
    },
    /// Private memory of the processes beside idle replicas.
    Idle {
        /// How many replicas.
        #[arg(default_value_t = 20)]
        count: u32,
    },
}

#[tokio::main]
async fn main() -> unmoor::Result<()> {
    let args = Args::parse();
    let bench = Bench::open(args.root.as_deref(), &args.rootfs).await?;
    let mut peers: Vec<Contestant> = Vec::new();
    for peer in &args.peers {
        peers.push(Contestant::parse(peer)?);
    }
    match args.what {
        What::True { rounds, gap } => {
            let gap = Duration::from_millis(gap);
            let rows = contest::rounds(&bench, &peers, rounds, gap).await?;
            print!("{}", table(&rows));
        }
        What::Many { count } => {
            for (name, time) in bench.many(count).await? {
                println!("{name:40} {:9.1} ms", time.as_secs_f64() * 1e3);
            }
            for peer in &peers {
                let time = peer.run()?;
                println!("{:40} {:9.1} ms", peer.name, time.as_secs_f64() * 1e3);
            }
        }
        What::Idle { count } => println!("{}", bench.idle(count).await?),
    }
    bench.close().await
}
