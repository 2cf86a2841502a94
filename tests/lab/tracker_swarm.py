#!/usr/bin/env python3
"""A swarm of six that know only our announce URL: first over HTTP, then over UDP.

One peer of ours is announcer, tracker and only seeder; two of ours, aria2, Transmission and
libtorrent fetch from it and from each other. DHT, local discovery and PEX are off (aria2's DHT is on for UDP and
knows nobody), so the tracker is the only way to anybody. All complete, and the scrape counts them right.
"""

import hashlib
import pathlib
import sys

import lab
import real_clients

SIZE = 24 * lab.MIB + 777
HERE = pathlib.Path(__file__).resolve().parent
OTHERS = (real_clients.Aria2, real_clients.Transmission, real_clients.Libtorrent)


def scrape(host, url, info_hash):
    """What the tracker counts, asked from this host: complete, incomplete, downloaded."""
    asked = host.start(sys.executable, HERE / "scrape.py", url, info_hash,
                       log=f"{host.name}-scrape")
    _, match = asked.wait_for(r"^(\d+) (\d+) (\d+)$", 10)
    asked.wait_exit(5)
    return tuple(map(int, match.groups()))


def case(lab_, options, scheme, hosts):
    announcer, *others = hosts
    original = announcer.shareable / f"{scheme}.bin"
    lab.random_file(original, SIZE, f"{options.seed}-{scheme}")
    torrent = lab.make_torrent(original, f"{scheme}://{announcer.ip}:5000/announce", 64 * lab.KIB)
    info_hash = hashlib.sha1(torrent[torrent.index(b"4:info") + 6:-1]).hexdigest()
    alone = ["--no-lsd", "--no-dht", "--no-pex"]
    clients = [client() for client in OTHERS]
    clients[0].udp_trackers = scheme == "udp"
    present = []
    for host, client in zip(others, clients):
        if client.missing():
            lab.skip(client.name, client.missing())
        else:
            present.append((host, client))
    for host in hosts:
        (host.folder / "it.torrent").write_bytes(torrent)
    ours = [announcer, *others[len(clients):]]
    for host in ours:
        (host.torrents / "it.torrent").write_bytes(torrent)
    # Slow enough that all of them meet before anybody is complete.
    for host in hosts:
        host.limit(80)
    server = announcer.peer(*alone)
    server.wait_for(rf"{scheme}.bin: checking -> seeder", 10)
    processes = [server, *(host.peer(*alone) for host in ours[1:])]
    for host, client in present:
        # `seeding`: it stays when it is complete.
        seeding = client.name == "aria2"
        processes.append(client.start(host, host.folder / "it.torrent", seeding))
    fetching = [*ours[1:], *(host for host, _ in present)]
    for host in fetching:
        path = host.shareable / original.name
        wanted = lab.digest(original)
        lab.wait_until(lambda: path.exists() and path.stat().st_size == SIZE
                       and lab.digest(path) == wanted, 120, f"{host.name} has all bytes")
    everybody = len(fetching) + 1
    for url in (f"http://{announcer.ip}:5000/scrape", f"udp://{announcer.ip}:5000"):
        # Who has just completed may take a moment to say so.
        counts = lab.wait_until(
            lambda: (found := scrape(announcer, url, info_hash)) == (everybody, 0, everybody - 1)
            and found, 30, f"{url} counts {everybody} complete; it says "
            f"{scrape(announcer, url, info_hash)}")
        print(f"  {scheme}: {everybody} complete; {url}: complete {counts[0]}, "
              f"incomplete {counts[1]}, downloaded {counts[2]}", flush=True)
    # The others do not always take the time to say that they leave.
    leaving = len(ours) - 1
    for process in processes[1:1 + leaving]:
        process.stop()
    left = lab.wait_until(
        lambda: (found := scrape(announcer, url, info_hash))[:2] == (everybody - leaving, 0)
        and found, 5, "who left is off the list")
    print(f"  {scheme}: after {leaving} of ours have left: complete {left[0]}, incomplete {left[1]}")
    for process in processes[1 + leaving:]:
        if process.running():
            process.kill()
    server.stop()


def run(lab_, options):
    names = [f"{scheme}{n}" for scheme in ("http", "udp") for n in range(6)]
    hosts = lab_.network(options.binary, *names)
    case(lab_, options, "http", hosts[:6])
    case(lab_, options, "udp", hosts[6:])


if __name__ == "__main__":
    lab.main("tracker_swarm", run, lab.arguments(__doc__))
