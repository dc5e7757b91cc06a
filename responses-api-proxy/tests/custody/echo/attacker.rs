//! A client that sends what was crafted, over one connection after the other, and checks what comes back.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::craft::{Craft, Crafted, Framing, Manner};
use super::mirror::{Mirror, Witness};
use super::wire::{Body, fields, read_head};
use crate::support::*;

/// At once.
const CONNECTIONS: u64 = 8;

/// How many requests, connections and so on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) admitted: u64,
    pub(super) refused: u64,
    pub(super) connections: u64,
    pub(super) echoed_bytes: u64,
    pub(super) manners: BTreeMap<String, u64>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.admitted += other.admitted;
        self.refused += other.refused;
        self.connections += other.connections;
        self.echoed_bytes += other.echoed_bytes;
        for (manner, count) in other.manners {
            *self.manners.entry(manner).or_default() += count;
        }
    }
}

/// Sends so many crafted requests, over several connections at once, and checks what comes back and goes up.
pub(super) async fn attack(
    mirror: &Mirror,
    proxy: &Proxy,
    requests: u64,
    placeholders: &[String],
) -> Tally {
    let before = mirror.witness.heads.load(Ordering::SeqCst);
    let mut workers = JoinSet::new();
    for worker in 0..CONNECTIONS {
        let witness = Arc::clone(&mirror.witness);
        let craft = Craft::new(worker, witness.key_field, placeholders.to_vec());
        let attacker = Attacker { witness, port: proxy.port, craft, tally: Tally::default() };
        workers.spawn(attacker.work(requests / CONNECTIONS));
    }
    let mut tally = Tally::default();
    while let Some(ended) = workers.join_next().await {
        tally += ended.unwrap();
    }
    mirror.witness.judge();
    let heads = mirror.witness.heads.load(Ordering::SeqCst) - before;
    assert_eq!(heads, tally.admitted, "heads that the upstream got, and requests that were sent");
    assert!(tally.admitted + tally.refused >= requests / CONNECTIONS * CONNECTIONS);
    tally
}

/// One connection after the other, each kept as long as the proxy keeps it.
struct Attacker {
    witness: Arc<Witness>,
    port: u16,
    craft: Craft,
    tally: Tally,
}

impl Attacker {
    async fn work(mut self, requests: u64) -> Tally {
        let mut line = self.connect().await;
        while self.tally.admitted + self.tally.refused < requests {
            let crafted = self.craft.request();
            *self.tally.manners.entry(format!("{:?}", crafted.manner)).or_default() += 1;
            let stays = timeout(LIMIT, self.exchange(&mut line, &crafted)).await;
            let Ok(stays) = stays else { panic!("it did not end: {}", outline(&crafted)) };
            if !stays {
                line = self.connect().await;
            }
        }
        self.tally
    }

    async fn connect(&mut self) -> Line {
        self.tally.connections += 1;
        Line::open(self.port).await
    }

    /// Sends a request in its manner, and checks the answer. Returns whether the connection stays.
    async fn exchange(&mut self, line: &mut Line, crafted: &Crafted) -> bool {
        let port = self.port;
        match crafted.manner {
            Manner::AtOnce | Manner::Old | Manner::Elsewhere => {
                line.send(&crafted.whole(port)).await;
            }
            Manner::InPieces => {
                line.send(&crafted.head(port)).await;
                line.send_all(crafted, &crafted.pieces).await;
            }
            Manner::StepByStep => self.step_by_step(line, crafted).await,
            Manner::AfterContinue => {
                line.send(&crafted.head(port)).await;
                let is_empty = crafted.pieces.is_empty();
                if !(is_empty && matches!(crafted.framing, Framing::None | Framing::Length)) {
                    let head = line.head().await;
                    assert!(head.starts_with("HTTP/1.1 100 "), "{head}; {}", outline(crafted));
                }
                line.send_all(crafted, &crafted.pieces).await;
            }
            Manner::Pipelined => {
                let second = self.craft.request_in(Manner::AtOnce);
                line.send(&[crafted.whole(port), second.whole(port)].concat()).await;
                let (head, body) = line.answer().await;
                let stays = self.check(crafted, &head, &body);
                assert!(stays, "{head}");
                let (head, body) = line.answer().await;
                return self.check(&second, &head, &body);
            }
            Manner::AfterTheAnswer => return self.after_the_answer(line, crafted).await,
            Manner::BackAndForth => return self.back_and_forth(line, crafted).await,
            Manner::FramedTwice => {
                let behind = self.craft.request_in(Manner::AtOnce); // That nobody may hear.
                line.send(&[crafted.whole(port), behind.whole(port)].concat()).await;
                let (head, body) = line.answer().await;
                self.check(crafted, &head, &body);
                let mut more = Vec::new();
                let _ = line.reader.read_to_end(&mut more).await; // Which may be a reset.
                assert_eq!(text(&more), "", "after the answer to {}", outline(crafted));
                return false;
            }
        }
        let (head, body) = line.answer().await;
        self.check(crafted, &head, &body)
    }

    /// Each piece is alone on its way: all that was before it has arrived.
    async fn step_by_step(&self, line: &mut Line, crafted: &Crafted) {
        line.send(&crafted.head(self.port)).await;
        let mut sent = 0;
        for piece in &crafted.pieces {
            self.witness.until_arrived(crafted.id, sent).await;
            line.send(&crafted.framed(piece)).await;
            sent += piece.len();
        }
        line.send(&crafted.end()).await;
    }

    /// The upstream does not wait for the body. What is sent after its answer reaches it, or does not.
    async fn after_the_answer(&mut self, line: &mut Line, crafted: &Crafted) -> bool {
        line.send(&crafted.head(self.port)).await;
        let (first, rest) = crafted.pieces.split_at(crafted.pieces.len().min(1));
        for piece in first {
            line.send(&crafted.framed(piece)).await;
        }
        let head = line.head().await;
        for piece in rest {
            let _ = line.writer.write_all(&crafted.framed(piece)).await;
        }
        let _ = line.writer.write_all(&crafted.end()).await;
        let echoed = Body::of(&head).rest(&mut line.reader).await.unwrap();
        self.check_echo(crafted, &head, &echoed, b"");
        false
    }

    /// The upstream sends each piece back at once, and the next one waits for that.
    async fn back_and_forth(&mut self, line: &mut Line, crafted: &Crafted) -> bool {
        line.send(&crafted.head(self.port)).await;
        let head = line.head().await;
        let mut answer = Body::of(&head);
        let mut echoed = Vec::new();
        while !contains(&echoed, b"\r\n\r\n") {
            echoed.extend(answer.piece(&mut line.reader).await.unwrap().unwrap());
        }
        let mut expected = find(&echoed, b"\r\n\r\n").unwrap() + 4;
        for piece in &crafted.pieces {
            line.send(&crafted.framed(piece)).await;
            expected += piece.len();
            while echoed.len() < expected {
                echoed.extend(answer.piece(&mut line.reader).await.unwrap().unwrap());
            }
        }
        line.send(&crafted.end()).await;
        echoed.extend(answer.rest(&mut line.reader).await.unwrap());
        self.check_echo(crafted, &head, &echoed, &crafted.body());
        false
    }

    /// Checks a whole answer; returns whether the connection stays.
    fn check(&mut self, crafted: &Crafted, head: &str, body: &[u8]) -> bool {
        if crafted.manner == Manner::Elsewhere {
            self.tally.refused += 1;
            assert!(head.starts_with("HTTP/1.1 403 "), "{head}; {}", outline(crafted));
            assert!(head.contains("\r\nx-codex-proxy-error: "), "{head}; {}", outline(crafted));
            self.witness.assert_no_leak(head.as_bytes(), "a refusal");
            self.witness.assert_no_leak(body, "a refusal");
        } else {
            self.check_echo(crafted, head, body, &crafted.body());
        }
        crafted.manner != Manner::Old && !head.contains("\r\nconnection: close\r\n")
    }

    /// Checks that this came back as it was sent, and the fields, and no byte of the key.
    fn check_echo(&mut self, crafted: &Crafted, head: &str, echoed: &[u8], body: &[u8]) {
        self.tally.admitted += 1;
        self.tally.echoed_bytes += echoed.len() as u64;
        self.witness.assert_no_leak(head.as_bytes(), "the head of an answer");
        self.witness.assert_no_leak(echoed, "an answer");
        assert_eq!(head.split(' ').nth(1), Some("200"), "{head}; {}", outline(crafted));
        let (came, came_body) = echoed.split_at(find(echoed, b"\r\n\r\n").unwrap() + 4);
        let came = format!("\r\n{}", text(came));
        let came: Vec<(String, String)> = fields(&came)
            .filter(|(name, _)| name.starts_with("x-"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let sent = crafted.passing();
        assert!(came == sent, "sent {sent:?}, but {came:?} went up");
        if came_body != body {
            let at = came_body.iter().zip(body).take_while(|(came, sent)| came == sent).count();
            let shown = |bytes: &[u8]| text(&bytes[at..bytes.len().min(at + 200)]);
            panic!(
                "from {at} on another body came back: {:?}, not {:?}; {}",
                shown(came_body),
                shown(body),
                outline(crafted)
            );
        }
    }
}

/// Enough of a request to know it by.
fn outline(crafted: &Crafted) -> String {
    let Crafted { id, manner, framing, pieces, .. } = crafted;
    let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
    format!("request {id}, {manner:?}, {framing:?}, pieces of {lengths:?} bytes")
}

/// A connection to the proxy.
pub(super) struct Line {
    pub(super) reader: BufReader<OwnedReadHalf>,
    pub(super) writer: OwnedWriteHalf,
}

impl Line {
    pub(super) async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
    }

    /// Sends pieces, each with a write of its own, and the body's end.
    async fn send_all(&mut self, crafted: &Crafted, pieces: &[Vec<u8>]) {
        for piece in pieces {
            self.send(&crafted.framed(piece)).await;
            tokio::task::yield_now().await;
        }
        self.send(&crafted.end()).await;
    }

    async fn head(&mut self) -> String {
        read_head(&mut self.reader).await.unwrap().expect("an answer")
    }

    pub(super) async fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await;
        let body = Body::of(&head).rest(&mut self.reader).await.unwrap();
        (head, body)
    }
}
