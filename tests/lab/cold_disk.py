#!/usr/bin/env python3
"""How long the turns of the loop are while the disk is at work: nobody is answered meanwhile.

One host serves a torrent that is not in the page cache, and checks another one that is not either; a
second host downloads from it. Both tell the length of their turns (`--stats`), and those must stay
within bounds. With `--slow` each host's folder is a disk of its own, as slow as asked: a loop device
with an ext4, throttled by the kernel (cgroup v1's blkio, for this device alone).
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import lab

STATS = r"loop: \d+ turns, p50 ([\d.]+) ms, p99 ([\d.]+) ms, max ([\d.]+) ms"
THROTTLE = pathlib.Path("/sys/fs/cgroup/blkio")


class Disk:
    """A small ext4 mounted on a folder, on a device that can be throttled."""

    def __init__(self, folder, mebibytes):
        self.folder, self.image = folder, folder.with_suffix(".disk")
        with open(self.image, "wb") as image:
            os.posix_fallocate(image.fileno(), 0, mebibytes * lab.MIB)
        run = lambda *argv: subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.device = run("losetup", "--direct-io=on", "--show", "-f", self.image).strip()
        run("mount", self.device, folder)
        about = os.stat(self.device).st_rdev
        self.number = f"{os.major(about)}:{os.minor(about)}"

    def throttle(self, megabytes, calls):
        """At most so many MB and calls a second; 0 lifts it."""
        for what, most in (("bps", megabytes * 1_000_000), ("iops", calls)):
            for way in ("read", "write"):
                rule = THROTTLE / f"blkio.throttle.{way}_{what}_device"
                rule.write_text(f"{self.number} {most}")

    def remove(self):
        self.throttle(0, 0)
        subprocess.run(["umount", self.folder], check=True)
        subprocess.run(["losetup", "-d", self.device], check=True)


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
        print(f"  {process.name}: {found[-1].group()}")
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
    if chosen.slow and not (THROTTLE / "blkio.throttle.read_bps_device").exists():
        lab.skip("cold_disk --slow", "no blkio controller of cgroup v1")
        sys.exit(0)
    if chosen.slow and os.environ.get("LAB_MOUNTS") != "private" and not lab.missing_for_hosts():
        os.environ["LAB_MOUNTS"] = "private"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable,
                              *sys.argv])
    lab.main("cold_disk", run, chosen)
