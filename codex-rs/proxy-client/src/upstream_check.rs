//! Whether a proxy can reach its upstream: it opens the way that requests take, says nothing on it, and closes it.

use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};

use crate::control::{ANSWER_LIMIT, ERROR_LIMIT_BYTES};
use crate::{ControlError, ControlSocket};

/// The answer to `GET /v1/upstream`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamCheck {
    /// Where requests go.
    pub url: String,
    /// Whether a request could be sent there now.
    pub reached: bool,
    /// How long name, TCP, tunnel and TLS took together, in milliseconds.
    pub took_ms: u64,
    /// The version of TLS, as in `TLSv1.3`; `None` without TLS, and where it was not reached.
    pub tls: Option<String>,
    /// Why it was not.
    pub problem: Option<UpstreamProblem>,
}

/// Why an upstream can't be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamProblem {
    /// The word that clients and records get for it, as in `upstream_tls`.
    pub code: String,
    /// Hop, cause and remedy in one sentence, as clients read it.
    pub message: String,
    /// What to do about it: how the message ends, after a semicolon and a blank.
    pub remedy: String,
}

impl UpstreamProblem {
    /// Hop and cause alone.
    pub fn cause(&self) -> &str {
        let cause = self.message.strip_suffix(&self.remedy);
        cause.and_then(|cause| cause.strip_suffix("; ")).unwrap_or(&self.message)
    }
}

impl ControlSocket {
    /// Has the proxy look whether its upstream can be reached. No request is sent there, and no key.
    ///
    /// Waits for as long as the proxy may take to connect, and a little more. Dropped, it gives up, and so does the proxy.
    ///
    /// # Errors
    ///
    /// [`ControlError::Busy`] when the proxy does so for another caller already, or did a moment ago; `Refused` with 404
    /// by a proxy that is too old for it; and [`ControlError`] as with every call. That the upstream can't be reached is
    /// none.
    pub async fn check_upstream(&self) -> Result<UpstreamCheck, ControlError> {
        let takes = Duration::from_millis(self.status().await?.policy.connect_timeout_ms);
        let limit = takes.saturating_add(ANSWER_LIMIT);
        let answer = self.ask_within(limit, Method::GET, "/v1/upstream").await?;
        let answer = self.collect(answer, ERROR_LIMIT_BYTES).await?;
        let mut check: UpstreamCheck =
            serde_json::from_slice(&answer).map_err(|error| self.broken(error))?;
        if let Some(problem) = &mut check.problem {
            // An upstream's words may be in it: nothing that a terminal would act on.
            problem.message = problem.message.replace(char::is_control, " ");
        }
        Ok(check)
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use nix::unistd::geteuid;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::pretended::{Say, Socket, listening, status};

    const URL: &str = "https://api.openai.com/v1/responses";

    /// A proxy that answers so when it is asked for its upstream.
    fn answering(say: impl Fn() -> Say + Clone + Send + Sync + 'static) -> Socket {
        listening(move |request| match request.uri().path() {
            "/v1/status" => Say::Status(Box::new(status())),
            _ => {
                let line = format!("{} {}", request.method(), request.uri());
                assert_eq!(line, "GET /v1/upstream");
                say()
            }
        })
    }

    fn reached() -> Value {
        json!({"url": URL, "reached": true, "took_ms": 83, "tls": "TLSv1.3", "problem": null, "moon": 1})
    }

    #[tokio::test]
    async fn an_upstream_that_can_be_reached_is_told_with_its_tls() {
        let socket = answering(|| Say::Json(reached()));
        let expected = UpstreamCheck {
            url: URL.to_owned(),
            reached: true,
            took_ms: 83,
            tls: Some("TLSv1.3".to_owned()),
            problem: None,
        };
        assert_eq!(socket.control().check_upstream().await.unwrap(), expected);
    }

    #[tokio::test]
    async fn what_is_wrong_comes_apart_into_cause_and_remedy() {
        let problem = json!({
            "code": "upstream_tls",
            "message": "the upstream x:443 shows a certificate; not\u{1b}[31m yours; check the host; and the clock",
            "remedy": "check the host; and the clock",
        });
        let found =
            json!({"url": URL, "reached": false, "took_ms": 5, "tls": null, "problem": problem});
        let socket = answering(move || Say::Json(found.clone()));
        let found = socket.control().check_upstream().await.unwrap();
        assert!(!found.reached);
        let problem = found.problem.unwrap();
        assert_eq!(problem.cause(), "the upstream x:443 shows a certificate; not [31m yours");
        assert_eq!(problem.remedy, "check the host; and the clock");
        let foreign = UpstreamProblem { remedy: "something else".to_owned(), ..problem };
        assert_eq!(foreign.cause(), foreign.message);
    }

    #[tokio::test]
    async fn a_busy_proxy_and_an_old_one_are_told_apart_from_others() {
        let socket = answering(|| Say::Refusal(503, "busy", "try again in a second"));
        let error = socket.control().check_upstream().await.unwrap_err();
        assert!(
            matches!(&error, ControlError::Busy(words) if words == "try again in a second"),
            "{error:?}"
        );
        assert_eq!(error.hint(), None);
        let socket = answering(|| Say::Refusal(503, "too_many_connections", "16 of them"));
        let error = socket.control().check_upstream().await.unwrap_err();
        assert!(matches!(error, ControlError::Crowded), "{error:?}");
        let socket = answering(|| Say::Refusal(404, "route_not_allowed", "there are others"));
        let error = socket.control().check_upstream().await.unwrap_err();
        assert!(matches!(error, ControlError::Refused { status: 404, .. }), "{error:?}");
    }

    /// The next caller, whose request has been read.
    async fn caller(listener: &UnixListener) -> UnixStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
    }

    async fn say(mut stream: UnixStream, body: &str) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).await.unwrap();
    }

    /// Longer than any other answer; a proxy says in its status how long it may take.
    #[tokio::test]
    async fn the_proxy_gets_the_time_that_its_own_limit_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let control = ControlSocket::new(path, process::id(), geteuid().as_raw());
        for (seconds, is_in_time) in [(12, true), (16, false)] {
            let control = control.clone();
            let checking = tokio::spawn(async move { control.check_upstream().await });
            let told = serde_json::to_string(&status()).unwrap(); // A limit of 10 s.
            say(caller(&listener).await, &told).await;
            let asked = caller(&listener).await;
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            tokio::time::resume();
            if is_in_time {
                say(asked, &reached().to_string()).await;
                assert!(checking.await.unwrap().unwrap().reached);
            } else {
                let error = checking.await.unwrap().unwrap_err();
                let ControlError::Timeout { limit, .. } = error else { panic!("{error:?}") };
                assert_eq!(limit, Duration::from_secs(15));
            }
        }
    }
}
