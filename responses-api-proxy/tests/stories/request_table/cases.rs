//! The table: requests as raw bytes, with what the client gets and what the upstream sees.

/// One request and what becomes of it.
pub(crate) struct Case {
    /// What is special about it.
    pub(crate) name: &'static str,
    /// All that the client sends. [`expanded`] and [`ask`] say what stands in braces.
    pub(crate) sent: &'static [u8],
    /// The statuses of its answers, each with the code if it is an error of the proxy's own; then whether
    /// the connection is still open.
    pub(crate) client: &'static str,
    /// Nothing, if there is nothing in it.
    pub(crate) upstream: &'static [Sees],
}

/// What the upstream sees.
pub(crate) enum Sees {
    /// A request framed by its length: the body, and the client's fields that are left.
    ByLength(&'static str, &'static [&'static str]),
    /// The same in chunks.
    InChunks(&'static str, &'static [&'static str]),
    /// The beginning of a request at most, which ends before its end.
    NoneWhole,
}

pub(crate) const BY_LENGTH: &[Sees] = &[Sees::ByLength("{}", &[])];
pub(crate) const IN_CHUNKS: &[Sees] = &[Sees::InChunks("{}", &[])];
pub(crate) const EMPTY: &[Sees] = &[Sees::ByLength("", &[])];
pub(crate) const NONE_WHOLE: &[Sees] = &[Sees::NoneWhole];

/// hyper's own answer to what it can't parse.
pub(crate) const BAD_HEAD: &str = "400; closed";
pub(crate) const MALFORMED: &str = "400 body_malformed; closed";
pub(crate) const HOST: &str = "403 foreign_host; closed";
pub(crate) const ORIGIN: &str = "403 foreign_origin; closed";
pub(crate) const ROUTE: &str = "403 route_not_allowed; closed";
/// All of the request has been read, so that the next one can follow it.
pub(crate) const HOST_BODILESS: &str = "403 foreign_host; open";
pub(crate) const ROUTE_BODILESS: &str = "403 route_not_allowed; open";

pub(crate) const fn case(
    name: &'static str,
    sent: &'static [u8],
    client: &'static str,
    upstream: &'static [Sees],
) -> Case {
    Case { name, sent, client, upstream }
}

pub(crate) const fn refused(name: &'static str, sent: &'static [u8], client: &'static str) -> Case {
    Case { name, sent, client, upstream: &[] }
}

/// What stands for bytes that come again and again. Each may contain those below it, and `{PORT}`.
pub(crate) const SHORT: [(&str, &str); 6] = [
    ("{CHUNKS}", "{POST}Transfer-Encoding: chunked\r\n\r\n"),
    ("{POST}", "{LINE}{HOST}"),
    ("{LINE}", "POST /v1/responses HTTP/1.1\r\n"),
    ("{HOST}", "Host: 127.0.0.1:{PORT}\r\n"),
    ("{BODY}", "Content-Length: 2\r\n\r\n{}"),
    ("{PIECES}", "\r\n2\r\n{}\r\n0\r\n\r\n"),
];

/// `{x*5}` is `xxxxx`, and so on.
pub(crate) const REPEATED: [(&str, &str); 3] =
    [("{x*", "x"), ("{field*", "X-Field: 1\r\n"), ("{proxy*", "Proxy-Field: 1\r\n")];

/// Groups of requests.
pub(crate) static TABLE: &[(&str, &[Case])] = &[
    (
        "Ordinary requests",
        &[
            case("a body with a length", b"{POST}{BODY}", "200; open", BY_LENGTH),
            case(
                "a body in chunks",
                b"{POST}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
                "200; open",
                IN_CHUNKS,
            ),
            case("neither a length nor chunks: no body", b"{POST}\r\n", "200; open", EMPTY),
            case(
                "a body with neither: the body is a head that is none",
                b"{POST}\r\n{\"model\":\"m\"}\r\n\r\n",
                "200, then 400; closed",
                EMPTY,
            ),
            case("a length of 0", b"{POST}Content-Length: 0\r\n\r\n", "200; open", EMPTY),
            case(
                "names in capitals, tabs and spaces around values",
                b"{LINE}HOST:127.0.0.1:{PORT}\t\r\nCONTENT-LENGTH: \t 2 \r\n\r\n{}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "empty lines before the request",
                b"\r\n\n\r\n{POST}{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "lines that end without CR",
                b"POST /v1/responses HTTP/1.1\nHost: 127.0.0.1:{PORT}\nContent-Length: 2\n\n{}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "the client wants the connection closed",
                b"{POST}Connection: close\r\n{BODY}",
                "200; closed",
                BY_LENGTH,
            ),
            case(
                "two requests at once",
                b"{POST}{BODY}{POST}Content-Length: 2\r\n\r\n[]",
                "200, then 200; open",
                &[Sees::ByLength("{}", &[]), Sees::ByLength("[]", &[])],
            ),
            case(
                "one that is not forwarded behind one that is",
                b"{POST}{BODY}GET /v1/models HTTP/1.1\r\n{HOST}\r\n",
                "200, then 403 route_not_allowed; open",
                BY_LENGTH,
            ),
            case(
                "one that can't be parsed behind one that can",
                b"{POST}{BODY}\0\r\n\r\n",
                "200, then 400; closed",
                BY_LENGTH,
            ),
            case(
                "HTTP/1.0",
                b"POST /v1/responses HTTP/1.0\r\n{HOST}{BODY}",
                "200; closed",
                BY_LENGTH,
            ),
            case(
                "HTTP/1.0 that keeps the connection",
                b"POST /v1/responses HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
        ],
    ),
    (
        "Two framings",
        &[
            case(
                "Content-Length, then Transfer-Encoding",
                b"{POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n{PIECES}",
                "200; closed",
                IN_CHUNKS,
            ),
            case(
                "Transfer-Encoding, then Content-Length",
                b"{POST}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n{PIECES}",
                "200; closed",
                IN_CHUNKS,
            ),
            case(
                "a second request that only the length takes for a body",
                b"{POST}Content-Length: 200\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
                  {POST}{BODY}",
                "200; closed",
                &[Sees::InChunks("", &[])],
            ),
            case(
                "a second request that only the chunks take for a body",
                b"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1f\r\n\
                  GET /v1/models HTTP/1.1\r\nA: b\r\n\r\n0\r\n\r\n",
                "200; closed",
                &[Sees::InChunks("GET /v1/models HTTP/1.1\r\nA: b\r\n", &[])],
            ),
            case(
                "Content-Length both before and after Transfer-Encoding",
                b"{POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\
                  Content-Length: 3\r\n{PIECES}",
                "200; closed",
                IN_CHUNKS,
            ),
            case(
                "chunks, then a length that is none",
                b"{POST}Transfer-Encoding: chunked\r\nContent-Length: x\r\n{PIECES}",
                "200; closed",
                IN_CHUNKS,
            ),
            refused(
                "a length that is none, then chunks",
                b"{POST}Content-Length: x\r\nTransfer-Encoding: chunked\r\n{PIECES}",
                BAD_HEAD,
            ),
            refused(
                "HTTP/1.0 with Transfer-Encoding",
                b"POST /v1/responses HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n{PIECES}",
                BAD_HEAD,
            ),
        ],
    ),
    (
        "Content-Length",
        &[
            // RFC 9112 section 6.3 allows it: hyper has made one of them before anybody else sees them.
            case("twice, the same", b"{POST}Content-Length: 2\r\n{BODY}", "200; open", BY_LENGTH),
            case(
                "twice, the same number in other digits",
                b"{POST}Content-Length: 2\r\nContent-Length: 02\r\n\r\n{}",
                "200; open",
                BY_LENGTH,
            ),
            refused(
                "twice, different",
                b"{POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
                BAD_HEAD,
            ),
            refused("a list of equals", b"{POST}Content-Length: 2, 2\r\n\r\n{}", BAD_HEAD),
            refused("a list", b"{POST}Content-Length: 2, 3\r\n\r\n{}}", BAD_HEAD),
            case("leading zeros", b"{POST}Content-Length: 002\r\n\r\n{}", "200; open", BY_LENGTH),
            refused("a plus sign", b"{POST}Content-Length: +2\r\n\r\n{}", BAD_HEAD),
            refused("a minus sign", b"{POST}Content-Length: -2\r\n\r\n{}", BAD_HEAD),
            refused("a space inside", b"{POST}Content-Length: 1 2\r\n\r\n{}", BAD_HEAD),
            refused("hexadecimal", b"{POST}Content-Length: 0x2\r\n\r\n{}", BAD_HEAD),
            refused("a fraction", b"{POST}Content-Length: 2.0\r\n\r\n{}", BAD_HEAD),
            refused("quoted", b"{POST}Content-Length: \"2\"\r\n\r\n{}", BAD_HEAD),
            refused(
                "a digit that is not ASCII",
                b"{POST}Content-Length: \xc2\xb2\r\n\r\n{}",
                BAD_HEAD,
            ),
            refused("empty", b"{POST}Content-Length:\r\n\r\n{}", BAD_HEAD),
            refused("a space before the colon", b"{POST}Content-Length : 2\r\n\r\n{}", BAD_HEAD),
            refused(
                "more than 64 bits",
                b"{POST}Content-Length: 18446744073709551618\r\n\r\n{}",
                BAD_HEAD,
            ),
            refused(
                "all of 64 bits",
                b"{POST}Content-Length: 18446744073709551615\r\n\r\n{}",
                "431; closed",
            ),
            refused(
                "nearly 64 bits",
                b"{POST}Content-Length: 9223372036854775807\r\n\r\n{}",
                "413 body_too_large; closed",
            ),
            refused(
                "one byte more than `--max-body`",
                b"{POST}Content-Length: 102401\r\n\r\n{x*102401}",
                "413 body_too_large; closed",
            ),
            case(
                "a request in the body",
                b"{POST}Content-Length: 27\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n",
                "200; open",
                &[Sees::ByLength("GET /v1/models HTTP/1.1\r\n\r\n", &[])],
            ),
            case(
                "shorter than the body: the rest is a head that is none",
                b"{POST}{BODY}\"x\": 1}\r\n\r\n",
                "200, then 400; closed",
                BY_LENGTH,
            ),
            case(
                "longer than the body, and the client closes its sending side",
                b"{POST}Content-Length: 9\r\n\r\n{}{SEEN}{END}",
                "no answer or 400 body_incomplete; closed",
                NONE_WHOLE,
            ),
        ],
    ),
    (
        "Transfer-Encoding",
        &[
            case(
                "in capitals, after a tab",
                b"{POST}Transfer-Encoding:\tCHUNKED\r\n{PIECES}",
                "200; open",
                IN_CHUNKS,
            ),
            case(
                "twice",
                b"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n{PIECES}",
                "200; closed",
                IN_CHUNKS,
            ),
            case(
                "twice in one line",
                b"{POST}Transfer-Encoding: chunked, chunked\r\n{PIECES}",
                "200; closed",
                IN_CHUNKS,
            ),
            refused(
                "gzip before chunked",
                b"{POST}Transfer-Encoding: gzip, chunked\r\n{PIECES}",
                MALFORMED,
            ),
            refused(
                "gzip before chunked, in two lines",
                b"{POST}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n{PIECES}",
                MALFORMED,
            ),
            refused(
                "identity before chunked, in two lines",
                b"{POST}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n{PIECES}",
                MALFORMED,
            ),
            refused(
                "an unknown coding before chunked",
                b"{POST}Transfer-Encoding: x, chunked\r\n{PIECES}",
                MALFORMED,
            ),
            refused(
                "chunked, then identity",
                b"{POST}Transfer-Encoding: chunked, identity\r\n{PIECES}",
                BAD_HEAD,
            ),
            refused(
                "chunked, then identity, in two lines",
                b"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n{PIECES}",
                BAD_HEAD,
            ),
            refused("identity", b"{POST}Transfer-Encoding: identity\r\n{BODY}", BAD_HEAD),
            refused("gzip", b"{POST}Transfer-Encoding: gzip\r\n\r\n{}", BAD_HEAD),
            refused("empty", b"{POST}Transfer-Encoding:\r\n{BODY}", BAD_HEAD),
            refused(
                "a word that ends like chunked",
                b"{POST}Transfer-Encoding: xchunked\r\n{PIECES}",
                BAD_HEAD,
            ),
            refused("quoted", b"{POST}Transfer-Encoding: \"chunked\"\r\n{PIECES}", BAD_HEAD),
            refused("a parameter", b"{POST}Transfer-Encoding: chunked;q=1\r\n{PIECES}", BAD_HEAD),
            refused(
                "a comma at its end",
                b"{POST}Transfer-Encoding: chunked,\r\n{PIECES}",
                BAD_HEAD,
            ),
            case(
                "a comma at its beginning",
                b"{POST}Transfer-Encoding: , chunked\r\n{PIECES}",
                "200; open",
                IN_CHUNKS,
            ),
            refused(
                "a vertical tab",
                b"{POST}Transfer-Encoding: \x0bchunked\r\n{PIECES}",
                BAD_HEAD,
            ),
            refused(
                "a space before the colon",
                b"{POST}Transfer-Encoding : chunked\r\n{PIECES}",
                BAD_HEAD,
            ),
            refused(
                "on the next line",
                b"{POST}Transfer-Encoding:\r\n chunked\r\n{PIECES}",
                BAD_HEAD,
            ),
        ],
    ),
    (
        "Chunks",
        &[
            case("an extension", b"{CHUNKS}2;a=b\r\n{}\r\n0;c\r\n\r\n", "200; open", IN_CHUNKS),
            case(
                "a quoted extension",
                b"{CHUNKS}2;a=\"b;c\"\r\n{}\r\n0\r\n\r\n",
                "200; open",
                IN_CHUNKS,
            ),
            case(
                "spaces after the size",
                b"{CHUNKS}2 \t\r\n{}\r\n0\r\n\r\n",
                "200; open",
                IN_CHUNKS,
            ),
            case(
                "leading zeros",
                b"{CHUNKS}000000000000000000000002\r\n{}\r\n00\r\n\r\n",
                "200; open",
                IN_CHUNKS,
            ),
            refused("16 KiB of extensions", b"{CHUNKS}2;{x*16384}\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("LF in an extension", b"{CHUNKS}2;a\nb\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("CR in an extension", b"{CHUNKS}2;a\rb\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("0x", b"{CHUNKS}0x2\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("a plus sign", b"{CHUNKS}+2\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("a minus sign", b"{CHUNKS}-2\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("a space before the size", b"{CHUNKS} 2\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("a space inside the size", b"{CHUNKS}0 2\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("no size", b"{CHUNKS}\r\n{}\r\n0\r\n\r\n", MALFORMED),
            refused(
                "a size of 17 digits",
                b"{CHUNKS}10000000000000002\r\n{}\r\n0\r\n\r\n",
                MALFORMED,
            ),
            refused("LF alone after the size", b"{CHUNKS}2\n{}\r\n0\r\n\r\n", MALFORMED),
            refused("CR alone after the size", b"{CHUNKS}2\r{}\r\n0\r\n\r\n", MALFORMED),
            case("LF alone after the data", b"{CHUNKS}2\r\n{}\n0\r\n\r\n", MALFORMED, NONE_WHOLE),
            case("no line end after the data", b"{CHUNKS}2\r\n{}0\r\n\r\n", MALFORMED, NONE_WHOLE),
            case(
                "a size that is too small",
                b"{CHUNKS}1\r\n{}\r\n0\r\n\r\n",
                MALFORMED,
                NONE_WHOLE,
            ),
            case(
                "LF alone after the last chunk",
                b"{CHUNKS}2\r\n{}\r\n0\n\n",
                MALFORMED,
                NONE_WHOLE,
            ),
            case(
                "the last line end is missing, and the client closes its sending side",
                b"{CHUNKS}2\r\n{}\r\n0\r\n{SEEN}{END}",
                "no answer or 400 body_incomplete; closed",
                NONE_WHOLE,
            ),
            case(
                "the last chunk is missing, and the client closes its sending side",
                b"{CHUNKS}2\r\n{}\r\n{SEEN}{END}",
                "no answer or 400 body_incomplete; closed",
                NONE_WHOLE,
            ),
            case(
                "one byte more than `--max-body`",
                b"{CHUNKS}19001\r\n{x*102401}\r\n0\r\n\r\n",
                "413 body_too_large; closed",
                NONE_WHOLE,
            ),
            case(
                "a second request behind the last chunk",
                b"{CHUNKS}2\r\n{}\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\n{HOST}\r\n",
                "200, then 403 route_not_allowed; open",
                IN_CHUNKS,
            ),
        ],
    ),
    (
        "Trailers",
        &[
            case("one", b"{CHUNKS}2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n", "200; open", IN_CHUNKS),
            case(
                "announced",
                b"{POST}Trailer: X-Late\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
                  2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n",
                "200; open",
                IN_CHUNKS,
            ),
            case(
                "fields that only a head may have",
                b"{CHUNKS}2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\nHost: x\r\n\
                  Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
                "200; open",
                IN_CHUNKS,
            ),
            case(
                "no field",
                b"{CHUNKS}2\r\n{}\r\n0\r\nGET /v1/models HTTP/1.1\r\n\r\n",
                MALFORMED,
                NONE_WHOLE,
            ),
            case("a NUL", b"{CHUNKS}2\r\n{}\r\n0\r\nX: \0\r\n\r\n", MALFORMED, NONE_WHOLE),
            case("101", b"{CHUNKS}2\r\n{}\r\n0\r\n{field*101}\r\n", MALFORMED, NONE_WHOLE),
            case("64 KiB", b"{CHUNKS}2\r\n{}\r\n0\r\nX: {x*65536}\r\n\r\n", MALFORMED, NONE_WHOLE),
        ],
    ),
    (
        "Heads that can't be parsed",
        &[
            refused("a field on two lines", b"{POST}X-A: 1\r\n 2\r\n\r\n", BAD_HEAD),
            refused("a field on two lines, by a tab", b"{POST}X-A: 1\r\n\t2\r\n\r\n", BAD_HEAD),
            refused("a space before the first field", b"{LINE} {HOST}\r\n", BAD_HEAD),
            refused("NUL in a value", b"{POST}X-A: 1\x002\r\n\r\n", BAD_HEAD),
            refused("NUL in a name", b"{POST}X-\0A: 1\r\n\r\n", BAD_HEAD),
            refused("NUL in the target", b"POST /v1/responses\0 HTTP/1.1\r\n{HOST}\r\n", BAD_HEAD),
            refused("CR alone in a value", b"{POST}X-A: 1\rX-B: 2\r\n\r\n", BAD_HEAD),
            refused("CR alone in a name", b"{POST}X-\rA: 1\r\n\r\n", BAD_HEAD),
            refused("CR alone ends the head", b"{POST}X-A: 1\r\r\n\r\n", BAD_HEAD),
            refused("another control character in a value", b"{POST}X-A: \x01\r\n\r\n", BAD_HEAD),
            refused("DEL in a value", b"{POST}X-A: \x7f\r\n\r\n", BAD_HEAD),
            refused("LF in a name", b"{POST}X-\nA: 1\r\n\r\n", BAD_HEAD),
            refused("no name", b"{POST}: 1\r\n\r\n", BAD_HEAD),
            refused("no colon", b"{POST}X-A\r\n\r\n", BAD_HEAD),
            refused("a space in a name", b"{POST}X A: 1\r\n\r\n", BAD_HEAD),
            refused("a name that is not ASCII", b"{POST}X-\xc3\xa9: 1\r\n\r\n", BAD_HEAD),
            refused("a field of 64 KiB", b"{POST}X-A: {x*65536}\r\n\r\n", "431; closed"),
            refused("101 fields", b"{POST}{field*100}\r\n", "431; closed"),
            refused("a target of 64 KiB", b"POST /{x*65536} HTTP/1.1\r\n{HOST}\r\n", "431; closed"),
            refused("no version (HTTP/0.9)", b"GET /v1/responses\r\n", BAD_HEAD),
            refused("HTTP/1.2", b"POST /v1/responses HTTP/1.2\r\n{HOST}\r\n", BAD_HEAD),
            refused("HTTP/2.0", b"POST /v1/responses HTTP/2.0\r\n{HOST}\r\n", BAD_HEAD),
            refused(
                "a version in small letters",
                b"POST /v1/responses http/1.1\r\n{HOST}\r\n",
                BAD_HEAD,
            ),
            refused("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "no answer; closed"),
            refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD_HEAD),
            refused(
                "two spaces in the first line",
                b"POST  /v1/responses HTTP/1.1\r\n{HOST}\r\n",
                BAD_HEAD,
            ),
            refused(
                "a tab in the first line",
                b"POST\t/v1/responses HTTP/1.1\r\n{HOST}\r\n",
                BAD_HEAD,
            ),
            refused(
                "a space at the first line's end",
                b"POST /v1/responses HTTP/1.1 \r\n{HOST}\r\n",
                BAD_HEAD,
            ),
            refused("no method", b" /v1/responses HTTP/1.1\r\n{HOST}\r\n", BAD_HEAD),
            refused("no target", b"POST HTTP/1.1\r\n{HOST}\r\n", BAD_HEAD),
            refused(
                "the client closes its sending side in the head",
                b"{POST}X-A: 1{END}",
                "no answer; closed",
            ),
        ],
    ),
    (
        "Host, Origin and Sec-Fetch-Site",
        &[
            refused("no Host", b"{LINE}{BODY}", HOST),
            refused(
                "no Host in HTTP/1.0",
                b"POST /v1/responses HTTP/1.0\r\n{BODY}",
                "403 foreign_host; closed",
            ),
            refused("Host twice", b"{POST}{HOST}{BODY}", HOST),
            refused("a second Host that is foreign", b"{POST}Host: evil.example\r\n{BODY}", HOST),
            refused("an empty Host", b"{LINE}Host:\r\n{BODY}", HOST),
            refused("`localhost`", b"{LINE}Host: localhost:{PORT}\r\n{BODY}", HOST),
            refused("a name of somebody's", b"{LINE}Host: evil.example:{PORT}\r\n{BODY}", HOST),
            refused("no port", b"{LINE}Host: 127.0.0.1\r\n{BODY}", HOST),
            refused("another port", b"{LINE}Host: 127.0.0.1:1\r\n{BODY}", HOST),
            refused("a zero before the port", b"{LINE}Host: 127.0.0.1:0{PORT}\r\n{BODY}", HOST),
            refused("a user", b"{LINE}Host: a@127.0.0.1:{PORT}\r\n{BODY}", HOST),
            refused("a list", b"{LINE}Host: 127.0.0.1:{PORT}, evil.example\r\n{BODY}", HOST),
            refused(
                "bytes that are not ASCII",
                b"{LINE}Host: 127.0.0.1:{PORT}\xff\r\n{BODY}",
                HOST,
            ),
            refused(
                "a foreign Host on another route",
                b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n",
                HOST_BODILESS,
            ),
            refused("an Origin", b"{POST}Origin: https://evil.example\r\n{BODY}", ORIGIN),
            refused(
                "an Origin of our own",
                b"{POST}Origin: http://127.0.0.1:{PORT}\r\n{BODY}",
                ORIGIN,
            ),
            refused("an Origin of a sandboxed page", b"{POST}Origin: null\r\n{BODY}", ORIGIN),
            refused("an empty Origin", b"{POST}Origin:\r\n{BODY}", ORIGIN),
            refused(
                "Sec-Fetch-Site of another site",
                b"{POST}Sec-Fetch-Site: cross-site\r\n{BODY}",
                ORIGIN,
            ),
            refused(
                "Sec-Fetch-Site of the same site",
                b"{POST}Sec-Fetch-Site: same-origin\r\n{BODY}",
                ORIGIN,
            ),
            refused("a browser's navigation", b"{POST}Sec-Fetch-Mode: navigate\r\n{BODY}", ORIGIN),
            case(
                "Sec-Fetch-Site of nobody",
                b"{POST}Sec-Fetch-Site: none\r\n{BODY}",
                "200; open",
                &[Sees::ByLength("{}", &["sec-fetch-site: none"])],
            ),
        ],
    ),
    (
        "Expect, Upgrade and Connection",
        &[
            case(
                "Expect: 100-continue",
                b"{POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{CONTINUE}{}",
                "100, then 200; open",
                BY_LENGTH,
            ),
            refused(
                "Expect: 100-continue where it is refused",
                b"GET /v1/models HTTP/1.1\r\n{HOST}Expect: 100-continue\r\n\
                  Content-Length: 2\r\n\r\n{WAIT}",
                "403 route_not_allowed; closed",
            ),
            case(
                "Expect: 100-continue without a body",
                b"{POST}Expect: 100-continue\r\n\r\n",
                "200; open",
                EMPTY,
            ),
            case(
                "Expect: 100-continue in HTTP/1.0",
                b"POST /v1/responses HTTP/1.0\r\n{HOST}Expect: 100-continue\r\n{BODY}",
                "200; closed",
                BY_LENGTH,
            ),
            case("another Expect", b"{POST}Expect: 200-ok\r\n{BODY}", "200; open", BY_LENGTH),
            refused(
                "a WebSocket",
                b"GET /v1/responses HTTP/1.1\r\n{HOST}Connection: Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                "426 upgrade_refused; closed",
            ),
            case(
                "an upgrade to h2c, with a body",
                b"{POST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                  HTTP2-Settings: AAMAAABkAAQAAP__\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "Connection names our own fields",
                b"{POST}Connection: Authorization, Host, Content-Length, Accept\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "Connection names a field that would go up",
                b"{POST}Connection: Content-Type, X-A\r\nContent-Type: application/json\r\n\
                  X-A: 1\r\nX-B: 2\r\n{BODY}",
                "200; open",
                &[Sees::ByLength("{}", &["x-b: 2"])],
            ),
            case(
                "Connection names chunks",
                b"{POST}Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\
                  {PIECES}",
                "200; open",
                IN_CHUNKS,
            ),
        ],
    ),
    (
        "Method and target",
        &[
            refused("another method", b"PUT /v1/responses HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused(
                "the method in small letters",
                b"post /v1/responses HTTP/1.1\r\n{HOST}{BODY}",
                ROUTE,
            ),
            refused("GET with a body", b"GET /v1/responses HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("TRACE", b"TRACE /v1/responses HTTP/1.1\r\n{HOST}\r\n", ROUTE_BODILESS),
            refused("CONNECT", b"CONNECT 127.0.0.1:{PORT} HTTP/1.1\r\n{HOST}\r\n", ROUTE_BODILESS),
            refused("OPTIONS *", b"OPTIONS * HTTP/1.1\r\n{HOST}\r\n", ROUTE_BODILESS),
            refused(
                "POST to a host and port",
                b"POST 127.0.0.1:{PORT} HTTP/1.1\r\n{HOST}{BODY}",
                ROUTE,
            ),
            refused("POST *", b"POST * HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused(
                "an absolute URL",
                b"POST http://127.0.0.1:{PORT}/v1/responses HTTP/1.1\r\n{HOST}{BODY}",
                ROUTE,
            ),
            refused(
                "an absolute URL elsewhere",
                b"POST http://evil.example/v1/responses HTTP/1.1\r\n{HOST}{BODY}",
                ROUTE,
            ),
            refused("a query", b"POST /v1/responses?a=b HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("an empty query", b"POST /v1/responses? HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            // hyper has cut it off before anybody else sees it.
            case(
                "a fragment",
                b"POST /v1/responses#a HTTP/1.1\r\n{HOST}{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            refused("a slash at the end", b"POST /v1/responses/ HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("two slashes", b"POST //v1/responses HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("a backslash", b"POST /v1\\responses HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("an escape", b"POST /v1/response%73 HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("an escaped slash", b"POST /v1%2fresponses HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("dots", b"POST /v1/../v1/responses HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused("capitals", b"POST /V1/Responses HTTP/1.1\r\n{HOST}{BODY}", ROUTE),
            refused(
                "no slash at the beginning",
                b"POST v1/responses HTTP/1.1\r\n{HOST}{BODY}",
                BAD_HEAD,
            ),
            refused(
                "a byte that is not ASCII",
                b"POST /v1/responses\xff HTTP/1.1\r\n{HOST}{BODY}",
                BAD_HEAD,
            ),
            refused(
                "what is below it",
                b"POST /v1/responses/resp_1/cancel HTTP/1.1\r\n{HOST}{BODY}",
                ROUTE,
            ),
            refused(
                "`GET /shutdown` without `--http-shutdown`",
                b"GET /shutdown HTTP/1.1\r\n{HOST}\r\n",
                ROUTE_BODILESS,
            ),
        ],
    ),
    (
        "Fields on their way up",
        &[
            case(
                "those that go up",
                b"{POST}Content-Type: application/json\r\nContent-Encoding: zstd\r\n\
                  Accept: text/event-stream\r\nUser-Agent: codex\r\nX-Codex-Turn: 1\r\n{BODY}",
                "200; open",
                &[Sees::ByLength(
                    "{}",
                    &[
                        "content-type: application/json",
                        "content-encoding: zstd",
                        "accept: text/event-stream",
                        "user-agent: codex",
                        "x-codex-turn: 1",
                    ],
                )],
            ),
            case(
                "the same name twice",
                b"{POST}X-A: 1\r\nX-B: 2\r\nX-A: 3\r\n{BODY}",
                "200; open",
                &[Sees::ByLength("{}", &["x-a: 1", "x-a: 3", "x-b: 2"])],
            ),
            case(
                "an empty value",
                b"{POST}X-A:\r\n{BODY}",
                "200; open",
                &[Sees::ByLength("{}", &["x-a: "])],
            ),
            case(
                "a value that is not ASCII, and one with a tab inside",
                b"{POST}X-A: \xc3\xa9\xff\r\nX-B: 1\t2\r\n{BODY}",
                "200; open",
                &[Sees::ByLength("{}", &["x-a: \\xc3\\xa9\\xff", "x-b: 1\\t2"])],
            ),
            case(
                "LF alone after a value: two fields",
                b"{POST}X-A: 1\nX-B: 2\r\n{BODY}",
                "200; open",
                &[Sees::ByLength("{}", &["x-a: 1", "x-b: 2"])],
            ),
            case(
                "who asks",
                b"{POST}Authorization: Bearer a\r\nAuthorization: Basic b\r\nCookie: c\r\n\
                  Api-Key: d\r\nX-Api-Key: e\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "who pays",
                b"{POST}OpenAI-Organization: a\r\nOpenAI-Project: b\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            // Where fields become variables, as in CGI and WSGI, `_` and `-` are the same.
            case(
                "who pays, with underscores",
                b"{POST}OpenAI_Organization: a\r\nOpenAI_Project: b\r\nApi_Key: c\r\n\
                  X_Forwarded_For: d\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "framing with underscores",
                b"{POST}Content_Length: 9\r\nTransfer_Encoding: chunked\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "where from",
                b"{POST}Forwarded: for=a\r\nX-Forwarded-For: b\r\nX-Forwarded-Host: c\r\n\
                  X-Forwarded-Anything: d\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "for this connection alone",
                b"{POST}Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X-A\r\n\
                  Upgrade: h2c\r\nProxy-Connection: keep-alive\r\n\
                  Proxy-Authorization: Basic a\r\nProxy-Anything: b\r\n{BODY}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "60,000 bytes",
                b"{POST}Content-Length: 2\r\nAuthorization: {x*60000}\r\n\r\n{}",
                "200; open",
                BY_LENGTH,
            ),
            case(
                "100 fields",
                b"{POST}Content-Length: 2\r\n{proxy*98}\r\n{}",
                "200; open",
                BY_LENGTH,
            ),
        ],
    ),
];
