//! What must hold at every moment, whatever is asked for and whoever dies.

use std::collections::{BTreeMap, BTreeSet};

use unmoor_core::name::{ServiceName, StackName};
use unmoor_core::spec::Stack;
use unmoor_sim::Sim;

use crate::script::{Item, Kind, Op};
use crate::world::named;

/// Looks at the world after every turn.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// So many replicas of a service serve at any moment.
    floors: BTreeMap<ServiceName, u32>,
    /// Services whose replicas write a volume: one at a time.
    writers: BTreeSet<ServiceName>,
    /// Services that run to completion: they serve nobody.
    jobs: BTreeSet<ServiceName>,
    /// Version of the world when it was last looked at.
    seen: u64,
    /// The first promise that was broken, and when.
    pub(crate) broken: Option<String>,
}

impl Watch {
    /// Looks at the world, if it changed.
    pub(crate) fn look(&mut self, sim: &Sim, stack: &StackName) {
        let version = sim.version();
        if self.broken.is_some() || version == self.seen {
            return;
        }
        self.seen = version;
        let mut serving: BTreeMap<&ServiceName, u32> = BTreeMap::new();
        let mut alive: BTreeMap<&ServiceName, u32> = BTreeMap::new();
        let replicas = sim.glance(stack);
        for replica in &replicas {
            *serving.entry(&replica.id.service).or_default() += u32::from(replica.serves);
            *alive.entry(&replica.id.service).or_default() += u32::from(replica.alive);
        }
        let low = self.floors.iter().find_map(|(service, floor)| {
            let serving = serving.get(service).copied().unwrap_or(0);
            let text = format!("{serving} of `{service}` serve, {floor} were promised");
            (serving < *floor).then_some(text)
        });
        let shared = self.writers.iter().find_map(|service| {
            let alive = alive.get(service).copied().unwrap_or(0);
            (alive > 1).then(|| format!("{alive} of `{service}` write one volume"))
        });
        self.broken = low
            .or(shared)
            .map(|text| format!("at {:?}: {text}", sim.time()));
    }

    /// Promises no more than what holds also while this is carried out.
    pub(crate) fn lower(&mut self, op: &Op, scaled: &BTreeMap<ServiceName, u32>) {
        match op {
            Op::Up { items, orphans, .. } => self.lower_to_file(items, *orphans, scaled),
            Op::Down { .. } => self.floors.clear(),
            Op::Scale { service, count } => self.lower_to(&named(service), *count),
            Op::Update { service, .. } | Op::Rollback { service } | Op::Resume { service }
                if self.writers.contains(&named(service)) =>
            {
                self.lower_to(&named(service), 0);
            }
            Op::Remove { service } | Op::Kill { service, .. } | Op::Meddle { service, .. } => {
                self.lower_to(&named(service), 0);
            }
            // What a plan leads to is lowered to when it is applied.
            Op::Plan { .. } | Op::Apply | Op::Reconcile | Op::Pause { .. } => {}
            Op::Resume { .. } => {}
            Op::Update { .. } | Op::Rollback { .. } | Op::Link { .. } | Op::Unlink { .. } => {}
        }
    }

    /// Promises nothing.
    pub(crate) fn promise_nothing(&mut self) {
        self.floors.clear();
    }

    /// Promises no more than a file has.
    pub(crate) fn lower_to_file(
        &mut self,
        items: &[Item],
        orphans: bool,
        scaled: &BTreeMap<ServiceName, u32>,
    ) {
        let writers = items.iter().filter(|item| item.kind == Kind::Data);
        self.writers.extend(writers.map(|item| named(&item.name)));
        let jobs = items.iter().filter(|item| item.kind == Kind::Job);
        self.jobs.extend(jobs.map(|item| named(&item.name)));
        let promised: Vec<ServiceName> = self.floors.keys().cloned().collect();
        for service in promised {
            let item = items.iter().find(|item| item.name == service.as_str());
            match item {
                Some(item) if matches!(item.kind, Kind::Data | Kind::Job) => {
                    self.lower_to(&service, 0);
                }
                Some(item) => {
                    let count = scaled.get(&service).copied().unwrap_or(item.count);
                    self.lower_to(&service, count);
                }
                None if orphans => self.lower_to(&service, 0),
                None => {}
            }
        }
    }

    fn lower_to(&mut self, service: &ServiceName, count: u32) {
        if let Some(floor) = self.floors.get_mut(service) {
            *floor = (*floor).min(count);
        }
    }

    /// From now on promises what serves right now, and no more than is wanted: what is paused may
    /// serve with more.
    pub(crate) fn raise(&mut self, sim: &Sim, wanted: &Stack) {
        self.floors.clear();
        for replica in sim.glance(&wanted.name) {
            if replica.serves && !self.jobs.contains(&replica.id.service) {
                *self.floors.entry(replica.id.service).or_default() += 1;
            }
        }
        for (name, spec) in &wanted.services {
            self.lower_to(name, spec.replicas);
        }
    }
}
