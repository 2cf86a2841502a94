"""What the lab scripts share: hosts on a bridge, processes with readable logs, torrents.

A host is a network namespace; all hosts of a run hang on one bridge, which lives in a namespace of
its own, so that nothing of a run is visible from outside and removing the namespaces removes
everything. Waiting is always for an event (a log line, a condition, an exit) with a limit.

Python 3.8 or later, standard library only. Linux; root for the namespaces.
"""

import argparse
import ctypes
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# What the log lines look like that the scripts wait for; the one place to change when they do.
LISTENING = r"listening on (\S+)"
CLIENT_CONNECTED = r"client (\d+) connected to (\S+)"
BECAME_SEEDER = r"-> seeder\b"
WAITING = r"(?i)\bwaiting\b"
TROUBLE = r"\[ERROR\]|panicked"
REFUSED = r"\[(ERROR|WARN)\]"

KIB = 1024
MIB = 1024 * KIB


class Failure(Exception):
    """The program under test did not do what it must."""


# ------------------------------------------------------------------------------------- running

def arguments(description, *more):
    """The options every script has; `more` is pairs of (name, keyword arguments)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--binary", default="target/release/reactor-peer", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true", help="keep the folder and its logs")
    parser.add_argument("--seed", type=int, default=None, help="repeat the run with this seed")
    for name, keywords in more:
        parser.add_argument(name, **keywords)
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


def skip(name, reason):
    """Says that a test did not run; on a build server that is a failure."""
    print(f"skipped: {name} ({reason})", flush=True)
    if os.environ.get("CI") == "true":
        raise Failure(f"{name} was skipped, and CI=true")


def main(name, run, options, hosts=True):
    """Runs `run(lab, options)` in a fresh lab and exits with its verdict."""
    missing = missing_for_hosts() if hosts else None
    if not options.binary.is_file():
        print(f"FAILED: {name}: no program at {options.binary}")
        sys.exit(1)
    try:
        if missing:
            skip(name, missing)
            sys.exit(0)
        began = time.monotonic()
        with Lab(options.keep) as lab:
            try:
                run(lab, options)
                lab.expect_no_trouble()
            except Exception:
                lab.show_logs()
                raise
        print(f"ok: {name} ({time.monotonic() - began:.1f} s)", flush=True)
    except Failure as failure:
        print(f"FAILED: {name}: {failure} (seed {options.seed})", flush=True)
        sys.exit(1)


def missing_for_hosts():
    """Why no hosts can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    for program in ("ip", "ss"):
        if shutil.which(program) is None:
            return f"no {program}; apt-get install iproute2"
    probe = f"rp-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode != 0:
        return "this machine does not allow network namespaces"
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    return None


def wait_until(condition, seconds, what):
    """Returns the first true value of `condition()`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"after {seconds} s still not: {what}")
        time.sleep(0.002)


# ------------------------------------------------------------------------------------- processes

def die_with_parent():
    """In the child: be killed when the script goes away, however it goes."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Process:
    """A running program; its output is read as it comes, line by line."""

    def __init__(self, argv, log, cwd=None, env=None):
        self.name = log.stem
        self.argv = [str(part) for part in argv]
        self.lines = []
        self._news = threading.Condition()
        self._ended = False
        self._log = open(log, "a", encoding="utf-8")
        self._popen = subprocess.Popen(
            self.argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        self.pid = self._popen.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for raw in self._popen.stdout:
            line = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
            self._log.write(f"{time.monotonic():.3f} {line}\n")
            with self._news:
                self.lines.append((time.monotonic(), line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._log.close()

    def wait_for(self, pattern, seconds, since=0):
        """Waits for a line that matches, from line number `since` on; returns (when, match)."""
        deadline = time.monotonic() + seconds
        at = since
        with self._news:
            while True:
                while at < len(self.lines):
                    when, line = self.lines[at]
                    match = re.search(pattern, line)
                    if match:
                        return when, match
                    at += 1
                if self._ended:
                    raise Failure(f"{self.name} ended without saying /{pattern}/")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failure(f"{self.name} did not say /{pattern}/ within {seconds} s")
                self._news.wait(left)

    def said(self, pattern, since=0):
        """The matches of all lines so far."""
        with self._news:
            found = [re.search(pattern, line) for _, line in self.lines[since:]]
        return [match for match in found if match]

    def mark(self):
        """The number of lines so far, for `since`."""
        with self._news:
            return len(self.lines)

    def running(self):
        return self._popen.poll() is None

    def wait_exit(self, seconds):
        """Waits for the end of the program and returns its exit status."""
        try:
            status = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end within {seconds} s") from None
        self._reader.join(5)
        return status

    def signal(self, number):
        self._popen.send_signal(number)

    def kill(self):
        """SIGKILL, and its end."""
        self._popen.kill()
        self.wait_exit(10)

    def stop(self, seconds=10):
        """SIGTERM, and its end; returns the exit status."""
        self._popen.terminate()
        return self.wait_exit(seconds)


# ------------------------------------------------------------------------------------- hosts

def ip(*argv):
    """Runs `ip ...`; a refusal is the machine's, not the program's."""
    done = subprocess.run(["ip", *argv], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """One host: a namespace with eth0, and a folder."""

    def __init__(self, lab, name, number):
        self.lab = lab
        self.name = name
        self.ip = f"10.77.0.{number}"
        self.namespace = f"{lab.tag}-{name}"
        self.port = f"port-{name}"
        self.folder = lab.folder / name
        self.shareable = self.folder / "shareable"
        self.torrents = self.folder / "torrents"
        for folder in (self.shareable, self.torrents):
            folder.mkdir(parents=True)
        ip("netns", "add", self.namespace)
        lab.namespaces.append(self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", lab.switch, "link", "add", self.port, "type", "veth",
           "peer", "name", "eth0", "netns", self.namespace)
        ip("-n", lab.switch, "link", "set", self.port, "master", "br0", "up")
        ip("-n", self.namespace, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        # Keeps /proc/PID/net of this namespace at hand; ends with the script.
        self._anchor = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "cat"], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
        lab.anchors.append(self._anchor)
        wait_until(lambda: self.received() is not None, 5, f"{name} has a network")

    def start(self, *argv, log=None):
        """Starts a program on this host, in its folder."""
        process = Process(["ip", "netns", "exec", self.namespace, *argv],
                          self.lab.folder / f"{log or self.name}.log", cwd=self.folder)
        self.lab.processes.append(process)
        return process

    def peer(self, *options, listen=5000, max_conns=6, log=None):
        """Starts reactor-peer as the course does, in its folder."""
        return self.start(self.lab.binary, "--listen", listen, "--max-conns", max_conns, *options,
                          log=log)

    def received(self):
        """Bytes that came in over eth0, by the kernel's count; None when there is no eth0 yet."""
        with open(f"/proc/{self._anchor.pid}/net/dev", encoding="ascii") as table:
            for line in table:
                name, _, counters = line.partition(":")
                if name.strip() == "eth0":
                    return int(counters.split()[0])
        return None

    def sockets(self):
        """TCP sockets as (state, local ip, local port, remote ip, remote port)."""
        listed = subprocess.run(
            ["ip", "netns", "exec", self.namespace, "ss", "-tanH"],
            capture_output=True, text=True, check=True).stdout
        found = []
        for line in listed.splitlines():
            fields = line.split()
            local, remote = fields[3].rsplit(":", 1), fields[4].rsplit(":", 1)
            found.append((fields[0], local[0].strip("[]"), local[1], remote[0].strip("[]"),
                          remote[1]))
        return found

    def reset_connections(self):
        """Ends every TCP connection of this host by RST, as a failing router would."""
        subprocess.run(["ip", "netns", "exec", self.namespace, "ss", "-K", "state", "established"],
                       capture_output=True)

    def limit(self, megabits):
        """Limits what comes to this host, at the bridge; None lifts the limit."""
        base = ["ip", "netns", "exec", self.lab.switch, "tc", "qdisc"]
        if megabits is None:
            subprocess.run([*base, "del", "dev", self.port, "root"], capture_output=True)
            return
        done = subprocess.run([*base, "replace", "dev", self.port, "root", "tbf",
                               "rate", f"{megabits}mbit", "burst", "256kb", "latency", "40ms"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"tc: {done.stderr.strip()}")

    def shape(self, megabits):
        """Gives this host a line of so many Mbit/s in each direction, with a queue of 40 ms."""
        burst = max(16 * KIB, megabits * 500)
        for namespace, device in ((self.namespace, "eth0"), (self.lab.switch, self.port)):
            # No packets longer than the burst: they would never pass.
            ip("-n", namespace, "link", "set", device, "gso_max_size", str(16 * KIB))
            done = subprocess.run(
                ["tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf", "rate",
                 f"{megabits}mbit", "burst", str(burst), "latency", "40ms"],
                capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"tc: {done.stderr.strip()}")

    def complete(self, relative):
        """Whether the content is under its final name and nothing is marked incomplete."""
        path = self.shareable / relative
        # Not rglob: a folder that is renamed meanwhile would end it.
        unfinished = [name for _, folders, files in os.walk(self.folder)
                      for name in folders + files if name.endswith((".part", ".aria2"))]
        return path.exists() and not unfinished


class Lab:
    """A bridge, hosts on it, a folder, and the processes; all gone at the end."""

    def __init__(self, keep=False):
        self.keep = keep
        self.binary = None
        self.tag = f"rp{os.getpid()}"
        self.switch = f"{self.tag}-switch"
        self.namespaces, self.anchors, self.processes, self.hosts = [], [], [], {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="reactor-peer-lab-"))

    def __enter__(self):
        return self

    def network(self, binary, *names):
        """Makes one host for each name and returns them in order: 10.77.0.1, .2, ..."""
        self.binary = binary
        ip("netns", "add", self.switch)
        self.namespaces.append(self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for number, name in enumerate(names, 1):
            self.hosts[name] = Host(self, name, number)
        return [self.hosts[name] for name in names]

    def expect_no_trouble(self):
        """No process of ours has told of an error; the scripts make none on purpose."""
        for process in self.processes:
            if str(self.binary) in process.argv:
                for match in process.said(TROUBLE):
                    raise Failure(f"{process.name}: {match.string}")

    def show_logs(self, lines=25):
        """The end of every log, for whoever has to find out why."""
        for process in self.processes:
            print(f"--- {process.name}: {' '.join(process.argv)}")
            for when, line in process.lines[-lines:]:
                print(f"    {when:.3f} {line}")
        sys.stdout.flush()

    def __exit__(self, *_):
        for process in self.processes:
            if process.running():
                process.kill()
        for anchor in self.anchors:
            anchor.kill()
            anchor.wait()
        for namespace in reversed(self.namespaces):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)
        if self.keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


# ------------------------------------------------------------------------------------- torrents

def bencode(value):
    """Canonical bencode of ints, bytes, strings, lists and dictionaries."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    raw = {key.encode() if isinstance(key, str) else key: item for key, item in value.items()}
    return b"d" + b"".join(bencode(key) + bencode(raw[key]) for key in sorted(raw)) + b"e"


def files_of(content):
    """The files below a folder, in the order of their paths; a file is itself."""
    if content.is_file():
        return [content]
    return sorted((path for path in content.rglob("*") if path.is_file()),
                  key=lambda path: [os.fsencode(part) for part in path.relative_to(content).parts])


def piece_hashes(files, piece_length):
    """SHA-1 of the files laid end to end, 20 bytes a piece."""
    hashes, piece = [], b""
    for path in files:
        with open(path, "rb") as stream:
            while True:
                part = stream.read(piece_length - len(piece))
                if not part:
                    break
                piece += part
                if len(piece) == piece_length:
                    hashes.append(hashlib.sha1(piece).digest())
                    piece = b""
    if piece:
        hashes.append(hashlib.sha1(piece).digest())
    return b"".join(hashes)


def make_torrent(content, announce, piece_length=16 * KIB, **more_info):
    """The bytes of a .torrent; the same content gives the same bytes."""
    files = files_of(content)
    info = {"name": os.fsencode(content.name), "piece length": piece_length,
            "pieces": piece_hashes(files, piece_length), **more_info}
    if content.is_file():
        info["length"] = content.stat().st_size
    else:
        info["files"] = [
            {"length": path.stat().st_size,
             "path": [os.fsencode(part) for part in path.relative_to(content).parts]}
            for path in files]
    return bencode({"announce": announce, "info": info})


def random_file(path, size, seed):
    """A file of `size` bytes that depend on the seed only."""
    source = random.Random(seed)
    with open(path, "wb") as stream:
        left = size
        while left:
            part = source.randbytes(min(left, MIB))
            stream.write(part)
            left -= len(part)


def digest(content, empty_files=True):
    """One SHA-1 over all paths and bytes of a file or folder."""
    whole = hashlib.sha1()
    for path in files_of(content):
        if path.stat().st_size == 0 and not empty_files:
            continue
        whole.update(os.fsencode(path.relative_to(content.parent)) + b"\0")
        whole.update(b"%d\0" % path.stat().st_size)
        with open(path, "rb") as stream:
            for part in iter(lambda: stream.read(MIB), b""):
                whole.update(part)
    return whole.hexdigest()


def expect_same(ours, original, what):
    """Compares byte for byte, paths and empty files included."""
    if digest(ours) != digest(original):
        raise Failure(f"{what}: the bytes differ")
