#!/usr/bin/env python3
"""A server that is lost without a word: no FIN, no RST, only silence.

  frozen     the server stops for 3 s (SIGSTOP) with the download under way, and goes on: so does
             the download, over the same connection or another.
  cable      its cable is out for 3 s: the same.
  restarted  its cable is out, the host restarts meanwhile (the old connections are gone without a
             packet), the cable is in again: the download goes on within 6 s.
  idle       as before, but the two had nothing to say to each other when it happened: a client
             that asks for nothing finds out by itself and is connected again within 6 s.
  gone       it never comes back: 'waiting' is said within 30 s.
  other      it never comes back, and another server has the file: the blocks it owes are asked of
             the other, and the download ends within 10 s.
"""

import signal
import time

import lab

SIZE = 16 * lab.MIB
OUTAGE = 3.0


def cable(lab_, host, state):
    lab.ip("-n", lab_.switch, "link", "set", host.port, state)


def connected(client, server):
    """The established connections of a host with another."""
    return [entry for entry in client.sockets()
            if entry[0] == "ESTAB" and entry[3].endswith(server.ip)]


class Case:
    """A server, a client in the middle of its download, and what was lost."""

    def __init__(self, lab_, options, hosts, how, servers=1, content=True):
        self.lab, self.how, self.b = lab_, how, hosts[1]
        self.servers = [hosts[0], hosts[2]][:servers]
        self.name = f"{how}.bin"
        a = self.servers[0]
        self.original = lab_.folder / self.name
        lab.random_file(self.original, SIZE, f"{options.seed}-{how}")
        # No tracker: nothing but the client's own watch finds the host again.
        torrent = lab.make_torrent(self.original, "http://10.77.0.99:5000/announce", 64 * lab.KIB)
        self.hosts = [*self.servers, self.b]
        for host in self.hosts:
            (host.torrents / f"{how}.torrent").write_bytes(torrent)
        self.running = {}
        for host in self.servers:
            if content:
                (host.shareable / self.name).write_bytes(self.original.read_bytes())
            self.start(host)
        self.b.limit(60)
        start = self.b.received()
        named = [option for host in self.servers for option in ("--peer", host.ip)]
        self.client = self.b.peer("--no-lsd", *named, log=f"b-{how}")
        if content:
            lab.wait_until(lambda: self.b.received() - start > SIZE // 4, 30, "a quarter is there")
        for host in self.servers:
            self.client.wait_for(rf"connected to {host.ip}:5000", 20)
        self.mark = self.client.mark()

    def start(self, host, log=None):
        self.running[host.name] = host.peer("--no-lsd", log=log or f"{host.name}-{self.how}")
        self.running[host.name].wait_for(lab.LISTENING, 10)

    def restart(self, host):
        """What a power cut does: the old connections are gone, and no packet says so."""
        self.running[host.name].kill()
        self.start(host, f"{host.name}-{self.how}-again")

    def complete(self, since, within):
        self.b.limit(None)
        lab.wait_until(lambda: self.b.complete(self.name), within + 10, f"{self.how}: complete")
        took = time.monotonic() - since
        lab.expect_same(self.b.shareable / self.name, self.original, self.how)
        print(f"  {self.how}: complete after {took:.2f} s", flush=True)
        if took > within:
            raise lab.Failure(f"{self.how}: {took:.2f} s, more than {within} s")

    def end(self):
        for process in (self.client, *self.running.values()):
            process.stop()
        for host in self.hosts:
            (host.torrents / f"{self.how}.torrent").unlink()
            for content in host.shareable.iterdir():
                content.unlink()


def outage():
    """The loss lasts; there is no event to wait for."""
    time.sleep(OUTAGE)


def run(lab_, options):
    hosts = lab_.network(options.binary, "a", "b", "c")
    a, b, _ = hosts

    case = Case(lab_, options, hosts, "frozen")
    case.running["a"].signal(signal.SIGSTOP)
    outage()
    case.running["a"].signal(signal.SIGCONT)
    case.complete(time.monotonic(), 6)
    case.end()

    case = Case(lab_, options, hosts, "cable")
    cable(lab_, a, "down")
    outage()
    cable(lab_, a, "up")
    case.complete(time.monotonic(), 6)
    case.end()

    case = Case(lab_, options, hosts, "restarted")
    cable(lab_, a, "down")
    case.restart(a)
    outage()
    cable(lab_, a, "up")
    case.complete(time.monotonic(), 6)
    case.end()

    # Nobody has anything: both wait, connected.
    case = Case(lab_, options, hosts, "idle", content=False)
    cable(lab_, a, "down")
    case.restart(a)
    outage()
    cable(lab_, a, "up")
    since = time.monotonic()
    case.client.wait_for(rf"connected to {a.ip}:5000", 20, since=case.mark)
    took = time.monotonic() - since
    print(f"  idle: connected again after {took:.2f} s", flush=True)
    if took > 6:
        raise lab.Failure(f"idle: {took:.2f} s, more than 6 s")
    case.end()

    case = Case(lab_, options, hosts, "gone")
    cable(lab_, a, "down")
    since = time.monotonic()
    case.client.wait_for(lab.WAITING, 60, since=case.mark)
    took = time.monotonic() - since
    print(f"  gone: told after {took:.2f} s", flush=True)
    if took > 30:
        raise lab.Failure(f"gone: {took:.2f} s, more than 30 s")
    cable(lab_, a, "up")
    case.complete(time.monotonic(), 10)
    case.end()

    case = Case(lab_, options, hosts, "other", servers=2)
    cable(lab_, a, "down")
    case.complete(time.monotonic(), 10)
    case.end()


if __name__ == "__main__":
    lab.main("silent_loss", run, lab.arguments(__doc__))
