//! The process that tries inputs until its time is up, or until one of them ends it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::coverage::Coverage;
use crate::input::Input;
use crate::mutate::mutate;
use crate::random::Random;
use crate::target::Target;

/// As much as a thread of the standard library has, which is what callers of a library have.
const STACK: usize = 2 << 20;
/// More of a corpus is not kept without counters to choose by.
const MOST_UNMEASURED: usize = 4000;

/// What a worker is asked to do.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    pub(crate) runs: u64,
    pub(crate) until: Duration,
    /// Memory beyond what it has at the start, in bytes.
    pub(crate) memory: u64,
    pub(crate) corpus: PathBuf,
    pub(crate) state: PathBuf,
}

/// The last input that was begun, where whoever watches finds it.
#[derive(Debug)]
struct Slate {
    file: File,
    runs: u64,
}

/// How many bytes of a slate come before the text.
pub(crate) const HEADER: usize = 16;

impl Slate {
    fn write(&mut self, input: &Input) {
        self.runs += 1;
        let text = input.to_text();
        let mut bytes = Vec::with_capacity(HEADER + text.len());
        bytes.extend(self.runs.to_le_bytes());
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        self.file
            .write_all_at(&bytes, 0)
            .expect("the slate is ours");
    }
}

/// Tries inputs; gives what it has to tell at the end.
pub(crate) fn work(target: Target, order: &Order) -> String {
    limit_memory(order.memory);
    let order = order.clone();
    let run = move || Worker::new(target, order).run();
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run);
    let ended = thread.expect("a thread").join();
    // Its words stand on the error output already.
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Tries one input as a worker does.
pub(crate) fn once(target: Target, input: Input, memory: u64) {
    limit_memory(memory);
    let run = move || (target.run)(&input);
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run);
    let ended = thread.expect("a thread").join();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn limit_memory(more: u64) {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_default();
    let most = pages * 4096 + more;
    let limit = |most| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::As, limit(most)).expect("a smaller limit is always possible");
    setrlimit(Resource::Core, limit(0)).expect("a smaller limit is always possible");
}

struct Worker {
    target: Target,
    order: Order,
    random: Random,
    coverage: Coverage,
    corpus: Vec<Input>,
    slate: Slate,
    slowest: Duration,
    began: Instant,
}

impl Worker {
    fn new(target: Target, order: Order) -> Self {
        let file = File::create(order.state.join("slate")).expect("the state directory is there");
        Self {
            target,
            random: Random::new(order.seed),
            coverage: Coverage::new(),
            corpus: Vec::new(),
            slate: Slate { file, runs: 0 },
            slowest: Duration::ZERO,
            began: Instant::now(),
            order,
        }
    }

    fn run(mut self) -> String {
        let kept = stored(&self.order.corpus);
        for input in (self.target.seeds)().into_iter().chain(kept) {
            if self.is_over() {
                break;
            }
            let is_new = self.try_one(&input);
            if is_new || !self.coverage.is_there() {
                self.corpus.push(input);
            }
        }
        let words = (self.target.words)();
        while !self.is_over() && !self.corpus.is_empty() {
            let mut input = self.random.pick(&self.corpus).clone();
            let other = self.random.pick(&self.corpus).clone();
            mutate(&mut input, &other, &words, &mut self.random);
            if self.try_one(&input) {
                self.keep(input);
            }
        }
        self.told()
    }

    fn is_over(&self) -> bool {
        self.slate.runs >= self.order.runs || self.began.elapsed() >= self.order.until
    }

    /// Tries an input; true if it took a branch that none before took.
    fn try_one(&mut self, input: &Input) -> bool {
        self.slate.write(input);
        self.coverage.clear();
        let began = Instant::now();
        (self.target.run)(input);
        let took = began.elapsed();
        let new = self.coverage.take();
        if took > self.slowest {
            self.slowest = took;
            let _ = fs::write(self.order.state.join("slowest"), input.to_text());
        }
        new > 0
    }

    fn keep(&mut self, input: Input) {
        if !self.coverage.is_there() && self.corpus.len() >= MOST_UNMEASURED {
            return;
        }
        let name = format!("{:08}-{}", self.order.seed, self.slate.runs);
        let _ = fs::write(self.order.corpus.join(name), input.to_text());
        self.corpus.push(input);
    }

    fn told(&self) -> String {
        let peak = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        format!(
            "corpus {} inputs, {} magnitudes seen at {} branches, slowest {:?}, peak {}",
            self.corpus.len(),
            self.coverage.features(),
            self.coverage.branches(),
            self.slowest,
            peak.unwrap_or("unknown").trim(),
        )
    }
}

/// What earlier runs kept, in the order of its names.
fn stored(folder: &Path) -> Vec<Input> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let texts = paths
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    texts.map(|text| Input::parse(&text)).collect()
}
