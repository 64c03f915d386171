//! Messages and files that the library and the shim share; no crates, no I/O.
//!
//! This folder is compiled twice: into the shim, and into the library through `#[path]`.
//! Each side uses only its half of every message, hence `dead_code` is allowed where it is
//! declared.

pub mod codec;
pub mod conntrack;
pub mod control;
pub mod dns;
pub mod http;
pub mod listing;
pub mod names;
pub mod netlink;
pub mod netplan;
pub mod nft;
pub mod nft_client;
pub mod nft_host;
pub mod nft_rule;
pub mod plan;
pub mod report;
pub mod status;
pub mod zone;
