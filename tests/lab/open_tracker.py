#!/usr/bin/env python3
"""A tracker for any torrent, over HTTP on port 6969: who has asked is told to who asks next (BEP 3, 23)."""

import http.server
import socket
import urllib.parse

swarms = {}


class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.urlsplit(self.path).query
        asked = urllib.parse.parse_qs(query, keep_blank_values=True, encoding="latin-1")
        info_hash = asked.get("info_hash", [""])[0]
        peer = (socket.inet_aton(self.client_address[0])
                + int(asked.get("port", ["0"])[0]).to_bytes(2, "big"))
        known = swarms.setdefault(info_hash, set())
        others = b"".join(known - {peer})
        if asked.get("event") == ["stopped"]:
            known.discard(peer)
        else:
            known.add(peer)
        answer = b"d8:intervali1800e5:peers%d:%se" % (len(others), others)
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


server = http.server.ThreadingHTTPServer(("0.0.0.0", 6969), Tracker)
print("ready", flush=True)
server.serve_forever()
