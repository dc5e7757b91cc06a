#!/usr/bin/env python3
"""Judges requests by h11, an HTTP/1.1 parser that has nothing in common with ours.

Standard input: one JSON document a line. `name` says which request it is; `raw` is all that its connection
carried, in hexadecimal digits. If `whole` is true, that must be exactly one clean request with this `body` (in
hexadecimal digits too), `host` and `authorization`. If not, it must not be a whole request.

Prints a line for each that is not so, and exits with 1 if there was any.
"""

import json
import re
import sys

import h11


class Unclean(Exception):
    """Why it is not one clean request."""


def require(clean, why):
    if not clean:
        raise Unclean(why)


def parse(raw):
    """The request, its body and its trailers, or None if it is not whole."""
    # By itself h11 takes no head over 16 KiB.
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw) + 1)
    connection.receive_data(raw)
    request, body, trailers = None, b"", []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            trailers = list(event.headers)
            break
        else:
            return None  # It wants more, and there is no more.
    rest, _ = connection.trailing_data
    require(rest == b"", f"behind the request comes {rest[:100]!r}")
    return request, body, trailers


def head_is_strict(raw):
    """h11 forgives line ends without CR, continued lines and control characters. Here nothing is forgiven."""
    lines = raw.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    for line in lines:
        require(not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line), f"a control character in {line!r}")
        require(not line.startswith((b" ", b"\t")), f"a continued line: {line!r}")
    names = [line.split(b":", 1)[0].lower() for line in lines[1:]]
    framings = [name for name in names if name in (b"content-length", b"transfer-encoding")]
    require(len(framings) == 1, f"not one framing but {framings!r}")


def chunks_are_strict(raw):
    """Sizes are plain, and there are no extensions: both would be the client's."""
    rest = raw.split(b"\r\n\r\n", 1)[1]
    while True:
        line, rest = rest.split(b"\r\n", 1)
        require(re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line), f"a chunk begins with {line!r}")
        size = int(line, 16)
        if size == 0:
            return
        rest = rest[size + 2 :]


def judge(case):
    raw = bytes.fromhex(case["raw"])
    parsed = parse(raw)
    if not case["whole"]:
        require(parsed is None, "it is a whole request, which nobody expects")
        return
    require(parsed is not None, "it is not a whole request")
    head_is_strict(raw)
    request, body, trailers = parsed
    require(request.http_version == b"1.1", f"HTTP/{request.http_version!r}")
    require(request.method == b"POST", f"the method is {request.method!r}")
    fields = list(request.headers)  # Names are in small letters here.
    for name in ("host", "authorization"):
        values = [value.decode("latin-1") for found, value in fields if found == name.encode()]
        require(values == [case[name]], f"{name} is not the one that it has to be")  # It may be the key.
    if any(name == b"transfer-encoding" for name, _ in fields):
        chunks_are_strict(raw)
    require(not trailers, f"there are trailers: {trailers!r}")
    expected = bytes.fromhex(case["body"])
    require(body == expected, f"the body is {body[:100]!r}, not {expected[:100]!r}")


def main():
    unclean = 0
    for line in sys.stdin:
        case = json.loads(line)
        try:
            judge(case)
        except (Unclean, h11.RemoteProtocolError, ValueError) as error:
            unclean += 1
            print(f"{case['name']}: {error}")
    sys.exit(1 if unclean else 0)


if __name__ == "__main__":
    main()
