#!/usr/bin/env python3
"""SIGKILL at ten random moments of a download of 256 MiB: it completes, and little is lost.

The moments are byte counts of the receiving host's interface, drawn over the whole length, so that
every kill falls into the download. All bytes received must stay below the length plus 16 MiB for
each kill.
"""

import random

import lab

KILLS = 10
SIZE = 256 * lab.MIB
LOST_MAX = 16 * lab.MIB


def run(lab_, options):
    a, b = lab_.network(options.binary, "a", "b")
    original = a.shareable / "large.bin"
    lab.random_file(original, SIZE, options.seed)
    torrent = lab.make_torrent(original, f"http://{a.ip}:5000/announce", 256 * lab.KIB)
    for host in (a, b):
        (host.torrents / "large.torrent").write_bytes(torrent)
    b.limit(800)
    a.peer().wait_for(lab.LISTENING, 10)

    chosen = random.Random(options.seed)
    moments = sorted(chosen.randrange(lab.MIB, SIZE - lab.MIB) for _ in range(KILLS))
    start = b.received()
    for number, moment in enumerate(moments, 1):
        process = b.peer(log=f"b-{number}")
        lab.wait_until(lambda: b.received() - start >= moment or not process.running(), 60,
                       f"{moment} bytes received")
        if not process.running():
            raise lab.Failure(f"run {number} ended by itself")
        process.kill()
        if b.complete("large.bin"):
            raise lab.Failure(f"complete after {b.received() - start} bytes?")
    last = b.peer(log="b-last")
    lab.wait_until(lambda: b.complete("large.bin"), 120, "the download is complete")
    received = b.received() - start
    last.stop()
    lab.expect_same(b.shareable / "large.bin", original, "after ten kills")
    over = received - SIZE
    print(f"  received {received / lab.MIB:.1f} MiB for {SIZE / lab.MIB:.0f} MiB: "
          f"{over / lab.MIB / KILLS:.2f} MiB more for each kill, headers included; "
          f"kills at {[moment // lab.MIB for moment in moments]} MiB, seed {options.seed}")
    if over >= LOST_MAX * KILLS:
        raise lab.Failure(f"{over / KILLS / lab.MIB:.1f} MiB lost for each kill")


if __name__ == "__main__":
    lab.main("kill_nine", run, lab.arguments(__doc__))
