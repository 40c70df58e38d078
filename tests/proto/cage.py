#!/usr/bin/env python3
"""What must still work from inside the cage, and what happens where the kernel has none."""
import ctypes
import errno
import os
import platform
import resource
import socket
import struct
import subprocess

from front import *  # noqa: F403  pylint: disable=wildcard-import,unused-wildcard-import

LANDLOCK = 444  # landlock_create_ruleset, on every architecture
SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine())
CAPSET = {"x86_64": 126, "aarch64": 91}.get(platform.machine())
SANITIZED = "VUBOX_SANITIZED" in os.environ


def without(*numbers):
    """For a child: the kernel does not have these calls."""
    allow, fail = 0x7FFF0000, 0x00050000 | errno.ENOSYS
    program = struct.pack("<HBBI", 0x20, 0, 0, 0)  # load the number
    for number in numbers:
        program += struct.pack("<HBBI", 0x15, 0, 1, number) + struct.pack("<HBBI", 6, 0, 0, fail)
    program += struct.pack("<HBBI", 6, 0, 0, allow)
    code = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(
        struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None)

    def enter():
        assert code and libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, fprog) == 0
    return enter


def status(pid, field):
    with open(f"/proc/{pid}/status") as f:
        return next(line.split(":")[1].strip() for line in f if line.startswith(field + ":"))


def run_without(numbers, *words):
    """vubox on such a kernel until it listens or ends: (still there, what it said, Seccomp)."""
    with tempfile.TemporaryDirectory() as d:
        process = subprocess.Popen([VUBOX, "rng", f"--socket-path={d}/s", "-v", *words],
                                   stderr=subprocess.PIPE, text=True, preexec_fn=without(*numbers))
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "serving" in line:
                break
        alive = process.poll() is None and any("serving" in line for line in lines)
        filters = status(process.pid, "Seccomp_filters") if alive else ""
        process.terminate()
        process.stderr.close()
        code = process.wait(WAIT_S)
        assert not os.path.exists(f"{d}/s"), "its socket is left"
        return alive, code, "".join(lines), filters


def need_numbers():
    if not SECCOMP:
        raise Skip("the numbers of calls are not known here")


@case
def a_build_with_sanitizers_has_no_bars_and_says_so():
    alive, code, said, _ = run_without([], "--sandbox=seccomp")
    assert alive != SANITIZED and code == SANITIZED, (code, said)
    assert ("sandbox: no seccomp here" in said) == SANITIZED, said


@case
def what_the_kernel_lacks_is_said_and_skipped():
    need_numbers()
    alive, code, said, filters = run_without([LANDLOCK])
    assert alive and code == 0 and "sandbox: no landlock here" in said, said
    assert filters == "2" or SANITIZED, f"{filters} filters: ours is not there"
    alive, code, said, filters = run_without([LANDLOCK, SECCOMP])
    assert alive and code == 0 and "sandbox: no seccomp here" in said, said
    assert filters == "1"
    alive, code, said, filters = run_without([CAPSET])
    assert alive and code == 0 and "sandbox: no privileges to drop here" in said, said


@case
def what_is_asked_for_by_name_must_be_there():
    need_numbers()
    for numbers, words, line in (
            ([LANDLOCK], ["--sandbox=full"], "sandbox: no landlock here"),
            ([SECCOMP], ["--sandbox=full"], "sandbox: no seccomp here"),
            ([SECCOMP], ["--sandbox=seccomp"], "sandbox: no seccomp here")):
        alive, code, said, _ = run_without(numbers, *words)
        assert not alive and code == 1, (code, said)
        assert line in said or SANITIZED and "sandbox: no " in said, said
    for numbers, words in (([LANDLOCK], ["--sandbox=seccomp"]),
                           ([LANDLOCK, SECCOMP], ["--sandbox=off"])):
        alive, code, said, _ = run_without(numbers, *words)
        assert SANITIZED and "seccomp" in words[0] or alive and code == 0, (code, said)
        assert "no landlock" not in said, said


@case
def a_ring_that_cannot_be_restricted_is_not_used():
    path = image()
    with tempfile.TemporaryDirectory() as d:
        process = subprocess.Popen(
            [VUBOX, "blk", f"--socket-path={d}/s", "--blk-file=" + path, "-v"],
            stderr=subprocess.PIPE, text=True, preexec_fn=without(427))
        said = process.stderr.readline()
        process.terminate()
        process.communicate()
        assert "I/O by sync" in said, said
    os.unlink(path)


def serve_client(listener):
    f = FrontEnd.__new__(FrontEnd)
    f.socket, f.memory, f.rings = listener.accept()[0], [Memory()], []
    f.socket.settimeout(WAIT_S)
    f.negotiate()
    f.share()
    f.start_ring(f.add_ring())
    assert blk(f, GET_ID, 0, length=20)[0] == OK
    f.close()


@case
def a_client_of_another_identity_connects_again():
    """--user and --chroot hold from the first connection on, so the next ones work as it did."""
    if os.geteuid() != 0:
        raise Skip("not root")
    path = image()
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(WAIT_S)
        listener.bind(d + "/front")
        os.chown(d + "/front", 1234, 1234)
        listener.listen()
        v = Vubox("--blk-file=" + path, "--socket-path=/front", "--client", "--chroot=" + d,
                  "--user=1234", wait=False)
        for _ in range(3):
            serve_client(listener)
        listener.close()  # nobody is there for a while, then someone else
        os.unlink(d + "/front")
        until(lambda: "cannot connect yet" in v.said(), "it looks for the front-end")
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(WAIT_S)
        listener.bind(d + "/front")
        os.chmod(d + "/front", 0o777)
        listener.listen()
        serve_client(listener)
        assert v.stop() == 0, v.said()
        v.clean()
        listener.close()
    os.unlink(path)


@case
def a_disk_that_grows_is_looked_at():
    for engine in "uring", "mmap", "sync":
        with Disk("--io=" + engine, "-v", size=1 << 20) as d:
            f = ready(d.path)
            os.truncate(d.image, 2 << 20)
            d.vubox.process.send_signal(signal.SIGHUP)
            until(lambda: "4096 sectors now" in d.vubox.said(), "it has looked")
            assert blk(f, OUT, 4095, b"e" * 512)[0] == OK
            assert d.bytes((2 << 20) - 512, 512) == b"e" * 512
            assert d.vubox.stop() == 0 and not os.path.exists(d.path)


@case
def every_engine_does_everything():
    """Also what io_uring is not asked for: zeroes by hand, a flush through another engine."""
    for where in "/var/tmp", "/dev/shm":
        for engine in "auto", "uring", "mmap", "sync":
            with Disk("--io=" + engine, where=where, content=b"x" * (1 << 20)) as d:
                f = ready(d.path)
                for kind, data in ((OUT, b"d" * 4096), (FLUSH, b""),
                                   (DISCARD, struct.pack("<QII", 8, 8, 0)),
                                   (WRITE_ZEROES, struct.pack("<QII", 16, 8, 0)),
                                   (WRITE_ZEROES, struct.pack("<QII", 24, 8, 1))):
                    assert blk(f, kind, 0, data)[0] == OK, (engine, kind, d.vubox.said())
                assert d.bytes(16 * 512, 8192) == bytes(8192)
                assert d.bytes(0, 4096) == b"d" * 4096
                assert d.vubox.stop() == 0


@case
def a_block_device_is_asked_by_ioctl():
    """Its size, discards and zeroes; landlock restricts ioctls of devices that are opened later."""
    path = image(4 << 20)
    done = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        os.unlink(path)
        raise Skip("no loop device can be had: " + done.stderr.strip())
    loop = done.stdout.strip()
    try:
        for engine in "uring", "sync":
            v = Vubox("--blk-file=" + loop, "--io=" + engine, "-v")
            f = ready(v.path)
            assert blk(f, OUT, 0, b"d" * 8192)[0] == OK
            assert blk(f, DISCARD, 0, struct.pack("<QII", 0, 8, 0))[0] == OK, v.said()
            assert blk(f, WRITE_ZEROES, 0, struct.pack("<QII", 8, 4, 0))[0] == OK, v.said()
            assert blk(f, FLUSH, 0)[0] == OK
            assert blk(f, IN, 8, length=4096)[1] == bytes(2048) + b"d" * 2048
            os.truncate(path, os.path.getsize(path) + (1 << 20))
            subprocess.run(["losetup", "-c", loop], check=True)
            v.process.send_signal(signal.SIGHUP)
            until(lambda: "sectors now" in v.said(), "it has looked")
            f.close()
            assert v.stop() == 0, v.said()
            v.clean()
    finally:
        subprocess.run(["losetup", "-d", loop], check=False)
        os.unlink(path)


@case
def all_queues_have_their_descriptors():
    """Three a queue are more than the usual soft limit of 1024: it is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        raise Skip(f"the hard limit of descriptors is {hard}")
    words = []
    path = image()
    for name in "abcdefgh":
        words += ["blk", "--read-only", "--no-lock", "--blk-file=" + path,
                  f"--socket-path=@/{name}", "--"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        v = Vubox(*words[1:-1], wait=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    until(lambda: os.path.exists(v.dir + "/h"), "the last one listens")
    fronts = []
    for name in "abcdefgh":
        fronts.append(ready(f"{v.dir}/{name}", size=4, rings=64))
        assert blk(fronts[-1], GET_ID, 0, length=20, ring=fronts[-1].rings[63])[0] == OK
    assert v.fds() > 8 * 64 * 3
    for f in fronts:
        assert f.is_open()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert v.stop() == 0
    v.clean()
    os.unlink(path)


@case
def a_stop_and_a_continuation_change_nothing():
    """The kernel goes on with what was interrupted, by a call of its own."""
    with Disk() as d:
        f = ready(d.path)
        for _ in range(5):
            d.vubox.process.send_signal(signal.SIGSTOP)
            until(lambda: status(d.vubox.process.pid, "State")[0] == "T", "it has stopped")
            d.vubox.process.send_signal(signal.SIGCONT)
            assert blk(f, GET_ID, 0, length=20)[0] == OK


main()
