#!/usr/bin/env python3
"""A minimal client on libtorrent's Python binding: one torrent, until it is killed.

    libtorrent_client.py IP:PORT FOLDER TORRENT|MAGNET [--extensions]

Prints "complete" once all pieces are there and written. TCP only; no DHT, LSD or encryption; PEX and
metadata (BEP 11, BEP 9) only with --extensions.
"""

import sys

import libtorrent

listen, folder, torrent = sys.argv[1:4]
plugins = 1 if "--extensions" in sys.argv[4:] else 0
session = libtorrent.session({
    "listen_interfaces": listen, "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "in_enc_policy": 2, "out_enc_policy": 2,
    "alert_mask": libtorrent.alert.category_t.all_categories}, plugins)
if torrent.startswith("magnet:"):
    parameters = libtorrent.parse_magnet_uri(torrent)
else:
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = folder
handle = session.add_torrent(parameters)
QUIET = {"picker_log", "block_finished", "block_downloading", "block_uploaded", "peer_log",
         "session_stats", "dht_log", "portmap_log", "log", "torrent_log"}
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, libtorrent.torrent_finished_alert):
            handle.flush_cache()
        elif isinstance(alert, libtorrent.cache_flushed_alert):
            if handle.status().is_seeding:
                print("complete", flush=True)
        elif alert.what() not in QUIET:
            print(alert.what(), alert.message(), flush=True)
