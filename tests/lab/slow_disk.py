#!/usr/bin/env python3
"""A download that comes faster than the disk takes it: meanwhile others are answered in time.

The disk of one host takes 30 MB/s, and the kernel lets nobody have more than 64 MiB written and
not yet on it, as on a host with little memory. The host downloads, serves another torrent to a third
host, and is the tracker of a fourth, which announces again and again. The turns of the loop (`--stats`)
and the tracker's answers must stay within bounds, and the other torrent must arrive as fast as its
line allows.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import time

import lab
from disk import Disk, alone

STATS = r"loop: \d+ turns, p50 ([\d.]+) ms, p99 ([\d.]+) ms, max ([\d.]+) ms.*"
ASKER = """
import socket, sys, time
address, path = sys.argv[1], sys.argv[2]
print("asking", flush=True)
while True:
    began = time.monotonic()
    with socket.create_connection((address, 5000), 60) as asked:
        asked.sendall(b"GET %s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n" % path.encode())
        answer = b""
        while part := asked.recv(65536):
            answer += part
    assert b"interval" in answer, answer
    print("answer %.2f" % ((time.monotonic() - began) * 1000), flush=True)
    time.sleep(0.02)
"""


def run(lab_, options):
    a, b, c, d = lab_.network(options.binary, "a", "b", "c", "d")
    shutil.rmtree(b.folder)
    b.folder.mkdir()
    disk = Disk(b.folder, 2 * options.mib + 128)
    try:
        for folder in (b.shareable, b.torrents):
            folder.mkdir()
        download(lab_, (a, b, c, d), disk, options)
    finally:
        for process in lab_.processes:
            if process.running():
                process.kill()
        disk.remove()


def download(lab_, hosts, disk, options):
    a, b, c, d = hosts
    big, small = a.shareable / "big.bin", b.shareable / "small.bin"
    lab.random_file(big, options.mib * lab.MIB, options.seed)
    lab.random_file(small, 16 * lab.MIB, options.seed + 1)
    announce = f"http://{b.ip}:5000/announce"
    big_torrent, small_torrent = (lab.make_torrent(path, announce, lab.MIB) for path in (big, small))
    (a.torrents / "big.torrent").write_bytes(big_torrent)
    for host in (b, c):
        (host.torrents / "small.torrent").write_bytes(small_torrent)
    first = ["chrt", "--fifo", "1", b.lab.binary, "--listen", 5000, "--max-conns", 6, "--stats"]
    a.peer()
    server = b.start(*first, "--peer", a.ip)
    server.wait_for(r"small\.bin: .*-> seeder", 60)
    subprocess.run(["sync", "-f", b.folder], check=True)
    disk.throttle(*options.slow)
    disk.let_wait(options.limit)
    info_hash = "".join(f"%{byte:02x}" for byte in bytes.fromhex(info_hash_of(lab_, b)))
    path = f"/announce?info_hash={info_hash}&peer_id=-XX0000-000000000000&port=7000&left=1&uploaded=0&downloaded=0&compact=1&numwant=0"
    asker = d.start(sys.executable, "-c", ASKER, b.ip, path)
    asker.wait_for("answer", 10)
    c.limit(8)
    client = c.peer("--peer", b.ip)
    client.wait_for(lab.CLIENT_CONNECTED, 30)
    began = time.monotonic()
    received = c.received()
    (b.torrents / "big.torrent").write_bytes(big_torrent)
    server.wait_for(r"big\.bin: .*-> seeder", 600)
    took = time.monotonic() - began
    asker.kill()
    received = c.received() - received
    server.stop(600)
    disk.throttle(0, 0)
    disk.let_wait(0)
    lab.expect_same(b.shareable / "big.bin", big, "what was downloaded")
    print(f"  {options.mib / took:.1f} MiB/s in, {received / took / lab.MIB:.2f} MiB/s served of another")
    answers = sorted(float(match.group(1)) for match in asker.said(r"answer ([\d.]+)"))
    most, longest = answers[len(answers) * 99 // 100], answers[-1]
    print(f"  {len(answers)} announces answered: p50 {answers[len(answers) // 2]} ms, p99 {most} ms, max {longest} ms")
    stats = server.said(STATS)[-1]
    print(f"  {stats.group()}")
    for match in server.said(r"loop: (?!\d+ turns).*"):
        print(f"  {match.group()}")
    if float(stats.group(2)) > options.p99 or float(stats.group(3)) > options.longest:
        raise lab.Failure(f"its loop stood still: {stats.group()}")
    if longest > options.answer:
        raise lab.Failure(f"a tracker's answer took {longest} ms")


def info_hash_of(lab_, host):
    shown = subprocess.run([lab_.binary, "show", host.torrents / "small.torrent", "--json"],
                           check=True, capture_output=True, text=True).stdout
    return re.search(r'"info_hash": ?"([0-9a-f]{40})"', shown).group(1)


def pair(text):
    return tuple(map(int, re.fullmatch(r"(\d+),(\d+)", text).groups()))


if __name__ == "__main__":
    chosen = lab.arguments(
        __doc__,
        ("--mib", {"type": int, "default": 200, "help": "to be downloaded"}),
        ("--slow", {"type": pair, "default": (30, 500), "metavar": "MB,IOPS", "help": "what the disk does in a second"}),
        ("--limit", {"type": int, "default": 64, "metavar": "MIB", "help": "what may wait for the disk; 0: the system's limit"}),
        ("--p99", {"type": float, "default": 25, "metavar": "MS", "help": "that 99 of 100 turns keep"}),
        ("--longest", {"type": float, "default": 250, "metavar": "MS", "help": "that every turn keeps"}),
        ("--answer", {"type": float, "default": 500, "metavar": "MS", "help": "that every answer of the tracker keeps"}))
    alone("slow_disk")
    lab.main("slow_disk", run, chosen)
