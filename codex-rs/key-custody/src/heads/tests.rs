//! Heads and bodies, however they are cut and taken.

use super::*;
use crate::LentKey;
use crate::testing::{arrived, key};

const START: &[u8] = b"POST /v1/responses HTTP/1.1\r\nauthorization: Bearer ";
const KEY: &str = "sk-proj-0123456789";

fn start() -> HeadStart {
    HeadStart::new("/v1/responses", &http::header::AUTHORIZATION, "Bearer ")
}

fn heads() -> (Arc<KeyRing>, KeyedHeads) {
    let keys = Arc::new(KeyRing::new(key(KEY)));
    (Arc::clone(&keys), KeyedHeads::new(keys, start()))
}

fn head(key: &[u8], body_bytes: usize) -> Vec<u8> {
    let end = format!("\r\nhost: x\r\ncontent-length: {body_bytes}\r\n\r\n");
    [START, key, end.as_bytes()].concat()
}

/// A head as the HTTP client writes it.
fn head_of(lent: &LentKey, body_bytes: usize) -> Vec<u8> {
    head(lent.bare().as_bytes(), body_bytes)
}

/// A head as the upstream is to get it.
fn head_with(key: &str, body_bytes: usize) -> Vec<u8> {
    head(key.as_bytes(), body_bytes)
}

#[test]
fn a_head_gets_the_key_however_it_is_taken() {
    for key_bytes in [1, 18, 42, 43, 44, 164, 4_096] {
        let name = "k".repeat(key_bytes);
        for at_once in (1..=160).chain([1_000, 100_000]) {
            let keys = Arc::new(KeyRing::new(key(&name)));
            let mut heads = KeyedHeads::new(Arc::clone(&keys), start());
            for _ in 0..2 {
                let lent = keys.lend().unwrap();
                let pieces = [&*head_of(&lent, 8), b"body", b"", b"more"];
                let expected = [&*head_with(&name, 8), b"body", b"more"].concat();
                let arrived = arrived(&mut heads, &pieces, at_once).unwrap();
                assert_eq!(arrived, expected, "{key_bytes} {at_once}");
            }
        }
    }
}

/// The strongest body there is: it is a head, and begins a write. Its placeholder is its own, or that of another
/// exchange whose head is still to come.
#[test]
fn a_body_never_gets_the_key_whatever_it_is() {
    let (keys, _) = heads();
    for at_once in [1, 50, 100, 1_000] {
        let [own, others] = [(); 2].map(|()| keys.lend().unwrap());
        for placeholder in [&own, &others] {
            let lure = head_of(placeholder, 0);
            let mut heads = KeyedHeads::new(Arc::clone(&keys), start());
            let lent = keys.lend().unwrap();
            let body_bytes = 3 * lure.len();
            let mut got = arrived(&mut heads, &[&head_of(&lent, body_bytes)], 1_000).unwrap();
            for pieces in [&[&*lure][..], &[&lure, &lure]] {
                got.extend(arrived(&mut heads, pieces, at_once).unwrap());
            }
            let expected = [&*head_with(KEY, body_bytes), &lure, &lure, &lure].concat();
            assert_eq!(got, expected);
        }
        // None of that has used it up.
        let (_, mut heads) = (&keys, KeyedHeads::new(Arc::clone(&keys), start()));
        let got = arrived(&mut heads, &[&head_of(&others, 0)], at_once).unwrap();
        assert_eq!(got, head_with(KEY, 0));
    }
}

#[test]
fn a_chunked_body_is_followed_to_its_end() {
    let (keys, mut heads) = heads();
    for at_once in [1, 7, 1_000] {
        let [lent, others] = [(); 2].map(|()| keys.lend().unwrap());
        let lure = head_of(&others, 0);
        let chunked = |head: Vec<u8>| {
            let head = String::from_utf8(head).unwrap();
            head.replace("content-length: 0", "transfer-encoding: chunked").into_bytes()
        };
        let size = format!("{:X}\r\n", lure.len());
        let body = [size.as_bytes(), &*lure, b"\r\n", b"0\r\n\r\n"];
        let head = chunked(head_of(&lent, 0));
        let pieces: Vec<&[u8]> = [&*head].into_iter().chain(body).collect();
        let expected = [&*chunked(head_with(KEY, 0)), &body.concat()].concat();
        assert_eq!(arrived(&mut heads, &pieces, at_once).unwrap(), expected);
    }
}

#[test]
fn where_a_head_is_due_nothing_else_is_written() {
    let (keys, _) = heads();
    let lent = keys.lend().unwrap();
    let whole = String::from_utf8(head_of(&lent, 0)).unwrap();
    let placeholder = lent.bare();
    let placeholder = placeholder.to_str().unwrap();
    let unknown = format!("{}.", &placeholder[..PLACEHOLDER_BYTES - 1]);
    for other in [
        "P".to_owned(),
        format!("{placeholder}\r\n\r\n"),
        whole.replace(placeholder, &unknown),
        whole.replace(placeholder, &placeholder[1..]),
        whole.replace(placeholder, &format!("{placeholder}x")),
        whole.replace(placeholder, &format!(" {placeholder}")),
        whole.replace("POST", "PUT"),
        whole.replace("Bearer", "bearer"),
        whole.replace("HTTP/1.1", "HTTP/2.0"),
        whole.replace("content-length: 0", "content-length: x"),
        whole.replace("content-length: 0", "y: z"),
        whole.replace("\r\n\r\n", "\r\n"),
        format!(" {whole}"),
        format!("{whole}x"),
    ] {
        let mut heads = KeyedHeads::new(Arc::clone(&keys), start());
        assert!(arrived(&mut heads, &[other.as_bytes()], 1_000).is_err(), "{other:?}");
    }
    // In HTTP/1.0 hyper leaves out a body that is to be chunked, and says nothing of it.
    let without_body = whole.replace("1.1\r\n", "1.0\r\n").replace("content-length: 0", "y: z");
    let mut heads = KeyedHeads::new(Arc::clone(&keys), start());
    assert!(arrived(&mut heads, &[without_body.as_bytes()], 1_000).is_err());
    // None of that has used it up; but now it is.
    let mut heads = KeyedHeads::new(Arc::clone(&keys), start());
    assert_eq!(arrived(&mut heads, &[whole.as_bytes()], 9).unwrap(), head_with(KEY, 0));
    assert!(arrived(&mut heads, &[whole.as_bytes()], 9).is_err());
}

#[test]
fn an_upstream_of_http_1_0_gets_a_body_of_a_known_length() {
    let (keys, mut heads) = heads();
    let old = |head| String::from_utf8(head).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    for _ in 0..2 {
        let head = old(head_of(&keys.lend().unwrap(), 4));
        assert!(arrived(&mut heads, &[head.as_bytes()], 9).is_err(), "its exchange has ended");
        let lent = keys.lend().unwrap();
        let pieces = [old(head_of(&lent, 4)), "body".to_owned()];
        let got = arrived(&mut heads, &pieces.each_ref().map(|piece| piece.as_bytes()), 9);
        assert_eq!(got.unwrap(), (old(head_with(KEY, 4)) + "body").as_bytes());
    }
}

#[test]
fn what_its_head_did_not_announce_ends_the_connection() {
    let (keys, _) = heads();
    let lent = keys.lend().unwrap();
    let mut heads = KeyedHeads::new(Arc::clone(&keys), start());
    let head = head_of(&lent, 3);
    let pieces = [&*head, b"more"].map(IoSlice::new);
    let all = heads.outgoing(&pieces).unwrap().iter().map(|piece| piece.len()).sum();
    heads.written(&pieces, all);
    let next = keys.lend().unwrap();
    assert!(heads.outgoing(&[IoSlice::new(&head_of(&next, 0))]).is_err());
}

#[test]
fn a_head_gets_the_key_that_its_exchange_began_with() {
    let (keys, mut heads) = heads();
    let lent = keys.lend().unwrap();
    keys.replace(key("another-key"));
    let later = keys.lend().unwrap();
    for (lent, expected) in [(later, "another-key"), (lent, KEY)] {
        let got = arrived(&mut heads, &[&head_of(&lent, 0)], 9).unwrap();
        assert_eq!(got, head_with(expected, 0));
    }
}

#[test]
fn a_key_stays_until_its_head_is_written() {
    let (keys, mut heads) = heads();
    let lent = keys.lend().unwrap();
    let head = head_of(&lent, 0);
    let offered = [IoSlice::new(&head)];
    heads.outgoing(&offered).unwrap();
    drop(lent);
    assert_eq!(heads.written(&offered, START.len() + 3), START.len());
    keys.replace(key("another-key"));
    assert_eq!(keys.retired(), 1);
    let rest = arrived(&mut heads, &[&head[START.len()..]], 1_000).unwrap();
    assert_eq!(rest, &head_with(KEY, 0)[START.len() + 3..]);
    assert_eq!(keys.retired(), 0);
}

#[test]
fn a_head_in_parts_or_with_something_behind_it_is_an_error_and_not_a_guess() {
    let (keys, _) = heads();
    let whole = head_with(KEY, 4).len();
    for written in [0, 10, START.len(), START.len() + 1, whole - 1] {
        let lent = keys.lend().unwrap();
        let head = head_of(&lent, 4);
        let offered = [IoSlice::new(&head)];
        let mut heads = KeyedHeads::new(Arc::clone(&keys), start());
        heads.outgoing(&offered).unwrap();
        let left = &head[heads.written(&offered, written)..];
        heads.outgoing(&[IoSlice::new(left), IoSlice::new(b"body")]).unwrap();
        let more = [left, b"x"].concat(); // The next head, say.
        for other in [&left[..left.len() - 1], &more] {
            if !other.is_empty() {
                assert!(heads.outgoing(&[IoSlice::new(other)]).is_err(), "{written}");
            }
        }
    }
}
