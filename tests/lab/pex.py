#!/usr/bin/env python3
"""Peers that find each other through peers: rp_peers among ours, ut_pex with libtorrent and
Transmission, both ways.

There is no tracker, no DHT and no local discovery; each peer is told of one other. Downloads are
slowed, so that nobody is done before it is seen who found whom.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import lab
from real_clients import Libtorrent, Transmission

SIZE = 40 * lab.MIB
SLOW = 2  # megabits a second
ALONE = ("--no-lsd", "--no-dht")
HERE = pathlib.Path(__file__).resolve().parent


class LibtorrentPex(Libtorrent):
    def start(self, host, torrent, seeding):
        return host.start(self.python(), HERE / "libtorrent_client.py", f"{host.ip}:6881",
                          host.shareable, torrent, "--extensions", log=f"{host.name}-libtorrent")


class TransmissionPex(Transmission):
    def start(self, host, torrent, seeding):
        state = host.folder / "transmission"
        (state / "torrents").mkdir(parents=True)
        shutil.copy(torrent, state / "torrents")
        (state / "settings.json").write_text(json.dumps({
            "rpc-enabled": False, "bind-address-ipv4": host.ip, "peer-port": 6881,
            "dht-enabled": False, "lpd-enabled": False, "pex-enabled": True,
            "utp-enabled": False, "port-forwarding-enabled": False, "encryption": 0,
            "download-dir": str(host.shareable), "incomplete-dir-enabled": False,
            "watch-dir-enabled": False, "start-added-torrents": True}))
        return host.start("transmission-daemon", "-f", "--log-debug", "-g", state,
                          log=f"{host.name}-transmission")


def join(host, torrent, *options):
    """Our peer, with this torrent."""
    shutil.copy(torrent, host.torrents / "course.torrent")
    return host.peer(*ALONE, "--log-level", "debug", *options)


def among_ours(torrent, hub, others):
    """Each knows the hub only; within a second of a handshake all know of each. Nobody has any
    content, so nothing but these messages is on the wire."""
    first, second, third = others
    hub.process = join(hub, torrent)
    hub.process.wait_for(lab.WAITING, 10)
    one = join(first, torrent, "--peer", hub.ip)
    one.wait_for(rf"<- {hub.ip}:5000 extended handshake", 10)
    two = join(second, torrent, "--peer", hub.ip)
    met, _ = hub.process.wait_for(rf"{second.ip}:\d+ connected", 10)
    told, _ = one.wait_for(rf"<- {hub.ip}:5000 rp_peers: .*added.*{second.ip}:5000", 10)
    found, _ = two.wait_for(rf"<- {hub.ip}:5000 rp_peers: .*added.*{first.ip}:5000", 10)
    between = rf"client \d+ connected to {first.ip}:5000|{first.ip}:\d+ connected"
    dialed, _ = two.wait_for(between, 10)
    if max(told, found, dialed) - met > 1.0:
        raise lab.Failure(f"told after {told - met:.2f} s, {found - met:.2f} s, connected after "
                          f"{dialed - met:.2f} s")
    print(f"  rp_peers: the others were told of a new peer after {told - met:.2f} s, it of them "
          f"after {found - met:.2f} s; connected after {dialed - met:.2f} s")
    two.kill()
    gone, _ = hub.process.wait_for(rf"{second.ip} disconnected", 10)
    dropped, _ = one.wait_for(
        rf"<- {hub.ip}:5000 rp_peers: 0 added, 1 dropped: {second.ip}:5000", 10)
    if dropped - gone > 1.0:
        raise lab.Failure(f"the loss was told only after {dropped - gone:.2f} s")
    print(f"  rp_peers: a killed peer was dropped from the list {dropped - gone:.2f} s later")
    three = join(third, torrent, "--peer", first.ip)
    three.wait_for(rf"<- {hub.ip}:\d+ extended handshake", 10)
    print("  rp_peers: one that knew another downloader only has found the hub")
    # The hub is gone: the others answer announces from their own tables.
    hub.process.kill()
    three.wait_for(rf"{hub.ip} disconnected", 10)
    listed = announce(hub, third, torrent)
    if not {first.ip, third.ip} <= listed:
        raise lab.Failure(f"after the hub's death the third peer lists {listed}")
    print("  rp_peers: after the hub's death a downloader's own table lists the others")
    one.stop()
    three.stop()


def announce(host, tracker, torrent):
    """The addresses that a tracker lists for an announce from this host."""
    shown = subprocess.run([host.lab.binary, "show", torrent, "--json"], capture_output=True,
                           text=True, check=True).stdout
    info_hash = "".join("%" + hex_ for hex_ in
                        re.findall("..", json.loads(shown)["info_hash"]))
    url = (f"http://{tracker.ip}:5000/announce?info_hash={info_hash}&peer_id={'x' * 20}&port=7000"
           "&uploaded=0&downloaded=0&left=1&compact=1")
    fetch = ("import sys, urllib.request; "
             "sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=5).read())")
    body = subprocess.run(["ip", "netns", "exec", host.namespace, sys.executable, "-c", fetch, url],
                          capture_output=True, check=True).stdout
    found = re.search(rb"5:peers(\d+):", body)
    peers = body[found.end():found.end() + int(found.group(1))]
    return {".".join(map(str, peers[at:at + 4])) for at in range(0, len(peers), 6)}


def with_client(client, torrent, seeder, theirs, early, late):
    """`early` dials the client, whose only way to the seeder is our ut_pex; `late` dials the
    client when `early` is gone, and its only way to the seeder is the client's ut_pex."""
    theirs.limit(SLOW)
    other = client.start(theirs, torrent, False)
    lab.wait_until(lambda: any(socket[0] == "LISTEN" and socket[2] == "6881"
                               for socket in theirs.sockets()), 20, f"{client.name} listens")
    early.limit(SLOW)
    late.limit(SLOW)
    first = join(early, torrent, "--peer", seeder.ip, "--peer", f"{theirs.ip}:6881")
    said, _ = first.wait_for(rf"-> {theirs.ip}:6881 ut_pex: ", 30)
    came, _ = seeder.process.wait_for(rf"{theirs.ip}:\d+ connected", 90)
    print(f"  {client.name} found the seeder {came - said:.1f} s after our ut_pex")
    first.stop()
    second = join(late, torrent, "--no-pex", "--peer", f"{theirs.ip}:6881")
    # Without peer exchange nothing is learnt, whatever is said.
    second.wait_for(rf"<- {theirs.ip}:6881 extended handshake", 20)
    second.stop()
    second = join(late, torrent, "--peer", f"{theirs.ip}:6881")
    second.wait_for(rf"<- {theirs.ip}:6881 ut_pex: [1-9]\d* added", 150)
    second.wait_for(rf"client \d+ connected to {seeder.ip}:5000", 10)
    print(f"  we found the seeder by the ut_pex of {client.name}")
    second.wait_for(rf"-> {theirs.ip}:6881 ut_pex: ", 90)
    for process in (first, second):
        hangups = [found.string for found in process.said(rf"\] {theirs.ip} disconnected: (?!stop)")]
        if hangups:
            raise lab.Failure(f"{client.name} hung up on us: {hangups[0]}")
    if other.said(r"(?i)too frequent|flood"):
        raise lab.Failure(f"{client.name} takes us for a flooder")
    print(f"  {client.name} did not hang up on us")
    second.stop()
    other.kill()


def private(lab_, options, seeder, other):
    """BEP 27: no word of it."""
    content = seeder.shareable / "private.bin"
    lab.random_file(content, lab.MIB, f"{options.seed}-private")
    torrent = seeder.folder / "private.torrent"
    torrent.write_bytes(lab.make_torrent(content, "http://10.77.0.99/", private=1))
    shutil.copy(torrent, seeder.torrents)
    seeder.process.wait_for(r"private.bin: .*-> seeder", 10)
    (other.torrents / "course.torrent").unlink(missing_ok=True)
    shutil.copy(torrent, other.torrents)
    peer = other.peer(*ALONE, "--log-level", "debug", "--peer", seeder.ip,
                      log=f"{other.name}-private")
    peer.wait_for(r"private.bin: .*-> seeder", 20)
    # A handshake names both, as not offered.
    if peer.said(r"(<-|->) \S+ (rp_peers|ut_pex)"):
        raise lab.Failure("peers were told of in a private swarm")
    print("  private: nobody was told of anybody")
    peer.stop()


def run(lab_, options):
    names = ["hub", "seeder", "ours1", "ours2", "ours3", "lib", "liba", "libb", "tra", "traa", "trab"]
    hosts = dict(zip(names, lab_.network(options.binary, *names)))
    seeder = hosts["seeder"]
    content = seeder.shareable / "course.bin"
    lab.random_file(content, SIZE, options.seed)
    torrent = seeder.folder / "course.torrent"
    info = lab.make_torrent(content, "http://10.77.0.99/", 256 * lab.KIB)
    torrent.write_bytes(info)
    among_ours(torrent, hosts["hub"], [hosts["ours1"], hosts["ours2"], hosts["ours3"]])
    shutil.copy(torrent, seeder.torrents)
    seeder.process = seeder.peer(*ALONE, "--log-level", "debug")
    seeder.process.wait_for(lab.BECAME_SEEDER, 20)
    private(lab_, options, seeder, hosts["ours2"])
    for client, theirs, early, late in ((LibtorrentPex(), "lib", "liba", "libb"),
                                        (TransmissionPex(), "tra", "traa", "trab")):
        if options.client not in (None, client.name):
            continue
        if client.missing():
            lab.skip(client.name, client.missing())
            continue
        with_client(client, torrent, seeder, hosts[theirs], hosts[early], hosts[late])


if __name__ == "__main__":
    lab.main("pex", run, lab.arguments(
        __doc__, ("--client", {"help": "only this one beside ours: libtorrent or transmission"})))
