#!/usr/bin/env python3
"""The console through a pipe, a terminal, a file and /dev/null; the commands to a running peer."""

import json
import os
import pty
import re
import subprocess
import time

import lab


class Pipe:
    """A peer whose standard input is ours."""

    def __init__(self, lab_, host, *argv, terminal=False, stdin=None):
        self.text = ""
        self.terminal = terminal
        out = subprocess.PIPE
        if terminal:
            self.end, stdin = pty.openpty()
            out = stdin
        self.popen = subprocess.Popen(
            ["ip", "netns", "exec", host.namespace, str(lab_.binary), *map(str, argv)],
            cwd=host.folder, stdin=stdin or subprocess.PIPE, stdout=out,
            stderr=subprocess.STDOUT if not terminal else stdin, preexec_fn=lab.die_with_parent,
            env={**os.environ, "TERM": "xterm"})
        if terminal:
            os.close(stdin)
        else:
            self.end = self.popen.stdout.fileno()
        os.set_blocking(self.end, False)

    def say(self, line):
        if self.terminal:
            os.write(self.end, line.encode() + b"\r")
        else:
            self.popen.stdin.write(line.encode() + b"\n")
            self.popen.stdin.flush()

    def read(self):
        try:
            self.text += os.read(self.end, 65536).decode("utf-8", "replace")
        except (BlockingIOError, OSError):
            pass
        return self.text

    def wait_for(self, pattern, seconds=15):
        try:
            return lab.wait_until(lambda: re.search(pattern, self.read()), seconds,
                                  f"said /{pattern}/")
        except lab.Failure as failure:
            raise lab.Failure(f"{failure}; it said:\n{self.text}") from None

    def wait_exit(self, seconds=15):
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise lab.Failure("it did not end") from None


def command(lab_, host, *argv):
    done = subprocess.run(
        ["ip", "netns", "exec", host.namespace, str(lab_.binary), *map(str, argv)],
        cwd=host.folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def run(lab_, options):
    a, b = lab_.network(options.binary, "a", "b")
    for name in ("age.txt", "map.bin"):
        lab.random_file(a.folder / name, lab.MIB, f"{options.seed}{name}")
    server = a.start(options.binary, "share", "age.txt")
    server.wait_for(lab.LISTENING, 10)
    code, out, err = command(lab_, a, "share", "map.bin")
    if code != 0 or "runs here already" not in out:
        raise lab.Failure(f"a second share: {code} {out} {err}")

    pipe = Pipe(lab_, b, "--peer", a.ip, "--quiet")
    pipe.wait_for(lab.LISTENING)
    pipe.say("help\nwho age.txt\nget age.txt\nget map.bin\nget aeg.txt")
    pipe.wait_for(r"quit +say goodbye")
    pipe.wait_for(r"age.txt: 1 host has it, info-hash [0-9a-f]{40}\s+10.77.0.1:5000  100%  seeder")
    pipe.wait_for(r"no host has aeg.txt, check the spelling \(1 asked; there is: age.txt\)")
    for name in ("age.txt", "map.bin"):
        lab.wait_until(lambda name=name: b.complete(name), 20, f"{name} is here")
        lab.expect_same(b.shareable / name, a.folder / name, name)
    pipe.say("files\npeers\nstatus")
    pipe.wait_for(r"file +size +there +status\n.*age.txt +1.0 MB +100% +seeder\n.*map.bin")
    pipe.wait_for(r"listening on 10.77.0.2:5000")
    pipe.say("pause age.txt\nget nothing-here")
    pipe.wait_for(r"age.txt is paused")
    # The end of a pipe is not the end of the peer; the control socket still reaches it.
    pipe.popen.stdin.close()
    pipe.wait_for(r"no host has nothing-here")
    code, out, err = command(lab_, b, "status", "--json")
    states = {t["name"]: t["status"] for t in json.loads(out)["torrents"]}
    if (code, states) != (0, {"age.txt": "paused", "map.bin": "seeder"}):
        raise lab.Failure(f"status: {code} {states} {err}")
    for argv, said in ((("resume", "age.txt"), "age.txt goes on"),
                       (("pause", "map.bin"), "map.bin is paused"),
                       (("remove", "age.txt"), "removed age.txt; its content stays"),
                       (("add", "torrents/map.bin.torrent"), None),
                       (("remove", "ag.txt"), None)):
        code, out, err = command(lab_, b, *argv)
        good = code == 0 and said in out if said else code == 1 and err
        if not good:
            raise lab.Failure(f"{argv}: {code} {out} {err}")
        print(f"  {' '.join(argv)}: {(out or err).strip()}")
    if not (b.shareable / "age.txt").exists() or (b.torrents / "age.txt.torrent").exists():
        raise lab.Failure("remove took the wrong thing")
    pipe.popen.kill()
    pipe.wait_exit()
    code, out, err = command(lab_, b, "status")
    if code != 1 or "no peer runs on" not in err:
        raise lab.Failure(f"status without a peer: {code} {err}")

    # After kill -9 the socket is stale, and map.bin is still paused.
    terminal = Pipe(lab_, b, "--peer", a.ip, terminal=True)
    terminal.wait_for(r"map.bin.*paused")
    for key in "statuz\x7fs":
        os.write(terminal.end, key.encode())
        time.sleep(0.05)
    terminal.say("")
    terminal.wait_for(r"> status\r\nlistening on 10.77.0.2:5000")
    terminal.wait_for(r"map.bin +paused +100%")
    # Ctrl-S stops the lines, and nothing else; Ctrl-Q brings those that came meanwhile.
    os.write(terminal.end, b"\x13")
    for argv in (("resume", "map.bin"), ("status",)):
        code, out, err = command(lab_, b, *argv)
        if code != 0:
            raise lab.Failure(f"{argv} behind a stopped terminal: {code} {out} {err}")
    terminal.text = ""
    os.write(terminal.end, b"\x11")
    terminal.wait_for(r"map.bin: .*-> seeder")
    terminal.say("quit")
    if terminal.wait_exit() != 0:
        raise lab.Failure("quit on a terminal")

    for what in ("/dev/null", "commands.txt"):
        (b.folder / "commands.txt").write_text("status\nquit\n")
        with open(b.folder / what, "rb") as stdin:
            quiet = Pipe(lab_, b, stdin=stdin)
            quiet.wait_for(lab.LISTENING)
            if what == "/dev/null":
                code, out, err = command(lab_, b, "status")
                if code != 0:
                    raise lab.Failure(f"/dev/null: {err}")
                quiet.popen.terminate()
            if quiet.wait_exit() != 0:
                raise lab.Failure(f"stdin {what}")

    for argv, expected in ((("get", "aeg.txt", "--peer", a.ip), 3), (("get", "no/such.torrent"), 2),
                           (("get", "age.txt", "--output", "o"), 0)):
        code, out, err = command(lab_, b, *argv)
        if code != expected:
            raise lab.Failure(f"{argv}: {code}, not {expected}: {err}")
        print(f"  {' '.join(argv)}: exit {code}; {err.strip().splitlines()[-1]}")


if __name__ == "__main__":
    lab.main("console", run, lab.arguments(__doc__))
