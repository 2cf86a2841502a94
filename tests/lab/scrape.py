#!/usr/bin/env python3
"""Asks a tracker how many are in a swarm: scrape.py URL INFO_HASH

URL is http://HOST:PORT/scrape (BEP 48) or udp://HOST:PORT (BEP 15). Prints the numbers of who has
everything, who misses something, and who has said `completed`.
"""

import os
import re
import socket
import struct
import sys
import urllib.parse
import urllib.request


def over_http(url, info_hash):
    query = urllib.parse.urlencode({"info_hash": info_hash})
    with urllib.request.urlopen(f"{url}?{query}", timeout=5) as answer:
        body = answer.read()
    return [int(re.search(b"%d:%si(\\d+)e" % (len(key), key), body)[1])
            for key in (b"complete", b"incomplete", b"downloaded")]


def over_udp(url, info_hash):
    parts = urllib.parse.urlsplit(url)
    transaction = struct.unpack(">I", os.urandom(4))[0]
    tracker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tracker.settimeout(5)
    tracker.connect((parts.hostname, parts.port))
    tracker.send(struct.pack(">QII", 0x41727101980, 0, transaction))
    action, same, connection = struct.unpack(">IIQ", tracker.recv(2048))
    assert (action, same) == (0, transaction), (action, same)
    tracker.send(struct.pack(">QII", connection, 2, transaction) + info_hash)
    answer = tracker.recv(2048)
    action, same, complete, downloaded, incomplete = struct.unpack(">IIIII", answer)
    assert (action, same) == (2, transaction), answer
    return [complete, incomplete, downloaded]


url, info_hash = sys.argv[1], bytes.fromhex(sys.argv[2])
print(*(over_udp if url.startswith("udp:") else over_http)(url, info_hash))
