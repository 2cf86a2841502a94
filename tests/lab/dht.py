#!/usr/bin/env python3
"""The DHT between this program and libtorrent, without any tracker.

The torrents have no announce, and local discovery and peer exchange are off: whoever is found is
found by the DHT. `router` is a node of ours, then one of libtorrent's, that the others are told of by
`--dht-bootstrap`, by the torrent's `nodes`, or by nothing but the saved table. The content goes from
us to libtorrent and back, by .torrent and by magnet link. A private torrent is not searched.
"""

import hashlib
import pathlib
import subprocess

import lab

CLIENT = pathlib.Path(__file__).with_name("libtorrent_dht.py")
PYTHON = "/usr/bin/python3"
NODES_KNOWN = r"dht: ([1-9]\d*) nodes? known"
FOUND = r"the DHT knows [1-9]\d* more peers?|received DHT peers: [1-9]"


def missing():
    """Why libtorrent cannot be used here, or None."""
    probe = subprocess.run([PYTHON, "-c", "import libtorrent"], capture_output=True)
    return None if probe.returncode == 0 else "no python3-libtorrent"


def trackerless(content, nodes=None, **more_info):
    """A torrent without an announce, with `nodes` where given; and its magnet link."""
    torrent = lab.make_torrent(content, "", **more_info)
    info = torrent[torrent.index(b"4:info") + len(b"4:info"):-1]
    outer = b"d4:info" + info
    if nodes:
        outer += b"5:nodes" + lab.bencode([list(node) for node in nodes])
    return outer + b"e", f"magnet:?xt=urn:btih:{hashlib.sha1(info).hexdigest()}"


def ours(host, *options, log=None):
    return host.peer("--no-lsd", "--no-pex", *options, log=log)


class Transfer:
    """One file from `giver` to `taker`, each a host and "ours" or "libtorrent"."""

    def __init__(self, options, what, giver, taker, router=None, nodes=None, magnet=False, **info):
        self.what, self.giver, self.taker = what, giver, taker
        self.router, self.processes = router, []
        self.content = what.replace(" ", "-")
        self.original = giver[0].shareable / self.content
        lab.random_file(self.original, 3_000_000, f"{options.seed} {what}")
        self.torrent, self.link = trackerless(self.original, nodes, **info)
        self.start(*giver, "seed", False)
        self.start(*taker, "get", magnet)

    def start(self, host, kind, mode, magnet):
        path = host.torrents / f"{self.content}.{'magnet' if magnet else 'torrent'}"
        path.write_bytes(self.link.encode() if magnet else self.torrent)
        log = f"{self.content}-{host.name}"
        if kind == "libtorrent":
            router = f"{self.router.ip}:5000" if self.router else "-"
            process = host.start(PYTHON, CLIENT, f"{host.ip}:6881", host.shareable, mode, path,
                                 router, log=log)
        else:
            bootstrap = ["--dht-bootstrap", f"{self.router.ip}:5000"] if self.router else []
            process = ours(host, *bootstrap, log=log)
        self.processes.append(process)

    def finish(self):
        began = lab.time.monotonic()
        host, kind = self.taker
        lab.wait_until(lambda: host.complete(self.content), 90, f"{self.what}: complete")
        if kind == "libtorrent":
            self.processes[1].wait_for(r"^complete", 30)
        told = [match for process in self.processes for match in process.said(FOUND)]
        if not told:
            raise lab.Failure(f"{self.what}: neither end says that the DHT found the other")
        print(f"  {self.what}: {lab.time.monotonic() - began:.1f} s", flush=True)
        lab.expect_same(host.shareable / self.content, self.original, self.what)
        self.stop()

    def stop(self):
        for process in self.processes:
            process.stop()
        for host, _ in (self.giver, self.taker):
            for path in host.torrents.iterdir():
                if path.is_file():
                    path.unlink()


def run(lab_, options):
    router, a, b = lab_.network(options.binary, "router", "a", "b")
    node = ours(router, log="router")
    node.wait_for(lab.LISTENING, 20)

    def transfer(what, give, take, **more):
        Transfer(options, what, (a, give), (b, take), **more).finish()

    transfer("ours to ours", "ours", "ours", router=router)
    transfer("again by the saved table", "ours", "ours")
    transfer("a magnet link", "ours", "ours", router=router, magnet=True)
    private = Transfer(options, "a private torrent", (a, "ours"), (b, "ours"), router, private=1)
    private.processes[1].wait_for(NODES_KNOWN, 30)
    if any(process.said(FOUND) for process in private.processes) or b.complete(private.content):
        raise lab.Failure("a private torrent was searched in the DHT")
    private.stop()
    (b.shareable / private.content).with_suffix(".part").unlink(missing_ok=True)
    if missing():
        return lab.skip("libtorrent's DHT", missing())
    transfer("ours to libtorrent", "ours", "libtorrent", router=router)
    transfer("libtorrent to ours", "libtorrent", "ours", router=router)
    transfer("magnet from ours to libtorrent", "ours", "libtorrent", router=router, magnet=True)
    transfer("magnet from libtorrent to ours", "libtorrent", "ours", router=router, magnet=True)
    node.wait_for(NODES_KNOWN, 5)
    node.stop()
    # Now libtorrent is the node where all begin, and only the torrent says so.
    for host in (a, b):
        (host.torrents / ".reactor-peer" / "dht-table").unlink(missing_ok=True)
    node = router.start(PYTHON, CLIENT, f"{router.ip}:6881", router.shareable, "node", "-", "-",
                        log="router-libtorrent")
    node.wait_for(r"^listening", 20)
    transfer("by nodes of the torrent", "ours", "ours", nodes=[(router.ip, 6881)])


if __name__ == "__main__":
    lab.main("dht", run, lab.arguments(__doc__))
