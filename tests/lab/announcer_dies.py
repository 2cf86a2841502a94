#!/usr/bin/env python3
"""The announcer is killed while four peers download; a fifth joins by `--peer` to one of them.

Each of the four has got a part by then, and together they have everything. All finish; the one
who joins has its first byte within 2 s.
"""

import time

import lab

SIZE = 16 * lab.MIB
# Few enough that every piece has its line in the log.
PIECE = 256 * lab.KIB
WITHIN = 2.0


def run(lab_, options):
    a, *four, joiner = lab_.network(options.binary, *"abcdef")
    original = a.shareable / "image.bin"
    lab.random_file(original, SIZE, options.seed)
    torrent = lab.make_torrent(original, a.ip, PIECE)
    for host in (a, *four, joiner):
        (host.torrents / "image.torrent").write_bytes(torrent)
    for host in four:
        host.limit(40)
    server = a.peer()
    server.wait_for(lab.LISTENING, 10)
    peers = [host.peer("--no-lsd") for host in four]
    pieces = SIZE // PIECE

    def together():
        found = (peer.said(r"piece (\d+) ok") for peer in peers)
        return len({match[1] for matches in found for match in matches})

    lab.wait_until(lambda: together() == pieces, 60, "the four have everything together")
    if any(host.complete("image.bin") for host in four):
        raise lab.Failure("a peer was complete before the announcer died")
    server.kill()
    before = joiner.received()
    began = time.monotonic()
    late = joiner.peer("--peer", four[2].ip, "--no-lsd")
    late.wait_for(r"piece \d+ ok|<- .* piece", 20)
    lab.wait_until(lambda: joiner.received() - before > 64 * lab.KIB, 20, "the joiner receives")
    took = time.monotonic() - began
    print(f"  first piece of the joiner after {took:.2f} s")
    for host in four:
        host.limit(None)
    for host in (*four, joiner):
        lab.wait_until(lambda host=host: host.complete("image.bin"), 60, f"{host.name} is complete")
        lab.expect_same(host.shareable / "image.bin", original, host.name)
    print(f"  all five complete {time.monotonic() - began:.1f} s after the announcer's death")
    if took > WITHIN:
        raise lab.Failure(f"the joiner waited {took:.2f} s for its first piece")
    for process in (*peers, late):
        process.stop()


if __name__ == "__main__":
    lab.main("announcer_dies", run, lab.arguments(__doc__))
