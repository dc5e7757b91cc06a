#!/usr/bin/env python3
"""What requests cost a proxy, in seconds of CPU time for 10,000 of them.

A POST of 2,000 bytes with its length, a short JSON answer, TLS to the upstream, connections that stay: one at a time,
and 64 at once. wrk asks and nginx answers, so that neither is what is measured. With a second proxy (an older build,
say) both get the same, one after the other in each round; the figure is then the median of the paired ratios with a 95 %
interval (bootstrap). The other one rests meanwhile, which costs nothing. Needs openssl, wrk and nginx (Debian:
nginx-light), and a machine that does little else.

    python3 responses-api-proxy/benches/request_cpu.py target/release/codex-responses-api-proxy [OTHER_PROXY]

The first run of each does not count: it makes the connections. Should later ones need many more (one in a hundred
requests), then connections do not stay, handshakes would be measured, and the bench ends.
"""

import argparse
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.request

sys.dont_write_bytecode = True

from bench_common import Proxy, certificate, compare, wait_for  # noqa: E402

BODY_BYTES = 2_000
CONNECTIONS = (1, 64)

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_header_buffer_size 8k;
    server {{
        listen 127.0.0.1:{port} ssl backlog=1024;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        default_type application/json;
        location = /v1/responses {{ return 200 '{{"id":"resp_bench","object":"response","status":"completed"}}'; }}
        location = /connections {{ stub_status; }}
    }}
}}
"""

WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"input":"' .. string.rep("x", BODY_BYTES - 12) .. '"}'
function done(summary)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("bench %d %d\\n", summary.requests, failed))
end
""".replace("BODY_BYTES", str(BODY_BYTES))


class Upstream:
    """nginx, with a short answer for everybody."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with open(f"{folder}/nginx.conf", "w") as conf:
            conf.write(NGINX.format(folder=folder, port=self.port))
        self.trust = ssl.create_default_context(cafile=f"{folder}/ca.pem")
        self.process = subprocess.Popen(
            ["nginx", "-p", folder, "-e", f"{folder}/nginx.log", "-c", f"{folder}/nginx.conf"])
        wait_for(self.accepts, self.process)

    def accepts(self):
        with socket.socket() as stream:
            return stream.connect_ex(("127.0.0.1", self.port)) == 0

    def accepted(self):
        """How many connections it has had."""
        status = urllib.request.urlopen(f"https://127.0.0.1:{self.port}/connections", context=self.trust)
        return int(re.search(rb"requests\s+(\d+)", status.read())[1])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run(proxy, upstream, connections, seconds, script):
    """CPU seconds for 10,000 requests, and how many of those needed a new connection to the upstream."""
    accepted, before = upstream.accepted(), proxy.cpu_seconds()
    wrk = subprocess.run(["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
                          "--script", script, f"http://127.0.0.1:{proxy.port}/v1/responses"],
                         check=True, capture_output=True, text=True)
    spent = proxy.cpu_seconds() - before
    requests, failed = map(int, re.search(r"^bench (\d+) (\d+)$", wrk.stdout, re.MULTILINE).groups())
    if failed or not requests:
        raise SystemExit(f"{failed} of {requests} requests failed:\n{wrk.stdout}")
    return spent * 10_000 / requests, (upstream.accepted() - accepted) * 10_000 / requests


def cost(*setting):
    """CPU seconds for 10,000 requests on connections that are there already."""
    spent, new = run(*setting)
    if new > 100:
        raise SystemExit(f"{new:.0f} of 10,000 requests needed a new connection to the upstream")
    return spent


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("proxies", nargs="+", metavar="PROXY")
    arguments.add_argument("--rounds", type=int, default=40)
    arguments.add_argument("--seconds", type=int, default=1, help="for each run of wrk")
    arguments = arguments.parse_args()
    if len(arguments.proxies) > 2:
        raise SystemExit("one proxy, or two to compare")
    with tempfile.TemporaryDirectory() as folder:
        certificate(folder)
        script = f"{folder}/post.lua"
        with open(script, "w") as lua:
            lua.write(WRK)
        running = []
        try:
            upstream = Upstream(folder)
            running.append(upstream)
            proxies = []
            for program in arguments.proxies:
                proxies.append(Proxy(program, upstream.port, folder))
                running.append(proxies[-1])
            for connections in CONNECTIONS:
                settings = [(proxy, upstream, connections, arguments.seconds, script) for proxy in proxies]
                for setting in settings:
                    run(*setting)
                costs = [lambda setting=setting: cost(*setting) for setting in settings]
                compare(f"{connections} at once", "s for 10,000 requests", arguments.rounds, costs)
        finally:
            for process in reversed(running):
                process.stop()


main()
