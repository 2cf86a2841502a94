#!/usr/bin/env python3
"""A seeder dials and pushes.

`share --to` offers a torrent to a host that takes such (--accept-torrents): it arrives, each piece
is confirmed by `have`. A host without that option takes nothing. A plain seeder with `--peer`
serves a host that has the same .torrent and knows nobody.
"""

import lab

SIZE = 2 * lab.MIB


def run(lab_, options):
    a, b, c = lab_.network(options.binary, "a", "b", "c")
    original = a.folder / "push.bin"
    lab.random_file(original, SIZE, options.seed)
    taker = b.peer("--accept-torrents", "--no-lsd")
    closed = c.peer("--no-lsd")
    for process in (taker, closed):
        process.wait_for(lab.LISTENING, 10)
    sender = a.start(options.binary, "share", original, "--to", b.ip, "--to", c.ip, "--no-lsd")
    taker.wait_for(r"offers the torrent", 20)
    lab.wait_until(lambda: b.complete("push.bin"), 30, "the push arrives")
    lab.expect_same(b.shareable / "push.bin", original, "b")
    _, confirmed = sender.wait_for(rf"{b.ip} confirmed piece \d+", 5)
    print(f"  {confirmed.string}")
    sender.wait_for(r"10\.77\.0\.2\S* has all of", 5)
    if list(c.torrents.glob("*.torrent")):
        raise lab.Failure("c took a torrent that it was not to take")
    sender.stop()
    closed.stop()

    # The seeder of a torrent dials whom the user names.
    (c.torrents / "push.torrent").write_bytes((a.folder / "torrents/push.bin.torrent").read_bytes())
    receiver = c.peer("--no-lsd", log="c-again")
    receiver.wait_for(lab.LISTENING, 10)
    pusher = a.peer("--peer", c.ip, "--no-lsd", log="a-again")
    pusher.wait_for(lab.CLIENT_CONNECTED, 10)
    lab.wait_until(lambda: c.complete("push.bin"), 30, "the seeder pushes")
    lab.expect_same(c.shareable / "push.bin", original, "c")


if __name__ == "__main__":
    lab.main("push", run, lab.arguments(__doc__))
