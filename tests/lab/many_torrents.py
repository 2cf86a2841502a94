#!/usr/bin/env python3
"""Folders with empty files and deep paths; seeder of X while peer of Y; fifty torrents at once."""

import lab

FIFTY = 50


def deep_folder(root, seed):
    """Files of awkward lengths, some empty, five levels down."""
    for number, (path, size) in enumerate([
            ("empty-first", 0), ("one.bin", 1), ("a/b/c/d/deep.bin", 100_000), ("a/b/empty", 0),
            ("a/b/c/exact.bin", 32_768), ("gr\u00fc\u00dfe/\u65e5\u672c.txt", 5_000),
            ("a/tail.bin", 12_345), ("z-empty-last", 0)]):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        lab.random_file(root / path, size, f"{seed}-{number}")


def place(name, torrent, *hosts):
    for host in hosts:
        (host.torrents / f"{name}.torrent").write_bytes(torrent)


def run(lab_, options):
    a, b = lab_.network(options.binary, "a", "b")
    announce = f"http://{a.ip}:5000/announce"

    # X is on A only, Y on B only: both processes seed one and fetch the other.
    deep_folder(a.shareable / "x", options.seed)
    lab.random_file(b.shareable / "y.bin", 3_000_000, options.seed)
    for holder, content in ((a, "x"), (b, "y.bin")):
        place(content, lab.make_torrent(holder.shareable / content, announce), a, b)
    first = a.peer()
    first.wait_for(lab.LISTENING, 10)
    second = b.peer()
    lab.wait_until(lambda: b.complete("x"), 30, "b has x")
    lab.wait_until(lambda: a.complete("y.bin"), 30, "a has y.bin")
    lab.wait_until(lambda: same(b.shareable / "x", a.shareable / "x"), 10, "b has all of x")
    lab.expect_same(a.shareable / "y.bin", b.shareable / "y.bin", "y.bin")
    print("  seeder of one and peer of the other in both processes; empty files and deep paths")

    # Fifty more, put into the folders of running peers.
    for number in range(FIFTY):
        name = f"small-{number:02}.bin"
        lab.random_file(a.shareable / name, 50_000 + 7_919 * number, f"{options.seed}-{number}")
    began = b.received()
    for number in range(FIFTY):
        name = f"small-{number:02}.bin"
        place(name, lab.make_torrent(a.shareable / name, announce), a, b)
    lab.wait_until(
        lambda: all((b.shareable / f"small-{n:02}.bin").exists() for n in range(FIFTY))
        and b.complete("small-00.bin"), 90, "b has all fifty")
    for number in range(FIFTY):
        name = f"small-{number:02}.bin"
        lab.expect_same(b.shareable / name, a.shareable / name, name)
    print(f"  {FIFTY} torrents at once, {b.received() - began} bytes received")
    for process in (first, second):
        status = process.stop()
        if status != 0:
            raise lab.Failure(f"{process.name} ended with status {status}")

    # And from a start with all of them.
    for path in b.shareable.glob("small-*"):
        path.unlink()
    first, second = a.peer(log="a-restarted"), b.peer(log="b-restarted")
    lab.wait_until(
        lambda: all((b.shareable / f"small-{n:02}.bin").exists() for n in range(FIFTY))
        and b.complete("small-00.bin"), 90, "b has all fifty again")
    for number in range(FIFTY):
        name = f"small-{number:02}.bin"
        lab.expect_same(b.shareable / name, a.shareable / name, name)


def same(left, right):
    return lab.digest(left) == lab.digest(right)


if __name__ == "__main__":
    lab.main("many_torrents", run, lab.arguments(__doc__))
