"""A disk of its own for a lab host, as slow as asked: a loop device with an ext4, throttled by the
kernel (cgroup v1's blkio, for this device alone).
"""

import os
import pathlib
import subprocess
import sys

import lab

THROTTLE = pathlib.Path("/sys/fs/cgroup/blkio")


def alone(name):
    """Leaves when there can be no such disk here; mounts are seen by this script only."""
    if not (THROTTLE / "blkio.throttle.read_bps_device").exists():
        lab.skip(name, "no blkio controller of cgroup v1")
        sys.exit(0)
    if os.environ.get("LAB_MOUNTS") != "private" and not lab.missing_for_hosts():
        os.environ["LAB_MOUNTS"] = "private"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable,
                              *sys.argv])


class Disk:
    """A small ext4 mounted on a folder, on a device that can be throttled."""

    def __init__(self, folder, mebibytes):
        self.folder, self.image = folder, folder.with_suffix(".disk")
        with open(self.image, "wb") as image:
            os.posix_fallocate(image.fileno(), 0, mebibytes * lab.MIB)
        run = lambda *argv: subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.device = run("losetup", "--direct-io=on", "--show", "-f", self.image).strip()
        run("mount", self.device, folder)
        about = os.stat(self.device).st_rdev
        self.number = f"{os.major(about)}:{os.minor(about)}"

    def throttle(self, megabytes, calls):
        """At most so many MB and calls a second; 0 lifts it."""
        for what, most in (("bps", megabytes * 1_000_000), ("iops", calls)):
            for way in ("read", "write"):
                rule = THROTTLE / f"blkio.throttle.{way}_{what}_device"
                rule.write_text(f"{self.number} {most}")

    def let_wait(self, mebibytes):
        """Who has so much written and not on the disk has to wait, as on a host with little memory:
        the kernel's limit, for this device alone. 0 lifts it."""
        limits = pathlib.Path("/sys/class/bdi") / self.number
        (limits / "strict_limit").write_text("1" if mebibytes else "0")
        if mebibytes:
            (limits / "max_bytes").write_text(str(mebibytes * lab.MIB))
        else:
            (limits / "max_ratio").write_text("100")

    def remove(self):
        self.throttle(0, 0)
        self.let_wait(0)
        subprocess.run(["umount", self.folder], check=True)
        subprocess.run(["losetup", "-d", self.device], check=True)
