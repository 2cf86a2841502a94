#!/usr/bin/env python3
"""A tracker over TLS that always answers the same: https_server.py CERTIFICATE KEY IP:PORT...

Listens on port 8443 and names the given peers to whoever asks for /announce.
"""

import http.server
import socket
import ssl
import sys

certificate, key, *peers = sys.argv[1:]
compact = b"".join(socket.inet_aton(peer.split(":")[0]) + int(peer.split(":")[1]).to_bytes(2, "big")
                   for peer in peers)
BODY = b"d8:intervali60e5:peers%d:%se" % (len(compact), compact)


class Tracker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        found = self.path.startswith("/announce?info_hash=")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)
        print("asked", self.path.split("event=")[-1].split("&")[0], flush=True)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        print("refused by", client_address[0], sys.exc_info()[1], flush=True)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = Server(("0.0.0.0", 8443), Tracker)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("ready", flush=True)
server.serve_forever()
