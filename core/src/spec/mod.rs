//! What a user wants: stacks, services and what they consist of. Data and checks, no I/O.

mod blob;
mod clash;
mod health;
mod link;
mod linux_cap;
mod mount;
mod network;
mod places;
mod port;
mod resources;
mod security;
mod service;
mod stack;
mod update;
mod validate;
mod volume;

pub use blob::{Blob, BlobGrant, BlobId, BlobKind, BlobSource, SecretBytes};
pub use health::{Health, HealthTest, HealthWish};
pub use link::{Condition, Dependency, Link, LinkTarget};
pub use linux_cap::{LinuxCap, LinuxCaps};
pub use mount::{Mount, MountSource};
pub use network::{AddressMode, Attachment, Network, NetworkMode, default_network};
pub use places::Places;
pub use port::{Exposed, PortRange, Protocol, Published};
pub use resources::Resources;
pub use security::{Device, Rlimit, Security};
pub use service::{
    Bounds, Dns, LogBounds, Placement, PullPolicy, Role, Service, StopPolicy, Unhonoured,
};
pub use stack::Stack;
pub use update::{DriftPolicy, FailureAction, Pace, RestartPolicy, UpdateOrder, UpdatePolicy};
pub(crate) use validate::{never_healthy, waits_for_health};
pub use volume::Volume;
