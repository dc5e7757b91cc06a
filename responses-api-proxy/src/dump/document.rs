//! One exchange as a JSON document, written while it goes on.
//!
//! ```text
//! {"id":1,"started_at":"2027-01-15T08:00:00.000Z","uid":1000,
//!  "request":{"method":"POST","path":"/v1/responses","headers":[["host","127.0.0.1:4321"],…],"body":BODY},
//!  "answer":{"status":200,"headers":[…],"body":BODY},"outcome":"completed","reason":null}
//! BODY = {"encoding":"text"|"base64","data":"…","bytes":2,"truncated":false}
//! ```
//!
//! (In one line. Without an answer, `"answer":null`.) The answer's head ends the request's body: what comes of
//! that later is left out. `truncated`: the document lacks the body's end, for whatever reason.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use codex_request_log::{Outcome, Reason, rfc3339};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;

use crate::dump::body::DumpBody;
use crate::dump::folder::{DumpFolder, PartFile};
use crate::dump::secrets::Secrets;

/// How much of a body is dumped, in bytes.
const BODY_LIMIT_BYTES: u64 = 64 << 20;
/// A longer piece of a body is worked through in parts of this size.
const PART_BYTES: usize = 64 << 10;

/// What is known of an exchange when it begins.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) id: u64,
    pub(crate) started_at: SystemTime,
    /// The client's account, if it could be told.
    pub(crate) uid: Option<u32>,
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) fields: HeaderMap,
    pub(crate) secrets: Secrets,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<Reason>,
    /// Whether every piece of the request's body has been fed, up to its end.
    pub(crate) request_is_whole: bool,
    /// Whether every piece of the answer's body that went by has been fed.
    pub(crate) answer_is_whole: bool,
}

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Answer,
}

/// A document that is being written. Dropped before its end, it is removed.
#[derive(Debug)]
pub(crate) struct Document {
    file: PartFile,
    /// The body that is under way.
    side: Side,
    body: DumpBody,
    secrets: Secrets,
}

impl Document {
    /// Begins the document: everything up to the first byte of the request's body.
    pub(crate) fn begin(folder: &Arc<DumpFolder>, beginning: Beginning) -> io::Result<Self> {
        let mut file = PartFile::create(folder, name(&beginning))?;
        let Beginning { id, started_at, uid, method, target, fields, secrets } = beginning;
        let body = DumpBody::of(&fields, &secrets.masker, BODY_LIMIT_BYTES);
        let mut out = Vec::new();
        write!(
            out,
            r#"{{"id":{id},"started_at":"{}","uid":{},"request":{{"method":{},"path":{},"headers":{},"body":"#,
            rfc3339(started_at),
            json!(uid),
            secrets.shown(method.as_str().as_bytes()),
            secrets.shown(target.to_string().as_bytes()),
            secrets.shown_fields(&fields),
        )?;
        body.begin(&mut out);
        file.write(&out)?;
        Ok(Self { file, side: Side::Request, body, secrets })
    }

    /// A piece of a body. One of the request's that comes after the answer's head is left out.
    pub(crate) fn data(&mut self, side: Side, data: &[u8]) -> io::Result<()> {
        if side == self.side {
            let mut out = Vec::new();
            for part in data.chunks(PART_BYTES) {
                self.body.feed(part, &mut out);
                self.file.write(&out)?;
                out.clear();
            }
        }
        Ok(())
    }

    /// The answer's head. There is one.
    pub(crate) fn answer(
        &mut self,
        status: StatusCode,
        fields: &HeaderMap,
        request_is_whole: bool,
    ) -> io::Result<()> {
        if self.side == Side::Answer {
            return Ok(());
        }
        self.side = Side::Answer;
        let body = DumpBody::of(fields, &self.secrets.masker, BODY_LIMIT_BYTES);
        let mut out = Vec::new();
        std::mem::replace(&mut self.body, body).end(request_is_whole, &mut out);
        let (status, fields) = (status.as_u16(), self.secrets.shown_fields(fields));
        write!(out, r#"}},"answer":{{"status":{status},"headers":{fields},"body":"#)?;
        self.body.begin(&mut out);
        self.file.write(&out)
    }

    /// Ends the document and gives the file its name.
    pub(crate) fn end(mut self, ending: Ending) -> io::Result<()> {
        let mut out = Vec::new();
        match self.side {
            Side::Request => {
                self.body.end(ending.request_is_whole, &mut out);
                out.extend_from_slice(br#"},"answer":null"#);
            }
            Side::Answer => {
                let is_whole = ending.answer_is_whole && ending.outcome == Outcome::Completed;
                self.body.end(is_whole, &mut out);
                out.push(b'}');
            }
        }
        let outcome = json!(ending.outcome.code());
        let reason = json!(ending.reason.map(Reason::code));
        writeln!(out, r#","outcome":{outcome},"reason":{reason}}}"#)?;
        self.file.write(&out)?;
        self.file.publish()
    }
}

/// Sorts by time, and is this exchange's alone: the time, the process and the number in it.
fn name(beginning: &Beginning) -> String {
    let time = rfc3339(beginning.started_at).to_string();
    let time = time.replace(['-', ':'], "");
    format!("{time}-{}-{:08}.json", std::process::id(), beginning.id)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use http::{HeaderValue, Request};
    use serde_json::Value;

    use super::*;
    use crate::dump::dumper::testing::{KEY, private_folder, secrets};

    fn beginning(target: &str, fields: &[(&str, &str)]) -> Beginning {
        let mut request = Request::post(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Beginning {
            id: 7,
            started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_120),
            uid: Some(1_000),
            method: head.method,
            target: head.uri,
            fields: head.headers,
            secrets: secrets(),
        }
    }

    const WHOLE: Ending = Ending {
        outcome: Outcome::Completed,
        reason: None,
        request_is_whole: true,
        answer_is_whole: true,
    };

    /// The one document in the folder.
    fn written(folder: &Path) -> (String, String) {
        let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let path = files.next().unwrap();
        assert!(files.next().is_none(), "there is more than one file");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    }

    #[test]
    fn an_exchange_is_one_line_of_json_with_all_of_it() {
        let parent = private_folder();
        let folder = Arc::new(DumpFolder::open(parent.path()).unwrap());
        let beginning = beginning("/v1/responses?a=%22", &[("x-a", "1"), ("x-a", "\"2\"")]);
        let mut document = Document::begin(&folder, beginning).unwrap();
        document.data(Side::Request, b"{\"a\":").unwrap();
        document.data(Side::Answer, b"too early").unwrap();
        document.data(Side::Request, b"1}").unwrap();
        let fields = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        )]);
        document.answer(StatusCode::OK, &fields, true).unwrap();
        document.answer(StatusCode::BAD_GATEWAY, &fields, true).unwrap();
        document.data(Side::Answer, b"data: 1\n\n").unwrap();
        document.data(Side::Request, b"too late").unwrap();
        assert!(written(parent.path()).0.ends_with(".json.part"));
        document.end(WHOLE).unwrap();

        let (name, text) = written(parent.path());
        let expected_name = format!("20270115T080000.120Z-{}-00000007.json", std::process::id());
        assert_eq!(name, expected_name);
        assert_eq!(text.lines().count(), 1);
        let document: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "id": 7, "started_at": "2027-01-15T08:00:00.120Z", "uid": 1_000,
            "request": {
                "method": "POST", "path": "/v1/responses?a=%22", "headers": [["x-a", "1"], ["x-a", "\"2\""]],
                "body": { "encoding": "text", "data": "{\"a\":1}", "bytes": 7, "truncated": false },
            },
            "answer": {
                "status": 200, "headers": [["content-type", "text/event-stream"]],
                "body": { "encoding": "text", "data": "data: 1\n\n", "bytes": 9, "truncated": false },
            },
            "outcome": "completed", "reason": null,
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn what_is_missing_is_said() {
        let cut = Ending {
            outcome: Outcome::UpstreamFailed,
            reason: Some(Reason::UpstreamClosed),
            request_is_whole: false,
            answer_is_whole: true,
        };
        for (answered, ending, request_truncated, answer) in [
            (None, cut, true, json!(null)),
            (None, Ending { request_is_whole: true, ..cut }, false, json!(null)),
            (Some(true), cut, false, json!(true)),
            (Some(false), WHOLE, true, json!(false)),
            (Some(true), Ending { answer_is_whole: false, ..WHOLE }, false, json!(true)),
        ] {
            let parent = private_folder();
            let folder = Arc::new(DumpFolder::open(parent.path()).unwrap());
            let mut document = Document::begin(&folder, beginning("/", &[])).unwrap();
            if let Some(request_is_whole) = answered {
                let fields = HeaderMap::new();
                document.answer(StatusCode::OK, &fields, request_is_whole).unwrap();
            }
            document.end(ending).unwrap();
            let document: Value = serde_json::from_str(&written(parent.path()).1).unwrap();
            assert_eq!(document["request"]["body"]["truncated"], request_truncated, "{ending:?}");
            let found = &document["answer"]["body"]["truncated"];
            assert_eq!(*found, answer, "{ending:?}");
            assert_eq!(document["answer"].is_null(), answered.is_none());
            assert_eq!(document["outcome"], ending.outcome.code());
        }
    }

    /// No header's name, no value, no method, no path and no body can bring the key in, in one piece or in many.
    #[test]
    fn no_part_of_the_key_is_written_wherever_it_stands() {
        let parent = private_folder();
        let folder = Arc::new(DumpFolder::open(parent.path()).unwrap());
        let path = format!("/{}?k={KEY}", &KEY[9..20]);
        let value = format!("a {KEY} b");
        let beginning = Beginning {
            method: Method::from_bytes(b"sk-proj-0").unwrap(),
            uid: None,
            ..beginning(&path, &[("x-odd", value.as_str()), ("x-sk-proj-0", "1")])
        };
        let mut document = Document::begin(&folder, beginning).unwrap();
        document.data(Side::Request, KEY.as_bytes()).unwrap();
        let location = HeaderValue::from_str(&format!("/{KEY}")).unwrap();
        let fields = HeaderMap::from_iter([(http::header::LOCATION, location)]);
        document.answer(StatusCode::FOUND, &fields, true).unwrap();
        for byte in KEY.as_bytes() {
            document.data(Side::Answer, &[*byte]).unwrap();
        }
        document.end(WHOLE).unwrap();

        let (_, text) = written(parent.path());
        for at in 0..=KEY.len() - 8 {
            assert!(!text.contains(&KEY[at..at + 8]), "{text}");
        }
        let document: Value = serde_json::from_str(&text).unwrap();
        let stars = "*".repeat(KEY.len());
        assert_eq!(document["uid"], Value::Null);
        assert_eq!(document["request"]["method"], "*********");
        assert_eq!(document["request"]["headers"][0], json!(["x-odd", format!("a {stars} b")]));
        assert_eq!(document["request"]["headers"][1], json!(["x-*********", "1"]));
        assert_eq!(document["request"]["body"]["data"], stars);
        assert_eq!(document["answer"]["headers"][0], json!(["location", format!("/{stars}")]));
        assert_eq!(document["answer"]["body"]["data"], stars);
    }

    #[test]
    fn a_document_that_is_given_up_leaves_nothing() {
        let parent = private_folder();
        let folder = Arc::new(DumpFolder::open(parent.path()).unwrap());
        drop(Document::begin(&folder, beginning("/", &[])).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
