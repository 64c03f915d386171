//! Spawn, link and discover services the same way on every platform.
//!
//! [`connect`] takes a URI and gives a [`Client`]. A stack comes from a Compose file
//! (`unmoor::compose`) or from builders ([`spec`]); single services are spawned and linked one by
//! one:
//!
//! ```no_run
//! use unmoor::spec::{Published, Service};
//!
//! # async fn run() -> unmoor::Result<()> {
//! let unmoor = unmoor::connect("local:").await?;
//! let store = unmoor.spawn("store", Service::new("shop/store:1".parse()?)).await?;
//! let api = unmoor.spawn("api", Service::new("shop/api:1".parse()?).replicas(2)).await?;
//! api.link("store", &store).await?;
//! let web = Service::new("shop/web:1".parse()?).publish(Published::tcp(8080, 8080));
//! let web = unmoor.spawn("web", web).await?;
//! for endpoint in web.endpoints().await? {
//!     println!("{} {:?}", endpoint.address, endpoint.port);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! No call starts a runtime, a logger or a thread that outlives it; futures expect a tokio runtime
//! with I/O and time enabled.

pub mod inside;

pub use unmoor_core::{
    Client, Error, ErrorKind, Place, Result, Retry, Uri, apply, backend, catalog, client, clock,
    compose, discover, event, image, label, name, plan, signal, spec, units,
};

use unmoor_core::catalog::Catalog;

/// The backends that this build has, by scheme.
#[must_use]
pub fn catalog() -> Catalog {
    let catalog = Catalog::new();
    #[cfg(feature = "sim")]
    let catalog = catalog.with(unmoor_sim::SimConnect::new());
    #[cfg(all(feature = "local", target_os = "linux"))]
    let catalog = catalog.with(unmoor_runtime_local::LocalConnect);
    catalog
}

/// Connects to the backend that a URI names, as `local:` or `local:///srv/unmoor`.
///
/// # Errors
/// `InvalidSpec` for a malformed URI, `Unsupported` for a scheme this build lacks, and what the
/// backend answers.
pub async fn connect(uri: &str) -> Result<Client> {
    let uri = Uri::parse(uri)?;
    Ok(Client::new(catalog().connect(&uri).await?))
}
