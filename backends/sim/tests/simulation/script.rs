//! What happens in one simulated life of a stack, as lines of text that can be played again.

use std::fmt;
use std::str::FromStr;

use unmoor_core::spec::FailureAction;

/// What a service is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Serves, and holds nothing.
    Plain,
    /// Serves once its check passes.
    Checked,
    /// Writes a volume.
    Data,
    /// Runs to completion.
    Job,
}

/// One service of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) count: u32,
    pub(crate) kind: Kind,
    /// It never passes its check.
    pub(crate) broken: bool,
    /// What follows when an update fails.
    pub(crate) on_failure: FailureAction,
    /// How many are replaced at a time.
    pub(crate) batch: u32,
    /// One is replaced first, and the others once that is approved.
    pub(crate) canary: bool,
    /// Starts after this one.
    pub(crate) after: Option<String>,
}

/// What is done to a replica past its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meddling {
    Remove,
    Stop,
    Drain,
}

impl Meddling {
    pub(crate) const ALL: [Self; 3] = [Self::Remove, Self::Stop, Self::Drain];

    fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Stop => "stop",
            Self::Drain => "drain",
        }
    }
}

/// One thing that somebody asks for, or that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Up {
        items: Vec<Item>,
        orphans: bool,
        wait: bool,
    },
    /// Plans that and keeps the plan as a file.
    Plan {
        items: Vec<Item>,
        orphans: bool,
        wait: bool,
    },
    /// Applies the plan that was kept last, if there is one.
    Apply,
    Down {
        volumes: bool,
    },
    Scale {
        service: String,
        count: u32,
    },
    Update {
        service: String,
        version: u32,
    },
    Link {
        from: String,
        alias: String,
        to: String,
    },
    Unlink {
        from: String,
        alias: String,
    },
    Remove {
        service: String,
    },
    Rollback {
        service: String,
    },
    /// Lets the rollouts of a service rest.
    Pause {
        service: String,
    },
    /// Lets them go on.
    Resume {
        service: String,
    },
    /// Brings the stack back to what was applied last.
    Reconcile,
    /// Somebody does something to a replica that nobody asked unmoor for.
    Meddle {
        service: String,
        slot: u32,
        how: Meddling,
    },
    /// A program dies.
    Kill {
        service: String,
        slot: u32,
    },
}

/// What goes wrong meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Harm {
    /// The caller dies instead of being polled once more than so often.
    pub(crate) dies: Option<u64>,
    /// So many of a thousand writes fail, by this seed.
    pub(crate) faults: Option<(u32, u64)>,
    /// Every write takes up to two seconds, by this seed.
    pub(crate) slow: Option<u64>,
    /// This look, counted from 1, shows what was before the last change.
    pub(crate) stale: Option<u64>,
    /// This look shows only a part.
    pub(crate) partial: Option<u64>,
    /// Somebody else asks for this at the same time.
    pub(crate) beside: Option<Op>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) op: Op,
    pub(crate) harm: Harm,
}

/// One life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// Decides who goes on first where several can.
    pub(crate) seed: u64,
    pub(crate) lines: Vec<Line>,
}

impl Harm {
    /// True if what was asked for must come about.
    pub(crate) fn is_none(&self) -> bool {
        let lost = self.dies.is_some() || self.faults.is_some();
        !lost && self.stale.is_none() && self.partial.is_none() && self.beside.is_none()
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}x{}", self.name, self.version, self.count)?;
        f.write_str(match self.kind {
            Kind::Plain => "",
            Kind::Checked => "+check",
            Kind::Data => "+data",
            Kind::Job => "+job",
        })?;
        if self.broken {
            f.write_str("+broken")?;
        }
        f.write_str(match self.on_failure {
            FailureAction::Continue => "+continue",
            FailureAction::Rollback => "+rollback",
            _ => "",
        })?;
        if self.batch != 1 {
            write!(f, "+by{}", self.batch)?;
        }
        if self.canary {
            f.write_str("+canary")?;
        }
        match &self.after {
            Some(other) => write!(f, "<{other}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up {
                items,
                orphans,
                wait,
            }
            | Self::Plan {
                items,
                orphans,
                wait,
            } => {
                f.write_str(match self {
                    Self::Plan { .. } => "plan",
                    _ => "up",
                })?;
                for item in items {
                    write!(f, " {item}")?;
                }
                f.write_str(if *orphans { " --orphans" } else { "" })?;
                f.write_str(if *wait { " --wait" } else { "" })
            }
            Self::Apply => f.write_str("apply"),
            Self::Down { volumes } => f.write_str(match volumes {
                true => "down --volumes",
                false => "down",
            }),
            Self::Scale { service, count } => write!(f, "scale {service} {count}"),
            Self::Update { service, version } => write!(f, "update {service} {version}"),
            Self::Link { from, alias, to } => write!(f, "link {from} {alias} {to}"),
            Self::Unlink { from, alias } => write!(f, "unlink {from} {alias}"),
            Self::Remove { service } => write!(f, "remove {service}"),
            Self::Rollback { service } => write!(f, "rollback {service}"),
            Self::Pause { service } => write!(f, "pause {service}"),
            Self::Resume { service } => write!(f, "resume {service}"),
            Self::Reconcile => f.write_str("reconcile"),
            Self::Meddle { service, slot, how } => {
                write!(f, "meddle {service} {slot} {}", how.as_str())
            }
            Self::Kill { service, slot } => write!(f, "kill {service} {slot}"),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op)?;
        let harm = &self.harm;
        if let Some(polls) = harm.dies {
            write!(f, " | dies {polls}")?;
        }
        if let Some((per_mille, seed)) = harm.faults {
            write!(f, " | faults {per_mille} {seed}")?;
        }
        if let Some(seed) = harm.slow {
            write!(f, " | slow {seed}")?;
        }
        if let Some(look) = harm.stale {
            write!(f, " | stale {look}")?;
        }
        if let Some(look) = harm.partial {
            write!(f, " | partial {look}")?;
        }
        match &harm.beside {
            Some(op) => write!(f, " | beside {op}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// Why a text is not a script.
type Wrong = String;

fn number<T: FromStr>(word: Option<&str>) -> Result<T, Wrong> {
    let word = word.unwrap_or_default();
    word.parse()
        .map_err(|_| format!("`{word}` is not a number"))
}

fn name(word: Option<&str>) -> Result<String, Wrong> {
    let word = word.filter(|word| !word.is_empty());
    word.map(str::to_owned)
        .ok_or("a name is missing".to_owned())
}

impl FromStr for Item {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let (text, after) = match text.split_once('<') {
            Some((text, after)) => (text, Some(after.to_owned())),
            None => (text, None),
        };
        let (item_name, rest) = text.split_once(':').ok_or(format!("`{text}` has no `:`"))?;
        let mut parts = rest.split('+');
        let numbers = parts.next().and_then(|part| part.split_once('x'));
        let (version, count) = numbers.ok_or(format!("`{text}` has no `x`"))?;
        let mut item = Self {
            name: item_name.to_owned(),
            version: number(Some(version))?,
            count: number(Some(count))?,
            kind: Kind::Plain,
            broken: false,
            on_failure: FailureAction::Pause,
            batch: 1,
            canary: false,
            after,
        };
        for part in parts {
            match part {
                "check" => item.kind = Kind::Checked,
                "data" => item.kind = Kind::Data,
                "job" => item.kind = Kind::Job,
                "broken" => item.broken = true,
                "continue" => item.on_failure = FailureAction::Continue,
                "rollback" => item.on_failure = FailureAction::Rollback,
                "canary" => item.canary = true,
                batch if batch.starts_with("by") => item.batch = number(batch.get(2..))?,
                other => return Err(format!("`{other}` is no kind")),
            }
        }
        Ok(item)
    }
}

impl FromStr for Op {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let mut words = text.split_whitespace();
        let verb = words.next().unwrap_or_default();
        Ok(match verb {
            "up" | "plan" => {
                let words: Vec<&str> = words.collect();
                let items = words.iter().filter(|word| !word.starts_with("--"));
                let items = items.map(|word| word.parse()).collect::<Result<_, _>>()?;
                let (orphans, wait) = (words.contains(&"--orphans"), words.contains(&"--wait"));
                match verb {
                    "plan" => Self::Plan {
                        items,
                        orphans,
                        wait,
                    },
                    _ => Self::Up {
                        items,
                        orphans,
                        wait,
                    },
                }
            }
            "apply" => Self::Apply,
            "down" => Self::Down {
                volumes: words.next() == Some("--volumes"),
            },
            "scale" => Self::Scale {
                service: name(words.next())?,
                count: number(words.next())?,
            },
            "update" => Self::Update {
                service: name(words.next())?,
                version: number(words.next())?,
            },
            "link" => Self::Link {
                from: name(words.next())?,
                alias: name(words.next())?,
                to: name(words.next())?,
            },
            "unlink" => Self::Unlink {
                from: name(words.next())?,
                alias: name(words.next())?,
            },
            "remove" => Self::Remove {
                service: name(words.next())?,
            },
            "rollback" => Self::Rollback {
                service: name(words.next())?,
            },
            "pause" => Self::Pause {
                service: name(words.next())?,
            },
            "resume" => Self::Resume {
                service: name(words.next())?,
            },
            "reconcile" => Self::Reconcile,
            "meddle" => Self::Meddle {
                service: name(words.next())?,
                slot: number(words.next())?,
                how: {
                    let word = words.next().unwrap_or_default();
                    let mut all = Meddling::ALL.into_iter();
                    let how = all.find(|how| how.as_str() == word);
                    how.ok_or(format!("`{word}` is nothing that is done"))?
                },
            },
            "kill" => Self::Kill {
                service: name(words.next())?,
                slot: number(words.next())?,
            },
            other => return Err(format!("`{other}` is nothing that can be asked for")),
        })
    }
}

impl FromStr for Line {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let mut parts = text.split('|').map(str::trim);
        let op = parts.next().unwrap_or_default().parse()?;
        let mut harm = Harm::default();
        for part in parts {
            let mut words = part.split_whitespace();
            match words.next().unwrap_or_default() {
                "dies" => harm.dies = Some(number(words.next())?),
                "faults" => harm.faults = Some((number(words.next())?, number(words.next())?)),
                "slow" => harm.slow = Some(number(words.next())?),
                "stale" => harm.stale = Some(number(words.next())?),
                "partial" => harm.partial = Some(number(words.next())?),
                "beside" => {
                    let rest = part.strip_prefix("beside").unwrap_or_default();
                    harm.beside = Some(rest.parse()?);
                }
                other => return Err(format!("`{other}` is no harm")),
            }
        }
        Ok(Self { op, harm })
    }
}

impl FromStr for Script {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().unwrap_or_default();
        Ok(Self {
            seed: number(first.strip_prefix("seed "))?,
            lines: lines.map(str::parse).collect::<Result<_, _>>()?,
        })
    }
}
