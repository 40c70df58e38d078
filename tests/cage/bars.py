#!/usr/bin/env python3
"""Tries from inside the cage what must not work there (tests/cage/bars.c), with each libc here.

    tests/cage/bars.py [LIBC:STAGE:NAME]

# hang guard: 600 s
"""
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

os.chdir(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
FLAGS = "-std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -O1 -g -static -Iinclude -Iport".split()
COMPILERS = {"musl": "musl-gcc", "glibc": "gcc"}
TRIED = 77  # bars.c ends with this
GUARD_S = 20

failed = False


def case(libc, name, why):
    global failed
    if why:
        failed = True
        print(f"not ok cage bars: {libc} {name}: {why} "
              f"(replay: tests/cage/bars.py {libc}:{name})")
    else:
        print(f"ok cage bars: {libc} {name}")
    sys.stdout.flush()


def build(libc):
    """A vubox that tries the bars: its path, or None after a case that says why."""
    out = f"build/tests/cage/{libc}"
    os.makedirs(out, exist_ok=True)
    port = sorted(glob.glob("port/*.c"))
    sources = [f for f in glob.glob("src/*.c") + glob.glob("src/*/*.c") + port
               if f != "port/io_uring.c"]  # bars.c includes it
    with open(out + "/calls.h", "w", encoding="utf-8") as f:
        subprocess.run(["sh", "port/calls.sh", COMPILERS[libc], *port], stdout=f, check=True)
    done = subprocess.run(
        [COMPILERS[libc], *FLAGS, "-I" + out, "-include", "tests/cage/hook.h", *sources,
         "tests/cage/bars.c", "-o", out + "/vubox"], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        case(libc, "build", "it does not compile")
        return None
    return os.path.abspath(out + "/vubox")


class World:
    """A directory with an image, and one for the socket; an abstract socket that listens."""

    def __init__(self):
        self.dir = tempfile.mkdtemp()
        os.mkdir(self.dir + "/run")
        os.mkdir(self.dir + "/run/dir")
        os.mkdir(self.dir + "/logs")
        open(self.dir + "/run/old", "w", encoding="utf-8").close()
        with open(self.dir + "/image", "wb") as f:
            f.truncate(1 << 20)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"\0vubox-cage-{os.getpid()}")
        self.listener.listen()
        self.client = socket.socket(socket.AF_UNIX)  # what --client finds
        self.client.bind(self.dir + "/run/front")
        self.client.listen()

    def run(self, vubox, what):
        stage = what.split(":")[0]
        words = ["--socket-path=" + self.dir + "/run/front", "--client"] if stage == "client" \
            else ["--socket-path=" + self.dir + "/run/sock"]
        device = ["console", *words, f"--backend=file:{self.dir}/logs/log", "--rotate=64K"] \
            if stage.startswith("log") \
            else ["blk", *words, f"--blk-file={self.dir}/image", "--io=auto"]
        return subprocess.run(
            [vubox, *device],
            env={"CAGE_TRY": what, "CAGE_DIR": self.dir,
                 "CAGE_ABSTRACT": f"vubox-cage-{os.getpid()}"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GUARD_S, check=False)

    def close(self):
        self.listener.close()
        self.client.close()
        shutil.rmtree(self.dir)


def why_not(done, expected):
    said = done.stderr.strip()
    if expected in ("aborted", "bus"):
        by = signal.SIGABRT if expected == "aborted" else signal.SIGBUS
        return "" if done.returncode == -by else f"status {done.returncode}, {said!r}"
    if expected in ("refused", "killed"):
        word = "refused system call" in said
        if done.returncode != -signal.SIGSYS:
            return f"it was not refused: status {done.returncode}, {said!r}"
        return "" if word == (expected == "refused") else f"it says {said!r}"
    if done.returncode != TRIED or said != "as expected":
        return f"expected {expected}, but: status {done.returncode}, {said!r}"
    return ""


def try_all(libc, vubox, only):
    world = World()
    listed = world.run(vubox, "list")
    rows = [line.split() for line in listed.stdout.splitlines()]
    world.close()
    if not rows:
        # A kernel without seccomp and landlock calls no hook.
        print(f"skip cage bars: {libc}: the cage has no bars here: {listed.stderr.strip()!r}")
        return
    abi = int(rows.pop()[1])
    for stage, name, expected in rows:
        if only and only != f"{stage}:{name}":
            continue
        by_landlock = re.fullmatch(r"(?:landlock|log)(\d*)", stage)
        needs = int(by_landlock[1] or 1) if by_landlock else 0
        if needs > max(abi, 0):
            print(f"skip cage bars: {libc} {stage}:{name}: landlock's ABI is {abi}, not {needs}")
            continue
        world = World()
        done = world.run(vubox, f"{stage}:{name}")
        if name == "i386" and done.returncode == -signal.SIGSEGV:
            print(f"skip cage bars: {libc} {stage}:{name}: this kernel has no calls of i386")
            world.close()
            continue
        case(libc, f"{stage}:{name}", why_not(done, expected))
        world.close()


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for libc, compiler in COMPILERS.items():
        if wanted and wanted.split(":")[0] != libc:
            continue
        if not shutil.which(compiler):
            print(f"skip cage bars: {libc}: no {compiler}")
            continue
        vubox = build(libc)
        if vubox:
            try_all(libc, vubox, wanted[len(libc) + 1:])
    sys.exit(failed)


main()
