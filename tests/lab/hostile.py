#!/usr/bin/env python3
"""Hostile and unlucky .torrent files: `show --json` and the main form agree with their manifest.

A generator, named with --generator, writes the files and manifest.json (a list `torrents` of
entries: file, verdict, also, info_hash, checks). For every entry:

  show --json   exit 0 for a verdict of accept or accept-sanitised, 2 for reject; the info-hash,
                file list and trackers of the manifest; at most 1 s and 64 MiB.
  contacts      whom the main form dials for it: none that the manifest forbids, no tracker that it
                does not list, no more trackers than it says.
  main form     started on a folder with the file and one sound torrent: the sound one is seeded;
                a refusal is one line with the file's name; nothing appears outside the folders.
"""

import json
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import lab

HERE = pathlib.Path(__file__).resolve().parent
SECONDS_MAX = 1.0
DIALS_WITHIN = 0.8
CONTACTS = ("trackers", "trackers_max", "never_contact")
RSS_MAX = 64 * lab.MIB
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Ended:
    """How a program ended, and what it took."""

    def __init__(self, result, out=b"", err=""):
        told = json.loads(result.read_text())
        self.status, self.seconds, self.rss = told["status"], told["seconds"], told["rss"]
        self.out, self.err = out, err


def under_measure(result, *argv, seconds=20):
    """The command line that runs a program and writes down how it ended."""
    return [sys.executable, "-I", "-S", HERE / "measured.py", result, seconds, *argv]


def measured(folder, *argv):
    """Runs a program to its end."""
    result = folder / "ended.json"
    command = [str(part) for part in under_measure(result, *argv)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    return Ended(result, done.stdout, done.stderr.decode("utf-8", "replace"))


def sound(entry):
    """The verdicts that are right for an entry."""
    return {entry["verdict"], *entry.get("also", [])}


def judge_show(options, entry, path, folder):
    """Yields what is wrong with `show --json` on this file."""
    ended = measured(folder, options.binary, "show", "--json", path)
    if ended.status not in (0, 2):
        yield f"show ended with status {ended.status}: {ended.err[-300:]!r}"
        return
    if ended.seconds > SECONDS_MAX:
        yield f"show took {ended.seconds:.2f} s"
    if ended.rss > RSS_MAX:
        yield f"show took {ended.rss // lab.MIB} MiB"
    verdicts = sound(entry)
    if ended.status == 2:
        if "reject" not in verdicts:
            yield f"show refuses it: {ended.err.strip()[-200:]!r}"
        if not ended.err.strip() or len(ended.err.strip().splitlines()) != 1:
            yield f"the refusal is not one line: {ended.err[:300]!r}"
        if CONTROL.search(ended.err.rstrip("\n")):
            yield "the refusal holds control characters"
        return
    if verdicts == {"reject"}:
        yield "show accepts it"
        return
    try:
        shown = json.loads(ended.out)
    except ValueError as error:
        yield f"show --json is not JSON: {error}"
        return
    if shown["info_hash"] != entry["info_hash"]:
        yield f"info-hash {shown['info_hash']}, not {entry['info_hash']}"
    yield from judge_fields(entry.get("checks", {}), shown)


def judge_fields(checks, shown):
    """Yields where the object of `show --json` and the manifest's checks differ."""
    listed = [[file["path"] if isinstance(file["path"], str) else "/".join(file["path"]),
               file["length"]] for file in shown["files"]]
    # A path may be given with or without the torrent's name in front.
    named = [[f"{shown['name']}/{path}", length] for path, length in listed]
    if "files" in checks and checks["files"] not in (listed, named):
        yield f"files {listed[:4]}, not {checks['files'][:4]}"
    if "file_count" in checks and len(listed) != checks["file_count"]:
        yield f"{len(listed)} files, not {checks['file_count']}"
    if "private" in checks and bool(shown["private"]) != checks["private"]:
        yield f"private is {shown['private']}"
    for part in checks.get("forbidden_parts", []):
        if any(part in path.split("/") for path, _ in listed):
            yield f"a path has the part {part!r}"


def tree(folder):
    """Every name below a folder with its kind; links are not followed."""
    return {str(path.relative_to(folder)): path.lstat().st_mode for path in folder.rglob("*")}


def judge_main(options, entry, path, control):
    """Yields what is wrong with the main form on a folder with this file."""
    sandbox = pathlib.Path(tempfile.mkdtemp(prefix="reactor-peer-hostile-"))
    try:
        run = sandbox / "deep" / "run"
        for name in ("torrents", "shareable"):
            (run / name).mkdir(parents=True)
        shutil.copy(path, run / "torrents" / entry["file"])
        shutil.copy(control / "zz-control.torrent", run / "torrents")
        shutil.copy(control / "zz-control.bin", run / "shareable")
        outside = tree(sandbox)
        result = control / "ended.json"
        process = lab.Process(
            under_measure(result, options.binary, "--listen", options.listen, "--bind",
                          "127.0.0.1", "--no-lsd", "--no-dht", "--log-level",
                          "debug" if dials_count(entry) else "info"),
            sandbox / "log.txt", cwd=run)
        try:
            process.wait_for(r"(?i)zz-control.*\bseeder\b", 10)
            if dials_count(entry):
                # The first round of announces; a second would come after a second at the earliest.
                time.sleep(DIALS_WITHIN)
            process.stop()
        except lab.Failure as failure:
            yield f"main form: {failure}: {[line for _, line in process.lines[-3:]]}"
            return
        finally:
            if process.running():
                process.kill()
        ended = Ended(result)
        if ended.status not in (0, 7):
            yield f"main form ended with status {ended.status}"
        if ended.rss > RSS_MAX:
            yield f"main form took {ended.rss // lab.MIB} MiB"
        lines = [line for _, line in process.lines]
        yield from judge_lines(entry, lines)
        if dials_count(entry):
            yield from judge_contacts(entry, lines)
        for name, mode in tree(sandbox).items():
            inside = name.startswith(("deep/run/torrents/", "deep/run/shareable/"))
            if name not in outside and not inside and name != "log.txt":
                yield f"main form made {name} outside its folders"
            if mode & 0o170000 not in (0o040000, 0o100000):
                yield f"main form made {name}, neither file nor folder"
            if inside and mode & 0o170000 == 0o100000 and mode & 0o111:
                yield f"main form made {name} executable"
    finally:
        shutil.rmtree(sandbox, ignore_errors=True)


def dials_count(entry):
    """Whether the manifest says whom this file may make the program contact."""
    return any(key in entry.get("checks", {}) for key in CONTACTS)


def target(url):
    """The host and port of a tracker's URL, as the log writes them."""
    rest = url.split("://")[-1].split("/")[0]
    return rest if re.search(r":\d+$", rest) else rest + ":80"


def judge_contacts(entry, lines):
    """Yields what is wrong with the addresses that were dialed."""
    checks = entry.get("checks", {})
    # The sound torrent beside it has a tracker, too.
    own = {"127.0.0.1:5999"}
    dialed = {found[1] for line in lines if (found := re.search(r"dialing (\S+)", line))} - own
    for address in sorted(dialed & set(checks.get("never_contact", []))):
        yield f"main form dials {address}"
    if "trackers" in checks:
        strangers = dialed - {target(url) for url in checks["trackers"]}
        if strangers:
            yield f"main form dials {sorted(strangers)[:4]}, not only {checks['trackers']}"
    if len(dialed) > checks.get("trackers_max", len(dialed)):
        yield f"main form dials {len(dialed)} trackers"


def judge_lines(entry, lines):
    """Yields what is wrong with the log lines about this file."""
    refusals = [line for line in lines
                if entry["file"] in line and re.search(lab.REFUSED, line)]
    verdicts = sound(entry)
    if refusals and "reject" not in verdicts:
        yield f"main form refuses it: {refusals[0]!r}"
    if not refusals and verdicts == {"reject"}:
        yield "main form does not refuse it by name"
    if len(refusals) > 1:
        yield f"main form refuses it {len(refusals)} times"
    if any("panicked" in line for line in lines):
        yield "main form panicked"
    if any(CONTROL.search(line) for line in lines):
        yield "main form wrote control characters"


def main():
    options = lab.arguments(
        __doc__,
        ("--generator", {"type": pathlib.Path, "help": "script that writes the files"}),
        ("--only", {"help": "only entries whose name contains this"}),
        ("--listen", {"default": "5999", "help": "port for the main form"}),
        ("--show-only", {"action": "store_true", "help": "leave the main form out"}))
    if options.generator is None:
        print("skipped: hostile (no --generator)")
        return 0
    if not options.binary.is_file():
        print(f"FAILED: hostile: no program at {options.binary}")
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="reactor-peer-corpus-") as folder:
        corpus, control = pathlib.Path(folder, "corpus"), pathlib.Path(folder, "control")
        subprocess.run([sys.executable, options.generator, corpus], check=True,
                       stdout=subprocess.DEVNULL)
        control.mkdir()
        lab.random_file(control / "zz-control.bin", 40_000, 1)
        (control / "zz-control.torrent").write_bytes(
            lab.make_torrent(control / "zz-control.bin", "http://127.0.0.1:5999/announce"))
        entries = json.loads((corpus / "manifest.json").read_text())["torrents"]
        if options.only:
            entries = [entry for entry in entries if options.only in entry["name"]]
        wrong = 0
        for entry in entries:
            path = corpus / entry["file"]
            found = list(judge_show(options, entry, path, control))
            if not options.show_only:
                found += judge_main(options, entry, path, control)
            for fault in found:
                print(f"  {entry['name']} ({'/'.join(sorted(sound(entry)))}): {fault}", flush=True)
            wrong += bool(found)
    if wrong:
        print(f"FAILED: hostile: {wrong} of {len(entries)} entries")
        return 1
    print(f"ok: hostile ({len(entries)} entries)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
