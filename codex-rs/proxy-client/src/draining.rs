//! Waiting for a proxy that has been told to stop.

use serde::{Deserialize, Serialize};

use crate::ControlError;
use crate::control::Answer;
use crate::lines::LineReader;

/// How far a proxy is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DrainState {
    /// The exchanges that are still on their way.
    pub exchanges: u64,
}

/// What a proxy says while it comes to its end.
#[derive(Debug)]
pub struct Draining {
    lines: LineReader<Answer>,
}

impl Draining {
    pub(crate) fn new(lines: LineReader<Answer>) -> Self {
        Self { lines }
    }

    /// What has changed; `None` when the proxy has closed the connection, by intention or because it was killed: it is
    /// at its end. Waits as long as that takes. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ControlError::Broken`] when what comes can't be what a proxy says.
    pub async fn next(&mut self) -> Result<Option<DrainState>, ControlError> {
        loop {
            match self.lines.next().await {
                Ok(Some(line)) => {
                    if let Ok(state) = serde_json::from_slice(&line) {
                        return Ok(Some(state));
                    }
                }
                Ok(None) => return Ok(None),
                // Its process is gone before it could say so.
                Err(ControlError::Broken { source, .. }) if source.is::<hyper::Error>() => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretended::{Say, listening, saying};

    #[tokio::test]
    async fn a_proxy_that_is_stopped_tells_how_many_exchanges_are_left_until_its_end() {
        let socket = listening(|request| {
            assert_eq!(format!("{} {}", request.method(), request.uri()), "POST /v1/shutdown");
            Say::Lines(vec!["{\"exchanges\":2}\n", "not this\n{\"exchan", "ges\":0,\"moon\":1}\n"])
        });
        let mut draining = socket.control().shutdown(/*now*/ false).await.unwrap();
        assert_eq!(draining.next().await.unwrap(), Some(DrainState { exchanges: 2 }));
        assert_eq!(draining.next().await.unwrap(), Some(DrainState { exchanges: 0 }));
        assert_eq!(draining.next().await.unwrap(), None);
        assert_eq!(draining.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_proxy_that_is_killed_meanwhile_is_at_its_end_too() {
        let socket = saying(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n{\"exchanges\":1}\n\r\n10\r\n{\"ex",
        );
        let mut draining = socket.control().shutdown(/*now*/ true).await.unwrap();
        assert_eq!(draining.next().await.unwrap(), Some(DrainState { exchanges: 1 }));
        assert_eq!(draining.next().await.unwrap(), None);
        assert_eq!(draining.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn who_may_not_stop_it_is_told_so() {
        let socket = listening(|request| {
            assert_eq!(
                format!("{} {}", request.method(), request.uri()),
                "POST /v1/shutdown?now=1"
            );
            Say::No(403, "only root may")
        });
        let error = socket.control().shutdown(/*now*/ true).await.unwrap_err();
        assert!(matches!(error, ControlError::NotAllowed(_)), "{error:?}");
        assert_eq!(error.to_string(), "only root may");
    }
}
