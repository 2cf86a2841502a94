#!/usr/bin/env python3
"""No tracker, no known host, no DHT: peers of one network find each other by multicast (BEP 14).

A seeder is up; others join, one of them on the seeder's own host, one while its network is still
down. Each has its first piece within 2 s of being able to. Of a private torrent nobody finds
anybody, and neither does who says --no-lsd.
"""

import time

import lab

SIZE = 2 * lab.MIB
WITHIN = 2.0
# So long nothing may be found where nothing may be found.
WATCHED = 6.0
PIECE = r"it.bin: piece \d+ ok"


def joins(host, name, *options, **more):
    """Starts a peer and says how long after its start it has a piece."""
    process = host.peer("--no-dht", *options, log=name, **more)
    return process, process.wait_for(lab.LISTENING, 10)[0]


def told(name, first, since, within=WITHIN):
    print(f"  {name}: first piece after {first - since:.2f} s")
    if first - since > within:
        raise lab.Failure(f"{name}: {first - since:.2f} s, more than {within} s")


def run(lab_, options):
    names = ("seeder", "later", "cut", "shy")
    seeder, later, cut, shy = hosts = lab_.network(options.binary, *names)
    original = seeder.shareable / "it.bin"
    secret = seeder.shareable / "secret.bin"
    for path in (original, secret):
        lab.random_file(path, SIZE, f"{options.seed}-{path.name}")
    plain = lab.make_torrent(original, "", 64 * lab.KIB)
    private = lab.make_torrent(secret, "", 64 * lab.KIB, private=1)
    for host in hosts:
        (host.torrents / "it.torrent").write_bytes(plain)
        (host.torrents / "secret.torrent").write_bytes(private)
    server = seeder.peer("--no-dht")
    server.wait_for(r"it.bin: .*seeder", 10)
    # Long enough that the seeder has said all that it says at its start.
    time.sleep(6)

    process, since = joins(later, "later")
    told("another host", process.wait_for(PIECE, 10)[0], since)
    second = ["--torrents", later.torrents, "--shareable", seeder.folder / "second", "--state",
              seeder.folder / "second-state"]
    (seeder.folder / "second").mkdir()
    process, since = joins(seeder, "same-host", *second, listen=5100)
    told("the same host", process.wait_for(PIECE, 10)[0], since)

    lab.ip("-n", cut.namespace, "link", "set", "eth0", "down")
    lab.ip("-n", cut.namespace, "addr", "flush", "dev", "eth0")
    process, _ = joins(cut, "cut")
    time.sleep(2)
    lab.ip("-n", cut.namespace, "addr", "add", f"{cut.ip}/24", "dev", "eth0")
    lab.ip("-n", cut.namespace, "link", "set", "eth0", "up")
    since = time.monotonic()
    first, _ = process.wait_for(PIECE, 20)
    # New interfaces are looked for every five seconds.
    told("a network that comes later", first, since, WITHIN + 5)

    process, _ = joins(shy, "shy", "--no-lsd")
    time.sleep(WATCHED)
    if process.said(PIECE):
        raise lab.Failure("--no-lsd has found somebody")
    print("  --no-lsd: nobody found")
    for host in hosts:
        if host is not seeder and (host.shareable / "secret.bin").exists():
            raise lab.Failure("a private torrent was found on the local network")
    print("  private torrent: nobody found")


if __name__ == "__main__":
    lab.main("local_discovery", run, lab.arguments(__doc__))
