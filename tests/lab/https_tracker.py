#!/usr/bin/env python3
"""A tracker over HTTPS, with an authority of its own.

Who trusts the authority (SSL_CERT_FILE) gets the content; who does not says that the certificate
is the trouble, and gets nothing. The seeder is known only to the tracker.
"""

import pathlib
import shutil
import subprocess
import sys

import lab

SIZE = 2 * lab.MIB
HERE = pathlib.Path(__file__).resolve().parent


def authority(folder, name, ip):
    """A certificate authority, and a certificate of it for this address."""
    def openssl(*argv):
        subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True, cwd=folder)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem",
            "-subj", f"/CN={name}", "-days", "2")
    openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=tracker")
    (folder / f"{name}.ext").write_text(f"subjectAltName=IP:{ip}\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{name}-ca.pem", "-CAkey",
            f"{name}-ca.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", "1",
            "-extfile", f"{name}.ext")


def run(lab_, options):
    if shutil.which("openssl") is None:
        return lab.skip("https_tracker", "no openssl; apt-get install openssl")
    tracker, seeder, trusting, other = lab_.network(options.binary, "tracker", "seeder", "trusting",
                                                    "other")
    for name in ("course", "stranger"):
        authority(lab_.folder, name, tracker.ip)
    original = seeder.shareable / "it.bin"
    lab.random_file(original, SIZE, options.seed)
    torrent = lab.make_torrent(original, f"https://{tracker.ip}:8443/announce", 64 * lab.KIB)
    for host in (seeder, trusting, other):
        (host.torrents / "it.torrent").write_bytes(torrent)
    server = tracker.start(sys.executable, HERE / "https_server.py", lab_.folder / "course.pem",
                           lab_.folder / "course.key", f"{seeder.ip}:5000")
    server.wait_for("ready", 10)

    def peer(host, name):
        return host.start("env", f"SSL_CERT_FILE={lab_.folder / name}-ca.pem", lab_.binary,
                          "--no-lsd", "--listen", "5000")
    first = peer(seeder, "course")
    first.wait_for("-> seeder", 10)
    server.wait_for("asked started", 10)
    doubting = peer(other, "stranger")
    _, match = doubting.wait_for(r"announce failed: .*((?i:its certificate).*)", 10)
    print(f"  who does not trust the authority says: {match[1]}")
    second = peer(trusting, "course")
    lab.wait_until(lambda: trusting.complete("it.bin"), 30, "complete over HTTPS")
    lab.expect_same(trusting.shareable / "it.bin", original, "over HTTPS")
    server.wait_for("asked completed", 10)
    print("  who trusts it has everything, and has told `completed`")
    if (other.shareable / "it.bin").exists():
        raise lab.Failure("who does not trust the tracker has the content")
    mark = server.mark()
    second.stop()
    server.wait_for("asked stopped", 3, since=mark)
    print("  and `stopped` at the end")


if __name__ == "__main__":
    lab.main("https_tracker", run, lab.arguments(__doc__))
