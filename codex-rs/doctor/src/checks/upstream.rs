//! `upstream`: whether the proxy that Codex is meant to use gets through to its upstream. The proxy itself tries, as it would
//! for a request: with its own name service, hop and authorities, and with no key.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use codex_proxy_client::status::Upstream;
use codex_proxy_client::{ControlError, Status, UpstreamCheck};
use tokio::time::{Instant, sleep, timeout_at};

use crate::finding::Finding;
use crate::host::Host;

const ID: &str = "upstream";

/// Less than a check may take: then more can be said than that it took too long.
const PATIENCE: Duration = Duration::from_secs(9);
/// A proxy has its upstream checked for one caller at a time, and then for none within a second.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Nothing where no proxy runs that this could be asked of: `proxy` says so.
pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let deadline = Instant::now() + PATIENCE;
    let Some(proxy) = host.proxy().await else { return Vec::new() };
    let (asked_at, control) = (Instant::now(), proxy.control());
    let control = &control;
    let finding = match until(deadline, move || control.check_upstream()).await {
        Some(said) => told(&proxy.status, said),
        None => silent(&proxy.status, asked_at.elapsed()),
    };
    vec![finding]
}

/// What it says before then, again and again while it is busy. `None`: nothing.
async fn until<T, F>(deadline: Instant, ask: impl Fn() -> F) -> Option<Result<T, ControlError>>
where
    F: Future<Output = Result<T, ControlError>>,
{
    let mut busy = None;
    loop {
        match timeout_at(deadline, ask()).await {
            Ok(Err(error @ ControlError::Busy(_))) => busy = Some(Err(error)),
            Ok(said) => return Some(said),
            Err(_) => return busy,
        }
        if timeout_at(deadline, sleep(BUSY_PAUSE)).await.is_err() {
            return busy;
        }
    }
}

fn told(status: &Status, said: Result<UpstreamCheck, ControlError>) -> Finding {
    match said {
        Ok(found) => found_out(&status.upstream, found),
        Err(error) => not_told(&status.version, &error),
    }
}

fn found_out(upstream: &Upstream, found: UpstreamCheck) -> Finding {
    let (origin, took_ms) = (origin(&found.url), found.took_ms);
    let way = way(upstream);
    match (found.problem, found.tls) {
        (Some(problem), _) => {
            let tried = way.map(|way| format!("; it is tried {way}")).unwrap_or_default();
            Finding::fail(ID, format!("{}{tried}", problem.cause()), problem.remedy)
        }
        (None, _) if !found.reached => {
            Finding::fail(ID, format!("{origin} can't be reached"), "check the network")
        }
        (None, tls) => {
            let answered = match tls {
                Some(version) => format!("answered the TLS handshake in {took_ms} ms ({version})"),
                None => {
                    format!("took the connection in {took_ms} ms (on this machine, without TLS)")
                }
            };
            let way = way.map(|way| format!(", {way}")).unwrap_or_default();
            Finding::pass(ID, format!("{origin} {answered}{way}"))
        }
    }
}

/// Nobody can say.
fn not_told(version: &str, error: &ControlError) -> Finding {
    if let ControlError::Refused { status: 404, .. } = error {
        return Finding::warn(
            ID,
            format!("the proxy's version, {version}, does not say whether its upstream answers"),
            "start it anew with this version: `codex proxy stop`, and then as before",
        );
    }
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let evidence = format!("the proxy did not say whether its upstream answers: {error}{source}");
    Finding::warn(ID, evidence, error.hint().unwrap_or("run `codex proxy doctor` again"))
}

fn silent(status: &Status, waited: Duration) -> Finding {
    let (upstream, waited_seconds) = (&status.upstream, waited.as_secs_f64());
    let limit = Duration::from_millis(status.policy.connect_timeout_ms);
    let origin = origin(&upstream.url);
    let tried = way(upstream).map(|way| format!(", {way}")).unwrap_or_default();
    let evidence = format!(
        "{origin} has not answered for {waited_seconds:.0}s; a request is given up after {limit:?} (--connect-timeout){tried}"
    );
    let remedy = match upstream.proxy {
        None => "check the network between this machine and it",
        Some(_) => "check the network, and that the proxy in between runs",
    };
    Finding::fail(ID, evidence, remedy)
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + "://".len());
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// What on the way there is not the default.
fn way(upstream: &Upstream) -> Option<String> {
    let hop = upstream.proxy.iter();
    let hop = hop.map(|hop| format!("through the proxy {} ({})", hop.url, hop.named_by));
    let trusted = upstream.authorities.iter();
    let trusted =
        trusted.map(|file| format!("trusting {} ({})", file.path.display(), file.named_by));
    let parts: Vec<String> = hop.chain(trusted).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use codex_proxy_client::UpstreamProblem;
    use codex_proxy_client::status::{Authority, Hop};

    use super::super::proxy::samples::status;
    use super::*;

    fn upstream() -> Upstream {
        Upstream {
            url: "https://api.openai.com/v1/responses".to_owned(),
            proxy: None,
            authorities: Vec::new(),
            key_field: "Authorization: Bearer".to_owned(),
        }
    }

    fn in_a_company() -> Upstream {
        let hop = Hop { url: "http://p:3128".to_owned(), named_by: "HTTPS_PROXY".to_owned() };
        let file = |path: &str, named_by: &str| Authority {
            path: path.into(),
            named_by: named_by.to_owned(),
        };
        Upstream {
            proxy: Some(hop),
            authorities: vec![file("/x.pem", "--upstream-ca"), file("/y.pem", "SSL_CERT_FILE")],
            ..upstream()
        }
    }

    fn reached(url: &str, tls: Option<&str>) -> UpstreamCheck {
        UpstreamCheck {
            url: url.to_owned(),
            reached: true,
            took_ms: 83,
            tls: tls.map(str::to_owned),
            problem: None,
        }
    }

    #[test]
    fn an_upstream_that_answers_is_told_with_what_is_special_on_the_way() {
        let found = || reached("https://api.openai.com/v1/responses", Some("TLSv1.3"));
        let plain = "https://api.openai.com answered the TLS handshake in 83 ms (TLSv1.3)";
        assert_eq!(found_out(&upstream(), found()), Finding::pass(ID, plain));
        let way = "through the proxy http://p:3128 (HTTPS_PROXY), trusting /x.pem (--upstream-ca), trusting /y.pem (SSL_CERT_FILE)";
        let expected = Finding::pass(ID, format!("{plain}, {way}"));
        assert_eq!(found_out(&in_a_company(), found()), expected);
        let expected =
            "http://127.0.0.1:8080 took the connection in 83 ms (on this machine, without TLS)";
        let found = reached("http://127.0.0.1:8080?api-version=1/2", None);
        assert_eq!(found_out(&upstream(), found), Finding::pass(ID, expected));
    }

    #[test]
    fn what_is_wrong_and_what_helps_are_the_proxys_own_words() {
        let problem = UpstreamProblem {
            code: "upstream_proxy".to_owned(),
            message: "the proxy p:3128 wants a user name and password; name it with them"
                .to_owned(),
            remedy: "name it with them".to_owned(),
        };
        let found = UpstreamCheck {
            reached: false,
            problem: Some(problem),
            ..reached("https://api.openai.com/v1/responses", None)
        };
        let cause = "the proxy p:3128 wants a user name and password";
        let expected = Finding::fail(ID, cause, "name it with them");
        assert_eq!(found_out(&upstream(), found.clone()), expected);
        let finding = found_out(&in_a_company(), found.clone());
        let tried = format!("{cause}; it is tried through the proxy http://p:3128 (HTTPS_PROXY), ");
        assert!(finding.evidence.starts_with(&tried), "{finding:?}");
        let unexplained = UpstreamCheck { problem: None, ..found };
        let expected =
            Finding::fail(ID, "https://api.openai.com can't be reached", "check the network");
        assert_eq!(found_out(&upstream(), unexplained), expected);
    }

    #[test]
    fn a_proxy_that_can_not_say_is_a_warning() {
        let old = ControlError::Refused { status: 404, message: "there are others".to_owned() };
        let finding = not_told("0.1.0", &old);
        let expected = "the proxy's version, 0.1.0, does not say whether its upstream answers";
        assert_eq!((finding.grade, &*finding.evidence), (crate::Grade::Warn, expected));
        let busy = ControlError::Busy("try again in a second".to_owned());
        let expected = Finding::warn(
            ID,
            "the proxy did not say whether its upstream answers: try again in a second",
            "run `codex proxy doctor` again",
        );
        assert_eq!(not_told("0.1.0", &busy), expected);
    }

    #[test]
    fn an_upstream_that_says_nothing_fails_before_the_check_does() {
        let status = |upstream| {
            let mut status = status(4_000);
            (status.upstream, status.policy.connect_timeout_ms) = (upstream, 10_000);
            status
        };
        let evidence = |seconds: u32| {
            format!(
                "https://api.openai.com has not answered for {seconds}s; a request is given up after 10s (--connect-timeout)"
            )
        };
        let remedy = "check the network between this machine and it";
        for (waited_ms, seconds) in [(9_000, 9), (8_997, 9), (6_800, 7)] {
            let finding = silent(&status(upstream()), Duration::from_millis(waited_ms));
            assert_eq!(finding, Finding::fail(ID, evidence(seconds), remedy));
        }
        let finding = silent(&status(in_a_company()), PATIENCE);
        assert!(finding.evidence.contains(", through the proxy http://p:3128"), "{finding:?}");
        assert_eq!(
            finding.remedy.unwrap(),
            "check the network, and that the proxy in between runs"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_one_is_asked_again_for_as_long_as_there_is_time() {
        let begun = Instant::now();
        let busy = || ControlError::Busy("try again in a second".to_owned());
        // Free after this long; never.
        for (free_after, answer, took) in [(6, Some(true), 6), (60, Some(false), 9)] {
            let begun = Instant::now();
            let ask = || async move {
                let is_free = begun.elapsed() >= Duration::from_secs(free_after);
                if is_free { Ok(()) } else { Err(busy()) }
            };
            let said = until(begun + PATIENCE, ask).await;
            assert_eq!(said.map(|said| said.is_ok()), answer);
            assert_eq!(begun.elapsed().as_secs(), took);
        }
        // One that says nothing at all.
        let silent = until::<(), _>(Instant::now() + PATIENCE, std::future::pending).await;
        assert!(silent.is_none());
        assert_eq!(begun.elapsed().as_secs(), 6 + 9 + 9);
    }

    #[tokio::test]
    async fn where_no_proxy_runs_there_is_nothing_to_look_at() {
        let folder = tempfile::tempdir().unwrap();
        assert!(look(Arc::new(Host::for_tests(folder.path()))).await.is_empty());
    }
}
