#!/usr/bin/env python3
"""The only server goes away in the middle of a download, and comes back.

Four ways to go: a clean stop (FIN), SIGKILL (FIN or RST, as the kernel likes), the connections
reset by RST while the server lives on, and SIGKILL with its connections reset first. Each time the
downloading peer goes on running, says that it waits, and has everything within 2 s of the server's
listening again (for the reset: of the reset), beyond the time the rest takes on the wire.
"""

import time

import lab

SIZE = 16 * lab.MIB
WITHIN = 2.0


def case(lab_, options, hosts, how):
    a, b = hosts
    name = f"{how}.bin"
    original = a.shareable / name
    lab.random_file(original, SIZE, f"{options.seed}-{how}")
    torrent = lab.make_torrent(original, f"http://{a.ip}:5000/announce", 64 * lab.KIB)
    for host in hosts:
        (host.torrents / f"{how}.torrent").write_bytes(torrent)
    b.limit(60)
    server = a.peer(log=f"a-{how}")
    server.wait_for(lab.LISTENING, 10)
    start = b.received()
    client = b.peer("--peer", a.ip, log=f"b-{how}")
    lab.wait_until(lambda: b.received() - start > SIZE // 4, 30, "a quarter is there")
    mark = client.mark()
    if how in ("reset", "reset-and-kill"):
        a.reset_connections()
        # What is still on its way must not make the reset look late.
        again = time.monotonic()
    if how == "stop":
        status = server.stop()
        if status != 0:
            raise lab.Failure(f"the seeder stopped with status {status}")
    elif how in ("kill", "reset-and-kill"):
        server.kill()
    client.wait_for(lab.WAITING, 10, since=mark)
    if b.complete(name):
        raise lab.Failure("the loss came too late to show anything")
    b.limit(None)
    if how != "reset":
        server = a.peer(log=f"a-{how}-again")
        again, _ = server.wait_for(lab.LISTENING, 10)
    lab.wait_until(lambda: b.complete(name), 30, f"{how}: complete after the return")
    took = time.monotonic() - again
    if not client.running():
        raise lab.Failure(f"{how}: the client ended")
    lab.expect_same(b.shareable / name, original, how)
    waited = [match.string for match in client.said(lab.WAITING, since=mark)]
    print(f"  {how}: complete {took:.2f} s after the return; said: {waited[0]}")
    if took > WITHIN:
        raise lab.Failure(f"{how}: {took:.2f} s, more than {WITHIN} s")
    for process in (client, server):
        process.stop()
    for host in hosts:
        (host.torrents / f"{how}.torrent").unlink()


def run(lab_, options):
    hosts = lab_.network(options.binary, "a", "b")
    for how in ("stop", "kill", "reset", "reset-and-kill"):
        case(lab_, options, hosts, how)


if __name__ == "__main__":
    lab.main("server_lost", run, lab.arguments(__doc__))
