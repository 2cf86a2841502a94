#!/usr/bin/env python3
"""Eight hosts, no address, no .torrent, no tracker.

One host runs `share`, seven run `get NAME` at random moments; all end with 0 and the same bytes.
Then the same where the bridge carries no multicast: each has one `--peer`.
"""

import random
import subprocess
import time

import lab

SIZE = 24 * lab.MIB
NAME = "big image.iso"


def round_of(lab_, options, hosts, what, peer_of):
    chance = random.Random(f"{options.seed}-{what}")
    first, others = hosts[0], hosts[1:]
    original = first.folder / what / NAME
    original.parent.mkdir()
    lab.random_file(original, SIZE, f"{options.seed}-{what}")
    server = first.start(options.binary, "share", original, "--torrents", f"t-{what}",
                         "--shareable", f"s-{what}", log=f"share-{what}")
    server.wait_for(lab.LISTENING, 20)
    if not (first.folder / f"s-{what}" / NAME).is_symlink():
        raise lab.Failure("the content was copied")
    began = time.monotonic()
    clients = []
    for number, host in enumerate(others):
        time.sleep(chance.uniform(0, 0.4))
        clients.append(host.start(options.binary, "get", *peer_of(number, host), "--output", what,
                                  NAME, log=f"{host.name}-{what}"))
    for host, client in zip(others, clients):
        status = client.wait_exit(90)
        if status != 0:
            raise lab.Failure(f"{what}: get on {host.name} ended with {status}")
        lab.expect_same(host.folder / what / NAME, original, host.name)
    print(f"  {what}: seven have it, makespan {time.monotonic() - began:.1f} s")
    status = server.stop()
    if status != 0:
        raise lab.Failure(f"share ended with {status}")


def run(lab_, options):
    hosts = lab_.network(options.binary, *"abcdefgh")
    round_of(lab_, options, hosts, "multicast", lambda number, host: [])
    for host in hosts:
        # The kernel drops what comes for a group before any program sees it.
        subprocess.run(["ip", "netns", "exec", host.namespace, "ip", "link", "set", "eth0",
                        "multicast", "off"], check=True)
        subprocess.run(["ip", "-n", host.namespace, "route", "add", "blackhole", "224.0.0.0/4"],
                       check=True)
    round_of(lab_, options, hosts, "one-peer", lambda number, host: ["--peer", hosts[0].ip])


if __name__ == "__main__":
    lab.main("zero_config", run, lab.arguments(__doc__))
