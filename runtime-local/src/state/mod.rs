//! What is recorded: desired things, who holds which address and id range, and intents.
//!
//! Who writes what: commands write this database, shims write their status records, the kernel
//! holds the rest. A command records its intent before its first side effect and forgets it with
//! its last commit, so that any later command can finish or undo what it left half-made.

mod db;
mod files;
mod intent;
mod lock;
mod parsed;
mod process;
mod record;
pub(crate) mod room;
mod tables;

pub(crate) use db::{Db, Durability, Failure as DbFailure, Patience, Session};
pub(crate) use files::{
    make_private_dir, read_json, remove_claimed, remove_file, remove_if_empty, remove_tree,
    write_json, write_private,
};
pub(crate) use intent::{Intent, IntentKind};
pub(crate) use lock::Lock;
pub(crate) use process::{boot_id, now_ns, random_hex, start_time};
pub(crate) use record::{NetworkRecord, ReplicaRecord, ServiceRecord, VolumeRecord};
pub(crate) use tables::{Stacks, addresses, blobs, meta, networks, replicas, services, volumes};
