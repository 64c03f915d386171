//! A plan as a file: what was asked for and what it was made from, without any content of a secret.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::planned::{ACTIONS_CHANGED, FACTS_CHANGED, Ground, RECORD_CHANGED, outdated};
use super::record::forget_content;
use super::resolve::{Content, content};
use super::stack::take_up;
use super::{Client, PlannedStack, StackRecord};
use crate::backend::{Action, Gap, ImageDefaults, ObservedStack, OnPull, ResolvedImage};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Platform;
use crate::name::{ServiceName, StackName};
use crate::plan::{Desired, Plan, PlanOptions, check, facts};
use crate::spec::{Blob, BlobId, BlobKind, BlobSource, PullPolicy, SecretBytes, Service, Stack};

/// Version of the file's form.
const VERSION: u64 = 1;

/// What a plan was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) file: Stack,
    pub(super) scale: BTreeMap<ServiceName, u32>,
}

/// One action of a stored plan, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEntry {
    /// What is done, as `start`.
    pub verb: String,
    /// What it is done to, as `replica shop-web-1`.
    pub subject: String,
    /// False for a wait.
    pub writes: bool,
    /// Why.
    pub reason: String,
    /// Entries that must be done before.
    pub after: Vec<usize>,
}

/// A plan as it is kept in a file, to be applied later, by another program or from elsewhere.
///
/// It has no actions that anybody could edit: [`Client::recall`] makes the plan again, from what was
/// asked for and what is there, and compares. Contents of secrets and configs are left out; those
/// from files and variables are read again, those that stood in the stack itself are
/// [supplied](Self::supply).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPlan {
    unmoor_plan: u64,
    made_by: String,
    backend: String,
    stack: StackName,
    plan: String,
    facts: String,
    /// Fingerprint of the record that there was, if there was one.
    record: Option<String>,
    entries: Vec<StoredEntry>,
    gaps: Vec<Gap>,
    notes: Vec<String>,
    options: PlanOptions,
    file: Stack,
    scale: BTreeMap<ServiceName, u32>,
    images: BTreeMap<ServiceName, ResolvedImage>,
    contents: BTreeMap<BlobId, String>,
    /// Fingerprint of the actions with everything in them.
    steps: String,
    /// Fingerprint of all the rest.
    digest: String,
    #[serde(skip)]
    supplied: BTreeMap<BlobId, SecretBytes>,
}

impl PlannedStack {
    /// The plan as it can be kept in a file, for this client's backend.
    #[must_use]
    pub fn store(&self, client: &Client) -> StoredPlan {
        let (plan, ground) = (&self.plan, &self.ground);
        let mut file = self.asked.file.clone();
        file.secrets.values_mut().for_each(forget_content);
        file.configs.values_mut().for_each(forget_content);
        let mut stored = StoredPlan {
            unmoor_plan: VERSION,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            backend: client.info().uri,
            stack: plan.stack.clone(),
            plan: plan.id.clone(),
            facts: plan.facts.clone(),
            record: ground.revision.map(|_| fingerprint(&ground.former)),
            entries: in_words(plan),
            gaps: plan.gaps.clone(),
            notes: plan.notes.clone(),
            options: ground.options.clone(),
            file,
            scale: self.asked.scale.clone(),
            images: ground.desired.images.clone(),
            contents: ground.desired.fingerprints.clone(),
            steps: steps(plan),
            digest: String::new(),
            supplied: BTreeMap::new(),
        };
        stored.digest = digest(&stored.value());
        stored
    }
}

impl StoredPlan {
    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// `InvalidSpec` for what is no plan; `Unsupported` for one of another version; `Corrupt` for one
    /// that was changed since it was written.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let no_plan = |why: serde_json::Error| {
            Error::new(ErrorKind::InvalidSpec, "this is no stored plan").because(why)
        };
        let value: Value = serde_json::from_slice(bytes).map_err(no_plan)?;
        let version = value.get("unmoor_plan").and_then(Value::as_u64);
        let Some(version) = version else {
            let text = "this is no stored plan: it has no number `unmoor_plan`";
            return Err(
                Error::new(ErrorKind::InvalidSpec, text).hint("`unmoor plan -o FILE` writes one")
            );
        };
        if version != VERSION {
            let text = format!("the plan has version {version}, this unmoor knows {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, text)
                .hint("plan again with the unmoor that applies it"));
        }
        if value.get("digest").and_then(Value::as_str) != Some(&digest(&value)) {
            let text = "the plan was changed after it was written";
            return Err(Error::new(ErrorKind::Corrupt, text).hint("plan again"));
        }
        serde_json::from_value(value).map_err(|why| {
            let text = "the plan is not as this version writes it";
            Error::new(ErrorKind::Corrupt, text)
                .hint("plan again")
                .because(why)
        })
    }

    /// The plan as a JSON document.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a plan is plain data");
        bytes.push(b'\n');
        bytes
    }

    fn value(&self) -> Value {
        serde_json::to_value(self).expect("a plan is plain data")
    }

    /// The stack it changes.
    #[must_use]
    pub fn stack(&self) -> &StackName {
        &self.stack
    }

    /// The backend it was made for.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Its actions in words.
    #[must_use]
    pub fn entries(&self) -> &[StoredEntry] {
        &self.entries
    }

    /// Secrets and configs whose content stood in the stack itself, and so nowhere else: if the
    /// backend does not hold them yet, they must be [supplied](Self::supply).
    #[must_use]
    pub fn lacks(&self) -> Vec<BlobId> {
        let gone = |id: &&BlobId| {
            let source = self.blob(id).map(|blob| &blob.source);
            matches!(source, Some(BlobSource::Stored(_))) && !self.supplied.contains_key(id)
        };
        self.contents.keys().filter(gone).cloned().collect()
    }

    /// Takes contents that the plan [lacks](Self::lacks) from the stack that it was made of.
    pub fn supply(&mut self, stack: &Stack) {
        for id in self.lacks() {
            if let Some(BlobSource::Inline(bytes)) = blob(stack, &id).map(|blob| &blob.source) {
                self.supplied.insert(id, bytes.clone());
            }
        }
    }

    fn blob(&self, id: &BlobId) -> Option<&Blob> {
        blob(&self.file, id)
    }

    /// The contents that the backend does not hold yet, read from where they came from.
    fn contents(&self, observed: &ObservedStack) -> Result<BTreeMap<BlobId, SecretBytes>> {
        let mut found = BTreeMap::new();
        for (id, fingerprint) in &self.contents {
            if observed.blobs.get(id) == Some(fingerprint) {
                continue;
            }
            let bytes = match (self.supplied.get(id), self.blob(id)) {
                (Some(bytes), _) => Some(bytes.clone()),
                (None, Some(blob)) => match content(id, blob)? {
                    Content::Bytes(bytes) => Some(bytes),
                    Content::Known(_) | Content::External => None,
                },
                (None, None) => None,
            };
            let Some(bytes) = bytes else {
                let text = "a plan keeps no contents, and this one stood in the stack's file";
                return Err(Error::new(ErrorKind::NotFound, text)
                    .on(id)
                    .hint("name the file too: `unmoor -f FILE apply PLAN`"));
            };
            if bytes.fingerprint() != *fingerprint {
                let text = format!("the content of `{id}` changed since the plan was made");
                return Err(outdated(&self.stack, &text));
            }
            found.insert(id.clone(), bytes);
        }
        Ok(found)
    }
}

impl Client {
    /// Makes a stored plan again and compares: the same record, the same facts, the same actions.
    ///
    /// Writes nothing. Images are fetched by their digests if they are gone.
    ///
    /// # Errors
    /// `Conflict` if anything differs; `InvalidSpec` if it was made for another backend; `NotFound`
    /// for a content or an image that cannot be had any more.
    pub async fn recall(&self, stored: &StoredPlan, on_pull: OnPull<'_>) -> Result<PlannedStack> {
        let name = &stored.stack;
        let here = self.info().uri;
        if here != stored.backend {
            let text = format!(
                "the plan was made for `{}`, this is `{here}`",
                stored.backend
            );
            return Err(Error::new(ErrorKind::InvalidSpec, text)
                .on(name)
                .hint(format!("`unmoor -b {} apply PLAN`", stored.backend)));
        }
        if stored.file.name != *name {
            let text = format!("the plan is for stack `{}`", stored.file.name);
            return Err(Error::new(ErrorKind::Corrupt, text).on(name));
        }
        let (former, revision) = self.load_record(name).await?;
        if revision.map(|_| fingerprint(&former)) != stored.record {
            return Err(outdated(name, RECORD_CHANGED));
        }
        let observed = self.whole(name).await?;
        if facts(&observed) != stored.facts {
            return Err(outdated(name, FACTS_CHANGED));
        }
        let mut record = former.clone();
        take_up(&mut record, &stored.file, &stored.scale);
        let stack = record.effective(name);
        check(&stack, &self.capabilities(), &stored.options)?;
        let desired = Desired {
            stack,
            images: stored.images.clone(),
            fingerprints: stored.contents.clone(),
            contents: stored.contents(&observed)?,
            left: BTreeSet::new(),
            holds: BTreeMap::new(),
        };
        let ground = Ground {
            record,
            former,
            revision,
            desired,
            options: stored.options.clone(),
        };
        let prepared = self.derive(ground, &observed)?;
        if steps(&prepared.plan) != stored.steps {
            let error = outdated(name, ACTIONS_CHANGED);
            let ours = env!("CARGO_PKG_VERSION");
            return Err(match stored.made_by == ours {
                true => error,
                false => error.hint(format!(
                    "it was made by unmoor {}, this is {ours}: plan again",
                    stored.made_by
                )),
            });
        }
        self.images_are_there(&prepared.plan, on_pull).await?;
        Ok(PlannedStack {
            plan: prepared.plan,
            ground: prepared.ground,
            asked: Asked {
                file: stored.file.clone(),
                scale: stored.scale.clone(),
            },
        })
    }

    /// Finds every image that something is going to start from, as it was when the plan was made.
    async fn images_are_there(&self, plan: &Plan, on_pull: OnPull<'_>) -> Result<()> {
        let mut needed: BTreeMap<(String, Option<&String>), (&Service, &ResolvedImage)> =
            BTreeMap::new();
        for entry in &plan.entries {
            if let Action::StartReplica { service, .. } | Action::CreateReplica { service, .. } =
                &entry.action
            {
                let key = (
                    service.image.digest.to_string(),
                    service.spec.platform.as_ref(),
                );
                needed.entry(key).or_insert((&service.spec, &service.image));
            }
        }
        let Some(facet) = self.backend.images() else {
            return Ok(());
        };
        for (service, image) in needed.into_values() {
            let platform = service.platform.as_deref();
            let platform = platform.map(str::parse::<Platform>).transpose();
            let platform =
                platform.map_err(|error| Error::new(ErrorKind::InvalidSpec, error.to_string()))?;
            let pull = match service.pull {
                PullPolicy::Never => PullPolicy::Never,
                PullPolicy::Missing | PullPolicy::Always => PullPolicy::Missing,
            };
            let pinned = image.reference.with_digest(image.digest.clone());
            let found = facet.resolve(&pinned, platform.as_ref(), pull, on_pull);
            let found = found.await?;
            let same: (&_, &ImageDefaults) = (&found.digest, &found.defaults);
            if same != (&image.digest, &image.defaults) {
                let text = format!(
                    "image `{}` is not what the plan was made over",
                    image.reference
                );
                return Err(outdated(&plan.stack, &text));
            }
        }
        Ok(())
    }
}

fn blob<'s>(stack: &'s Stack, id: &BlobId) -> Option<&'s Blob> {
    match id.kind {
        BlobKind::Secret => stack.secrets.get(&id.name),
        BlobKind::Config => stack.configs.get(&id.name),
    }
}

fn in_words(plan: &Plan) -> Vec<StoredEntry> {
    let entries = plan.entries.iter();
    let entries = entries.map(|entry| StoredEntry {
        verb: entry.action.verb().to_owned(),
        subject: entry.action.subject(),
        writes: !entry.action.is_wait(),
        reason: entry.reason.clone(),
        after: entry.after.clone(),
    });
    entries.collect()
}

fn hex(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fingerprint(record: &StackRecord) -> String {
    hex(Sha256::new().chain_update(record.encode()))
}

/// Fingerprint of every action with all that is in it; contents count by their own fingerprints.
fn steps(plan: &Plan) -> String {
    let text = serde_json::to_vec(&plan.entries).expect("a plan is plain data");
    hex(Sha256::new().chain_update(text))
}

/// Fingerprint of a document without its field `digest`, however it is laid out.
fn digest(value: &Value) -> String {
    let mut hash = Sha256::new();
    if let Value::Object(fields) = value {
        let rest = fields.iter().filter(|(key, _)| *key != "digest");
        let rest: BTreeMap<&String, &Value> = rest.collect();
        rest.into_iter().for_each(|(key, value)| {
            hash.update(Value::from(key.as_str()).to_string());
            feed(&mut hash, value);
        });
    }
    hex(hash)
}

/// Objects go by the order of their keys.
fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(fields) => {
            hash.update("{");
            for (key, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                hash.update(Value::from(key.as_str()).to_string());
                feed(hash, value);
            }
            hash.update("}");
        }
        Value::Array(items) => {
            hash.update("[");
            items.iter().for_each(|item| {
                feed(hash, item);
                hash.update(",");
            });
            hash.update("]");
        }
        plain => hash.update(plain.to_string()),
    }
}

#[cfg(test)]
mod tests;
