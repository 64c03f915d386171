//! Unmoor's core: the model, the Compose import, the planner, the backend contract and the client.
//!
//! ```text
//! compose / builders ─▶ Stack ─▶ resolve ─▶ plan (pure) ─▶ apply (journal) ─▶ Backend ─▶ platform
//!                                             ▲ capabilities, observed          │
//!  application ◀── endpoints, events ◀── discover / watch ◀────────────────────┘
//! ```
//!
//! Start at [`Client`] to use unmoor, at [`backend`] to write a backend, at [`spec`]
//! for what can be asked for. Nothing here speaks HTTP or calls the kernel.

pub mod apply;
pub mod backend;
pub mod catalog;
pub mod client;
pub mod clock;
pub mod compose;
pub mod discover;
mod error;
pub mod event;
pub mod image;
pub mod label;
pub mod name;
pub mod plan;
pub mod signal;
pub mod spec;
pub mod units;
mod uri;

pub use client::Client;
pub use error::{Error, ErrorKind, Place, Result, Retry};
pub use uri::Uri;
