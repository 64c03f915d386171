//! Connecting: `local:`, `local:///directory` or `local:?root=/directory`.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use unmoor_core::backend::Backend;
use unmoor_core::catalog::Connect;
use unmoor_core::{Error, ErrorKind, Result, Uri};

use super::LocalBackend;
use super::place::Place;
use crate::layout::DEFAULT_ROOT;

/// Opens the local backend; put it into a catalog.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalConnect;

#[async_trait]
impl Connect for LocalConnect {
    fn scheme(&self) -> &'static str {
        "local"
    }

    fn summary(&self) -> &'static str {
        "containers on this machine, without a daemon"
    }

    async fn connect(&self, uri: &Uri) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(LocalBackend {
            place: Place::find(root(uri)?).await?,
            uri: uri.to_string(),
        }))
    }
}

/// The directory that a URI names.
fn root(uri: &Uri) -> Result<PathBuf> {
    uri.allow_settings(&["root"])?;
    let wrong = |text: &str| {
        Error::new(ErrorKind::InvalidSpec, format!("`{uri}`: {text}"))
            .hint("write `local:`, `local:///directory` or `local:?root=/directory`")
    };
    if !uri.hosts.is_empty() || uri.transport.is_some() {
        return Err(wrong(
            "the local backend is on this machine; it takes no host",
        ));
    }
    let given = match (uri.path.as_str(), uri.query.get("root")) {
        ("", None) => return Ok(PathBuf::from(DEFAULT_ROOT)),
        ("", Some(root)) => root.as_str(),
        (path, None) => path,
        (_, Some(_)) => return Err(wrong("the directory is given twice")),
    };
    let path = PathBuf::from(given);
    if !path.is_absolute() {
        return Err(wrong("the directory must be an absolute path"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_of(text: &str) -> Option<String> {
        let path = root(&Uri::parse(text).expect("a URI")).ok()?;
        path.to_str().map(str::to_owned)
    }

    #[test]
    fn three_ways_to_name_the_directory() {
        assert_eq!(root_of("local:").as_deref(), Some(DEFAULT_ROOT));
        assert_eq!(root_of("local:///srv/x%20y").as_deref(), Some("/srv/x y"));
        assert_eq!(root_of("local:?root=/srv/x").as_deref(), Some("/srv/x"));
        for wrong in [
            "local:?root=x",
            "local:///a?root=/b",
            "local://host/a",
            "local:?rot=/a",
        ] {
            assert_eq!(root_of(wrong), None, "{wrong}");
        }
    }
}
