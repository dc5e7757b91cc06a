//! Requests of somebody who wants the key: they look like the proxy's own, wherever a client can write.

use super::mirror::KeyField;
use super::placeholder::PLACEHOLDER_BYTES;
use super::wire::chunk;

/// Where buffers and TLS records end, and so where a write may begin.
const EDGES: [usize; 7] = [1, 255, 4_096, 8_192, 16_384, 32_768, 65_536];
/// Below the 64 KiB that a head may have.
const LONG_VALUE_BYTES: usize = 60_000;
const MANY_FIELDS: usize = 80;

/// Numbers that look random and are the same in each run (xorshift64*, Vigna 2016).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() >> 33).unwrap() % limit
    }

    fn one_of<'list, T>(&mut self, list: &'list [T]) -> &'list T {
        &list[self.below(list.len())]
    }

    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..count).map(|_| char::from(*self.one_of(LETTERS))).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number().to_le_bytes()[3]).collect()
    }
}

/// How a request gets on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    AtOnce,
    /// A write for each piece.
    InPieces,
    /// The next piece once the upstream has the last: each is a write of its own there, too.
    StepByStep,
    /// The body after the proxy's 100.
    AfterContinue,
    /// As HTTP/1.0.
    Old,
    /// To a target that the proxy does not forward.
    Elsewhere,
    /// With the next request behind it.
    Pipelined,
    /// The rest of the body after the whole answer.
    AfterTheAnswer,
    /// The rest of the body while it comes back, piece by piece.
    BackAndForth,
    /// With a length and in chunks, and one more request behind it, which is not to be heard.
    FramedTwice,
}

use Manner::*;

const MANNERS: [Manner; 16] = [
    AtOnce,
    AtOnce,
    AtOnce,
    InPieces,
    InPieces,
    StepByStep,
    StepByStep,
    StepByStep,
    AfterContinue,
    Old,
    Elsewhere,
    Pipelined,
    AfterTheAnswer,
    BackAndForth,
    BackAndForth,
    FramedTwice,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    None,
    Length,
    Chunks,
    ChunksAndTrailers,
    Both,
}

/// A request, and what of it should come back.
#[derive(Debug)]
pub(super) struct Crafted {
    pub(super) id: u64,
    pub(super) manner: Manner,
    pub(super) framing: Framing,
    line: String,
    fields: Vec<String>,
    pub(super) pieces: Vec<Vec<u8>>,
    /// What takes the place of a placeholder.
    guess: String,
}

impl Crafted {
    pub(super) fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// The fields that the upstream gets as they are, with small names.
    pub(super) fn passing(&self) -> Vec<(String, String)> {
        let all = self.fields.iter().filter_map(|field| field.split_once(": "));
        all.filter(|(name, _)| name.starts_with("X-") && !HELD_BACK.contains(name))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect()
    }

    pub(super) fn head(&self, port: u16) -> Vec<u8> {
        let mut head = format!("{}\r\nHost: 127.0.0.1:{port}\r\n", self.line);
        for field in &self.fields {
            head += &format!("{field}\r\n");
        }
        if matches!(self.framing, Framing::Length | Framing::Both) {
            head += &format!("Content-Length: {}\r\n", self.body().len());
        }
        if !matches!(self.framing, Framing::Length | Framing::None) {
            head += "Transfer-Encoding: chunked\r\n";
        }
        (head + "\r\n").into_bytes()
    }

    /// A piece as it is framed.
    pub(super) fn framed(&self, piece: &[u8]) -> Vec<u8> {
        if matches!(self.framing, Framing::Length | Framing::None) {
            piece.to_vec()
        } else {
            chunk(piece)
        }
    }

    /// What ends the body.
    pub(super) fn end(&self) -> Vec<u8> {
        match self.framing {
            Framing::None | Framing::Length => Vec::new(),
            Framing::Chunks | Framing::Both => chunk(b""),
            Framing::ChunksAndTrailers => {
                let guess = &self.guess;
                format!("0\r\nAuthorization: Bearer {guess}\r\nX-T: Bearer {guess}\r\n\r\n").into()
            }
        }
    }

    pub(super) fn whole(&self, port: u16) -> Vec<u8> {
        let mut whole = self.head(port);
        for piece in &self.pieces {
            whole.extend(self.framed(piece));
        }
        whole.extend(self.end());
        whole
    }
}

/// Fields that look like those that pass, and do not.
const HELD_BACK: [&str; 3] = ["X-Api-Key", "X-Forwarded-For", "X-Gone"];

/// Makes one request after the other.
pub(super) struct Craft {
    dice: Dice,
    key_field: KeyField,
    /// What may be a placeholder. If there is none: what comes to mind.
    placeholders: Vec<String>,
    old_placeholder: String,
    last_id: u64,
}

impl Craft {
    pub(super) fn new(worker: u64, key_field: KeyField, placeholders: Vec<String>) -> Self {
        let mut dice = Dice::new(worker + 1);
        let old_placeholder = dice.letters(PLACEHOLDER_BYTES);
        // So that no two workers' requests have one number.
        let last_id = worker << 32;
        Self { dice, key_field, placeholders, old_placeholder, last_id }
    }

    /// The next request, in any manner.
    pub(super) fn request(&mut self) -> Crafted {
        let manner = *self.dice.one_of(&MANNERS);
        self.request_in(manner)
    }

    pub(super) fn request_in(&mut self, manner: Manner) -> Crafted {
        self.last_id += 1;
        let guess = self.guess();
        let pieces = self.pieces(&guess);
        let framing = match manner {
            FramedTwice => Framing::Both,
            Old => Framing::Length,
            _ if pieces.is_empty() && self.dice.below(2) == 0 => Framing::None,
            _ => *self.dice.one_of(&[Framing::Length, Framing::Chunks, Framing::ChunksAndTrailers]),
        };
        let line = match manner {
            Old => "POST /v1/responses HTTP/1.0".to_owned(),
            Elsewhere => self.elsewhere(&guess),
            _ => "POST /v1/responses HTTP/1.1".to_owned(),
        };
        let mut fields = vec![format!("X-Id: {}", self.last_id)];
        fields.extend(match manner {
            AfterTheAnswer => Some("X-Mirror: early".to_owned()),
            BackAndForth => Some("X-Mirror: duplex".to_owned()),
            AfterContinue => Some("Expect: 100-continue".to_owned()),
            _ => None,
        });
        fields.extend(self.fields(&guess));
        Crafted { id: self.last_id, manner, framing, line, fields, pieces, guess }
    }

    /// What a client might take for the placeholder.
    fn guess(&mut self) -> String {
        if !self.placeholders.is_empty() {
            return self.dice.one_of(&self.placeholders).clone();
        }
        match self.dice.below(4) {
            0 => "A".repeat(PLACEHOLDER_BYTES),
            1 => self.old_placeholder.clone(),
            2 => self.old_placeholder[..PLACEHOLDER_BYTES - 1].to_owned() + "A",
            _ => self.dice.letters(PLACEHOLDER_BYTES),
        }
    }

    fn elsewhere(&mut self, guess: &str) -> String {
        match self.dice.below(5) {
            0 => "POST http://127.0.0.1/v1/responses HTTP/1.1".to_owned(),
            1 => format!("POST /v1/responses?key={guess} HTTP/1.1"),
            2 => "GET /v1/responses HTTP/1.1".to_owned(),
            3 => "POST //v1/responses HTTP/1.1".to_owned(),
            _ => format!("POST /Bearer/{guess} HTTP/1.1"),
        }
    }

    fn fields(&mut self, guess: &str) -> Vec<String> {
        let bearer = format!("Bearer {guess}");
        let line = format!("POST /v1/responses HTTP/1.1 authorization: {bearer}");
        match self.dice.below(24) {
            0..=5 => vec![],
            6..=8 => vec![format!("X-A: {bearer}")],
            9 | 10 => vec![format!("X-A: {line}"), format!("X-B: {guess}")],
            11 | 12 => vec![format!("Authorization: {bearer}"), format!("X-A: {bearer}")],
            13 | 14 => vec![format!("Api-Key: {guess}"), format!("X-Api-Key: {guess}")],
            15 | 16 => {
                let gone = "Connection: authorization, api-key, x-gone".to_owned();
                vec![gone, format!("X-Gone: {bearer}"), format!("X-A: {bearer}")]
            }
            17 | 18 => vec![format!("Proxy-Authorization: {bearer}"), format!("Cookie: {guess}")],
            19 => vec![format!("X-Forwarded-For: {bearer}"), format!("User-Agent: {line}")],
            20 | 21 => {
                let value = format!("{line} ");
                let value = value.repeat(LONG_VALUE_BYTES / value.len());
                vec![format!("X-Long: {}", value.trim_end())]
            }
            _ => (0..MANY_FIELDS).map(|number| format!("X-{number}: {bearer}")).collect(),
        }
    }

    /// What looks like the beginning of the proxy's own request.
    fn lure(&mut self, guess: &str) -> Vec<u8> {
        let KeyField { name, before, .. } = self.key_field;
        let begins = format!("POST /v1/responses HTTP/1.1\r\n{name}: {before}{guess}\r\n");
        let rest = "host: 127.0.0.1\r\naccept: */*\r\ncontent-length: 0\r\n\r\n";
        match self.dice.below(12) {
            0..=3 => begins,
            4..=6 => begins + rest,
            7 => format!("\r\n{begins}{rest}"),
            8 => format!("0\r\n\r\n{begins}{rest}"),
            9 => format!("POST /v1/responses HTTP/1.1\r\nAuthorization: Bearer {guess}\r\n{rest}"),
            10 => format!("{before}{guess}"),
            _ => guess.to_owned(),
        }
        .into_bytes()
    }

    /// The body; no piece is empty.
    fn pieces(&mut self, guess: &str) -> Vec<Vec<u8>> {
        match self.dice.below(12) {
            0 => vec![],
            1 | 2 => vec![self.lure(guess)],
            3 => {
                let count = 2 + self.dice.below(40);
                vec![(0..count).flat_map(|_| self.lure(guess)).collect()]
            }
            4..=6 => (0..2 + self.dice.below(5)).map(|_| self.lure(guess)).collect(),
            7 => {
                let edge = *self.dice.one_of(&EDGES);
                let (before, after) = (self.dice.below(edge.min(200)), self.dice.below(100));
                vec![vec![b' '; edge - before], self.lure(guess), self.dice.bytes(after + 1)]
            }
            8 => vec![format!(r#"{{"model":"m","stream":true,"input":"{guess}"}}"#).into()],
            9 => vec![guess.repeat(1 + self.dice.below(100)).into()],
            10 => {
                let mut lure = self.lure(guess);
                let mut pieces = Vec::new();
                while lure.len() > 1 && pieces.len() < 6 {
                    let rest = lure.split_off(1 + self.dice.below(lure.len() - 1));
                    pieces.push(std::mem::replace(&mut lure, rest));
                }
                pieces.push(lure);
                pieces
            }
            _ => {
                let count = 1 + self.dice.below(2_000);
                vec![self.dice.bytes(count), self.lure(guess)]
            }
        }
    }
}
