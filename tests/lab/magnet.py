#!/usr/bin/env python3
"""Magnet links between our peer and libtorrent, Transmission and aria2, both directions.

The link's tracker is our peer. Where we fetch, we have the link only, as a .magnet file: we are the
tracker of a torrent that we do not know yet, and the metadata comes from who announces to us. One
more run is killed with the link and again with half of the content, and goes on.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import lab
from real_clients import Aria2, Libtorrent, Transmission

SIZE = 12 * lab.MIB + 321
HERE = pathlib.Path(__file__).resolve().parent


class Aria2Link(Aria2):
    def fetch(self, host, link):
        return host.start("aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false",
                          "--bt-enable-lpd=false", "--enable-peer-exchange=false",
                          "--listen-port=6881", "--seed-time=0", "--enable-color=false",
                          "--file-allocation=none", f"--dir={host.shareable}", link,
                          log=f"{host.name}-aria2")


class LibtorrentLink(Libtorrent):
    def start(self, host, torrent, seeding):
        return host.start(self.python(), HERE / "libtorrent_client.py", f"{host.ip}:6881",
                          host.shareable, torrent, "--extensions", log=f"{host.name}-libtorrent")

    def fetch(self, host, link):
        return self.start(host, link, False)


class TransmissionLink(Transmission):
    def start(self, host, torrent, seeding):
        # Added like this it is verified, and kept where Transmission finds it to serve metadata.
        return self.fetch(host, torrent)

    def fetch(self, host, link):
        state = host.folder / "transmission"
        state.mkdir()
        (state / "settings.json").write_text(json.dumps({
            "rpc-enabled": True, "rpc-bind-address": "127.0.0.1", "rpc-port": 9091,
            "bind-address-ipv4": host.ip, "peer-port": 6881, "dht-enabled": False,
            "lpd-enabled": False, "pex-enabled": False, "utp-enabled": False,
            "port-forwarding-enabled": False, "encryption": 0,
            "download-dir": str(host.shareable), "incomplete-dir-enabled": False,
            "start-added-torrents": True, "ratio-limit-enabled": False,
            "idle-seeding-limit-enabled": False}))
        daemon = host.start("transmission-daemon", "-f", "--log-debug", "-g", state,
                            log=f"{host.name}-transmission")
        remote = ["ip", "netns", "exec", host.namespace, "transmission-remote", "127.0.0.1:9091"]
        lab.wait_until(lambda: subprocess.run([*remote, "-a", link],
                                              capture_output=True).returncode == 0,
                       20, "transmission takes the link")
        return daemon


def torrent_of(content, tracker, options):
    """The .torrent and the link for it, as our own `show` gives it."""
    torrent = lab.make_torrent(content, f"http://{tracker.ip}:5000/announce", 32 * lab.KIB)
    path = content.parent.parent / "course.torrent"
    path.write_bytes(torrent)
    shown = subprocess.run([options.binary, "show", path, "--json"], capture_output=True,
                           text=True, check=True).stdout
    link = (f"magnet:?xt=urn:btih:{json.loads(shown)['info_hash']}&dn={content.name}"
            f"&tr=http%3A%2F%2F{tracker.ip}%3A5000%2Fannounce")
    return path, link


def wait_complete(host, original, what, seconds=60):
    wanted = lab.digest(original)

    def all_there():
        path = host.shareable / original.name
        return (host.complete(original.name) and path.stat().st_size == original.stat().st_size
                and lab.digest(path) == wanted)
    lab.wait_until(all_there, seconds, what)


def we_seed(options, client, ours, theirs):
    content = ours.shareable / f"course-{client.name}.bin"
    lab.random_file(content, SIZE, f"{options.seed}-{client.name}-seed")
    torrent, link = torrent_of(content, ours, options)
    shutil.copy(torrent, ours.torrents)
    peer = ours.peer("--no-lsd", "--no-dht", log=f"{ours.name}-ours")
    peer.wait_for(lab.BECAME_SEEDER, 10)
    other = client.fetch(theirs, link)
    wait_complete(theirs, content, f"{client.name} has all bytes")
    print(f"  {client.name}, from our peer by the link: same bytes")
    if other.running():
        other.kill()
    peer.stop()


def we_fetch(options, client, ours, theirs):
    content = theirs.shareable / f"course-{client.name}.bin"
    lab.random_file(content, SIZE, f"{options.seed}-{client.name}-fetch")
    torrent, link = torrent_of(content, ours, options)
    (ours.torrents / "course.magnet").write_text(link + "\n")
    peer = ours.peer("--no-lsd", "--no-dht", log=f"{ours.name}-ours")
    peer.wait_for(r"fetching the metadata", 10)
    other = client.start(theirs, torrent, True)
    when, _ = peer.wait_for(r"tracker: .* announces", 60)
    since, _ = peer.wait_for(r"metadata complete, \d+ bytes verified", 60)
    wait_complete(ours, content, f"we have all bytes from {client.name}")
    peer.wait_for(lab.BECAME_SEEDER, 10)
    if (ours.torrents / "course.magnet").exists():
        raise lab.Failure("the .magnet file is still there")
    if not (ours.torrents / f"{content.name}.torrent").exists():
        raise lab.Failure("no .torrent was written")
    print(f"  {client.name}, to our peer by the link: same bytes, metadata {since - when:.2f} s "
          "after its announce")
    if other.running():
        other.kill()
    peer.stop()


def killed(options, seeder, ours):
    content = seeder.shareable / "killed.bin"
    lab.random_file(content, SIZE, f"{options.seed}-killed")
    torrent, link = torrent_of(content, seeder, options)
    (ours.torrents / "killed.magnet").write_text(link)
    ours.limit(20)
    peer = ours.peer("--no-lsd", "--no-dht", log=f"{ours.name}-1")
    peer.wait_for(r"fetching the metadata", 10)
    peer.kill()
    shutil.copy(torrent, seeder.torrents)
    seeder.peer("--no-lsd", "--no-dht").wait_for(lab.BECAME_SEEDER, 10)
    peer = ours.peer("--no-lsd", "--no-dht", log=f"{ours.name}-2")
    peer.wait_for(r"metadata complete", 20)
    peer.wait_for(r"piece \d+ ok", 20)
    peer.kill()
    if list(ours.torrents.glob("*.magnet")) or not list(ours.torrents.glob("*.torrent")):
        raise lab.Failure("after the metadata there is a .torrent and no .magnet")
    ours.limit(None)
    peer = ours.peer("--no-lsd", "--no-dht", log=f"{ours.name}-3")
    wait_complete(ours, content, "the killed one has all bytes")
    print("  killed with the link, and again with half of the content: same bytes")


def run(lab_, options):
    clients = [client for client in (LibtorrentLink(), TransmissionLink(), Aria2Link())
               if options.client in (None, client.name)]
    names = [f"{client.name[:3]}{way}{end}" for client in clients for way in (1, 2)
             for end in ("o", "t")] + ["kills", "killed"]
    hosts = dict(zip(names, lab_.network(options.binary, *names)))
    failures = []
    for client in clients:
        reason = client.missing()
        if reason:
            lab.skip(client.name, reason)
            continue
        for way, direction in ((1, we_seed), (2, we_fetch)):
            pair = [hosts[f"{client.name[:3]}{way}{end}"] for end in ("o", "t")]
            try:
                direction(options, client, *pair)
            except lab.Failure as failure:
                print(f"  {client.name}, {direction.__name__}: FAILED: {failure}")
                failures.append(f"{client.name} ({direction.__name__})")
    if options.client is None:
        killed(options, hosts["kills"], hosts["killed"])
    if failures:
        raise lab.Failure(", ".join(failures))


if __name__ == "__main__":
    lab.main("magnet", run, lab.arguments(
        __doc__, ("--client", {"help": "only this one: libtorrent, transmission or aria2"})))
