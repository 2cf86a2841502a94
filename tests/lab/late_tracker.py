#!/usr/bin/env python3
"""The announcer comes up late: the transfer starts within 2 s of it.

A peer knows a torrent and its announce URL, nothing else; local discovery is off. The announcer,
which is tracker and only seeder, starts --late seconds after it. Three cases: over HTTP, over UDP,
and over HTTP with a host that is off until then, not only without the program. Meanwhile the peer
says that the tracker is away, and does not say it every second.
"""

import threading
import time

import lab

SIZE = 4 * lab.MIB
WITHIN = 2.0
# A failure is said when it is new, and then once a minute.
LINES_MAX = 3
CASES = {"http": ("http://{}:5000/announce", True), "udp": ("udp://{}:5000/announce", True),
         "off": ("http://{}:5000/announce", False)}


def case(options, name, announcer, peer, verdicts):
    url, on = CASES[name]
    original = announcer.shareable / f"{name}.bin"
    lab.random_file(original, SIZE, f"{options.seed}-{name}")
    torrent = lab.make_torrent(original, url.format(announcer.ip), 64 * lab.KIB)
    for host in (announcer, peer):
        (host.torrents / f"{name}.torrent").write_bytes(torrent)
    if not on:
        lab.ip("-n", announcer.namespace, "link", "set", "eth0", "down")
    client = peer.peer("--no-lsd")
    client.wait_for(lab.LISTENING, 10)
    time.sleep(options.late)
    if not on:
        lab.ip("-n", announcer.namespace, "link", "set", "eth0", "up")
    server = announcer.peer("--no-lsd")
    up, _ = server.wait_for(lab.LISTENING, 10)
    first, _ = client.wait_for(r"piece \d+ ok", 30)
    lab.wait_until(lambda: peer.complete(f"{name}.bin"), 30, f"{name}: complete")
    done = time.monotonic()
    lab.expect_same(peer.shareable / f"{name}.bin", original, name)
    said = client.said(r"announce failed")
    verdicts[name] = (first - up, done - up, len(said), said[0].string if said else "nothing")


def run(lab_, options):
    hosts = lab_.network(options.binary, *(f"{name}-{end}" for name in CASES for end in "ab"))
    verdicts = {}
    threads = [threading.Thread(target=case, args=(options, name, *hosts[2 * at:2 * at + 2],
                                                   verdicts))
               for at, name in enumerate(CASES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in CASES:
        if name not in verdicts:
            raise lab.Failure(f"{name}: see above")
        first, done, lines, said = verdicts[name]
        print(f"  {name}: {options.late} s late; first piece {first:.2f} s after it listens, "
              f"complete after {done:.2f} s; {lines} lines, the first: {said}")
        if first > WITHIN:
            raise lab.Failure(f"{name}: {first:.2f} s, more than {WITHIN} s")
        if not 1 <= lines <= LINES_MAX:
            raise lab.Failure(f"{name}: {lines} lines about the tracker")


if __name__ == "__main__":
    lab.main("late_tracker", run, lab.arguments(
        __doc__, ("--late", {"type": float, "default": 30.0, "help": "seconds (default 30)"})))
