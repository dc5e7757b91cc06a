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
import os
import random
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading

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


def certificate(folder):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=bench")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=127.0.0.1")
    with open(f"{folder}/names", "w") as names:
        names.write("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "cert.pem")


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


class Proxy:
    def __init__(self, program, port, authority):
        hidden = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        url = f"https://127.0.0.1:{port}/v1/responses"
        self.process = subprocess.Popen([program, "--upstream-url", url, "--upstream-ca", authority],
                                        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        self.process.stdin.write(b"sk-bench-bench-bench")
        self.process.stdin.close()
        for line in self.process.stderr:
            if found := re.match(rb"ready: http://127.0.0.1:(\d+)/", line):
                self.port = int(found[1])
                break
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cost(self, shape, media_type):
        """CPU milliseconds for each megabyte."""
        before = self.cpu_seconds()
        curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{size_download}", "--data", "{}",
                "--header", f"x-shape: {shape}", "--header", f"x-type: {media_type}",
                f"http://127.0.0.1:{self.port}/v1/responses"]
        clients = [subprocess.Popen(curl, stdout=subprocess.PIPE) for _ in range(STREAMS)]
        total = sum(int(client.communicate()[0]) for client in clients)
        return (self.cpu_seconds() - before) * 1e9 / total


def compare(name, first, second):
    """Each of the two is a function that gives a cost."""
    costs = [], []
    for turn in range(ROUNDS):
        for which in ((0, 1) if turn % 2 else (1, 0)):
            costs[which].append((first, second)[which]())
    ratios = [one / other for one, other in zip(*costs)]
    spread = sorted(statistics.median(random.choices(ratios, k=ROUNDS)) for _ in range(2_000))
    medians = [statistics.median(cost) for cost in costs]
    print(f"{name}: {medians[0]:.2f} and {medians[1]:.2f} ms/MB; ratio {statistics.median(ratios):.3f},"
          f" 95 % between {spread[50]:.3f} and {spread[1950]:.3f}", flush=True)


def main():
    programs = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve, args=(listener, context), daemon=True).start()
        proxies = [Proxy(program, listener.getsockname()[1], f"{folder}/ca.pem") for program in programs]
        try:
            for shape in PIECES:
                if len(proxies) == 1:
                    compare(f"{shape}, metered and not", lambda: proxies[0].cost(shape, "text/event-stream"),
                            lambda: proxies[0].cost(shape, "application/octet-stream"))
                else:
                    compare(f"{shape}, this build and the other", *[
                        lambda proxy=proxy: proxy.cost(shape, "text/event-stream") for proxy in proxies])
        finally:
            for proxy in proxies:
                proxy.process.terminate()


main()
