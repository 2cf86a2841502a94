#!/usr/bin/env python3
"""A torrent with padding files (BEP 47) that libtorrent has made, in both directions.

One of version 1, and one that is for both versions (BEP 52), of which we use the first. What counts:
the same bytes, no file of padding, and no more bytes on the wire than the files have.
"""

import pathlib
import shutil
import subprocess

import lab
from real_clients import Libtorrent

SIZES = {"a.bin": 100_001, "sub/b.bin": 3 * lab.MIB + 5, "sub/c.bin": 16_384, "d.bin": 1}
PIECE = 256 * lab.KIB
# Padding shares blocks with the ends of four files; heads and messages come on top.
WIRE_MAX = sum(SIZES.values()) + len(SIZES) * 16 * lab.KIB + 128 * lab.KIB
MAKE = """
import sys, libtorrent as lt
root, piece, flags, tracker, out = sys.argv[1:]
files = lt.file_storage()
lt.add_files(files, root)
made = lt.create_torrent(files, int(piece), flags=int(flags))
made.add_tracker(tracker)
lt.set_piece_hashes(made, root.rsplit("/", 1)[0])
open(out, "wb").write(lt.bencode(made.generate()))
"""
# libtorrent::create_torrent: v1_only and canonical_files
KINDS = {"version 1": 64 | 128, "hybrid": 128}


def direction(options, client, kind, ours_seeds, ours, theirs):
    seeder, leecher = (ours, theirs) if ours_seeds else (theirs, ours)
    root = seeder.shareable / "padded"
    for path, size in SIZES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        lab.random_file(root / path, size, f"{options.seed}-{path}")
    torrent = theirs.folder / "padded.torrent"
    subprocess.run([client.python(), "-c", MAKE, root, str(PIECE), str(KINDS[kind]),
                    f"http://{ours.ip}:5000/announce", torrent], check=True)
    shown = subprocess.run([options.binary, "show", torrent], capture_output=True, text=True,
                           check=True).stdout
    pads = shown.count("(padding, not stored)")
    if pads < 2:
        raise lab.Failure(f"libtorrent has made no padding:\n{shown}")
    shutil.copy(torrent, ours.torrents)

    peer = ours.peer("--no-lsd", "--no-dht", log=f"{ours.name}-ours")
    peer.wait_for(r"padded: (checking -> |waiting)", 10)
    before = leecher.received()
    other = client.start(theirs, torrent, not ours_seeds)
    wanted = lab.digest(root)
    lab.wait_until(lambda: leecher.complete("padded")
                   and lab.digest(leecher.shareable / "padded") == wanted, 60, f"{kind}: all bytes")
    if not ours_seeds:
        peer.wait_for(lab.BECAME_SEEDER, 10)
    received = leecher.received() - before
    if received > WIRE_MAX:
        raise lab.Failure(f"{received} bytes were received, {WIRE_MAX} are enough")
    found = [path for path in ours.shareable.rglob("*") if ".pad" in path.parts]
    if found:
        raise lab.Failure(f"padding on the disk: {found}")
    told = "we seed" if ours_seeds else "we fetch"
    print(f"  {kind}, {told}: same bytes, {pads} padding files not stored, {received} bytes received"
          f" for {sum(SIZES.values())}")
    other.kill()
    if peer.stop() != 0:
        raise lab.Failure("our peer did not end with 0")


def run(lab_, options):
    client = Libtorrent()
    reason = client.missing()
    if reason:
        return lab.skip("libtorrent", reason)
    ways = [(kind, ours_seeds) for kind in KINDS for ours_seeds in (True, False)]
    names = [f"pad{n}{end}" for n in range(len(ways)) for end in ("o", "t")]
    hosts = lab_.network(options.binary, *names)
    for n, (kind, ours_seeds) in enumerate(ways):
        direction(options, client, kind, ours_seeds, hosts[2 * n], hosts[2 * n + 1])


if __name__ == "__main__":
    lab.main("padding", run, lab.arguments(__doc__))
