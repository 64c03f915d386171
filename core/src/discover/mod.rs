//! Where services answer, and how that changes.

mod directory;
mod endpoint;
mod endpoints;
mod follow;
mod watch;

pub use directory::{Directory, Freshness, View};
pub use endpoint::{Cursor, Endpoint, EndpointEvent, Readiness, Scope};
pub use endpoints::{Endpoints, Unreadable};
pub use follow::{Follower, diff};
pub use watch::poll_endpoints;
