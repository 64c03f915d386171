//! The fault proxy: stands between a client and a server and breaks things on purpose.
//!
//! It speaks HTTP/1.1 or plain TCP, without TLS. Rules decide per request (HTTP) or per connection
//! (TCP); every decision is a function of the seed, the rule and how often the rule has matched,
//! so a run can be repeated whatever the threads do. Everything is logged.
//!
//! ```no_run
//! use unmoor_tools::proxy::{FaultProxy, Rule};
//!
//! let rule: Rule = "POST /v1/services 1 drop-after".parse()?;
//! let proxy = FaultProxy::http("127.0.0.1:4000").rule(rule).seed(7).start()?;
//! let address = proxy.address(); // send the client here
//! assert!(proxy.log().iter().all(|event| event.action.is_none()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod http;
mod log;
mod message;
mod rule;
mod seed;
mod serve;
mod tcp;

pub use log::Event;
pub use rule::{Action, Rule, RuleError, When};
pub use serve::{FaultProxy, Running};
