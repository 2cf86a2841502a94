#!/usr/bin/env python3
"""The course's scenario on a bridge of its own.

A has the file and is tracker, announcer and first seeder: the torrent's announce is A's bare
address. B and C have only the .torrent. Both finish with the same bytes and turn from peer to
seeder; client sockets stay within ports 5001-5006, listeners on 5000.
E joins, learns of the others, stops half-way. Then A is killed with SIGKILL. D joins with
`--peers-file` only, E comes back with its resume record only; both finish from B and C.
"""

import threading

import lab

CLIENT_PORTS = {str(port) for port in range(5001, 5007)}


class SocketWatch:
    """Looks at the sockets of some hosts again and again, and keeps what is against the rules."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.clients = {host.name: set() for host in hosts}
        self.listeners = {host.name: set() for host in hosts}
        self.outside = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._done.is_set():
            for host in self.hosts:
                for state, _, local, _, remote in host.sockets():
                    if state == "LISTEN":
                        self.listeners[host.name].add(local)
                    elif remote == "5000" and local != "5000":
                        self.clients[host.name].add(local)
                        if local not in CLIENT_PORTS:
                            self.outside.append((host.name, state, local))
            self._done.wait(0.02)

    def finish(self):
        self._done.set()
        self._thread.join()


def one_seeder_line(process, name, content):
    """A change of status is told once."""
    told = [match.string for match in process.said(lab.BECAME_SEEDER) if content in match.string]
    if len(told) != 1:
        raise lab.Failure(f"{name} told {len(told)} times that it became a seeder: {told}")
    print(f"  {name}: {told[0]}")


def run(lab_, options):
    a, b, c, d, e = lab_.network(options.binary, "a", "b", "c", "d", "e")
    # The course's file: 179 pieces, the last of 3,698 bytes, an extra key in info.
    original = a.shareable / "age.txt"
    lab.random_file(original, 2_920_050, options.seed)
    torrent = lab.make_torrent(original, a.ip, source="course")
    for host in (a, b, c, d, e):
        (host.torrents / "age.torrent").write_bytes(torrent)
    for host in (b, c, e):
        host.limit(8)

    watch = SocketWatch([a, b, c])
    first = a.peer()
    first.wait_for(lab.LISTENING, 10)
    second, third = b.peer(), c.peer()
    for host, process in ((b, second), (c, third)):
        process.wait_for(lab.CLIENT_CONNECTED, 10)
        lab.wait_until(lambda host=host: host.complete("age.txt"), 60, f"{host.name} is complete")
        lab.expect_same(host.shareable / "age.txt", original, host.name)
        process.wait_for(r"(?i)age.*\bseeder\b", 5)
    watch.finish()
    if watch.outside:
        raise lab.Failure(f"client sockets outside 5001-5006: {sorted(set(watch.outside))}")
    for host in (b, c):
        if not watch.clients[host.name]:
            raise lab.Failure(f"no client socket of {host.name} was ever seen")
        print(f"  {host.name}: client ports {sorted(watch.clients[host.name])}")
    for host in (a, b, c):
        if watch.listeners[host.name] != {"5000"}:
            raise lab.Failure(f"{host.name} listens on {watch.listeners[host.name]}")
    one_seeder_line(second, "b", "age")
    one_seeder_line(third, "c", "age")

    # E learns of B and C, and is stopped half-way.
    start = e.received()
    early = e.peer()
    lab.wait_until(lambda: e.received() - start > 500_000, 30, "e has begun")
    for host in (b, c):
        early.wait_for(rf"client \d+ connected to {host.ip}:5000", 20)
    if e.complete("age.txt"):
        raise lab.Failure("e was too fast to be stopped half-way")
    status = early.stop()
    if status not in (0, 7):
        raise lab.Failure(f"e stopped with status {status}")
    e.limit(None)

    first.kill()
    (d.folder / "hosts.txt").write_text(f"# who has it\n{b.ip}\n{c.ip}:5000\n")
    fourth = d.peer("--peers-file", "hosts.txt")
    fifth = e.peer(log="e-again")
    for host, process in ((d, fourth), (e, fifth)):
        lab.wait_until(lambda host=host: host.complete("age.txt"), 60,
                       f"{host.name} is complete without a")
        lab.expect_same(host.shareable / "age.txt", original, host.name)
        process.wait_for(r"(?i)age.*\bseeder\b", 5)
    for host, process in ((b, second), (c, third), (d, fourth), (e, fifth)):
        status = process.stop()
        if status != 0:
            raise lab.Failure(f"{host.name} ended with status {status}")


if __name__ == "__main__":
    chosen = lab.arguments(__doc__)
    lab.main("three_hosts", run, chosen)
