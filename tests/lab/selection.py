#!/usr/bin/env python3
"""Two of five files, chosen by a magnet link (BEP 53), between our peer and libtorrent and aria2.

We fetch them from libtorrent's seed, which is our tracker's only announcer; killed half-way, we go on.
Nothing else may come: the bytes on the wire are counted, and the neighbours have the bytes of the
pieces at the border only. Then the seed is gone, and a libtorrent leecher and an aria2 that were told
to take the same files get them from us, a partial seed (BEP 21). To its tracker it says `paused`.
At last forty `get` with other choices each time, most of them killed: what has its name is complete.
"""

import http.server
import pathlib
import random
import shutil
import subprocess
import threading
import time

import lab
from magnet import LibtorrentLink
from real_clients import Aria2

HERE = pathlib.Path(__file__).resolve().parent
PIECE = 64 * lab.KIB
# In the order of the torrent. Chosen: b and d.
FILES = [("a.bin", 3 * lab.MIB + 11), ("b/b.bin", 9 * lab.MIB + 7), ("c.bin", 5 * lab.MIB + 1),
         ("d.bin", 2 * lab.MIB + 13), ("e.bin", 4 * lab.MIB)]
CHOSEN = {"b/b.bin", "d.bin"}
# What the pieces with something of the chosen files have, and what is said around them.
WIRE_MAX = int((sum(size for path, size in FILES if path in CHOSEN) + 4 * PIECE) * 1.04) + lab.MIB
# A leecher that takes some files only; prints "complete" when it has those.
LEECHER = """
import sys, libtorrent as lt
listen, folder, torrent, priorities = sys.argv[1:]
session = lt.session({"listen_interfaces": listen, "enable_dht": False, "enable_lsd": False,
    "enable_upnp": False, "enable_natpmp": False, "enable_outgoing_utp": False,
    "enable_incoming_utp": False, "in_enc_policy": 2, "out_enc_policy": 2,
    "alert_mask": lt.alert.category_t.all_categories})
parameters = lt.add_torrent_params()
parameters.ti = lt.torrent_info(torrent)
parameters.save_path = folder
parameters.file_priorities = [int(priority) for priority in priorities]
handle = session.add_torrent(parameters)
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.torrent_finished_alert):
            handle.flush_cache()
        elif isinstance(alert, lt.cache_flushed_alert):
            if handle.status().is_finished:
                print("complete", flush=True)
        elif alert.what() in ("peer_disconnected", "peer_connect", "torrent_error"):
            print(alert.what(), alert.message(), flush=True)
"""


def make_content(root, seed):
    for path, size in FILES:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        lab.random_file(root / path, size, f"{seed}-{path}")
    # lab.make_torrent takes files in the order of their paths: as in FILES.
    if [str(path.relative_to(root)) for path in lab.files_of(root)] != [path for path, _ in FILES]:
        raise RuntimeError("the files are not in the order of the torrent")


def expect_chosen(found, original, what):
    """The chosen files, byte for byte, and of the others only what lies in the same pieces."""
    there = {str(path.relative_to(found)) for path in lab.files_of(found)}
    for path in CHOSEN:
        if path not in there or (found / path).read_bytes() != (original / path).read_bytes():
            raise lab.Failure(f"{what}: {path} is not there, or has other bytes")
    parts = {f"{path}.part" for path, _ in FILES if path not in CHOSEN}
    if there - CHOSEN - parts:
        raise lab.Failure(f"{what}: {there - CHOSEN - parts} was not chosen and is there")
    for part in sorted(there & parts):
        about = (found / part).stat()
        if about.st_blocks * 512 > 2 * PIECE + 4096:
            raise lab.Failure(f"{what}: {about.st_blocks * 512} bytes are stored in {part}")
        mine, whole = (found / part).read_bytes(), (original / part[:-5]).read_bytes()
        if any(a != b and a != 0 for a, b in zip(mine, whole)):
            raise lab.Failure(f"{what}: {part} has other bytes")
    return sorted(there & parts)


def we_fetch(options, ours, theirs, client):
    root = theirs.shareable / "course"
    make_content(root, options.seed)
    torrent = theirs.folder / "course.torrent"
    torrent.write_bytes(lab.make_torrent(root, f"http://{ours.ip}:5000/announce", PIECE))
    shown = subprocess.run([options.binary, "show", torrent], capture_output=True, text=True,
                           check=True).stdout
    indices = [line.split()[0] for line in shown.splitlines()
               if line.split()[-1].removeprefix("course/") in CHOSEN]
    info_hash = next(line.split()[1] for line in shown.splitlines() if line.startswith("info-hash"))
    (ours.torrents / "course.magnet").write_text(
        f"magnet:?xt=urn:btih:{info_hash}&dn=course&so={','.join(indices)}")
    ours.limit(60)
    before = ours.received()
    peer = ours.peer("--no-lsd", "--no-dht", log=f"{ours.name}-1")
    peer.wait_for(r"fetching the metadata", 10)
    seed = client.start(theirs, torrent, True)
    peer.wait_for(r"piece \d+ ok \(50/", 60)
    peer.kill()
    if (ours.shareable / "course").exists():
        raise lab.Failure("what is not complete has its final name")
    ours.limit(None)
    peer = ours.peer("--no-lsd", "--no-dht", "--peer", f"{theirs.ip}:6881", log=f"{ours.name}-2")
    peer.wait_for(r"-> partial seed", 60)
    peer.wait_for(r"saved as shareable/course$", 10)
    parts = expect_chosen(ours.shareable / "course", root, "from libtorrent")
    received = ours.received() - before
    print(f"  files {','.join(indices)} of {len(FILES)} from libtorrent by the link, killed half-way: "
          f"same bytes, {received} bytes received for "
          f"{sum(size for path, size in FILES if path in CHOSEN)}; beside them {', '.join(parts)}")
    if received > WIRE_MAX:
        raise lab.Failure(f"{received} bytes were received")
    check = subprocess.run([options.binary, "check", torrent, "--shareable", ours.shareable],
                           capture_output=True, text=True)
    said = "; ".join(check.stdout.splitlines())
    print(f"  check: exit code {check.returncode}, {said}")
    if check.returncode != 1 or "2 of 5 files are complete" not in check.stdout:
        raise lab.Failure("check says something else")
    seed.kill()
    return peer, root, torrent, indices


def they_fetch(ours, host, root, process, what):
    process.wait_for(r"complete", 60)
    found = host.shareable / "course"
    for path in sorted(CHOSEN):
        if (found / path).read_bytes() != (root / path).read_bytes():
            raise lab.Failure(f"{what}: {path} has other bytes")
    print(f"  {what}, the same files from us, a partial seed: same bytes")
    process.kill()


class Announces(http.server.BaseHTTPRequestHandler):
    """A tracker that answers everybody alike and keeps what it was told."""
    told = []

    def do_GET(self):
        Announces.told.append(self.path)
        body = b"d8:intervali1800e5:peers0:e"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def announces(options, lab_, root, ours):
    """On this machine's loopback: what a partial seed says to a tracker, from its start on."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Announces)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = lab_.folder / "announces"
    shutil.copytree(ours.shareable, folder / "downloads")
    url = f"http://127.0.0.1:{server.server_port}/announce"
    (folder / "course.torrent").write_bytes(lab.make_torrent(root, url, PIECE))
    done = subprocess.run(
        [options.binary, "get", "course.torrent", "--select", "1,3", "--output", "downloads",
         "--no-lsd", "--no-dht", "--listen", str(options.port), "--bind", "127.0.0.1"],
        cwd=folder, capture_output=True, text=True)
    server.shutdown()
    if done.returncode != 0:
        raise lab.Failure(f"get ended with {done.returncode}: {done.stderr}")
    said = [dict(pair.split("=", 1) for pair in told.split("?", 1)[1].split("&"))
            for told in Announces.told]
    events = [query.get("event") for query in said]
    missing = sum(size for path, size in FILES if path not in CHOSEN)
    print(f"  to a tracker: {', '.join(map(str, events))}; left={said[0]['left']}")
    if events[0] != "paused" or "completed" in events or not 0 < int(said[0]["left"]) <= missing:
        raise lab.Failure("a partial seed says paused, and is missing something")


def other_choices(options, lab_, root):
    """Choices that grow and shrink from one run to the next, killed at any moment."""
    chance = random.Random(options.seed)
    folder = lab_.folder / "choices"
    seed = folder / "seed"
    for name in ("torrents", "shareable"):
        (seed / name).mkdir(parents=True)
    shutil.copytree(root, seed / "shareable" / "course")
    for place in (seed / "torrents", folder):
        (place / "course.torrent").write_bytes(lab.make_torrent(root, "", PIECE))
    network = ["--no-lsd", "--no-dht", "--bind", "127.0.0.1", "--listen"]
    seeding = lab.Process([options.binary, *network, options.port], lab_.folder / "choices-seed.log",
                          cwd=seed)
    lab_.processes.append(seeding)
    seeding.wait_for(lab.BECAME_SEEDER, 20)
    files, found, done = lab.files_of(root), folder / "downloads" / "course", 0
    for round_ in range(40):
        chosen = sorted(chance.sample(range(len(files)), chance.randrange(1, len(files) + 1)))
        getting = subprocess.Popen(
            [options.binary, "get", "course.torrent", "--output", "downloads", *network,
             str(options.port + 20), "--peer", f"127.0.0.1:{options.port}", "--quiet",
             "--select", ",".join(map(str, chosen))],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(lab_.folder / "choices-get.log", "a", encoding="utf-8"))
        if chance.random() < 0.7:
            time.sleep(chance.random() * 0.2)
            getting.kill()
            getting.wait()
        elif getting.wait(60) != 0:
            raise lab.Failure(f"round {round_}: get {chosen} ended with {getting.returncode}")
        else:
            done += 1
            for index in chosen:
                lab.expect_same(found / files[index].relative_to(root), files[index],
                                f"round {round_}, {chosen}")
        named = [path for path in lab.files_of(found) if path.suffix != ".part"]
        for path in named if found.exists() else []:
            if path.read_bytes() != (root / path.relative_to(found)).read_bytes():
                raise lab.Failure(f"round {round_}: {path} has its name and is not complete")
    if list((folder / "downloads").rglob("*.before")):
        raise lab.Failure("something was set aside")
    seeding.kill()
    print(f"  40 times another choice, {done} of them to the end: what has its name is complete")


def run(lab_, options):
    client = LibtorrentLink()
    if client.missing():
        return lab.skip("libtorrent", client.missing())
    ours, theirs, leecher, aria = lab_.network(options.binary, "ours", "seed", "leech", "aria")
    peer, root, torrent, indices = we_fetch(options, ours, theirs, client)
    priorities = "".join("4" if str(n) in indices else "0" for n in range(len(FILES)))
    process = leecher.start(client.python(), "-c", LEECHER, f"{leecher.ip}:6881",
                            leecher.shareable, torrent, priorities, log="leech-libtorrent")
    they_fetch(ours, leecher, root, process, "libtorrent")
    aria2 = Aria2()
    if aria2.missing():
        lab.skip("aria2", aria2.missing())
    else:
        process = aria.start(
            "aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false",
            "--bt-enable-lpd=false", "--enable-peer-exchange=false", "--listen-port=6881",
            "--seed-time=0", "--enable-color=false", "--file-allocation=none",
            f"--select-file={','.join(str(int(n) + 1) for n in indices)}",
            f"--dir={aria.shareable}", torrent, log="aria-aria2")
        they_fetch(ours, aria, root, process, "aria2")
    if peer.said(lab.BECAME_SEEDER):
        raise lab.Failure("a partial seed calls itself seeder")
    if peer.stop() != 0:
        raise lab.Failure("our peer did not end with 0")
    announces(options, lab_, root, ours)
    other_choices(options, lab_, root)


if __name__ == "__main__":
    lab.main("selection", run, lab.arguments(
        __doc__, ("--port", {"type": int, "default": 23500, "help": "for the part on loopback"})))
