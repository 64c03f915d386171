//! Where services answer, and how that changes.

mod endpoint;
mod watch;

pub use endpoint::{Cursor, Endpoint, EndpointEvent, Readiness, Scope};
pub use watch::{diff, poll_endpoints};
