"""What the benches of the proxy share: a certificate, a running proxy, and how two costs are compared.

CPU time is the process's own clock (clock_getcpuclockid(3)): user and system of all its threads, those that have ended
too, in nanoseconds. (/proc/PID/stat counts in ticks of 10 ms.) So these run on Linux alone.
"""

import json
import os
import random
import statistics
import subprocess
import time

READY_SECONDS = 20


def certificate(folder):
    """Makes ca.pem, and key.pem and cert.pem for 127.0.0.1."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=bench")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=127.0.0.1")
    with open(f"{folder}/names", "w") as names:
        names.write("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "cert.pem")


class Proxy:
    """A proxy before https://127.0.0.1:PORT/v1/responses, whose authority is the folder's."""

    def __init__(self, program, port, folder):
        hidden = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        url = f"https://127.0.0.1:{port}/v1/responses"
        info = f"{folder}/{len(os.listdir(folder))}.json"
        # A line for each request: whoever read them here would cost more than the proxy.
        self.process = subprocess.Popen(
            [program, "--upstream-url", url, "--upstream-ca", f"{folder}/ca.pem", "--server-info", info],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        self.process.stdin.write(b"sk-bench-bench-bench")
        self.process.stdin.close()
        try:
            self.port = json.loads(wait_for(lambda: os.path.exists(info) and open(info).read(), self.process))["port"]
        except BaseException:
            self.process.kill()
            raise

    def cpu_seconds(self):
        return time.clock_gettime(~self.process.pid << 3 | 2)  # CPUCLOCK_SCHED of the whole process.

    def stop(self):
        self.process.terminate()
        self.process.wait()


def wait_for(condition, process):
    """What `condition` gives once it holds."""
    deadline = time.monotonic() + READY_SECONDS
    while not (found := condition()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args[0]} did not get ready; start it by hand to see why")
        time.sleep(0.01)
    return found


def interval(values):
    """Their median, and between what it lies with 95 % (bootstrap)."""
    spread = sorted(statistics.median(random.choices(values, k=len(values))) for _ in range(2_000))
    return statistics.median(values), spread[50], spread[1950]


def compare(name, unit, rounds, costs):
    """Prints one cost, or two and their ratio. Each is a function; in each round all are called, in changing order."""
    found = [[] for _ in costs]
    for turn in range(rounds):
        for which in sorted(range(len(costs)), reverse=turn % 2 == 0):
            found[which].append(costs[which]())
    if len(costs) == 1:
        median, low, high = interval(found[0])
        print(f"{name}: {median:.3f} {unit}, 95 % between {low:.3f} and {high:.3f}", flush=True)
        return
    ratio, low, high = interval([one / other for one, other in zip(*found)])
    medians = [statistics.median(cost) for cost in found]
    print(f"{name}: {medians[0]:.3f} and {medians[1]:.3f} {unit}; ratio {ratio:.3f},"
          f" 95 % between {low:.3f} and {high:.3f}", flush=True)
