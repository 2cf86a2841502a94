#!/usr/bin/env python3
"""How long the turns of the loop are while the disk is at work: nobody is answered meanwhile.

One host serves a torrent that is not in the page cache, and checks another one that is not either; a
second host downloads from it. Both tell the length of their turns (`--stats`), and those must stay
within bounds. With `--slow` each host's folder is a disk of its own, as slow as asked.
"""

import os
import re
import shutil

import lab
from disk import Disk, alone

STATS = r"loop: \d+ turns, p50 ([\d.]+) ms, p99 ([\d.]+) ms, max ([\d.]+) ms"


def forget(path):
    """Drops the file from the page cache."""
    with open(path, "rb") as content:
        os.fsync(content.fileno())
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(lab_, options):
    a, b = lab_.network(options.binary, "a", "b")
    disks = []
    try:
        if options.slow:
            for host in (a, b):
                shutil.rmtree(host.folder)
                host.folder.mkdir()
                disks.append(Disk(host.folder, 3 * options.mib + 64))
                for folder in (host.shareable, host.torrents):
                    folder.mkdir()
        download(a, b, disks, options)
    finally:
        for process in lab_.processes:
            if process.running():
                process.kill()
        for disk in disks:
            disk.remove()


def download(a, b, disks, options):
    served, checked = a.shareable / "served.bin", a.shareable / "checked.bin"
    for number, path in enumerate((served, checked)):
        lab.random_file(path, options.mib * lab.MIB, options.seed + number)
    announce = f"http://{a.ip}:5000/announce"
    torrent = lab.make_torrent(served, announce, lab.MIB)
    (a.torrents / "served.torrent").write_bytes(torrent)
    first = a.peer(log="a-first")
    first.wait_for(lab.BECAME_SEEDER, 120)
    first.stop()
    other = lab.make_torrent(checked, announce, lab.MIB)
    (a.torrents / "checked.torrent").write_bytes(other)
    for path in (served, checked):
        forget(path)
    for disk in disks:
        disk.throttle(*options.slow)

    # Before whatever else this machine does: who has no processor stands still as well.
    first_of_all = ["chrt", "--fifo", "1", a.lab.binary, "--listen", 5000, "--max-conns", 6, "--stats"]
    seeder = a.start(*first_of_all)
    seeder.wait_for(lab.LISTENING, 10)
    (b.torrents / "served.torrent").write_bytes(torrent)
    leecher = b.start(*first_of_all, "--exit-when-complete")
    seconds = 3600 if options.slow else 300
    if leecher.wait_exit(seconds) != 0:
        raise lab.Failure("the download did not end well")
    seeder.wait_for(r"checked\.bin: .*-> (seeder|waiting)", seconds)
    seeder.stop(seconds)
    for disk in disks:
        disk.throttle(0, 0)
    lab.expect_same(b.shareable / "served.bin", served, "what was downloaded")
    for process in (seeder, leecher):
        found = process.said(STATS)
        for match in process.said(r"loop: .*"):
            print(f"  {process.name}: {match.group()}")
        _, most, longest = map(float, found[-1].groups())
        if most > options.p99 or longest > options.longest:
            raise lab.Failure(f"{process.name}: its loop stood still: {found[-1].group()}")


def pair(text):
    match = re.fullmatch(r"(\d+),(\d+)", text)
    return tuple(map(int, match.groups()))


if __name__ == "__main__":
    chosen = lab.arguments(
        __doc__,
        ("--mib", {"type": int, "default": 256, "help": "of each of the two torrents"}),
        ("--slow", {"type": pair, "metavar": "MB,IOPS", "help": "disks of so many MB and calls a second"}),
        ("--p99", {"type": float, "default": 25, "metavar": "MS", "help": "that 99 of 100 turns keep"}),
        ("--longest", {"type": float, "default": 250, "metavar": "MS", "help": "that every turn keeps"}))
    if chosen.slow:
        alone("cold_disk --slow")
    lab.main("cold_disk", run, chosen)
