#!/usr/bin/env python3
"""Our peer beside aria2, Transmission and libtorrent: time, processor and memory, all in one run.

Three swarms, each of one client alone: one seeder to one leecher, one to eight, and one to fifteen on
lines of 50 Mbit/s. The clients take turns, so that what disturbs the machine disturbs all of them; the first
round is thrown away where there are more. Every host is a network namespace, and all know one tracker.
In a virtual machine that gives free memory to its host, `--warm` keeps it (warm_memory.py).
Prints Markdown: medians (least-most), and what ours takes in parts of what each other takes.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import lab
import real_clients
import warm_memory

HERE = pathlib.Path(__file__).resolve().parent
# The program's own clock of processor time: exact, and all its threads are in it.
CLOCK_OF_PROCESS = 2


class Ours:
    name = "reactor-peer"

    def missing(self):
        return None

    def start(self, host, torrent, seeding):
        (host.torrents / torrent.name).write_bytes(torrent.read_bytes())
        return host.peer("--no-lsd", "--no-dht", max_conns=64)

    def version(self, binary):
        return said(binary, "--version")


class Aria2(real_clients.Aria2):
    def start(self, host, torrent, seeding):
        # Who is complete goes on seeding, as all the others do, and tells it at once by a hook: its
        # control file stays up to a minute longer.
        hook = host.folder / "complete.sh"
        hook.write_text(f"#!/bin/sh\n: > {host.folder}/complete\n")
        hook.chmod(0o755)
        return super().start(host, torrent, True, f"--on-bt-download-complete={hook}")

    def version(self, _):
        return said("aria2c", "--version")


class Transmission(real_clients.Transmission):
    def version(self, _):
        return said("transmission-daemon", "--version")


class Libtorrent(real_clients.Libtorrent):
    def version(self, _):
        return "libtorrent " + said(self.python(), "-c", "import libtorrent; print(libtorrent.version)")


def said(*argv):
    """The first line that a program says."""
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[0]


class Swarm:
    """One seeder, its leechers, and what it takes until the last of them is complete."""

    def __init__(self, title, leechers, piece_length, megabits=None):
        self.title, self.leechers, self.piece_length = title, leechers, piece_length
        self.megabits = megabits

    def length(self, options):
        if self.megabits:
            return 64 * lab.MIB
        return options.mib * lab.MIB // (1 if self.leechers == 1 else 2)

    def run(self, client, options):
        """Figures of one run."""
        with lab.Lab() as hosts:
            try:
                return self.measure(hosts, client, options)
            except Exception:
                hosts.show_logs()
                raise

    def measure(self, hosts, client, options):
        names = ["tracker", *(f"h{n}" for n in range(self.leechers + 1))]
        tracker, *members = hosts.network(options.binary, *names)
        tracker.start(sys.executable, HERE / "open_tracker.py").wait_for("ready", 10)
        if self.megabits:
            for host in members:
                host.shape(self.megabits)
        source = members[0].shareable / "image.bin"
        length = self.length(options)
        lab.random_file(source, length, options.seed)
        torrent = hosts.folder / "image.torrent"
        torrent.write_bytes(lab.make_torrent(source, f"http://{tracker.ip}:6969/announce",
                                             self.piece_length))

        seeder = client.start(members[0], torrent, seeding=True)
        self.settle(seeder)
        spent_before, began = processor(seeder), time.monotonic()
        leechers = [client.start(host, torrent, seeding=False) for host in members[1:]]
        anonymous = 0
        waiting = dict(zip(leechers, members[1:]))
        while waiting:
            if time.monotonic() > began + options.limit:
                raise lab.Failure(f"{client.name}: not complete within {options.limit} s")
            anonymous = max(anonymous, anonymous_bytes(leechers[0]))
            for process, host in list(waiting.items()):
                if complete(client, process, host, source.name):
                    del waiting[process]
            time.sleep(0.02)
        seconds = time.monotonic() - began
        gib = length * self.leechers / lab.MIB / 1024
        seeding = (processor(seeder) - spent_before) / gib
        leeching = sum(map(processor, leechers)) / gib
        for process in hosts.processes[1:]:
            process.kill()
        for host in members[1:]:
            lab.expect_same(host.shareable / source.name, source, host.name)
        return {"s": seconds, "MB/s": length * self.leechers / seconds / 1e6,
                "seeder s/GiB": seeding, "leechers s/GiB": leeching, "all s/GiB": seeding + leeching,
                "anonymous MiB": anonymous / lab.MIB}

    def settle(self, seeder):
        """Until it has checked its content, and does nothing any more."""
        before, since = processor(seeder), time.monotonic()
        while time.monotonic() < since + 1:
            time.sleep(0.1)
            now = processor(seeder)
            if now - before > 0.02:
                since = time.monotonic()
            before = now


def complete(client, process, host, name):
    """Whether all is there, by the client's own word where it has one."""
    if client.name == "reactor-peer":
        return process.said(lab.BECAME_SEEDER)
    if client.name == "libtorrent":
        return process.said("^complete")
    if client.name == "aria2":
        return (host.folder / "complete").exists()
    return host.complete(name)


def processor(process):
    """Seconds of processor time so far."""
    return time.clock_gettime((~process.pid << 3) | CLOCK_OF_PROCESS)


def anonymous_bytes(process):
    """What the program has for itself; the page cache is not counted."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * lab.KIB
    return 0


def table(swarm, results, options):
    """The Markdown of one swarm."""
    keys = list(next(iter(results.values()))[0])
    print(f"\n## {swarm.title}: {swarm.length(options) // lab.MIB} MiB, "
          f"pieces of {swarm.piece_length // lab.KIB} KiB\n")
    if swarm.megabits:
        optimum = swarm.length(options) * 8 / (swarm.megabits * 1e6)
        print(f"The bytes alone take {optimum:.2f} s; ours takes "
              f"{median(results['reactor-peer'], 's') / optimum:.2f} times as long.\n")
    print("| client | " + " | ".join(keys) + " | ours / theirs: time | processor |")
    print("|---|" + "---|" * (len(keys) + 2))
    ours = results["reactor-peer"]
    for name, runs in results.items():
        cells = [words([run[key] for run in runs]) for key in keys]
        if name != "reactor-peer":
            cells += [f"{median(ours, key) / median(runs, key):.2f}" for key in ("s", "all s/GiB")]
        else:
            cells += ["", ""]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def words(values):
    middle, least, most = (f"{of(values):.3g}" for of in (statistics.median, min, max))
    return middle if least == most else f"{middle} ({least}-{most})"


def run(_, options):
    swarms = {"one": Swarm("One to one", 1, lab.MIB), "eight": Swarm("One to eight", 8, lab.MIB),
              "fifteen": Swarm("One to fifteen, 50 Mbit/s", 15, 256 * lab.KIB, megabits=50)}
    clients = [client for client in (Ours(), Aria2(), Transmission(), Libtorrent())
               if client.name in options.clients.split(",") + ["reactor-peer"]]
    for client in clients[1:]:
        if client.missing():
            lab.skip(client.name, client.missing())
    clients = [client for client in clients if not client.missing()]
    print(", ".join(client.version(options.binary) for client in clients) + "; "
          + said("sh", "-c", "echo Linux $(uname -r), $(nproc) processors"))
    holder = subprocess.Popen([sys.executable, HERE / "warm_memory.py"],
                              stdout=subprocess.DEVNULL) if options.warm else None
    try:
        side_by_side(swarms, clients, options)
    finally:
        if holder:
            holder.kill()
            holder.wait()


def side_by_side(swarms, clients, options):
    for key in options.swarms.split(","):
        results = {client.name: [] for client in clients}
        for number in range(options.rounds + (options.rounds > 1)):
            for client in clients:
                if options.warm:
                    warm_memory.wait_until_held()
                figures = swarms[key].run(client, options)
                if number > 0 or options.rounds == 1:
                    results[client.name].append(figures)
        table(swarms[key], results, options)


if __name__ == "__main__":
    asked = lab.arguments(
        __doc__,
        ("--mib", {"type": int, "default": 1024, "help": "for one to one; half of it for one to eight"}),
        ("--rounds", {"type": int, "default": 3, "help": "one more is run before them"}),
        ("--swarms", {"default": "one,eight,fifteen"}),
        ("--clients", {"default": "aria2,transmission,libtorrent", "help": "beside ours"}),
        ("--warm", {"action": "store_true", "help": "hold the memory that nobody uses, touched"}),
        ("--folder", {"default": None, "help": "where the files are: the disk that is measured"}),
        ("--limit", {"type": int, "default": 600, "help": "seconds for one swarm"}))
    tempfile.tempdir = asked.folder
    lab.main("side_by_side", run, asked)
