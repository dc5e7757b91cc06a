#!/usr/bin/env python3
"""What metering costs a proxy, in CPU time for each megabyte that it streams.

The same events pass through the same proxy, once as text/event-stream, which is metered, and once as
application/octet-stream, which is not. An upstream in this script sends them over TLS, each event in a record of its
own as the API does, or as many as fit into 64 KiB. Rounds alternate; the figure is the median of the paired ratios with
a 95 % interval (bootstrap). Needs openssl and curl, and a machine that does little else.

    python3 responses-api-proxy/benches/sse_cpu.py target/release/codex-responses-api-proxy [OTHER_PROXY]

With a second proxy (an older build, say) both get events alone, and the ratio is that of the two builds.
"""

import json
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True

from bench_common import Proxy, certificate, compare  # noqa: E402

ROUNDS = 30
STREAMS = 2
MEGABYTES = {"event by event": 20, "64 KiB at once": 200}


def event(number):
    data = {"type": "response.output_text.delta", "sequence_number": number, "item_id": "msg_68a0c8a4f5b48190a2a1",
            "output_index": 0, "content_index": 0, "delta": " word", "logprobs": [], "obfuscation": "abcdefgh"}
    return f"event: response.output_text.delta\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


EVENTS = [chunk(event(number)) for number in range(250)]
PIECES = {"event by event": EVENTS, "64 KiB at once": [chunk(b"".join(event(number) for number in range(250)))]}


def serve(listener, context):
    def answer(connection):
        try:
            stream = context.wrap_socket(connection, server_side=True)
            reader = stream.makefile("rb")
            while reader.readline():
                fields = dict(line.split(b": ", 1) for line in iter(reader.readline, b"\r\n"))
                fields = {name.lower(): value.strip() for name, value in fields.items()}
                reader.read(int(fields.get(b"content-length", 0)))
                shape = fields[b"x-shape"].decode()
                stream.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: %s\r\n\r\n" % fields[b"x-type"])
                pieces = PIECES[shape]
                for _ in range(MEGABYTES[shape] * 1_000_000 // sum(map(len, pieces))):
                    for piece in pieces:
                        stream.sendall(piece)
                stream.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # The bench is over.
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def cost(proxy, shape, media_type):
    """CPU milliseconds for each megabyte."""
    before = proxy.cpu_seconds()
    curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{size_download}", "--data", "{}",
            "--header", f"x-shape: {shape}", "--header", f"x-type: {media_type}",
            f"http://127.0.0.1:{proxy.port}/v1/responses"]
    clients = [subprocess.Popen(curl, stdout=subprocess.PIPE) for _ in range(STREAMS)]
    total = sum(int(client.communicate()[0]) for client in clients)
    return (proxy.cpu_seconds() - before) * 1e9 / total


def main():
    programs = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve, args=(listener, context), daemon=True).start()
        proxies = []
        try:
            for program in programs:
                proxies.append(Proxy(program, listener.getsockname()[1], folder))
            for shape in PIECES:
                if len(proxies) == 1:
                    kinds, whose = ("text/event-stream", "application/octet-stream"), "metered and not"
                    costs = [lambda kind=kind: cost(proxies[0], shape, kind) for kind in kinds]
                else:
                    whose = "this build and the other"
                    costs = [lambda proxy=proxy: cost(proxy, shape, "text/event-stream") for proxy in proxies]
                compare(f"{shape}, {whose}", "ms/MB", ROUNDS, costs)
        finally:
            for proxy in proxies:
                proxy.stop()


main()
