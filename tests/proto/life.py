#!/usr/bin/env python3
"""The life of a process and of its connections: sockets, reconnects, signals, crashes, budgets."""
import os
import signal
import socket
import struct
import subprocess

from front import *  # noqa: F403  pylint: disable=wildcard-import,unused-wildcard-import

SANITIZED = "VUBOX_SANITIZED" in os.environ  # then memory is the sanitizer's


@case
def a_thousand_connections_leave_nothing():
    with Disk() as d:
        def once():
            f = ready(d.path)
            assert blk(f, GET_ID, 0, length=20)[0] == OK
            f.close()
            for m in f.memory:
                m.map.close()
                os.close(m.fd)
            for r in f.rings:
                for fd in r.kick, r.call, r.err:
                    os.close(fd)
        fds, maps = d.vubox.fds(), d.vubox.maps()
        for _ in range(10):
            once()
        until(lambda: d.vubox.fds() == fds, "descriptors are closed")
        rss = d.vubox.rss_kib()
        assert rss <= 400 or SANITIZED, f"resident: {rss} KiB"
        for _ in range(1000):
            once()
        until(lambda: d.vubox.fds() == fds, "descriptors are closed")
        until(lambda: d.vubox.maps() == maps, "mappings are gone")
        now = d.vubox.rss_kib()
        assert now <= rss + 8 or SANITIZED, f"{rss} KiB before, {now} after"
        print(f"# resident: {d.vubox.rss_kib()} KiB, {fds} descriptors")


@case
def from_exec_to_listening():
    import statistics
    path, times = image(), []
    for _ in range(20):
        start = time.monotonic()
        v = Vubox("--blk-file=" + path, wait=False)
        while not os.path.exists(v.path) and v.process.poll() is None:
            time.sleep(0.0001)
        times.append((time.monotonic() - start) * 1000)
        assert v.stop() == 0
        v.clean()
    os.unlink(path)
    median = statistics.median(times)
    print(f"# exec to listening: {median:.1f} ms, with the fork of the test")
    assert median < 100, f"{median} ms"


@case
def a_second_front_end_is_turned_away():
    with Disk() as d:
        f = ready(d.path)
        for _ in range(3):
            g = FrontEnd(d.path)
            assert g.is_closed()
            assert blk(f, OUT, 0, b"x" * 512)[0] == OK
        f.close()
        until(lambda: FrontEnd(d.path).is_open(), "the next one is served")


@case
def reconnecting_at_once_is_served():
    with Disk(content=b"c" * 512) as d:
        for _ in range(100):
            f = ready(d.path)
            ring = f.rings[0]
            ring.chain(blk_buffers(f, IN, 0, length=512))
            ring.offer(0)
            f.close()
            g = ready(d.path)
            assert blk(g, IN, 0, length=512)[:2] == (OK, b"c" * 512)
            g.close()


@case
def disconnecting_with_requests_in_flight():
    for engine in "uring", "sync":
        with Disk("--io=" + engine, "--direct", size=64 << 20) as d:
            fds = d.vubox.fds()
            for i in range(30):
                f = ready(d.path)
                ring = f.rings[0]
                for slot in range(20):
                    buffers = blk_buffers(f, OUT, slot * 128, bytes([i]) * 65536, slot=slot)
                    ring.chain(buffers, first=slot * 3)
                    ring.offer(slot * 3, kick=False)
                ring.kick_now()
                f.close()
            until(lambda: d.vubox.fds() == fds, "all is released")
            g = ready(d.path)
            assert blk(g, GET_ID, 0, length=20)[0] == OK


@case
def sigterm_and_sigint_end_it_cleanly():
    for how in signal.SIGTERM, signal.SIGINT:
        for connected in False, True:
            with Disk() as d:
                f = ready(d.path) if connected else None
                if f:
                    assert blk(f, OUT, 0, b"x" * 512)[0] == OK
                assert d.vubox.stop(how) == 0 and not os.path.exists(d.path)


@case
def a_dead_socket_file_is_replaced():
    with Disk() as d:
        d.vubox.stop(signal.SIGKILL)
        assert os.path.exists(d.path)
        path = d.path
        v = Vubox("--blk-file=" + d.image, "--socket-path=" + path, wait=False)
        until(lambda: subprocess_connects(path), "it is served again")
        assert v.stop() == 0 and not os.path.exists(path)
        v.clean()


def subprocess_connects(path):
    try:
        return FrontEnd(path).is_open()
    except (ConnectionRefusedError, FileNotFoundError):
        return False


@case
def a_live_socket_is_an_error():
    with Disk() as d:
        v = Vubox("--blk-file=" + d.image, "--no-lock", "--socket-path=" + d.path, wait=False)
        assert v.process.wait(WAIT_S) == 1 and "in use" in v.said().lower(), v.said()
        v.clean()
        assert FrontEnd(d.path).is_open(), "the first one is unharmed"


@case
def a_file_that_is_no_socket_is_left_alone():
    path = image()
    v = Vubox("--blk-file=" + path, "--socket-path=" + path, wait=False)
    assert v.process.wait(WAIT_S) == 1
    assert os.path.getsize(path) == 8 << 20
    v.clean()
    os.unlink(path)


@case
def a_listening_descriptor():
    path = image()
    s = socket.socket(socket.AF_UNIX)
    name = path + ".sock"
    s.bind(name)
    s.listen()
    f = FrontEnd(name)  # before anybody accepts
    v = Vubox("--blk-file=" + path, f"--fd={s.fileno()}", wait=False, pass_fds=[s.fileno()])
    assert f.is_open()
    f.close()
    until(lambda: FrontEnd(name).is_open(), "it goes on listening")
    assert v.stop() == 0
    v.clean()
    os.unlink(path)
    os.unlink(name)


@case
def a_connected_descriptor():
    path = image()
    ours, theirs = socket.socketpair()
    v = Vubox("--blk-file=" + path, f"--fd={theirs.fileno()}", wait=False,
              pass_fds=[theirs.fileno()])
    theirs.close()
    f = FrontEnd.__new__(FrontEnd)
    f.socket, f.memory, f.rings = ours, [Memory()], []
    ours.settimeout(WAIT_S)
    assert f.is_open()
    f.close()
    assert v.process.wait(WAIT_S) == 0, "nobody is left to serve"
    v.clean()
    os.unlink(path)


@case
def client_mode_connects_and_reconnects():
    path = image()
    name = path + ".sock"
    v = Vubox("--blk-file=" + path, "--socket-path=" + name, "--client", wait=False)
    until(lambda: "cannot connect yet" in v.said(), "it says that nobody listens")
    s = socket.socket(socket.AF_UNIX)
    s.bind(name)
    s.listen()
    s.settimeout(WAIT_S)
    for _ in range(3):
        f = FrontEnd.__new__(FrontEnd)
        f.socket, f.memory, f.rings = s.accept()[0], [Memory()], []
        f.socket.settimeout(WAIT_S)
        f.negotiate()
        f.share()
        f.start_ring(f.add_ring())
        assert blk(f, GET_ID, 0, length=20)[0] == OK
        f.close()
    assert v.stop() == 0 and os.path.exists(name), "the socket is the front-end's"
    v.clean()
    os.unlink(path)
    os.unlink(name)


@case
def many_devices_in_one_process():
    path = image()
    v = Vubox("--blk-file=" + path, "--socket-path=@/a", "--", "rng", "--socket-path=@/b", "--",
              "blk", "--read-only", "--no-lock", "--blk-file=" + path, "--socket-path=@/c",
              wait=False)
    a, b, c = (os.path.join(v.dir, n) for n in "abc")
    until(lambda: os.path.exists(c), "the last one listens")
    f, g, h = ready(a), ready(b), ready(c)
    assert blk(f, OUT, 0, b"m" * 512)[0] == OK and blk(h, IN, 0, length=512)[1] == b"m" * 512
    ring = g.rings[0]
    ring.chain([(g.memory[0].guest + 0x200000, 64, True)])
    ring.offer(0)
    assert ring.take_used() == (0, 64)
    g.send_raw(bytes(12))
    assert g.is_closed() and blk(f, IN, 0, length=512)[1] == b"m" * 512, "others never notice"
    assert v.stop() == 0 and not any(os.path.exists(p) for p in (a, b, c))
    v.clean()
    os.unlink(path)


@case
def entropy():
    v = Vubox(device="rng")
    f = ready(v.path)
    base, ring, seen = f.memory[0].guest + 0x200000, f.rings[0], set()
    for length in 1, 8, 64, 4096, 64, 100:
        f.write(base, bytes(4096))
        ring.chain([(base, length // 2, True), (base + length // 2, length - length // 2, True)])
        ring.offer(0)
        assert ring.take_used() == (0, length)
        data = f.read(base, length)
        assert length < 64 or (data not in seen and len(set(data)) > 16)
        assert f.read(base + length, 16) == bytes(16)
        seen.add(data)
    ring.chain([(base, 65536, True)])
    ring.offer(0)
    assert 0 < ring.take_used()[1] <= 65536
    ring.chain([(0x10, 64, True)])
    ring.offer(0)
    assert ring.take_used() == (0, 0), "an address that is nowhere gets nothing"
    assert v.stop() == 0
    v.clean()


@case
def entropy_from_a_source():
    path = image(0)
    with open(path, "wb") as s:
        s.write(bytes(range(256)) * 2)
    v = Vubox("--source=" + path, device="rng")
    f = ready(v.path)
    base, ring, got = f.memory[0].guest + 0x200000, f.rings[0], b""
    while len(got) < 512:
        ring.chain([(base, 100, True)])
        ring.offer(0)
        got += f.read(base, ring.take_used()[1])
    assert sorted(got) == sorted(bytes(range(256)) * 2), "each byte once"
    ring.offer(0)
    until(lambda: "its end" in v.said(), "it says that the file has ended")
    assert f.is_open() and not ring.in_used()
    ticks = v.cpu_ticks()
    time.sleep(0.5)
    assert v.cpu_ticks() - ticks < 3
    v.clean()
    os.unlink(path)


@case
def entropy_from_a_slow_source_stalls_nobody():
    v = Vubox.__new__(Vubox)
    fifo = image(0) + ".fifo"
    os.mkfifo(fifo)
    path = image()
    Vubox.__init__(v, "--source=" + fifo, "--socket-path=@/b", "--", "blk", "--blk-file=" + path,
                   "--socket-path=@/sock", device="rng")
    f, g = ready(v.path), ready(os.path.join(v.dir, "b"))
    ring = g.rings[0]
    ring.chain([(g.memory[0].guest + 0x200000, 64, True)])
    ring.offer(0)
    assert blk(f, OUT, 0, b"x" * 512)[0] == OK and not ring.in_used()
    with open(fifo, "wb") as w:
        w.write(b"0123456789")
    assert ring.take_used() == (0, 10)
    assert g.read(g.memory[0].guest + 0x200000, 10) == b"0123456789"
    ring.offer(0)
    g.close()
    assert v.stop() == 0
    v.clean()
    os.unlink(fifo)
    os.unlink(path)


# ---- what kill -9 leaves ----

def split_region(data, queue, size, num):
    at = queue * ((16 + 16 * num + 63) // 64 * 64)
    features, version, desc_num, _, used = struct.unpack("<QHHHH", data[at:at + 16])
    descs = [struct.unpack("<B5xHQ", data[at + 16 + 16 * i:at + 32 + 16 * i]) for i in range(size)]
    return features, version, desc_num, used, descs


@case
def the_inflight_buffer_has_the_layout_of_the_spec():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        for tail in b"", bytes(4):
            request = struct.pack("<QQHH", 0, 0, 2, 128) + tail
            _, payload, fds = f.ask(GET_INFLIGHT_FD, request)
            assert len(payload) == len(request) and len(fds) == 1
            size, offset, queues, ring = struct.unpack("<QQHH", payload[:20])
            assert (offset, queues, ring) == (0, 2, 128) and os.fstat(fds[0]).st_size >= size
            data = os.pread(fds[0], size, 0)
            for q in 0, 1:
                assert split_region(data, q, 128, 128)[:4] == (0, 1, 128, 0)
        for queues, ring in ((0, 128), (65, 128), (1, 0), (1, 2048)):
            request = struct.pack("<QQHHI", 0, 0, queues, ring, 0)
            assert f.ask(GET_INFLIGHT_FD, request)[1] == b""
        for size, offset in ((100, 0), (2**64 - 1, 0), (8192, 2**64 - 4096), (8192, 3),
                             (1 << 30, 0)):
            request = struct.pack("<QQHHI", size, offset, 2, 128, 0)
            assert f.acked(SET_INFLIGHT_FD, request, [fds[0]]) != 0, (size, offset)
        assert f.is_open()


def with_inflight(path, memory, fd=None, size=64, rings=1):
    f = FrontEnd(path, [memory])
    f.negotiate()
    f.share()
    if fd is None:
        _, payload, fds = f.ask(GET_INFLIGHT_FD, struct.pack("<QQHHI", 0, 0, rings, size, 0))
        f.inflight = payload
        fd = fds[0]
    else:
        request = struct.pack("<QQHHI", os.fstat(fd).st_size, 0, rings, size, 0)
        assert f.acked(SET_INFLIGHT_FD, request, [fd]) == 0
    return f, fd


@case
def requests_in_flight_are_done_again_in_order():
    """A life that died after taking three requests: the next one does them, oldest first."""
    with Disk(size=1 << 20) as d:
        memory = Memory()
        f, fd = with_inflight(d.path, memory)
        ring = f.add_ring(64)
        taken = [30, 3, 15]  # by age
        for age, head in enumerate(taken):
            buffers = blk_buffers(f, OUT, 0, bytes([65 + age]) * 512, slot=age)
            ring.chain(buffers, first=head)
        buffers = blk_buffers(f, OUT, 1, b"n" * 512, slot=4)
        ring.chain(buffers, first=40)
        for head in [*taken, 40]:
            ring.offer(head, kick=False)
        for age, head in enumerate(taken):
            os.pwrite(fd, struct.pack("<B5xHQ", 1, 0, 100 + age), 16 + 16 * head)
        d.vubox.stop(signal.SIGKILL)
        d.vubox.clean()
        d.start()
        g, _ = with_inflight(d.path, memory, fd)
        g.rings.append(ring)
        g.start_ring(ring, base=0)
        ring.front = g
        assert [ring.take_used()[0] for _ in range(4)] == [*taken, 40]
        time.sleep(0.05)
        assert not ring.in_used(), "each once"
        assert d.bytes(0, 512) == b"C" * 512, "the youngest last"
        assert d.bytes(512, 512) == b"n" * 512
        assert g.stop_ring(ring) == 4
        assert not any(x[0] for x in split_region(os.pread(fd, 4096, 0), 0, 64, 64)[4])


@case
def a_reset_forgets_what_was_in_flight():
    with Disk(size=1 << 20) as d:
        memory = Memory()
        f, fd = with_inflight(d.path, memory)
        ring = f.add_ring(64)
        ring.chain(blk_buffers(f, OUT, 0, b"!" * 512))
        ring.offer(0, kick=False)
        os.pwrite(fd, struct.pack("<B5xHQ", 1, 0, 1), 16)
        f.close()
        g, _ = with_inflight(d.path, memory, fd)
        assert g.acked(RESET_DEVICE) == 0
        g.set_u64(SET_FEATURES, g.features)
        ring.front = g
        ring.start_at(0)
        g.start_ring(ring, base=0)
        assert g.is_open() and not ring.in_used() and d.bytes(0, 512) == bytes(512)


def is_synced(vubox, front, data):
    """Whether a write goes to stable storage, in the one or the other way."""
    said = traced(vubox, lambda: blk(front, OUT, 0, data * 512))
    return "RWF_DSYNC" in said or "fdatasync" in said


@case
def after_a_restart_writes_are_safe_until_the_cache_mode_is_known():
    """writeback is not told again after a reconnect: a driver that set it to 0 never flushes."""
    with Disk("--io=sync", size=1 << 20) as d:
        memory = Memory()
        f, fd = with_inflight(d.path, memory)
        f.start_ring(f.add_ring(64))
        assert not is_synced(d.vubox, f, b"a")
        f.close()
        g, _ = with_inflight(d.path, memory, fd)
        ring = g.add_ring(64)
        ring.start_at(1)
        g.start_ring(ring, base=1)
        assert is_synced(d.vubox, g, b"b")
        assert blk(g, FLUSH, 0)[0] == OK
        assert not is_synced(d.vubox, g, b"c")


@case
def an_interrupted_publication_is_finished():
    """used->idx has moved, the flags of that batch are still set: they were given back already."""
    with Disk(size=1 << 20) as d:
        memory = Memory()
        f, fd = with_inflight(d.path, memory)
        ring = f.add_ring(64)
        for slot in range(3):
            ring.chain(blk_buffers(f, OUT, slot, b"q" * 512, slot=slot), first=slot * 3)
            ring.offer(slot * 3, kick=False)
        f.write(ring.used + 2, struct.pack("<H", 2))  # two are published: heads 0 and 3
        ring.used_idx = 2
        os.pwrite(fd, struct.pack("<B5xHQ", 1, 0, 1), 16 + 16 * 0)
        os.pwrite(fd, struct.pack("<B5xHQ", 1, 0, 2), 16 + 16 * 3)  # 3 -> 0
        os.pwrite(fd, struct.pack("<HH", 3, 0), 12)  # last_batch_head, used_idx
        f.close()
        g, _ = with_inflight(d.path, memory, fd)
        ring.front = g
        g.start_ring(ring, base=0)
        assert ring.take_used()[0] == 6, "only the third is left to do"
        assert g.is_open() and not ring.in_used()
        assert d.bytes(0, 1024) == bytes(1024)


@case
def a_lying_inflight_buffer_harms_nobody():
    import random
    rnd = random.Random(3)
    with Disk(size=1 << 20) as d:
        memory = Memory()
        f, fd = with_inflight(d.path, memory)
        f.close()
        for i in range(40):
            os.pwrite(fd, rnd.randbytes(16 + 16 * 64) if i % 2 else b"\xff" * 1040, 0)
            if i % 4 == 3:
                os.pwrite(fd, struct.pack("<QHH", 0, 1, 64), 0)
            g, _ = with_inflight(d.path, memory, fd)
            ring = g.add_ring(64)
            g.set_ring(ring)
            g.acked(SET_VRING_KICK, struct.pack("<Q", 0), [ring.kick])
            g.send(SET_VRING_ENABLE, struct.pack("<II", 0, 1))
            assert g.is_open()
            g.close()
        g = ready(d.path)
        assert blk(g, GET_ID, 0, length=20)[0] == OK


@case
def kill_9_under_load_loses_nothing():
    """Each life is killed in the middle of verified writes; none is lost or done twice."""
    import random
    rnd = random.Random(4)
    with Disk(size=1 << 20) as d:
        memory = Memory()
        f, fd = with_inflight(d.path, memory, size=64)
        ring = f.add_ring(64)
        f.start_ring(ring)
        model, pending = bytearray(1 << 20), {}

        def offer(slot):
            sector, data = rnd.randrange(64) * 16 + slot, rnd.randbytes(512)
            ring.chain(blk_buffers(ring.front, OUT, sector, data, slot=slot), first=slot * 3)
            pending[slot * 3] = (sector, data)
            ring.offer(slot * 3)

        def take():
            head, written = ring.take_used()
            sector, data = pending.pop(head)
            status = ring.front.read(memory.guest + head // 3 * 0x40000 + STATUS_AT, 1)
            assert (written, status) == (1, b"\0"), (head, written, status, ring.used_idx)
            model[sector * 512:sector * 512 + 512] = data
            return head // 3

        for _ in range(50):
            for slot in range(16):
                if slot * 3 not in pending:
                    offer(slot)
            for _ in range(rnd.randrange(30)):
                offer(take())
            d.vubox.stop(signal.SIGKILL)
            d.vubox.clean()
            d.start()
            g, _ = with_inflight(d.path, memory, fd)
            ring.front = g
            g.start_ring(ring, base=ring.used_idx + ring.in_used())
        while pending:
            take()
        assert ring.front.is_open() and not ring.in_used()
        assert d.bytes(0, 1 << 20) == model


main()
