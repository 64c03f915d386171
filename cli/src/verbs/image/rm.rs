//! `image rm`: names of images go.

use std::str::FromStr;

use unmoor::backend::ImageEntry;
use unmoor::image::ImageRef;
use unmoor::{Error, ErrorKind};

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::verbs::Outcome;

const ALGORITHM: &str = "sha256:";

/// Remove names, and images that no name and no replica needs any more.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images by name, or by digest as `image ls` shows it, of which a begin is enough
    #[arg(required = true, value_name = "IMAGE", add = crate::complete::of_images())]
    images: Vec<Wanted>,
}

/// An image as somebody writes it.
#[derive(Debug, Clone)]
struct Wanted {
    text: String,
    name: Option<ImageRef>,
    /// Begin of a digest, without its algorithm.
    digest: Option<String>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(ALGORITHM).unwrap_or(text);
        let is_digest = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = text.parse::<ImageRef>();
        if let (Err(error), false) = (&name, is_digest) {
            return Err(error.to_string());
        }
        Ok(Self {
            text: text.to_owned(),
            // No repository is called like the algorithm.
            name: name.ok().filter(|_| !text.starts_with(ALGORITHM)),
            digest: is_digest.then(|| digits.to_ascii_lowercase()),
        })
    }
}

impl Wanted {
    /// The names that it means: its own, or all that an image of this digest has.
    fn among(&self, entries: &[ImageEntry]) -> Result<Vec<ImageRef>, Failure> {
        let is_there =
            |name: &&ImageRef| entries.iter().any(|e| e.reference.as_ref() == Some(name));
        if let Some(name) = self.name.iter().find(is_there) {
            return Ok(vec![name.clone()]);
        }
        let begin = self.digest.as_deref();
        let begun: Vec<&ImageEntry> = entries
            .iter()
            .filter(|entry| {
                let digest = entry.digest.to_string();
                begin.is_some_and(|begin| digest.trim_start_matches(ALGORITHM).starts_with(begin))
            })
            .collect();
        let Some(first) = begun.first() else {
            return match &self.name {
                // The backend says that there is none.
                Some(name) => Ok(vec![name.clone()]),
                None => Err(self.wrong(ErrorKind::NotFound, "no image has this digest")),
            };
        };
        if begun.iter().any(|entry| entry.digest != first.digest) {
            let text = "the digests of several images begin so";
            return Err(self.wrong(ErrorKind::InvalidSpec, text));
        }
        let names: Vec<ImageRef> = begun.iter().filter_map(|e| e.reference.clone()).collect();
        match names.is_empty() {
            false => Ok(names),
            true => {
                let text = "it has no name; `unmoor system prune` removes what nothing needs";
                Err(self.wrong(ErrorKind::WrongPhase, text))
            }
        }
    }

    fn wrong(&self, kind: ErrorKind, text: &str) -> Failure {
        Error::new(kind, text)
            .on(format!("image {}", self.text))
            .into()
    }
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let entries = client.images()?.list().await?;
    let mut names: Vec<ImageRef> = Vec::new();
    for wanted in &args.images {
        for name in wanted.among(&entries)? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if app.is_dry() {
        let told = |name: &ImageRef| format!("remove image {}", name.familiar());
        return app.would(names.iter().map(told));
    }
    for name in &names {
        client.images()?.remove(name).await?;
        app.out.line(&name.familiar())?;
    }
    Ok(Code::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: Option<&str>, digit: char) -> ImageEntry {
        let digest = format!("sha256:ab{}", digit.to_string().repeat(62));
        ImageEntry {
            reference: name.map(|name| name.parse().expect("a name")),
            digest: digest.parse().expect("a digest"),
            size: 1,
            created: None,
        }
    }

    #[test]
    fn an_image_is_known_by_its_name_or_the_begin_of_its_digest() {
        let entries = [
            entry(Some("small:1"), '1'),
            entry(Some("other:1"), '1'),
            entry(Some("abcd"), '2'),
            entry(None, '3'),
        ];
        let among = |text: &str| -> Result<Vec<String>, String> {
            let wanted: Wanted = text.parse()?;
            let names = wanted.among(&entries).map_err(|f| format!("{f:?}"))?;
            Ok(names.iter().map(ImageRef::familiar).collect())
        };
        assert_eq!(among("small:1"), Ok(vec!["small:1".to_owned()]));
        let both = Ok(vec!["small:1".to_owned(), "other:1".to_owned()]);
        assert_eq!(among("ab1"), both);
        assert_eq!(among("sha256:ab111"), both);
        assert_eq!(among("abcd"), Ok(vec!["abcd".to_owned()]), "a name first");
        assert!(among("ab").is_err_and(|error| error.contains("several images")));
        assert!(among("sha256:ff").is_err_and(|error| error.contains("no image has")));
        assert!(among("ab333").is_err_and(|error| error.contains("system prune")));
        assert_eq!(
            among("gone:1"),
            Ok(vec!["gone:1".to_owned()]),
            "the backend says it"
        );
        assert!(among("UPPER").is_err());
    }
}
