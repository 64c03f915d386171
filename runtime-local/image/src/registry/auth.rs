//! Challenges and tokens: who gets a credential, and what comes back for it.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;

use super::RegistryError;
use super::credentials::{Login, Secret};
use super::origin::{may_lead, share_credentials};

const MOST_ANSWER: usize = 256 << 10;

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from this service.
    Bearer {
        realm: String,
        service: Option<String>,
    },
    /// Name and password.
    Basic,
}

/// The strongest challenge we can answer.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let parameters = parameters(rest);
            let find = |name: &str| {
                let found = parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone())
            };
            if let Some(realm) = find("realm") {
                return Some(Challenge::Bearer {
                    realm,
                    service: find("service"),
                });
            }
        }
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

/// `key=value` and `key="value, with \"quotes\""`, separated by commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        let key: String = take_until(&mut letters, '=')
            .trim_matches([' ', ','])
            .to_owned();
        if key.is_empty() || found.len() > 16 {
            return found;
        }
        let value = match letters.peek() {
            Some('"') => {
                letters.next();
                quoted(&mut letters)
            }
            _ => take_until(&mut letters, ',').trim().to_owned(),
        };
        found.push((key, value));
    }
}

fn take_until(letters: &mut impl Iterator<Item = char>, end: char) -> String {
    letters
        .by_ref()
        .take_while(|letter| *letter != end)
        .collect()
}

fn quoted(letters: &mut impl Iterator<Item = char>) -> String {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => text.extend(letters.next()),
            letter => text.push(letter),
        }
    }
    text
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Everything needed to answer a challenge.
pub(super) struct Asking<'a> {
    pub(super) http: &'a Client,
    pub(super) registry: &'a str,
    pub(super) base: &'a Url,
    pub(super) scope: &'a str,
    pub(super) login: Option<&'a Login>,
}

impl Asking<'_> {
    /// The header that answers the challenge; nothing if we have no answer.
    pub(super) async fn answer(
        &self,
        challenge: &Challenge,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        match (challenge, self.login) {
            (Challenge::Bearer { realm, service }, _) => {
                self.token(realm, service.as_deref()).await.map(Some)
            }
            (Challenge::Basic, Some(Login::Password { user, password })) => {
                let pair = format!("{user}:{}", password.reveal());
                Ok(Some(sensitive(&format!(
                    "Basic {}",
                    super::credentials::base64(&pair)
                ))?))
            }
            (Challenge::Basic, _) => Ok(None),
        }
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
    ) -> Result<HeaderValue, RegistryError> {
        let mut realm = Url::parse(realm)
            .map_err(|_| self.untrusted("its token service has no valid address"))?;
        may_lead(self.base, &realm).map_err(|problem| self.untrusted(&problem))?;
        // Only the registry's own service may see the credentials; another one gets none.
        let login = self
            .login
            .filter(|_| share_credentials(self.registry, &realm));
        let request = match login {
            Some(Login::Identity(token)) => self.refresh(realm, service, token),
            _ => {
                let mut query = realm.query_pairs_mut();
                query.append_pair("scope", self.scope);
                service.map(|service| query.append_pair("service", service));
                drop(query);
                match login {
                    Some(Login::Password { user, password }) => self
                        .http
                        .get(realm)
                        .basic_auth(user, Some(password.reveal())),
                    _ => self.http.get(realm),
                }
            }
        };
        self.ask(request).await
    }

    fn refresh(&self, realm: Url, service: Option<&str>, token: &Secret) -> RequestBuilder {
        let mut form = Url::parse("form:").expect("a constant address");
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "unmoor")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", self.scope)
            .append_pair("refresh_token", token.reveal());
        let body = form.query().unwrap_or_default().to_owned();
        let kind = "application/x-www-form-urlencoded";
        self.http
            .post(realm)
            .header(reqwest::header::CONTENT_TYPE, kind)
            .body(body)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<HeaderValue, RegistryError> {
        let action = "get a token";
        let unreachable = |error: reqwest::Error| RegistryError::Unreachable {
            registry: self.registry.to_owned(),
            action: action.to_owned(),
            source: Box::new(error.without_url()),
        };
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        if matches!(status.as_u16(), 400 | 401 | 403) {
            return Err(self.unauthenticated());
        }
        if !status.is_success() {
            return Err(RegistryError::Status {
                registry: self.registry.to_owned(),
                action: action.to_owned(),
                status: status.as_u16(),
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_ANSWER {
                return Err(self.untrusted("its token is too long"));
            }
        }
        let parsed: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| self.untrusted("its token service does not answer with a token"))?;
        match parsed
            .token
            .or(parsed.access_token)
            .filter(|token| !token.is_empty())
        {
            Some(token) => sensitive(&format!("Bearer {token}")),
            None => Err(self.untrusted("its token service does not answer with a token")),
        }
        .map_err(|_| self.untrusted("its token cannot be sent"))
    }

    fn untrusted(&self, problem: &str) -> RegistryError {
        RegistryError::Untrusted {
            registry: self.registry.to_owned(),
            problem: problem.to_owned(),
        }
    }

    fn unauthenticated(&self) -> RegistryError {
        RegistryError::Unauthenticated {
            registry: self.registry.to_owned(),
            repository: self.scope.split(':').nth(1).unwrap_or_default().to_owned(),
            with_credentials: self.login.is_some(),
        }
    }
}

/// A header value that no log shows.
fn sensitive(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::Credentials {
        place: AUTHORIZATION.to_string(),
        problem: "it has characters that cannot be sent".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{Challenge, HeaderMap, WWW_AUTHENTICATE, challenge};

    fn read(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().expect("a header"));
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            let service = service.map(str::to_owned);
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service,
            })
        };
        let both = "Bearer realm=\"https://a/t\",service=\"a, \\\"b\\\"\",scope=\"x\"";
        assert_eq!(read(&[both]), bearer("https://a/t", Some("a, \"b\"")));
        assert_eq!(
            read(&["bearer service=s, REALM=https://a"]),
            bearer("https://a", Some("s"))
        );
        assert_eq!(
            read(&["Basic realm=\"x\"", "Bearer realm=\"y\""]),
            bearer("y", None)
        );
        assert_eq!(read(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(read(&["Bearer service=\"x\""]), None);
        assert_eq!(
            read(&["Digest realm=\"x\"", "Bearer", "Bearer =", "Bearer \""]),
            None
        );
        assert_eq!(read(&[]), None);
    }
}
