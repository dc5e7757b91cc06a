"""Tries to get at the memory and the descriptors of a process, in every way that Linux has for it.

    attacks.py try PID             what an ordinary account may try; nothing is changed where it succeeds
    attacks.py secret PID          what root may try on the pages of memfd_secret(2)
    attacks.py signal PID NAME     sends a signal
    attacks.py victim TEXT         a process that protects nothing: keeps the text, says "ready", waits for its
                                   input's end

Prints one JSON object: attack -> "open: WHAT", "refused: ERRNO", "absent: ERRNO" (this kernel has no such thing)
or "gone: ERRNO".
"""

import ctypes
import errno
import json
import os
import platform
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long
LIBC.syscall.restype = ctypes.c_long

# Their numbers are the same everywhere (asm-generic/unistd.h), or else here for x86-64 and the others.
PIDFD_OPEN, PIDFD_GETFD, PROCESS_MADVISE = 434, 438, 440
X86 = platform.machine() == "x86_64"
KCMP, MOVE_PAGES, GET_ROBUST_LIST, PERF_EVENT_OPEN = (312, 279, 274, 298) if X86 else (272, 239, 100, 241)
# sys/ptrace.h
PEEKDATA, ATTACH, DETACH, SEIZE, INTERRUPT = 2, 16, 17, 0x4206, 0x4207
WALL = 0x40000000
DESCRIPTORS = range(21)


def outcome(attack):
    """Tries it, and puts into a word or two what came of it."""
    try:
        return f"open: {attack()}"
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error.errno))
        if error.errno in (errno.ENOENT, errno.ENOSYS):
            return f"absent: {name}"
        return f"gone: {name}" if error.errno == errno.ESRCH else f"refused: {name}"


def any_of(attacks):
    """The worst of several outcomes."""
    found = [outcome(attack) for attack in attacks]
    for word in ("open", "refused", "gone", "absent"):  # A thread may end meanwhile.
        of_it = sorted({each for each in found if each.startswith(word)})
        if of_it:
            return of_it[0]
    return "absent: nothing to try"


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def syscall(*arguments):
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return checked(LIBC.syscall(*words))


def opened(path, flags=os.O_RDONLY, read=True):
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return f"{len(os.read(descriptor, 64))} bytes" if read else "opened"
    finally:
        os.close(descriptor)


def ranges(pid, mark):
    """Where the memory begins that /proc/PID/maps marks so."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        return [line.split(" ")[0] for line in maps if mark in line]


def begin(span):
    return int(span.split("-")[0], 16)


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def process_vm(call, pid, address, buffer):
    here, there = IoVec(ctypes.addressof(buffer), len(buffer)), IoVec(address, len(buffer))
    one, flags = ctypes.c_ulong(1), ctypes.c_ulong(0)
    count = call(pid, ctypes.byref(here), one, ctypes.byref(there), one, flags)
    return f"{checked(count)} bytes"


def some_address(pid):
    """One of its own if it tells any; else one of ours: the kernel asks who we are before it looks there."""
    try:
        return begin(ranges(pid, "[heap]")[0])
    except (OSError, IndexError):
        return ctypes.addressof(ctypes.create_string_buffer(8))


def vm_write(pid):
    buffer = ctypes.create_string_buffer(8)
    address = some_address(pid)
    try:  # What stands there is written back.
        process_vm(LIBC.process_vm_readv, pid, address, buffer)
    except OSError:
        pass
    return process_vm(LIBC.process_vm_writev, pid, address, buffer)


def ptrace(request, pid, address=0, data=0):
    return checked(LIBC.ptrace(request, pid, address, data))


def traced(pid, request):
    ptrace(request, pid)
    if request == SEIZE:
        ptrace(INTERRUPT, pid)
    os.waitpid(pid, WALL)
    ptrace(DETACH, pid)
    return "traced"


def taken_descriptor(pid, number):
    process = syscall(PIDFD_OPEN, pid, 0)
    try:
        os.close(syscall(PIDFD_GETFD, process, number, 0))
        return f"descriptor {number}"
    finally:
        os.close(process)


def paged_out(pid):
    """MADV_PAGEOUT, 21: into swap with it."""
    process = syscall(PIDFD_OPEN, pid, 0)
    try:
        span = IoVec(some_address(pid) & ~4095, 4096)
        return f"{syscall(PROCESS_MADVISE, process, ctypes.byref(span), 1, 21, 0)} bytes"
    finally:
        os.close(process)


def sampled(pid):
    """Samples of its stack by the software clock, user space only (perf_event_open(2))."""
    ip_and_stack, only_user = 1 | 1 << 13, 1 << 5 | 1 << 6
    before = struct.pack("<IIQQQQQ", 1, 112, 0, 100_000, ip_and_stack, 0, only_user)
    attributes = before + struct.pack("<IIQQQQIiQIHH", 0, 0, 0, 0, 0, 0, 4096, 0, 0, 0, 0, 0)
    os.close(syscall(PERF_EVENT_OPEN, ctypes.create_string_buffer(attributes), pid, -1, -1, 0))
    return "sampled"


def robust_list(pid):
    head, length = ctypes.c_void_p(), ctypes.c_size_t()
    syscall(GET_ROBUST_LIST, pid, ctypes.byref(head), ctypes.byref(length))
    return "an address"


def core_by_gdb(pid):
    if shutil.which("gcore") is None:
        raise OSError(errno.ENOENT, "gdb is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = ["gcore", "-o", f"{folder}/core", str(pid)]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if not os.path.exists(f"{folder}/core.{pid}"):
            raise OSError(errno.EPERM, "gdb made no core file")
        return "a core file"


def raised_core_limit(pid):
    resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "unlimited"


def attacks(pid):
    proc = f"/proc/{pid}"
    tasks = [int(task) for task in os.listdir(f"{proc}/task")]
    for name in (
        "mem maps smaps smaps_rollup numa_maps environ auxv syscall stack io pagemap timerslack_ns personality "
        "mountstats patch_state seccomp_cache"
    ).split():
        # The permission is asked for when it is opened; at address 0, where `mem` begins, nothing is mapped.
        yield name, lambda name=name: opened(f"{proc}/{name}", read=name != "mem")
        if name in ("mem", "maps", "environ", "syscall", "stack"):
            yield f"{name} of each thread", [
                lambda name=name, task=task: opened(f"{proc}/task/{task}/{name}", read=name != "mem")
                for task in tasks
            ]
    for name in "mem clear_refs coredump_filter oom_score_adj oom_adj".split():
        yield f"{name}, to write", lambda name=name: opened(f"{proc}/{name}", os.O_WRONLY, read=False)
    for name in "fd fdinfo map_files ns".split():
        yield f"{name}, its names", lambda name=name: f"{len(os.listdir(f'{proc}/{name}'))} names"
    for name in ("cwd", "root", "exe", "ns/mnt", "ns/user"):
        yield f"{name}, where it leads", lambda name=name: os.readlink(f"{proc}/{name}")
        yield f"{name}, opened", lambda name=name: opened(f"{proc}/{name}", read=False)
    yield "root/etc/passwd", lambda: opened(f"{proc}/root/etc/passwd")
    yield "fd 0 to 20, where they lead", [lambda n=n: os.readlink(f"{proc}/fd/{n}") for n in DESCRIPTORS]
    yield "fd 0 to 20, opened", [lambda n=n: opened(f"{proc}/fd/{n}", read=False) for n in DESCRIPTORS]
    yield "pidfd_getfd of 0 to 20", [lambda n=n: taken_descriptor(pid, n) for n in DESCRIPTORS]
    yield "ptrace attach, each thread", [lambda task=task: traced(task, ATTACH) for task in tasks]
    yield "ptrace seize, each thread", [lambda task=task: traced(task, SEIZE) for task in tasks]
    buffer = ctypes.create_string_buffer(8)
    yield "process_vm_readv", lambda: process_vm(LIBC.process_vm_readv, pid, some_address(pid), buffer)
    yield "process_vm_writev", lambda: vm_write(pid)
    yield "process_madvise", lambda: paged_out(pid)
    yield "kcmp", lambda: f"{syscall(KCMP, pid, os.getpid(), 1, 0, 0)}"
    yield "move_pages", lambda: f"{syscall(MOVE_PAGES, pid, 0, 0, 0, 0, 0)}"
    yield "get_robust_list", lambda: robust_list(pid)
    yield "perf_event_open", lambda: sampled(pid)
    yield "prlimit of core files", lambda: raised_core_limit(pid)
    yield "gcore", lambda: core_by_gdb(pid)
    for path in ("/proc/kcore", "/dev/mem", "/dev/kmem"):
        yield path, lambda path=path: opened(path, read=False)


def peeked(pid, address):
    ptrace(ATTACH, pid)
    os.waitpid(pid, WALL)
    try:
        ctypes.set_errno(0)
        word = LIBC.ptrace(PEEKDATA, pid, address, 0)
        if ctypes.get_errno():
            raise OSError(ctypes.get_errno(), "refused")
        return f"{word:x}"
    finally:
        ptrace(DETACH, pid)


def read_mem(pid, address):
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return f"{len(os.pread(memory, 8, address))} bytes"
    finally:
        os.close(memory)


def attacks_by_root(pid):
    buffer = ctypes.create_string_buffer(8)
    secret = ranges(pid, "/secretmem")
    # The same ways lead to any other page.
    for where, spans in (("stack", ranges(pid, "[stack]")), ("secret page", secret)):
        places = [begin(span) for span in spans]
        yield f"{where}: mem", [lambda at=at: read_mem(pid, at) for at in places]
        yield f"{where}: process_vm_readv", [
            lambda at=at: process_vm(LIBC.process_vm_readv, pid, at, buffer) for at in places
        ]
        yield f"{where}: ptrace peek", [lambda at=at: peeked(pid, at) for at in places]
    files = [f"/proc/{pid}/map_files/{span}" for span in secret]
    yield "secret page: map_files", [lambda file=file: opened(file) for file in files]


def victim(text):
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    with tempfile.TemporaryFile():  # Its own, to be opened through it: its pipes may be another account's.
        print("ready", flush=True)
        sys.stdin.read()
    return text


def main():
    what, of, *more = sys.argv[1:]
    if what == "victim":
        victim(of)
        return
    if what == "signal":
        found = {"signal": outcome(lambda: os.kill(int(of), signal.Signals[more[0]]) or "sent")}
    else:
        listed = attacks(int(of)) if what == "try" else attacks_by_root(int(of))
        found = {name: any_of(how) if isinstance(how, list) else outcome(how) for name, how in listed}
    print(json.dumps(found))


main()
