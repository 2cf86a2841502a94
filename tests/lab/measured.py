#!/usr/bin/env python3
"""Runs a program and writes down how it ended: measured.py RESULT SECONDS PROGRAM ARGUMENT...

RESULT becomes a JSON object: status (negative: the signal that ended it), seconds, rss (bytes at
most). A process of its own, and small: the kernel counts the memory of the process that forks
towards the peak of the program. SIGTERM is passed on; SIGKILL follows after SECONDS.
"""

import ctypes
import json
import os
import signal
import sys
import time


def main():
    result, seconds, *argv = sys.argv[1:]
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    _, status, usage = os.wait4(child, 0)
    ended = {"status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - began,
             "rss": usage.ru_maxrss * 1024}
    with open(result, "w", encoding="ascii") as out:
        json.dump(ended, out)


if __name__ == "__main__":
    main()
