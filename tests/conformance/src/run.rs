//! Runs cases one after the other, cleans up after each, and says what came of them.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use unmoor_core::backend::{Backend, Feature, ImageInput};
use unmoor_core::client::{AdoptOptions, DownOptions};
use unmoor_core::clock::{Clock, SystemClock};
use unmoor_core::image::ImageRef;
use unmoor_core::label::Selector;
use unmoor_core::name::StackName;
use unmoor_core::{Client, Error, ErrorKind, Result};

use crate::case::{Case, Failure, Outcome, Verdict};
use crate::cases;
use crate::dial::{Dial, Sockets};
use crate::disown::Disown;
use crate::fixture::Fixture;
use crate::image;
use crate::report::{CaseResult, Evidence, Report};

/// Tags of the suite's image: the same program under several digests.
const TAGS: [&str; 2] = ["1", "2"];

/// How the suite is run.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options<'a> {
    /// Only cases whose name or operation contains one of these; empty means all.
    pub filter: Vec<String>,
    /// What stands behind the backend in this run.
    pub evidence: Evidence,
    /// The clock that cases wait by.
    pub clock: Arc<dyn Clock>,
    /// The way to published ports.
    pub dial: Arc<dyn Dial>,
    /// The way to put there what is not ours; cases that need it are skipped without one.
    pub disown: Option<Arc<dyn Disown>>,
    /// Part of every stack's name, so that runs at the same time do not meet.
    pub id: String,
    /// Day of the run as `YYYY-MM-DD`.
    pub date: String,
    /// Cases that are known to fail, with the reason; one that passes is a failure.
    pub known: BTreeMap<String, String>,
    /// Longest real time of one case.
    pub limit: Duration,
    /// Called after each case.
    pub on_case: &'a (dyn Fn(&CaseResult) + Send + Sync),
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("filter", &self.filter)
            .field("evidence", &self.evidence)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Options<'a> {
    /// Every case, real time, this machine's sockets, evidence `real`.
    #[must_use]
    pub fn new() -> Self {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            filter: Vec::new(),
            evidence: Evidence::Real,
            clock: Arc::new(SystemClock::new()),
            dial: Arc::new(Sockets),
            disown: None,
            // Ten thousandths of a second, four letters of them: short names leave room for others.
            id: base36(u64::try_from(now.as_millis() / 100).unwrap_or_default(), 4),
            date: day(now.as_secs()),
            known: BTreeMap::new(),
            limit: Duration::from_secs(180),
            on_case: &|_| {},
        }
    }

    /// Only cases whose name or operation contains `text`.
    #[must_use]
    pub fn only(mut self, text: impl Into<String>) -> Self {
        self.filter.push(text.into());
        self
    }

    /// Says what stands behind the backend.
    #[must_use]
    pub fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }

    /// Has cases wait by this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Reaches published ports this way.
    #[must_use]
    pub fn dial(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = dial;
        self
    }

    /// Puts there what is not ours in this way.
    #[must_use]
    pub fn disown(mut self, disown: Arc<dyn Disown>) -> Self {
        self.disown = Some(disown);
        self
    }

    /// Calls `told` after each case.
    #[must_use]
    pub fn on_case(mut self, told: &'a (dyn Fn(&CaseResult) + Send + Sync)) -> Self {
        self.on_case = told;
        self
    }

    /// Expects a case to fail.
    #[must_use]
    pub fn known(mut self, case: impl Into<String>, reason: impl Into<String>) -> Self {
        self.known.insert(case.into(), reason.into());
        self
    }

    fn selects(&self, case: &Case) -> bool {
        let fits = |part: &String| case.name.contains(part.as_str()) || case.operation == part;
        self.filter.is_empty() || self.filter.iter().any(fits)
    }
}

fn base36(mut number: u64, digits: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = vec![b'0'; digits];
    for place in text.iter_mut().rev() {
        *place = DIGITS[usize::try_from(number % 36).expect("below 36")];
        number /= 36;
    }
    String::from_utf8(text).expect("plain letters")
}

/// The day of a time in seconds since 1970, by the civil calendar.
fn day(seconds: u64) -> String {
    let mut days = seconds / 86_400;
    let mut year = 1970;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days + 1)
}

/// Every case that the options select.
#[must_use]
pub fn select(options: &Options<'_>) -> Vec<Case> {
    cases::all()
        .into_iter()
        .filter(|case| options.selects(case))
        .collect()
}

/// Runs the suite on a backend.
///
/// # Errors
/// If the probe's image cannot be brought to the backend, and so no case can be tried.
pub async fn run(backend: Arc<dyn Backend>, options: &Options<'_>) -> Result<Report> {
    let client = Client::with_clock(Arc::clone(&backend), Arc::clone(&options.clock));
    let loaded = load(&client).await?;
    let mut results = Vec::new();
    for (number, case) in select(options).into_iter().enumerate() {
        let start = Instant::now();
        let outcome = match unsupported(&case, &client) {
            Some(reason) => Outcome::Skip(reason),
            None => {
                let base = format!("uc{}{number}", options.id);
                let verdict = attempt(&case, &client, &backend, options, base).await;
                judge(&case, verdict, options)
            }
        };
        let result = CaseResult {
            name: case.name.to_owned(),
            operation: case.operation.to_owned(),
            claim: case.claim.to_owned(),
            outcome,
            milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        (options.on_case)(&result);
        results.push(result);
    }
    for reference in loaded {
        // A name that a case removed, or that somebody else holds on to, is no fault of a claim.
        let _ = client.images()?.remove(&reference).await;
    }
    let info = backend.info();
    Ok(Report::new(
        info,
        backend.capabilities(),
        options.evidence,
        options.date.clone(),
        results,
    ))
}

async fn load(client: &Client) -> Result<Vec<ImageRef>> {
    if !client.capabilities().has(Feature::ImageLoad) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "bring the probe to the backend: it takes no images from files",
        ));
    }
    let folder = tempfile::tempdir().map_err(|error| {
        Error::new(ErrorKind::Internal, "make a temporary folder").because(error)
    })?;
    let path = image::write_layout(folder.path(), &TAGS)?;
    client
        .images()?
        .load(&ImageInput::Archive(path), true)
        .await?;
    Ok(TAGS.iter().map(|tag| image::reference(tag)).collect())
}

fn unsupported(case: &Case, client: &Client) -> Option<String> {
    let capabilities = client.capabilities();
    let missing = case
        .needs
        .iter()
        .find(|feature| !capabilities.has(**feature))?;
    Some(format!("`{missing}` is not supported"))
}

async fn attempt(
    case: &Case,
    client: &Client,
    backend: &Arc<dyn Backend>,
    options: &Options<'_>,
    base: String,
) -> Verdict {
    let fixture = Fixture::new(
        client.clone(),
        Arc::clone(backend),
        (Arc::clone(&options.dial), options.disown.clone()),
        base,
    )?;
    let body = AssertUnwindSafe((case.body)(&fixture)).catch_unwind();
    let verdict = match tokio::time::timeout(options.limit, body).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(panic)) => Err(Failure::Failed(format!(
            "the case panicked: {}",
            words_of(&*panic)
        ))),
        Err(_) => {
            let text = format!("not over within {} s", options.limit.as_secs());
            Err(Failure::Failed(text))
        }
    };
    let tidy = AssertUnwindSafe(clean_up(&fixture)).catch_unwind();
    let left = match tokio::time::timeout(options.limit, tidy).await {
        Ok(Ok(left)) => left,
        Ok(Err(panic)) => vec![format!("cleaning up panicked: {}", words_of(&*panic))],
        Err(_) => vec!["cleaning up did not end".to_owned()],
    };
    if left.is_empty() {
        return verdict;
    }
    let left = left.join("; ");
    match verdict {
        Err(Failure::Failed(reason)) => Err(Failure::Failed(format!("{reason}; {left}"))),
        _ => Err(Failure::Failed(left)),
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "without words".to_owned())
}

/// Takes every stack of the case down, and looks that nothing of them is left.
async fn clean_up(fixture: &Fixture) -> Vec<String> {
    let client = fixture.client();
    let options = DownOptions::new().volumes(true);
    let mut left = Vec::new();
    for name in fixture.made().iter().rev() {
        // What a case left as somebody else's is taken over, so that it can be removed.
        if fixture.has(Feature::Adopt)
            && let Err(error) = client.adopt(name, &AdoptOptions::new()).await
        {
            left.push(format!("adoption of {name}: {error:?}"));
        }
        if let Err(error) = client.down(name, &options).await {
            left.push(format!("down of {name}: {error:?}"));
        }
    }
    for name in fixture.made() {
        if let Some(what) = remains(client, &name).await {
            left.push(format!("left behind of {name}: {what}"));
        }
    }
    left
}

async fn remains(client: &Client, name: &StackName) -> Option<String> {
    let selector = Selector::stack(name.clone());
    match client.observe(&selector).await {
        Err(error) => return Some(format!("{error:?}")),
        Ok(observed) => {
            let stack = observed.stack(name);
            if !stack.is_empty() {
                return Some(format!("{stack:?}"));
            }
        }
    }
    match client.discover(&selector).await {
        Err(error) => Some(format!("{error:?}")),
        Ok(list) if list.is_empty() => None,
        Ok(list) => Some(format!("{} endpoints", list.len())),
    }
}

fn judge(case: &Case, verdict: Verdict, options: &Options<'_>) -> Outcome {
    let known = options.known.get(case.name);
    match (verdict, known) {
        (Ok(()), None) => Outcome::Pass,
        (Ok(()), Some(reason)) => {
            Outcome::Fail(format!("it passes, though it is known to fail: {reason}"))
        }
        (Err(Failure::Skipped(reason)), _) => Outcome::Skip(reason),
        (Err(Failure::Failed(_)), Some(reason)) => Outcome::Xfail(reason.clone()),
        (Err(Failure::Failed(reason)), None) => Outcome::Fail(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_the_calendar() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_767_225_600), "2026-01-01");
    }

    #[test]
    fn a_known_failure_that_passes_is_a_failure() {
        let case = cases::all()[0];
        let options = Options::new().known(case.name, "reason");
        assert!(matches!(judge(&case, Ok(()), &options), Outcome::Fail(_)));
        let failed = || Err(Failure::Failed("x".to_owned()));
        assert_eq!(
            judge(&case, failed(), &options),
            Outcome::Xfail("reason".to_owned())
        );
        assert_eq!(
            judge(&case, failed(), &Options::new()),
            Outcome::Fail("x".to_owned())
        );
    }
}
