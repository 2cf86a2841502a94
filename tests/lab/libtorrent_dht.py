#!/usr/bin/env python3
"""A node of libtorrent's DHT with at most one torrent, until it is killed.

    libtorrent_dht.py IP:PORT FOLDER seed|get|node TORRENT ROUTER

ROUTER is IP:PORT of a node to begin at, or `-`. TORRENT may be a file with a magnet
link, named `.magnet`. Prints "listening", what the DHT found, and "complete" once all pieces are
there and written. TCP, DHT and ut_metadata only; no LSD, PEX, tracker or encryption.
"""

import sys

import libtorrent

listen, folder, mode, torrent, router = sys.argv[1:]
session = libtorrent.session({
    "listen_interfaces": listen, "enable_dht": True, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "in_enc_policy": 2, "out_enc_policy": 2, "dht_bootstrap_nodes": "" if router == "-" else router,
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
    # A torrent added before the DHT is ready is searched only this much later (seconds).
    "dht_announce_interval": 5,
    "alert_mask": libtorrent.alert.category_t.all_categories}, 0)  # 0: no plugins, so no PEX
session.add_extension("ut_metadata")
if router != "-":
    host, port = router.rsplit(":", 1)
    session.add_dht_node((host, int(port)))
if mode != "node":
    if torrent.endswith(".magnet"):
        with open(torrent, encoding="ascii") as link:
            parameters = libtorrent.parse_magnet_uri(link.read().strip())
    else:
        parameters = libtorrent.add_torrent_params()
        parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = folder
    handle = session.add_torrent(parameters)
TOLD = ("dht_bootstrap", "dht_error", "dht_reply", "listen_succeeded", "listen_failed",
        "peer_connect", "peer_error", "torrent_error", "metadata_received")
print("listening", flush=True)
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, libtorrent.torrent_finished_alert):
            handle.flush_cache()
        elif isinstance(alert, libtorrent.cache_flushed_alert):
            if handle.status().is_seeding:
                print("complete", flush=True)
        elif alert.what() in TOLD:
            print(alert.what(), alert.message(), flush=True)
