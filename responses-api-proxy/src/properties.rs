//! What holds for any bytes: tried with the corpus by the tests, with anything by `fuzz/`.

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use codex_key_custody::{ApiKey, KeyInput, Masker};
use codex_peer_identity::Peer;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use crate::admission::{Admission, Head, Policy, admit};
use crate::dump::DumpBody;
use crate::environment::Environment;
use crate::field_rules::FieldRules;
use crate::headers::{self, Standing};
use crate::meter::AnswerMeter;
use crate::upstream_proxy::UpstreamProxy;
use crate::upstream_url::UpstreamUrl;
use crate::users::Users;

/// A name and a value for each line that has a colon, as far as they may be one.
fn fields(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            // The one way in which a map refuses a field is to be full.
            let _ = fields.try_append(name, value);
        }
    }
    fields
}

/// What is forwarded says `POST`, `/v1/responses` and our one address, to the letter. The first line is method
/// and target, the others are fields.
///
/// # Panics
///
/// When the property is broken.
pub fn request_head(bytes: &[u8]) {
    let line_end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(line_end);
    let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (method, target) = line.split_at(space);
    let target = target.get(1..).unwrap_or_default();
    let Ok(request) = Request::builder().method(method).uri(target).body(()) else { return };
    let mut head = request.into_parts().0;
    head.headers = fields(rest);
    let policy =
        Policy { port: 4_321, http_shutdown: false, users: Users::Anyone, max_body_bytes: 100 };
    if let Ok(admission) = admit(&policy, Peer::Unknown, Head::of(&head)) {
        assert!(matches!(admission, Admission::Forward(_)));
        assert_eq!((method, target), (&b"POST"[..], &b"/v1/responses"[..]));
        let hosts: Vec<_> = head.headers.get_all(HOST).iter().collect();
        assert_eq!(hosts, ["127.0.0.1:4321"]);
        assert!(!head.headers.contains_key("origin"));
    }
}

/// Whatever the client sends, the upstream gets our key once, in its field, and nothing that frames, addresses or
/// concerns our own connection.
///
/// # Panics
///
/// When the property is broken.
pub fn request_fields(bytes: &[u8]) {
    let client = fields(bytes);
    for auth_header in [None, Some("api-key"), Some("my_key")] {
        let Ok(rules) = FieldRules::resolve(auth_header, &[], &[]) else { panic!("no rules") };
        let key = HeaderValue::from_static("OUR KEY");
        let upstream = headers::for_upstream(key, &rules, &client);
        let keys: Vec<_> = upstream.get_all(rules.key.name()).iter().collect();
        assert_eq!(keys, ["OUR KEY"]);
        for name in upstream.keys().filter(|name| *name != rules.key.name()) {
            assert_eq!(headers::standing(name), Standing::PassesOn, "{name}");
            assert!(!headers::mean_the_same(name, rules.key.name()), "{name}");
            assert!(!headers::lists(&client, &http::header::CONNECTION, name.as_str()), "{name}");
            let theirs: Vec<_> = client.get_all(name).iter().collect();
            assert_eq!(upstream.get_all(name).iter().collect::<Vec<_>>(), theirs, "{name}");
        }
    }
}

/// No flag makes a field of one that frames or addresses, or of the key's own. Each line is one flag's.
///
/// # Panics
///
/// When the property is broken.
pub fn operators_fields(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n').map(str::to_owned);
    let auth = lines.next().filter(|line| !line.is_empty());
    let set: Vec<_> = lines.next().into_iter().filter(|line| !line.is_empty()).collect();
    let forward: Vec<_> = lines.next().into_iter().filter(|line| !line.is_empty()).collect();
    if let Ok(rules) = FieldRules::resolve(auth.as_deref(), &set, &forward) {
        for name in rules.set.keys().chain(&rules.forwarded) {
            assert_ne!(name, rules.key.name());
            assert_ne!(headers::standing(name), Standing::OfTheProxy, "{name}");
        }
    }
}

/// A proxy is a host and a port; what else stands in its URL is never shown. The first line is the flag's, the
/// second the variable's, the third `NO_PROXY`.
///
/// # Panics
///
/// When the property is broken.
pub fn upstream_proxy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let flag = lines.next().filter(|line| !line.is_empty());
    let https_proxy = lines.next().map(|line| ("HTTPS_PROXY", line.to_owned()));
    let no_proxy = lines.next().unwrap_or_default().to_owned();
    let environment = Environment { https_proxy, no_proxy, ..Environment::default() };
    let Ok(upstream) = UpstreamUrl::parse("https://api.openai.com/v1/responses") else { return };
    if let Ok(Some(proxy)) = UpstreamProxy::choose(flag, &environment, &upstream) {
        let url = proxy.url();
        let shown = format!("{}://{}", url.scheme(), proxy.hop());
        assert_eq!(proxy.to_string(), shown);
        assert!(matches!(url.scheme(), "http" | "https") && !shown.contains('@'), "{shown}");
        let has_login = !url.username().is_empty() || url.password().is_some();
        assert!(has_login || proxy.login().is_none(), "{shown}");
    }
}

/// The key goes out encrypted, or to this machine; and only to where the operator's words lead.
///
/// # Panics
///
/// When the property is broken.
pub fn upstream_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(upstream) = UpstreamUrl::parse(text) {
        let (url, hop) = (upstream.url(), upstream.hop());
        let is_loopback = hop.starts_with("127.") || hop.starts_with("[::1]:");
        assert!(upstream.is_https() || is_loopback, "{text:?} leads to {hop}");
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
        assert_eq!(UpstreamUrl::parse(url.as_str()).as_ref(), Ok(&upstream), "{text:?}");
    }
}

/// A body in a dump is JSON, the same however the body came in pieces, and shows no 8 bytes of the key. The first
/// byte says how it comes, the second whether it is compressed.
///
/// # Panics
///
/// When the property is broken.
pub fn dump_document(bytes: &[u8]) {
    const LIMIT_BYTES: u64 = 1_000;
    let [cut, coding, stream @ ..] = bytes else { return };
    let fields = if coding % 2 == 0 { HeaderMap::new() } else { fields(b"content-encoding:gzip") };
    let dumped = |piece_bytes: usize| {
        let mut body = DumpBody::of(&fields, masker(), LIMIT_BYTES);
        let mut out = Vec::new();
        body.begin(&mut out);
        for piece in stream.chunks(piece_bytes) {
            body.feed(piece, &mut out);
        }
        body.end(true, &mut out);
        out
    };
    let whole = dumped(stream.len().max(1));
    assert_eq!(dumped(usize::from(*cut) + 1), whole);
    let shows = |part: &[u8]| whole.windows(part.len()).any(|window| window == part);
    assert!(!KEY.windows(8).any(shows));
    match serde_json::from_slice::<serde_json::Value>(&whole) {
        Ok(body) => assert_eq!(body["truncated"], stream.len() as u64 > LIMIT_BYTES),
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&whole)),
    }
}

/// The facts of an answer are the same however it is cut, and no more than words. The first byte says how it is cut,
/// the second its coding and whether it is a stream or a document.
///
/// # Panics
///
/// When the property is broken.
pub fn answer_meter(bytes: &[u8]) {
    let [cut, kind, body @ ..] = bytes else { return };
    let coding = ["identity", "gzip", "br", "zstd"][usize::from(kind % 4)];
    let media_type = if kind & 4 == 0 { "text/event-stream" } else { "application/json" };
    let head = fields(format!("content-type:{media_type}\ncontent-encoding:{coding}").as_bytes());
    let metered = |piece_bytes: usize| {
        let mut meter = AnswerMeter::of(StatusCode::OK, &head);
        body.chunks(piece_bytes).for_each(|piece| meter.observe(piece));
        (meter.facts(), meter.has_output(), meter.lacks_end())
    };
    let whole = metered(body.len().max(1));
    assert_eq!(metered(usize::from(*cut) + 1), whole);
    let words = [(whole.0.model, 100), (whole.0.error, 64)];
    for (word, limit) in words.into_iter().filter_map(|(word, limit)| Some((word?, limit))) {
        assert!((1..=limit).contains(&word.len()), "{word}");
        assert!(word.bytes().all(|byte| byte.is_ascii_graphic()), "{word}");
    }
}

const KEY: &[u8] = b"abcabcabdabcabcabcabcab";

/// A masker of [`KEY`], which came the way that every key comes.
fn masker() -> &'static Masker {
    static MASKER: OnceLock<Masker> = OnceLock::new();
    MASKER.get_or_init(|| {
        let key = nix::unistd::pipe().and_then(|(input, output)| {
            nix::unistd::write(&output, KEY)?;
            drop(output);
            Ok(ApiKey::read(KeyInput::of(input.as_fd())))
        });
        match key {
            Ok(Ok(key)) => Arc::new(key).masker(),
            other => panic!("no key: {other:?}"),
        }
    })
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_breaks_no_property() {
        replay("request_head", super::request_head);
        replay("request_fields", super::request_fields);
        replay("operators_fields", super::operators_fields);
        replay("upstream_proxy", super::upstream_proxy);
        replay("upstream_url", super::upstream_url);
        replay("answer_meter", super::answer_meter);
        replay("dump_document", super::dump_document);
    }
}
