//! What a bad client does.

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;

/// What a bad client does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misdeed {
    ConnectsAndLeaves,
    ConnectsAndResets,
    SaysNothing,
    SpeaksGarbage,
    SendsAHugeField,
    SendsManyFields,
    AsksForSomethingElse,
    AnnouncesTooMuch,
    StopsInTheBody,
    WaitsToContinue,
    SendsNoChunks,
    FramesTwice,
    LeavesAtOnce,
    LeavesMidStream,
    ResetsMidStream,
    LeavesAfterUrgentData,
    ClosesItsSendingSide,
    DoesNotRead,
    PipelinesAndDoesNotRead,
    IsRefusedAndDoesNotRead,
}

use Misdeed::*;

pub(crate) const MISDEEDS: [Misdeed; 20] = [
    ConnectsAndLeaves,
    ConnectsAndResets,
    SaysNothing,
    SpeaksGarbage,
    SendsAHugeField,
    SendsManyFields,
    AsksForSomethingElse,
    AnnouncesTooMuch,
    StopsInTheBody,
    WaitsToContinue,
    SendsNoChunks,
    FramesTwice,
    LeavesAtOnce,
    LeavesMidStream,
    ResetsMidStream,
    LeavesAfterUrgentData,
    ClosesItsSendingSide,
    DoesNotRead,
    PipelinesAndDoesNotRead,
    IsRefusedAndDoesNotRead,
];

/// How often in a round, where that is cheap; and where it is not.
const OFTEN: usize = 8;
const A_FEW_TIMES: usize = 4;

/// What is no HTTP/1.1: TLS, HTTP/2, HTTP/0.9, nothing in particular.
const GARBAGE: [&[u8]; 4] = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /\r\n\r\n",
    &[0; 4_096],
];

impl Misdeed {
    /// Commits it; returns the connection that it does not let go of, if it does not.
    pub(crate) async fn commit(self, port: u16) -> Option<TcpStream> {
        let with = |fields: &str| {
            format!("POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n")
        };
        let ask = |behave: &str| with(&format!("Behave: {behave}\r\nContent-Length: 2\r\n")) + "{}";
        let refused = format!("GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        match self {
            ConnectsAndLeaves => {
                for _ in 0..OFTEN {
                    drop(sent(port, "").await);
                }
            }
            ConnectsAndResets => {
                for _ in 0..OFTEN {
                    reset(sent(port, "").await);
                }
            }
            SaysNothing => return Some(sent(port, "").await),
            SpeaksGarbage => {
                for garbage in GARBAGE {
                    ended(sent(port, garbage).await).await;
                }
            }
            SendsAHugeField => {
                for _ in 0..A_FEW_TIMES {
                    let field = format!("Huge: {}\r\n", "x".repeat(100_000));
                    ended(sent(port, with(&field)).await).await;
                }
            }
            SendsManyFields => {
                for _ in 0..A_FEW_TIMES {
                    ended(sent(port, with(&"Field: value\r\n".repeat(200))).await).await;
                }
            }
            AsksForSomethingElse => {
                let mut stream = sent(port, "").await;
                for _ in 0..OFTEN {
                    let _ = stream.write_all(refused.as_bytes()).await;
                    answered(&mut stream).await;
                }
            }
            AnnouncesTooMuch => {
                let mut stream = sent(port, with("Content-Length: 99999999999\r\n")).await;
                answered(&mut stream).await;
                return Some(stream);
            }
            StopsInTheBody => {
                let body = with("Content-Length: 10000000\r\n") + &"x".repeat(300_000);
                return Some(sent(port, body).await);
            }
            WaitsToContinue => {
                let head = with("Expect: 100-continue\r\nContent-Length: 2\r\n");
                return Some(sent(port, head).await);
            }
            SendsNoChunks => {
                for _ in 0..A_FEW_TIMES {
                    let body = with("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\nZZ\r\n";
                    ended(sent(port, body).await).await;
                }
            }
            FramesTwice => {
                for _ in 0..A_FEW_TIMES {
                    let fields = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
                    let smuggled = with(fields) + "0\r\n\r\n" + &refused;
                    answered(&mut sent(port, smuggled).await).await;
                }
            }
            LeavesAtOnce => {
                for _ in 0..OFTEN {
                    drop(sent(port, ask("silent")).await);
                }
            }
            LeavesMidStream => {
                for _ in 0..OFTEN {
                    answered(&mut sent(port, ask("silent")).await).await;
                }
            }
            ResetsMidStream => {
                for _ in 0..OFTEN {
                    let mut stream = sent(port, ask("silent")).await;
                    answered(&mut stream).await;
                    reset(stream);
                }
            }
            LeavesAfterUrgentData => {
                for _ in 0..A_FEW_TIMES {
                    let mut stream = sent(port, ask("silent")).await;
                    answered(&mut stream).await;
                    let _ = SockRef::from(&stream).send_out_of_band(b"!");
                }
            }
            ClosesItsSendingSide => {
                for _ in 0..A_FEW_TIMES {
                    let mut stream = sent(port, ask("silent")).await;
                    let _ = stream.shutdown().await;
                    ended(stream).await;
                }
            }
            DoesNotRead => {
                let stream = sent(port, ask("flood")).await;
                let _ = stream.readable().await;
                return Some(stream);
            }
            PipelinesAndDoesNotRead => return Some(sent(port, ask("echo").repeat(20)).await),
            IsRefusedAndDoesNotRead => return Some(sent(port, refused.repeat(200)).await),
        }
        None
    }
}

/// A connection on which this was sent, as far as the proxy wanted it.
pub(crate) async fn sent(port: u16, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = stream.write_all(bytes.as_ref()).await;
    stream
}

/// Waits for the first bytes of an answer, or the end.
pub(crate) async fn answered(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 1_024]).await;
}

/// Waits until the proxy has ended the connection, in whatever way.
pub(crate) async fn ended(mut stream: TcpStream) {
    let _ = copy(&mut stream, &mut sink()).await;
}

fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

// The upstream
