"""A person with sudo starts the proxy in the background, in a terminal that is closed then. Called by
daemon_under_sudo.sh as root; what is seen goes to standard output, a line for each start and each end."""

import json, os, pty, pwd, select, subprocess, sys, time

LIMIT = 30
INFO = '/tmp/server-info.json'
LOG = '/mnt/requests.jsonl'
PERSON = pwd.getpwnam('tst_daemon')
PLAIN = {
    'PATH': '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'HOME': PERSON.pw_dir,
    'USER': PERSON.pw_name,
    'TERM': 'dumb',
    'UPSTREAM_URL': os.environ['UPSTREAM_URL'],
}
START = f'sudo codex proxy --daemon --server-info {INFO} --log-file {LOG} --upstream-url "$UPSTREAM_URL"'


def become_the_person():
    os.initgroups(PERSON.pw_name, PERSON.pw_gid)
    os.setresgid(PERSON.pw_gid, PERSON.pw_gid, PERSON.pw_gid)
    os.setresuid(PERSON.pw_uid, PERSON.pw_uid, PERSON.pw_uid)
    os.chdir(PERSON.pw_dir)


def run(command):
    """What the person's command ends with, and what it writes to standard output."""
    ended = subprocess.run(
        ['/bin/bash', '-c', command], env=PLAIN, preexec_fn=become_the_person, timeout=LIMIT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return ended.returncode, ended.stdout


def in_a_terminal(command, key, typed):
    """Runs it in a new terminal and closes that; returns the command's exit code."""
    child, terminal = pty.fork()
    if child == 0:
        become_the_person()
        env = PLAIN if typed else PLAIN | {'OPENAI_API_KEY': key}
        # The shell stays, so that there is somebody to hang up on.
        os.execve('/bin/bash', ['bash', '-c', f'{command}; echo "ended <$?>"; read -r'], env)
    shown, deadline = b'', time.monotonic() + LIMIT
    while b'ended <' not in shown or b'>' not in shown.split(b'ended <')[1]:
        if typed and b'shown): ' in shown:
            os.write(terminal, key.encode() + b'\n')
            typed = False
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            sys.exit(f'the terminal shows only {shown}')
        shown += os.read(terminal, 4096)
    assert key.encode() not in shown, 'the terminal shows the key'
    os.close(terminal)
    os.waitpid(child, 0)
    code = int(shown.split(b'ended <')[1].split(b'>')[0])
    if code != 0:
        sys.exit(shown.decode())
    return code


def is_there(pid):
    try:
        with open(f'/proc/{pid}/stat') as stat:
            return stat.read().rsplit(') ', 1)[1][0] != 'Z'
    except OSError:
        return False


def uid_of(pid):
    with open(f'/proc/{pid}/status') as facts:
        return next(line.split()[1] for line in facts if line.startswith('Uid:'))


def status():
    """The exit code of `status`, and what it takes the proxy for."""
    code, said = run(f'codex proxy status --json --server-info {INFO}')
    try:
        return f"{code} {json.loads(said)['proxies'][0]['state']}"
    except (ValueError, LookupError):
        sys.exit(f'status: {code} {said}')


def start(name, flags='', typed=False):
    """Starts it, closes the terminal, and looks at it afterwards; returns its process and port."""
    pipe = '' if typed else 'printenv OPENAI_API_KEY | '
    code = in_a_terminal(f'{pipe}{START} {flags}', os.environ['KEY'], typed)
    with open(INFO) as file:
        info = json.load(file)
    pid, port = info['pid'], info['port']
    running.append(pid)
    url = f'http://127.0.0.1:{port}/v1/responses'
    _, answer = run(f"curl --silent --output /dev/null --write-out '%{{http_code}}' --data '{{}}' {url}")
    session = 'own session' if os.getsid(pid) == pid else 'a session of others'
    log = 'log open' if run(f'cat {LOG}')[0] == 0 else 'log closed'
    print(f'{name}: started {code}, serves {answer} as uid {uid_of(pid)}, {session}, '
          f'status {status()}, {log}')
    return pid, port


def end(name, pid, command, told=''):
    """Ends it, and looks at what is left."""
    code, said = run(command)
    deadline = time.monotonic() + LIMIT
    while is_there(pid):
        if time.monotonic() > deadline:
            sys.exit(f'{name}: it did not end: {said}')
        time.sleep(0.005)
    running.remove(pid)
    left = 'server-info left' if os.path.exists(INFO) else 'server-info gone'
    first = f'{told} {code}, ' if told else ''
    print(f'{name}: {first}gone, {left}, status {status()}')


running = []
try:
    stop = f'codex proxy stop --server-info {INFO}'
    pid, _ = start('stop')
    end('stop', pid, stop, 'stop')
    pid, _ = start('SIGTERM', typed=True)
    end('SIGTERM', pid, f'sudo kill -TERM {pid}')
    pid, port = start('SIGKILL')
    end('SIGKILL', pid, f'sudo kill -KILL {pid}')
    pid, _ = start('again', f'--port {port}')
    end('again', pid, stop, 'stop')
finally:
    for pid in running:
        os.kill(pid, 9)
