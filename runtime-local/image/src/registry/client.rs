//! Requests to one repository: addresses, redirects, authorization, repetition.

use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use tokio::sync::Mutex;
use unmoor_core::image::{Digest, ImageRef};

use super::auth::{Asking, challenge};
use super::credentials::Login;
use super::origin::{base, host_of, is_loopback, may_lead, same};
use super::{Access, RegistryError};
use crate::error::{ImageError, IoContext};
use crate::limits::Limits;
use crate::manifest::media;

const MOST_REDIRECTS: usize = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
const MANIFESTS: &str = concat!(
    "application/vnd.oci.image.index.v1+json, ",
    "application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.docker.distribution.manifest.v2+json"
);

/// What may be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Pull,
    Push,
}

/// A repository of a registry.
#[derive(Debug)]
pub(super) struct Repository {
    http: Client,
    image: ImageRef,
    base: Url,
    scope: String,
    login: Option<Login>,
    retries: u32,
    /// Written when a challenge was answered, read by every request.
    authorization: Mutex<Option<HeaderValue>>,
}

/// A manifest or index as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) claimed: Option<String>,
}

impl Repository {
    pub(super) async fn open(
        image: &ImageRef,
        access: &Access,
        right: Right,
    ) -> Result<Self, ImageError> {
        let registry = image.registry();
        let base = Url::parse(&base(registry, &access.insecure)).map_err(|error| {
            RegistryError::Untrusted {
                registry: registry.to_owned(),
                problem: error.to_string(),
            }
        })?;
        let mut builder = Client::builder()
            .user_agent(concat!("unmoor/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(access.patience)
            .read_timeout(access.patience);
        if is_loopback(host_of(registry)) {
            builder = builder.no_proxy();
        }
        for path in &access.certificates {
            let pem = tokio::fs::read(path).await.at("read", path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| {
                RegistryError::Credentials {
                    place: path.display().to_string(),
                    problem: "it holds no certificate in PEM format".to_owned(),
                }
            })?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder
            .build()
            .map_err(|source| RegistryError::Unreachable {
                registry: registry.to_owned(),
                action: "make connections".to_owned(),
                source: Box::new(source),
            })?;
        let actions = if right == Right::Push {
            "pull,push"
        } else {
            "pull"
        };
        Ok(Self {
            http,
            image: image.clone(),
            base,
            scope: format!("repository:{}:{actions}", image.repository()),
            login: access.credentials.login(image).await?,
            retries: access.retries,
            authorization: Mutex::new(None),
        })
    }

    pub(super) fn registry(&self) -> &str {
        self.image.registry()
    }

    /// An address beneath this repository; the parts are checked texts.
    pub(super) fn url(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{rest}", self.image.repository()));
        url
    }

    /// Gets a manifest or an index and proves its digest, if one was asked for or announced.
    pub(super) async fn manifest(
        &self,
        reference: &str,
        wanted: Option<&Digest>,
        limits: &Limits,
    ) -> Result<Received, ImageError> {
        let action = format!("get manifest {reference}");
        let mut headers = HeaderMap::new();
        headers.insert(reqwest::header::ACCEPT, HeaderValue::from_static(MANIFESTS));
        let url = self.url(&format!("manifests/{reference}"));
        let answer = self.get(url, &headers, &action).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(RegistryError::NotFound(self.image.clone()).into());
        }
        let answer = self.expect_success(answer, &action)?;
        let header = |name: HeaderName| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.split(';').next().unwrap_or(value).trim().to_owned())
        };
        let claimed = header(CONTENT_TYPE).filter(|kind| kind.starts_with("application/vnd."));
        let announced = header(HeaderName::from_static("docker-content-digest"));
        let announced = announced.map(|text| Digest::parse(&text)).transpose();
        let announced = announced.map_err(|error| self.untrusted(&error.to_string()))?;
        let what = format!("manifest {reference} of {}", self.image.familiar());
        let bytes = self.body(answer, limits.document_bytes, &what).await?;
        let mut digest = Digest::sha256_of(&bytes);
        for expected in wanted.into_iter().chain(&announced) {
            let found = crate::hash::digest_like(expected, &bytes);
            if found != *expected {
                let wanted = expected.clone();
                return Err(ImageError::DigestMismatch {
                    what,
                    wanted,
                    found,
                });
            }
        }
        if let Some(wanted) = wanted {
            digest = wanted.clone();
        }
        Ok(Received {
            bytes,
            digest,
            claimed,
        })
    }

    /// Reads an answer of at most `most` bytes.
    pub(super) async fn body(
        &self,
        mut answer: Response,
        most: u64,
        what: &str,
    ) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| self.unreachable("read an answer", error))?
        {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                let problem = format!("it has more than the {most} bytes allowed");
                return Err(ImageError::document(what, problem));
            }
        }
        Ok(bytes)
    }

    /// A request without a body, repeated if that may help; redirects are followed with care.
    pub(super) async fn get(
        &self,
        url: Url,
        headers: &HeaderMap,
        action: &str,
    ) -> Result<Response, ImageError> {
        self.repeated(Method::GET, url, headers, action).await
    }

    pub(super) async fn repeated(
        &self,
        method: Method,
        url: Url,
        headers: &HeaderMap,
        action: &str,
    ) -> Result<Response, ImageError> {
        let mut attempt = 0;
        loop {
            let result = self.followed(&method, url.clone(), headers, action).await;
            let pause = match &result {
                Ok(answer) => worth_repeating(answer, attempt),
                Err(ImageError::Registry(RegistryError::Unreachable { .. })) => {
                    Some(back_off(attempt))
                }
                Err(_) => None,
            };
            match pause {
                Some(pause) if attempt < self.retries => {
                    tracing::debug!(registry = self.registry(), action, ?pause, "trying again");
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
                _ => return result,
            }
        }
    }

    async fn followed(
        &self,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
        action: &str,
    ) -> Result<Response, ImageError> {
        let mut url = url;
        for _ in 0..MOST_REDIRECTS {
            let answer = self.authorized(method, &url, headers, action).await?;
            if !answer.status().is_redirection() || answer.status() == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let location = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| self.untrusted("it leads to no valid address"))?;
            may_lead(&url, &next).map_err(|problem| self.untrusted(&problem))?;
            url = next;
        }
        Err(self
            .untrusted("it leads from address to address without end")
            .into())
    }

    /// Sends a request; only the registry's own address gets, and may ask for, authorization.
    async fn authorized(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        action: &str,
    ) -> Result<Response, ImageError> {
        let own = same(url, &self.base);
        let known = self.authorization.lock().await.clone();
        let send = |authorization: Option<HeaderValue>| {
            let mut request = self
                .http
                .request(method.clone(), url.clone())
                .headers(headers.clone());
            if let Some(value) = authorization.filter(|_| own) {
                request = request.header(AUTHORIZATION, value);
            }
            request.send()
        };
        let answer = send(known.clone())
            .await
            .map_err(|e| self.unreachable(action, e))?;
        if answer.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(answer);
        }
        let Some(value) = self.answer(&answer, known).await? else {
            return Ok(answer);
        };
        Ok(send(Some(value))
            .await
            .map_err(|e| self.unreachable(action, e))?)
    }

    /// Answers a challenge once for all requests that wait for it.
    async fn answer(
        &self,
        refused: &Response,
        sent: Option<HeaderValue>,
    ) -> Result<Option<HeaderValue>, ImageError> {
        let mut current = self.authorization.lock().await;
        if *current != sent {
            return Ok(current.clone());
        }
        let Some(challenge) = challenge(refused.headers()) else {
            return Ok(None);
        };
        let asking = Asking {
            http: &self.http,
            registry: self.registry(),
            base: &self.base,
            scope: &self.scope,
            login: self.login.as_ref(),
        };
        *current = asking.answer(&challenge).await?;
        Ok(current.clone())
    }

    /// The authorization that worked last, for a request whose body can be sent only once.
    pub(super) async fn authorization_for(&self, url: &Url) -> Option<HeaderValue> {
        if !same(url, &self.base) {
            return None;
        }
        self.authorization.lock().await.clone()
    }

    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    /// Checks an address the registry names for an upload.
    pub(super) fn upload_url(&self, answer: &Response) -> Result<Url, RegistryError> {
        let location = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok());
        let url = location.and_then(|location| answer.url().join(location).ok());
        let url = url.ok_or_else(|| self.untrusted("it names no address for an upload"))?;
        may_lead(&self.base, &url).map_err(|problem| self.untrusted(&problem))?;
        Ok(url)
    }

    pub(super) fn expect_success(
        &self,
        answer: Response,
        action: &str,
    ) -> Result<Response, RegistryError> {
        let registry = self.registry().to_owned();
        let action = action.to_owned();
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => Err(RegistryError::Unauthenticated {
                registry,
                repository: self.image.repository().to_owned(),
                with_credentials: self.login.is_some(),
            }),
            StatusCode::FORBIDDEN => Err(RegistryError::Forbidden { registry, action }),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound(self.image.clone())),
            StatusCode::TOO_MANY_REQUESTS => Err(RegistryError::Throttled {
                registry,
                retry_after: retry_after(&answer),
            }),
            status => Err(RegistryError::Status {
                registry,
                action,
                status: status.as_u16(),
            }),
        }
    }

    pub(super) fn unreachable(&self, action: &str, error: reqwest::Error) -> RegistryError {
        RegistryError::Unreachable {
            registry: self.registry().to_owned(),
            action: action.to_owned(),
            // Addresses of storage services carry signatures that work like passwords.
            source: Box::new(error.without_url()),
        }
    }

    pub(super) fn untrusted(&self, problem: &str) -> RegistryError {
        RegistryError::Untrusted {
            registry: self.registry().to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// The media type under which a manifest is pushed.
pub(super) fn manifest_kind(bytes: &[u8]) -> &'static str {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) if value["mediaType"] == media::DOCKER_MANIFEST => media::DOCKER_MANIFEST,
        _ => media::OCI_MANIFEST,
    }
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

fn worth_repeating(answer: &Response, attempt: u32) -> Option<Duration> {
    let status = answer.status();
    let passing = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
    if !passing {
        return None;
    }
    let asked = retry_after(answer);
    // Whoever asks for a longer pause than this is told about it instead.
    if asked.is_some_and(|pause| pause > LONGEST_PAUSE) {
        return None;
    }
    Some(asked.unwrap_or_else(|| back_off(attempt)))
}

/// Twice as long each time, a little different for everyone.
pub(super) fn back_off(attempt: u32) -> Duration {
    let mut noise = [0_u8; 2];
    let _ = rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::NONBLOCK);
    let base = Duration::from_millis(100) * 2_u32.saturating_pow(attempt.min(7));
    let jitter = base.mul_f64(f64::from(u16::from_le_bytes(noise)) / f64::from(u16::MAX));
    (base / 2 + jitter).min(LONGEST_PAUSE)
}
