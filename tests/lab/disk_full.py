#!/usr/bin/env python3
"""A disk that fills up in mid-download: the torrent waits, says so, and goes on by itself.

The receiving host's folder is a small tmpfs, mounted in a mount namespace of this script. Space is
reserved when a download begins; here the reservation is taken back (holes are punched) and a ballast
takes the space, as file systems without reservations, quotas and other programs do. While it waits,
the host serves what it has of that torrent, and another torrent goes on. Then room is made: in the
first round the download goes on and completes; in the second the host is killed while it waits, and
goes on from its record.
"""

import os
import shutil
import subprocess
import sys

import lab

SIZE = 32 * lab.MIB
ROOM = 12 * lab.MIB
# What may come twice: blocks on their way when the disk is full or the host is killed.
TWICE_MAX = 8 * lab.MIB
FULL = r"large\.bin: the disk is full: no space for \S+large\.bin\.part; remove files there; the download waits"
GOES_ON = r"large\.bin: the disk takes data again"


def fill(folder, room):
    """Takes all space of the file system but `room` bytes."""
    about = os.statvfs(folder)
    with open(folder / "ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, about.f_bavail * about.f_frsize - room)


def run(lab_, options):
    a, b, c = lab_.network(options.binary, "a", "b", "c")
    shutil.rmtree(b.folder)
    b.folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "lab", b.folder], check=True)
    original = a.shareable / "large.bin"
    lab.random_file(original, SIZE, options.seed)
    small = c.folder / "small.bin"
    lab.random_file(small, 4 * lab.MIB, options.seed + 1)
    large = lab.make_torrent(original, f"http://{a.ip}:5000/announce", 256 * lab.KIB)
    other = lab.make_torrent(small, f"http://{b.ip}:5000/announce")
    (a.torrents / "large.torrent").write_bytes(large)
    for killed in (False, True):
        one_round(lab_, (a, b, c), (large, other), killed)


def one_round(lab_, hosts, torrents, killed):
    a, b, c = hosts
    for host in (b, c):
        for folder in (host.shareable, host.torrents):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (host.torrents / "large.torrent").write_bytes(torrents[0])
        (host.torrents / "small.torrent").write_bytes(torrents[1])
    shutil.copy(c.folder / "small.bin", b.shareable)
    number = 2 if killed else 1
    receiver = b.peer(log=f"b-{number}")
    receiver.wait_for(r"large\.bin: waiting for peers", 10)
    part = b.shareable / "large.bin.part"
    subprocess.run(["fallocate", "--punch-hole", "--offset", "0", "--length", str(SIZE), part],
                   check=True)
    fill(b.folder, ROOM)
    start = b.received()
    seeder = a.peer(log=f"a-{number}")
    receiver.wait_for(FULL, 30)

    # Nobody but b has anything now.
    seeder.stop()
    asker = c.peer("--peer", b.ip, log=f"c-{number}")
    asker.wait_for(r"large\.bin: piece \d+ ok", 20)
    asker.wait_for(r"small\.bin: .*-> seeder", 20)
    asker.stop()
    if not receiver.running():
        raise lab.Failure("a full disk ends the program")

    mark = receiver.mark()
    if killed:
        receiver.kill()
        (b.folder / "ballast").unlink()
        seeder = a.peer(log=f"a-{number}-again")
        receiver = b.peer(log=f"b-{number}-again")
    else:
        (b.folder / "ballast").unlink()
        seeder = a.peer(log=f"a-{number}-again")
        receiver.wait_for(GOES_ON, 15, mark)
    lab.wait_until(lambda: b.complete("large.bin"), 60, "the download is complete")
    received = b.received() - start
    lab.expect_same(b.shareable / "large.bin", a.shareable / "large.bin", "after the full disk")
    receiver.stop()
    seeder.stop()
    how = "killed and started again" if killed else "going on by itself"
    print(f"  {how}: {received / lab.MIB:.1f} MiB received for {SIZE / lab.MIB:.0f} MiB")
    if received > SIZE * 1.05 + TWICE_MAX:
        raise lab.Failure(f"{received} bytes received for {SIZE}")


if __name__ == "__main__":
    chosen = lab.arguments(__doc__)
    if os.environ.get("LAB_MOUNTS") != "private" and not lab.missing_for_hosts():
        os.environ["LAB_MOUNTS"] = "private"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable,
                              *sys.argv])
    lab.main("disk_full", run, chosen)
