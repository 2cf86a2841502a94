#!/usr/bin/env python3
"""aria2, Transmission and libtorrent against our peer, both directions.

Each client is alone with our peer and finds it only through our tracker, at
http://IP:5000/announce. DHT, LSD, PEX and uTP are off in all of them. Hosts have addresses of
10.77.0.0/24, because Transmission drops the loopback addresses a tracker gives it.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import lab

SIZE = 20 * lab.MIB + 12_345
HERE = pathlib.Path(__file__).resolve().parent


class Aria2:
    name = "aria2"
    # aria2 asks UDP trackers through its DHT socket, and only when the DHT is on.
    udp_trackers = False

    def missing(self):
        return None if shutil.which("aria2c") else "no aria2c; apt-get install aria2"

    def start(self, host, torrent, seeding, *more):
        dht = "true" if self.udp_trackers else "false"
        options = ["--no-conf", f"--enable-dht={dht}", "--enable-dht6=false",
                   f"--dht-file-path={host.folder / 'dht.dat'}",
                   "--bt-enable-lpd=false", "--enable-peer-exchange=false",
                   "--listen-port=6881", "--summary-interval=1", "--file-allocation=none",
                   "--enable-color=false", "--bt-stop-timeout=0", f"--dir={host.shareable}"]
        if seeding:
            options += ["--check-integrity=true", "--seed-ratio=0.0"]
        else:
            options += ["--seed-time=0"]
        return host.start("aria2c", *options, *more, torrent, log=f"{host.name}-aria2")


class Transmission:
    name = "transmission"

    def missing(self):
        if shutil.which("transmission-daemon") is None:
            return "no transmission-daemon; apt-get install transmission-daemon"
        return None

    def start(self, host, torrent, seeding):
        state = host.folder / "transmission"
        (state / "torrents").mkdir(parents=True)
        shutil.copy(torrent, state / "torrents")
        (state / "settings.json").write_text(json.dumps({
            "rpc-enabled": False, "bind-address-ipv4": host.ip, "peer-port": 6881,
            "dht-enabled": False, "lpd-enabled": False, "pex-enabled": False,
            "utp-enabled": False, "port-forwarding-enabled": False, "encryption": 0,
            "download-dir": str(host.shareable), "incomplete-dir-enabled": False,
            "watch-dir-enabled": False, "start-added-torrents": True,
            "ratio-limit-enabled": False, "idle-seeding-limit-enabled": False}))
        return host.start("transmission-daemon", "-f", "--log-debug", "-g", state,
                          log=f"{host.name}-transmission")


class Libtorrent:
    name = "libtorrent"

    def missing(self):
        return None if self.python() else "no Python with libtorrent; apt-get install python3-libtorrent"

    def python(self):
        for python in (sys.executable, "/usr/bin/python3"):
            probe = [python, "-c", "import libtorrent"]
            if shutil.which(python) and subprocess.run(probe, capture_output=True).returncode == 0:
                return python
        return None

    def start(self, host, torrent, seeding):
        return host.start(self.python(), HERE / "libtorrent_client.py", f"{host.ip}:6881",
                          host.shareable, torrent, log=f"{host.name}-libtorrent")


def content(folder, client, seed):
    """One large file, a folder, and an empty file in it."""
    root = folder / f"course-{client.name}"
    (root / "week-1" / "day-2").mkdir(parents=True)
    lab.random_file(root / "week-1" / "day-2" / "video.bin", SIZE, f"{seed}-{client.name}")
    lab.random_file(root / "week-1" / "notes.txt", 4_321, f"{seed}-{client.name}-notes")
    (root / "empty.txt").write_bytes(b"")
    return root


def complete(process, host, original, empty_files=True):
    """Nothing unfinished lies about, and all bytes are there."""
    wanted = lab.digest(original, empty_files)
    length = sum(path.stat().st_size for path in lab.files_of(original))

    def all_there():
        path = host.shareable / original.name
        return (host.complete(original.name)
                and sum(found.stat().st_size for found in lab.files_of(path)) == length
                and lab.digest(path, empty_files) == wanted)
    lab.wait_until(all_there, 60, f"{process.name} has all bytes")


def direction(lab_, options, client, ours_seeds, hosts):
    ours, theirs = hosts
    seeder, leecher = (ours, theirs) if ours_seeds else (theirs, ours)
    root = content(seeder.shareable, client, options.seed)
    torrent = lab.make_torrent(root, f"http://{ours.ip}:5000/announce", 64 * lab.KIB)
    (ours.torrents / "course.torrent").write_bytes(torrent)
    (theirs.folder / "course.torrent").write_bytes(torrent)

    peer = ours.peer(log=f"{ours.name}-ours")
    # Only then: aria2 waits two minutes after a tracker that does not know its torrent yet.
    peer.wait_for(rf"{root.name}: (checking -> |waiting)", 10)
    other = client.start(theirs, theirs.folder / "course.torrent", not ours_seeds)
    receiving = other if ours_seeds else peer
    # Transmission 3.00 does not create files without bytes; we must.
    complete(receiving, leecher, root, empty_files=not ours_seeds)
    if not ours_seeds:
        peer.wait_for(r"(?i)course.*\bseeder\b", 5)
    told = "we seed" if ours_seeds else "we fetch"
    print(f"  {client.name}, {told}: {leecher.received() / lab.MIB:.1f} MiB received, same bytes")
    if other.running():
        other.kill()
    status = peer.stop()
    if status != 0:
        raise lab.Failure(f"our peer ended with status {status} after {client.name}")


def run(lab_, options):
    clients = [client for client in (Aria2(), Transmission(), Libtorrent())
               if options.client in (None, client.name)]
    names = [f"{client.name[:3]}{way}{end}" for client in clients for way in (1, 2)
             for end in ("o", "t")]
    hosts = dict(zip(names, lab_.network(options.binary, *names)))
    failures = []
    for client in clients:
        reason = client.missing()
        if reason:
            lab.skip(client.name, reason)
            continue
        for way, ours_seeds in ((1, True), (2, False)):
            pair = [hosts[f"{client.name[:3]}{way}{end}"] for end in ("o", "t")]
            try:
                direction(lab_, options, client, ours_seeds, pair)
            except lab.Failure as failure:
                told = "we seed" if ours_seeds else "we fetch"
                print(f"  {client.name}, {told}: FAILED: {failure}")
                failures.append(f"{client.name} ({told})")
    if failures:
        raise lab.Failure(", ".join(failures))


if __name__ == "__main__":
    lab.main("real_clients", run, lab.arguments(
        __doc__, ("--client", {"help": "only this one: aria2, transmission or libtorrent"})))
