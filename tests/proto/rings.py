#!/usr/bin/env python3
"""Rings: their states, their sizes, notifications, and what a hostile driver writes into them."""
import os
import socket
import struct

from front import *  # noqa: F403  pylint: disable=wildcard-import,unused-wildcard-import

PLAIN = F_VERSION_1 | F_PROTOCOL | 1 << 9  # and FLUSH


@case
def a_ring_starts_at_set_vring_kick():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        f.share()
        ring = f.add_ring()
        ring.chain(blk_buffers(f, GET_ID, 0, length=20))
        ring.offer(0, kick=False)
        f.start_ring(ring)
        assert ring.take_used() == (0, 21), "work that was there before the start"


@case
def a_stopped_ring_is_left_alone():
    with Disk() as d:
        f = ready(d.path)
        ring = f.rings[0]
        assert f.stop_ring(ring) == 0
        ring.chain(blk_buffers(f, GET_ID, 0, length=20))
        ring.offer(0)
        assert f.is_open() and ring.in_used() == 0
        f.start_ring(ring, base=0)
        assert ring.take_used() == (0, 21)
        assert f.stop_ring(ring) == 1


@case
def a_disabled_ring_is_left_alone():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        f.share()
        ring = f.add_ring()
        f.start_ring(ring, enable=False)
        ring.chain(blk_buffers(f, GET_ID, 0, length=20))
        ring.offer(0)
        assert f.is_open() and ring.in_used() == 0
        f.send(SET_VRING_ENABLE, struct.pack("<II", 0, 1))
        assert ring.take_used() == (0, 21)
        f.send(SET_VRING_ENABLE, struct.pack("<II", 0, 0))
        assert f.is_open()  # it has been told of it
        ring.offer(0)
        assert f.is_open() and ring.in_used() == 0


@case
def without_protocol_features_rings_are_enabled():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.send(SET_OWNER)
        f.features = F_VERSION_1
        f.set_u64(SET_FEATURES, F_VERSION_1)
        f.share()
        f.start_ring(f.add_ring(), enable=False)
        assert blk(f, GET_ID, 0, length=20)[0] == OK


@case
def without_a_kick_descriptor_it_is_polled():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        f.share()
        ring = f.add_ring()
        f.start_ring(ring, kick=False)
        for _ in range(50):
            ring.chain(blk_buffers(f, GET_ID, 0, length=20))
            ring.offer(0, kick=False)
            assert ring.take_used() == (0, 21)
        ticks = d.vubox.cpu_ticks()
        time.sleep(1)
        assert d.vubox.cpu_ticks() - ticks < 50, "polling eats the processor"


@case
def idle_costs_nothing():
    with Disk() as d:
        f = ready(d.path)
        assert blk(f, OUT, 0, b"x" * 512)[0] == OK
        os.write(f.rings[0].kick, struct.pack("<Q", 2**63))  # a kick that stays readable
        time.sleep(0.2)
        ticks = d.vubox.cpu_ticks()
        time.sleep(0.5)
        assert d.vubox.cpu_ticks() == ticks


@case
def set_vring_call_is_answered_by_a_call():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        call = os.eventfd(0, os.EFD_NONBLOCK)
        assert f.acked(SET_VRING_CALL, struct.pack("<Q", 0), [call]) == 0
        assert os.read(call, 8) == struct.pack("<Q", 1)


@case
def sizes_and_wraps():
    for features in PLAIN, PLAIN | F_EVENT_IDX, PLAIN | F_INDIRECT, None:
        for size in 1, 2, 4, 64, 1024:
            with Disk("--num-queues=1", content=b"H" * 4096) as d:
                f = FrontEnd(d.path)
                f.negotiate(features)
                f.share()
                ring = f.add_ring(size)
                ring.start_at(65530)
                f.start_ring(ring, base=65530)
                indirect = features is None or features & F_INDIRECT
                table = f.memory[0].guest + 0x180000 if size < 4 else None
                if table and not indirect:
                    continue
                for _ in range(20):
                    assert blk(f, IN, 0, length=512, table=table)[:2] == (OK, b"H" * 512)
                assert f.stop_ring(ring) == (65530 + 20) & 0xffff


@case
def event_idx_calls_when_asked():
    with Disk() as d:
        f = ready(d.path, PLAIN | F_EVENT_IDX)
        ring = f.rings[0]
        event = ring.avail + 4 + 2 * ring.size
        f.write(event, struct.pack("<H", 0))
        assert blk(f, GET_ID, 0, length=20)[0] == OK
        until(ring.calls, "a call")
        f.write(event, struct.pack("<H", 5))
        for i in range(4):
            assert blk(f, GET_ID, 0, length=20)[0] == OK
        assert f.is_open() and ring.calls() == 0, "called before it was asked for"
        assert blk(f, GET_ID, 0, length=20)[0] == OK
        until(ring.calls, "the call that was asked for")


@case
def no_interrupt_means_no_call():
    with Disk() as d:
        f = ready(d.path, PLAIN)
        ring = f.rings[0]
        f.is_open()
        ring.calls()
        f.write(ring.avail, struct.pack("<H", 1))
        assert blk(f, GET_ID, 0, length=20)[0] == OK
        assert f.is_open() and ring.calls() == 0
        f.write(ring.avail, struct.pack("<H", 0))
        assert blk(f, GET_ID, 0, length=20)[0] == OK
        until(ring.calls, "a call")


@case
def a_sleeping_driver_is_called_and_kicks_are_heard():
    """Kicks only when the device asks, sleeps only when called: a lost one hangs."""
    for features in PLAIN, PLAIN | F_EVENT_IDX:
        with Disk() as d:
            f = ready(d.path, features)
            ring = f.rings[0]
            f.is_open()
            for i in range(300):
                f.write(ring.avail + 4 + 2 * ring.size, struct.pack("<H", ring.used_idx))
                ring.chain(blk_buffers(f, GET_ID, 0, length=20))
                ring.offer(0, kick=False)
                if features & F_EVENT_IDX:
                    event = struct.unpack("<H", f.read(ring.used + 4 + 8 * ring.size, 2))[0]
                    kick = event == (ring.avail_idx - 1) & 0xffff
                else:
                    kick = not f.read(ring.used, 1)[0] & 1
                if kick:
                    ring.kick_now()
                while not ring.in_used():
                    assert select.select([ring.call], [], [], WAIT_S)[0], f"not called ({i})"
                    ring.calls()
                ring.take_used()


@case
def two_queues_work_side_by_side():
    with Disk() as d:
        f = ready(d.path, rings=2)
        for i in range(50):
            ring = f.rings[i % 2]
            assert blk(f, OUT, i, bytes([i]) * 512, ring=ring)[0] == OK
        assert d.bytes(0, 512 * 50) == b"".join(bytes([i]) * 512 for i in range(50))


@case
def notifications_never_block():
    """Call descriptors that are full: a pipe, a blocking eventfd, a socket."""
    r, w = os.pipe()
    os.set_blocking(w, False)
    try:
        while True:
            os.write(w, bytes(4096))
    except BlockingIOError:
        os.set_blocking(w, True)
    full = os.eventfd(0)
    os.write(full, struct.pack("<Q", 2**64 - 2))
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    try:
        while True:
            theirs.send(bytes(4096))
    except BlockingIOError:
        theirs.setblocking(True)
    with Disk() as d:
        f = ready(d.path)
        for fd in w, full, theirs.fileno():
            f.set_u64(SET_VRING_CALL, 0, [fd])
            for _ in range(3):
                assert blk(f, GET_ID, 0, length=20)[0] == OK
        assert f.is_open() and r and ours


@case
def odd_kick_descriptors_are_refused_or_harmless():
    with Disk() as d:
        f = ready(d.path)
        base = f.rings[0].avail_idx
        for path in "/etc/hostname", "/dev/null", "/":
            fd = os.open(path, os.O_RDONLY)
            assert f.acked(SET_VRING_KICK, struct.pack("<Q", 0), [fd]) != 0, path
        r, w = os.pipe()
        assert f.acked(SET_VRING_KICK, struct.pack("<Q", 0), [r]) == 0
        ring = f.rings[0]
        for _ in range(3):
            ring.chain(blk_buffers(f, GET_ID, 0, length=20))
            ring.offer(0, kick=False)
            os.write(w, bytes(8))
            assert ring.take_used() == (0, 21)
        os.close(w)  # a hang-up of the kick is no reason to spin
        time.sleep(0.2)
        ticks = d.vubox.cpu_ticks()
        time.sleep(0.5)
        assert d.vubox.cpu_ticks() - ticks < 5 and base == 0 and f.is_open()


# ---- what a driver must not do ----

def breaks(hurt, features=None, why=None):
    """hurt(front, ring) breaks queue 0, once, and nothing else; a restart of the ring heals it."""
    with Disk() as d:
        f = ready(d.path, features, rings=2)
        bad, good = f.rings
        assert blk(f, OUT, 0, b"1" * 512, ring=bad)[0] == OK
        assert f.acked(SET_STATUS, struct.pack("<Q", 15)) == 0
        hurt(f, bad)
        bad.kick_now()
        until(lambda: select.select([bad.err], [], [], 0)[0], "the err notification")
        assert f.ask_u64(GET_STATUS) == 15 | 64, "DEVICE_NEEDS_RESET"
        assert d.vubox.said().count("is broken") == 1
        if why:
            assert why in d.vubox.said(), d.vubox.said()
        assert blk(f, OUT, 1, b"2" * 512, ring=good)[0] == OK, "the other queue"
        ticks = d.vubox.cpu_ticks()
        time.sleep(0.1)
        assert d.vubox.cpu_ticks() - ticks < 5, "it spins"
        f.stop_ring(bad)
        bad.start_at(0)
        f.start_ring(bad)
        assert blk(f, IN, 0, length=512, ring=bad)[:2] == (OK, b"1" * 512)


@case
def a_head_out_of_range_breaks():
    breaks(lambda f, r: r.offer(r.size, kick=False), why="behind the end")
    breaks(lambda f, r: r.offer(65535, kick=False), why="behind the end")


@case
def a_next_out_of_range_breaks():
    def hurt(f, r):
        r.set_desc(0, f.memory[0].guest, 16, NEXT, r.size)
        r.offer(0, kick=False)
    breaks(hurt, why="behind the end")


@case
def loops_break():
    def itself(f, r):
        r.set_desc(0, f.memory[0].guest, 16, NEXT, 0)
        r.offer(0, kick=False)

    def empty(f, r):
        r.set_desc(0, f.memory[0].guest, 0, NEXT, 0)
        r.offer(0, kick=False)

    def two(f, r):
        r.set_desc(0, f.memory[0].guest, 1, NEXT, 1)
        r.set_desc(1, f.memory[0].guest, 0, NEXT, 0)
        r.offer(0, kick=False)
    for hurt in itself, empty, two:
        breaks(hurt, why="loop")


@case
def a_jump_of_the_avail_index_breaks():
    def hurt(f, r):
        f.write(r.avail + 2, struct.pack("<H", r.avail_idx + r.size + 1))
    breaks(hurt, why="jumps")


@case
def readable_after_writable_breaks():
    def hurt(f, r):
        base = f.memory[0].guest
        r.chain([(base, 16, False), (base, 1, True), (base, 16, False)])
        r.offer(0, kick=False)
    breaks(hurt, why="readable")


@case
def bad_indirect_tables_break():
    def table_of(addr, length, flags=INDIRECT, inner=None):
        def hurt(f, r):
            base = f.memory[0].guest
            if inner:
                f.write(base + 0x180000, inner(base))
            r.set_desc(0, base + 0x180000 if addr is None else addr, length, flags, 1)
            r.offer(0, kick=False)
        return hurt
    breaks(table_of(None, 0), why="wrong size")
    breaks(table_of(None, 17), why="wrong size")
    breaks(table_of(None, 16 * 4096), why="wrong size")
    breaks(table_of(0x10, 32), why="not in shared memory")
    breaks(table_of(2**64 - 16, 32), why="not in shared memory")
    breaks(table_of(None, 32, INDIRECT | NEXT), why="none may be")
    breaks(table_of(None, 32), features=PLAIN, why="none may be")
    nested = lambda base: struct.pack("<QIHH", base, 16, INDIRECT, 0)
    breaks(table_of(None, 16, inner=nested), why="indirect descriptor in")
    far = lambda base: struct.pack("<QIHH", base, 16, NEXT, 9)
    breaks(table_of(None, 32, inner=far), why="behind the end of its indirect")
    loop = lambda base: struct.pack("<QIHH", base, 16, NEXT, 0)
    breaks(table_of(None, 32, inner=loop), why="loop")


@case
def four_gib_of_one_page_break():
    def hurt(f, r):
        base = f.memory[0].guest
        r.chain([(base, 16, False), *[(base, 0x80000000, True)] * 3])
        r.offer(0, kick=False)
    breaks(hurt, why="4 GiB")


@case
def a_request_without_header_or_status_breaks():
    def no_status(f, r):
        r.chain([(f.memory[0].guest, 16, False)])
        r.offer(0, kick=False)

    def no_header(f, r):
        r.chain([(f.memory[0].guest, 512, True)])
        r.offer(0, kick=False)

    def half_header(f, r):
        r.chain([(f.memory[0].guest, 15, False), (f.memory[0].guest, 1, True)])
        r.offer(0, kick=False)

    def nothing(f, r):
        r.chain([(f.memory[0].guest, 0, False)])
        r.offer(0, kick=False)
    breaks(no_status, why="status")
    breaks(no_header, why="header")
    breaks(half_header, why="header")
    breaks(nothing, why="status")


@case
def a_restart_that_fails_stops_the_ring():
    with Disk() as d:
        tail = Memory(size=4096, guest=0x10000000)
        f = FrontEnd(d.path, [Memory(), tail])
        f.negotiate()
        f.share()
        ring = f.add_ring(4)
        ring.used = tail.guest + tail.size - 6 - 8 * 4 - 2
        ring.start_at(600)
        f.start_ring(ring, base=600)
        assert blk(f, GET_ID, 0, length=20)[0] == OK
        before = tail.map[:], f.memory[0].map[:0x10000]
        # Its used ring has room for 4 entries, and none for 1024.
        assert f.acked(SET_VRING_NUM, struct.pack("<II", 0, 1024)) == 0
        assert f.acked(SET_VRING_BASE, struct.pack("<II", 0, ring.avail_idx)) == 0
        assert f.acked(SET_VRING_KICK, bytes(8), [ring.kick]) != 0
        ring.chain(blk_buffers(f, GET_ID, 0, length=20))
        f.write(ring.avail + 4 + 2 * ring.avail_idx, bytes(2))
        ring.offer(0)
        for _ in range(3):  # messages are handled before rings have their turn
            f.send(SET_VRING_ENABLE, struct.pack("<II", 0, 1))
            assert f.is_open()
        assert (tail.map[:], f.memory[0].map[:0x10000]) == before, "it was written to"
        assert f.acked(SET_VRING_NUM, struct.pack("<II", 0, 4)) == 0
        assert f.acked(SET_VRING_KICK, bytes(8), [ring.kick]) == 0
        assert ring.take_used()[0] == 0


@case
def ring_addresses_out_of_memory_are_refused():
    with Disk() as d:
        f = FrontEnd(d.path)
        f.negotiate()
        f.share()
        ring = f.add_ring()
        f.set_ring(ring)
        m = f.memory[0]
        good = [f.user(ring.desc), f.user(ring.used), f.user(ring.avail)]
        for i in range(3):
            for bad in 0, 2**64 - 16, m.user + m.size - 8, m.guest, good[i] | 1:
                if i == 0 and bad == good[0] | 1:
                    continue  # descriptors are copied: they lie where they like
                addr = good[:i] + [bad] + good[i + 1:]
                f.send(SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, *addr, 0))
                kick = struct.pack("<Q", 0)
                assert f.acked(SET_VRING_KICK, kick, [ring.kick]) != 0, (i, hex(bad))
        f.send(SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, *good, 0))
        assert f.acked(SET_VRING_KICK, struct.pack("<Q", 0), [ring.kick]) == 0


main()
