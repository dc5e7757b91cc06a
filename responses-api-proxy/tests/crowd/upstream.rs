//! The upstream of the crowd: it does what each request asks for.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use tokio::time::timeout;

use crate::crowd::{event, reaches};
use crate::support::{LIMIT, text};

/// How far the streams may go.
#[derive(Clone, Copy, Default)]
pub(crate) struct Gate {
    pub(crate) events: usize,
    pub(crate) ended: bool,
}

/// An upstream that does what the request's field `behave` says, with nothing of HTTP but what that needs.
pub(crate) struct Upstream {
    pub(crate) url: String,
    pub(crate) gate: watch::Sender<Gate>,
    /// Exchanges under way that are no streams.
    pub(crate) busy: watch::Sender<usize>,
}

type Reader = BufReader<OwnedReadHalf>;

/// A flood is more than the kernel takes on the way to a client that does not read (4 MiB, tcp(7)): it gets
/// stuck in the proxy.
static FLOOD_PIECE: [u8; 1 << 16] = [b'x'; 1 << 16];
const FLOOD_PIECES: usize = 128;

impl Upstream {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Arc::new(Self {
            url: format!("http://{}/v1/responses", listener.local_addr().unwrap()),
            gate: watch::Sender::new(Gate::default()),
            busy: watch::Sender::new(0),
        });
        let shared = Arc::clone(&upstream);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // How the proxy ends a connection is its own affair.
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        upstream
    }

    /// Waits until the proxy has let go of all that it asked for in the name of clients that have gone.
    pub(crate) async fn until_idle(&self) {
        let mut busy = self.busy.subscribe();
        let idle = timeout(LIMIT, reaches(&mut busy, 0)).await;
        assert!(idle.is_ok(), "{} exchanges go on without a client", *busy.borrow());
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        while let Some(head) = read_head(&mut reader).await? {
            let (behave, nonce) = (field(&head, "behave"), field(&head, "nonce"));
            let _busy = (behave != "stream").then(|| Busy::begin(&self.busy));
            let body = read_body(&mut reader, &head).await?;
            let first = event(nonce, &body, 0);
            match behave {
                "echo" => {
                    let length = first.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{first}");
                    writer.write_all(answer.as_bytes()).await?;
                    continue;
                }
                "stream" => {
                    if self.stream(&mut reader, &mut writer, nonce, &body).await? {
                        continue;
                    }
                }
                "flood" => {
                    let length = FLOOD_PIECES * FLOOD_PIECE.len();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    writer.write_all(head.as_bytes()).await?;
                    for _ in 0..FLOOD_PIECES {
                        writer.write_all(&FLOOD_PIECE).await?;
                    }
                    reader.fill_buf().await?; // Until the proxy lets go.
                }
                _ => {
                    writer.write_all(STREAM_HEAD).await?;
                    write_chunk(&mut writer, &first).await?;
                    reader.fill_buf().await?;
                }
            }
            break;
        }
        Ok(())
    }

    /// Sends events as the gate lets them go; returns whether it came to the stream's end.
    async fn stream(
        &self,
        reader: &mut Reader,
        writer: &mut OwnedWriteHalf,
        nonce: &str,
        body: &str,
    ) -> io::Result<bool> {
        let mut gate = self.gate.subscribe();
        writer.write_all(STREAM_HEAD).await?;
        for number in 0.. {
            let open = tokio::select! {
                open = lets(&mut gate, number) => open,
                _ = reader.fill_buf() => return Ok(false), // The proxy has let go.
            };
            if !open {
                break;
            }
            write_chunk(writer, &event(nonce, body, number)).await?;
        }
        writer.write_all(b"0\r\n\r\n").await?;
        Ok(true)
    }
}

/// Waits until the gate lets this event go, or says that there is none.
async fn lets(gate: &mut watch::Receiver<Gate>, number: usize) -> bool {
    let changed = gate.wait_for(|gate| gate.events > number || gate.ended).await;
    changed.is_ok_and(|gate| gate.events > number)
}

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn write_chunk(writer: &mut OwnedWriteHalf, data: &str) -> io::Result<()> {
    let chunk = format!("{:x}\r\n{data}\r\n", data.len());
    writer.write_all(chunk.as_bytes()).await
}

/// Counts an exchange for as long as it lives.
struct Busy<'upstream>(&'upstream watch::Sender<usize>);

impl<'upstream> Busy<'upstream> {
    fn begin(busy: &'upstream watch::Sender<usize>) -> Self {
        busy.send_modify(|busy| *busy += 1);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

/// Reads a request's head; `None` if the connection has ended.
async fn read_head(reader: &mut Reader) -> io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn field<'head>(head: &'head str, name: &str) -> &'head str {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value)
}

/// Reads a request's whole body.
async fn read_body(reader: &mut Reader, head: &str) -> io::Result<String> {
    let mut body = Vec::new();
    if let Ok(length) = field(head, "content-length").parse() {
        read_piece(reader, length, &mut body).await?;
    } else if field(head, "transfer-encoding") == "chunked" {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).await?;
            let length = u64::from_str_radix(line.trim_end(), 16)
                .map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
            read_piece(reader, length, &mut body).await?;
            reader.read_line(&mut line).await?; // The chunk's end, or the body's.
            if length == 0 {
                break;
            }
        }
    }
    Ok(text(&body))
}

async fn read_piece(reader: &mut Reader, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = reader.take(length).read_to_end(body).await?;
    if read as u64 == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}
