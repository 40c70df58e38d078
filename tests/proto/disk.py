#!/usr/bin/env python3
"""The block device: every request, status and framing, by every I/O engine."""
import os
import random
import struct

from front import *  # noqa: F403  pylint: disable=wildcard-import,unused-wildcard-import

ENGINES = "uring", "sync", "mmap"
WCE, FLUSH_F = 1 << 11, 1 << 9


def engines(function):
    """A case for each engine."""
    for engine in ENGINES:
        def run(engine=engine):
            function(engine)
        run.__name__ = f"{function.__name__}_{engine}"
        CASES.append(run)
    return function


def ranges(*what):
    return b"".join(struct.pack("<QII", *r) for r in what)


@engines
def data_comes_back(engine):
    rnd = random.Random(1)
    with Disk("--io=" + engine, size=1 << 20) as d:
        f = ready(d.path)
        model = bytearray(1 << 20)
        for _ in range(200):
            sector = rnd.randrange(2048)
            length = 512 * rnd.randint(1, min(64, 2048 - sector))
            if rnd.random() < 0.5:
                data = rnd.randbytes(length)
                model[sector * 512:sector * 512 + length] = data
                assert blk(f, OUT, sector, data)[::2] == (OK, 1)
            else:
                want = bytes(model[sector * 512:sector * 512 + length])
                assert blk(f, IN, sector, length=length) == (OK, want, length + 1)
        assert blk(f, FLUSH, 0)[0] == OK
        assert d.bytes(0, 1 << 20) == model


@engines
def framing_is_free(engine):
    rnd = random.Random(2)
    data = rnd.randbytes(4096)
    cuts = [
        ((1,) * 16, (), ()), ((8,), (511, 1, 3), ()), ((0, 16, 0), (0, 100, 0, 0), (0,)),
        ((15,), (1,) * 60, ()), ((4, 4, 4), (4095,), (0, 0)),
    ]
    with Disk("--io=" + engine) as d:
        f = ready(d.path)
        table = f.memory[0].guest + 0x180003  # not aligned: it need not be
        for i, cut_at in enumerate(cuts):
            for where in None, table:
                assert blk(f, OUT, i * 8, data, cuts=cut_at, table=where)[0] == OK
                assert d.bytes(i * 4096, 4096) == data
                got = blk(f, IN, i * 8, length=4096, cuts=cut_at, table=where)
                assert got == (OK, data, 4097)


@engines
def header_data_and_status_share_descriptors(engine):
    """Any layout: one readable descriptor for header and data, one writable for data and status."""
    with Disk("--io=" + engine) as d:
        f = ready(d.path)
        base, ring = f.memory[0].guest, f.rings[0]
        f.write(base + HEADER_AT, struct.pack("<IIQ", OUT, 0, 3) + b"z" * 512)
        ring.chain([(base + HEADER_AT, 16 + 512, False), (base + STATUS_AT, 1, True)])
        ring.offer(0)
        assert ring.take_used() == (0, 1) and d.bytes(1536, 512) == b"z" * 512
        f.write(base + HEADER_AT, struct.pack("<IIQ", IN, 0, 3))
        f.write(base + DATA_AT, b"\xee" * 600)
        ring.chain([(base + HEADER_AT, 16, False), (base + DATA_AT, 513, True)])
        ring.offer(0)
        assert ring.take_used() == (0, 513)
        assert f.read(base + DATA_AT, 514) == b"z" * 512 + b"\0" + b"\xee"


@engines
def an_indirect_table_at_the_end_of_a_chain(engine):
    with Disk("--io=" + engine) as d:
        f = ready(d.path)
        base, ring = f.memory[0].guest, f.rings[0]
        table = base + 0x180000
        buffers = blk_buffers(f, OUT, 5, b"t" * 1024, cuts=((7,), (512,), ()))
        for direct in range(1, len(buffers)):
            f.write(base + STATUS_AT, b"\xee")
            f.write(base + DATA_AT, bytes([direct]) * 1024)
            ring.chain(buffers[direct:], table=table)
            ring.chain([*buffers[:direct], (0, 0, False)])
            ring.set_desc(direct, table, 16 * (len(buffers) - direct), INDIRECT)
            ring.offer(0)
            assert ring.take_used() == (0, 1) and f.read(base + STATUS_AT, 1) == b"\0"
            assert d.bytes(2560, 1024) == bytes([direct]) * 1024


@engines
def long_chains(engine):
    """As many segments as a ring has room for, and more requests of that kind than long arrays."""
    data = bytes(i & 255 for i in range(512 * 20))
    with Disk("--io=" + engine) as d:
        f = FrontEnd(d.path)
        f.negotiate()
        f.share()
        ring = f.add_ring(1024)
        f.start_ring(ring)
        base = f.memory[0].guest
        f.write(base + HEADER_AT, struct.pack("<IIQ", OUT, 0, 0))
        f.write(base + DATA_AT, data)
        # Every second piece from another page, so that no two of them are one.
        f.write(base + DATA_AT + (1 << 20), data)
        pieces = [(base + DATA_AT + i * 10 + (i % 2 << 20), 10, False) for i in range(1022)]
        pieces.append((base + DATA_AT + 10220, 512 * 20 - 10220, False))
        buffers = [(base + HEADER_AT, 16, False), *pieces]
        table = base + 0x180000
        ring.chain(buffers, table=table)
        assert len(buffers) == 1024
        ring.chain([*buffers[:1023], (base + STATUS_AT, 1, True)], table=table)
        f.write(base + DATA_AT + 10220, data[:20])
        ring.set_desc(0, table, 16 * 1024, INDIRECT)
        ring.offer(0)
        assert ring.take_used()[0] == 0
        status = f.read(base + STATUS_AT, 1)[0]
        assert status == IOERR, "10220 bytes are no whole sectors"
        pieces[-2] = (pieces[-2][0], 512 * 20 - 10210, False)
        ring.chain([buffers[0], *pieces[:-1], (base + STATUS_AT, 1, True)], table=table)
        for _ in range(20):
            ring.offer(0, kick=False)
        ring.kick_now()
        for _ in range(20):
            assert ring.take_used()[0] == 0
        assert f.read(base + STATUS_AT, 1)[0] == OK
        assert d.bytes(0, 10210) == data[:10210]


@engines
def wrong_requests_touch_nothing(engine):
    content = bytes(range(256)) * 4096
    sectors = len(content) // 512
    with Disk("--io=" + engine, size=len(content), content=content) as d:
        f = ready(d.path)
        for kind in IN, OUT:
            for sector, length in ((sectors, 512), (sectors - 1, 1024), (2**64 - 1, 512),
                                   (2**55, 512), (2**63, 512), (0, 511), (0, 513), (0, 1)):
                data = b"!" * length if kind == OUT else b""
                f.write(f.memory[0].guest + DATA_AT, b"\xee" * 2048)
                status, got, used = blk(f, kind, sector, data, 0 if data else length)
                assert (status, used) == (IOERR, 1), (kind, sector, length)
                assert kind == OUT or got == b"\xee" * length, "an error writes no data"
        for kind in DISCARD, WRITE_ZEROES:
            for bad in (ranges((sectors, 1, 0)), ranges((2**63, 1, 0)),
                        ranges((0, 1, 0), (0, 2**31, 0)),
                        ranges((1, 1, 0), (sectors, 1, 0)), ranges((0, 1, 0))[:15], b"x" * 17,
                        ranges(*[(0, 1, 0)] * 33)):
                assert blk(f, kind, 0, bad)[0] == IOERR, (kind, bad)
            for flags in 2, 4, 1 << 31, 3:
                assert blk(f, kind, 0, ranges((0, 8, flags)))[0] == UNSUPP
        assert blk(f, DISCARD, 0, ranges((0, 8, 1)))[0] == UNSUPP
        assert blk(f, DISCARD, 0)[0] == IOERR
        for kind in 2, 3, 5, 10, 14, 99, 2**31:
            assert blk(f, kind, 0, length=512)[::2] == (UNSUPP, 1)
        assert d.bytes(0, len(content)) == content


@engines
def addresses_that_are_nowhere_fail_the_request(engine):
    with Disk("--io=" + engine, content=b"i" * 4096) as d:
        f = ready(d.path)
        ring, base = f.rings[0], f.memory[0].guest
        for kind, writable in (IN, True), (OUT, False), (WRITE_ZEROES, False):
            for addr in 0, base - 256, base + f.memory[0].size - 256, 2**64 - 256, 2**64 - 512:
                for length in 512, 1024:
                    buffers = blk_buffers(f, kind, 0)
                    buffers.insert(1, (addr, length, writable))
                    ring.chain(buffers)
                    ring.offer(0)
                    assert ring.take_used() == (0, 1)
                    assert f.read(base + STATUS_AT, 1)[0] == IOERR
        assert d.bytes(0, 4096) == b"i" * 4096 and blk(f, IN, 0, length=512)[0] == OK


@engines
def discard_frees_and_write_zeroes_zeroes(engine):
    with Disk("--io=" + engine, size=4 << 20, content=b"\xff" * (4 << 20)) as d:
        f = ready(d.path)
        blocks = os.stat(d.image).st_blocks
        assert blk(f, DISCARD, 0, ranges((0, 2048, 0)))[0] == OK
        assert os.stat(d.image).st_blocks <= blocks - 2048, "a hole"
        assert blk(f, WRITE_ZEROES, 0, ranges((2048, 1024, 1)))[0] == OK
        assert os.stat(d.image).st_blocks <= blocks - 3072, "unmap makes a hole"
        freed = os.stat(d.image).st_blocks
        assert blk(f, WRITE_ZEROES, 0, ranges((3072, 1024, 0), (5000, 3, 0)))[0] == OK
        assert os.stat(d.image).st_blocks >= freed, "without unmap the space is kept"
        assert blk(f, WRITE_ZEROES, 0, ranges((6000, 0, 0)))[0] == OK, "an empty range"
        want = bytearray(b"\xff" * (4 << 20))
        want[:4096 * 512] = bytes(4096 * 512)
        want[5000 * 512:5003 * 512] = bytes(3 * 512)
        assert d.bytes(0, 4 << 20) == want


@case
def serials():
    for serial in "", "abc", "12345678901234567890":
        with Disk("--serial=" + serial) as d:
            f = ready(d.path)
            want = serial.encode().ljust(20, b"\0")
            assert blk(f, GET_ID, 0, length=20) == (OK, want, 21)
            assert blk(f, GET_ID, 0, length=7) == (OK, want[:7], 8)
            assert blk(f, GET_ID, 0, length=30)[1][:20] == want
            assert blk(f, GET_ID, 0)[0] == OK


@case
def read_only_is_read_only():
    for engine in ENGINES:
        with Disk("--io=" + engine, "--read-only", content=b"r" * 4096) as d:
            f = FrontEnd(d.path)
            offered = f.negotiate()
            assert offered & 1 << 5 and not offered & (1 << 13 | 1 << 14)
            f.share()
            f.start_ring(f.add_ring())
            assert blk(f, IN, 0, length=512)[:2] == (OK, b"r" * 512)
            assert blk(f, OUT, 0, b"w" * 512)[0] == IOERR
            for kind in DISCARD, WRITE_ZEROES:
                assert blk(f, kind, 0, ranges((0, 8, 0)))[0] == IOERR
            assert blk(f, FLUSH, 0)[0] == OK
            assert d.bytes(0, 4096) == b"r" * 4096


@case
def a_tail_is_not_served_and_said():
    with Disk(size=4096 + 100) as d:
        f = ready(d.path)
        assert "100 bytes" in d.vubox.said()
        assert blk(f, IN, 7, length=512)[0] == OK and blk(f, IN, 8, length=512)[0] == IOERR


@case
def config_says_what_options_say():
    with Disk("--logical-block-size=4K", "--num-queues=3", "--queue-size=64", size=1 << 20) as d:
        f = FrontEnd(d.path)
        offered = f.negotiate()
        config = f.ask(GET_CONFIG, struct.pack("<III", 0, 64, 0) + bytes(64))[1][12:]
        capacity, _, seg_max, _, block = struct.unpack("<QIIII", config[:24])
        assert (capacity, seg_max, block) == (2048, 62, 4096)
        assert struct.unpack("<H", config[34:36])[0] == 3 and offered & 1 << 12
    with Disk("--num-queues=1") as d:
        assert not FrontEnd(d.path).ask_u64(GET_FEATURES) & 1 << 12, "one queue is not many"


@case
def a_host_error_fails_one_request():
    """Writing behind RLIMIT_FSIZE fails with EFBIG: only that request knows."""
    import resource
    for engine in "uring", "sync":
        with Disk("--io=" + engine, size=1 << 20) as d:
            limit = (1 << 19, resource.RLIM_INFINITY)
            resource.prlimit(d.vubox.process.pid, resource.RLIMIT_FSIZE, limit)
            f = ready(d.path)
            assert blk(f, OUT, 2000, b"x" * 512)[0] == IOERR
            assert blk(f, OUT, 0, b"y" * 512)[0] == OK and d.bytes(0, 512) == b"y" * 512
            assert "request of type 1 failed" in d.vubox.said()


@case
def a_full_file_system_fails_one_request():
    import subprocess
    import tempfile
    mount = tempfile.mkdtemp(prefix="vubox-full-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", mount], check=True)
    try:
        for engine in ENGINES:
            with Disk("--io=" + engine, size=4 << 20, where=mount) as d:
                f = ready(d.path)
                statuses = [blk(f, OUT, i * 1024, b"f" * 262144)[0] for i in range(8)]
                assert statuses[0] == OK and IOERR in statuses, (engine, statuses)
                assert blk(f, IN, 0, length=512)[:2] == (OK, b"f" * 512)
                assert blk(f, DISCARD, 0, ranges((0, 1024, 0)))[0] == OK
                assert blk(f, OUT, 0, b"g" * 512)[0] == OK, "there is room again"
                assert blk(f, IN, 0, length=512)[:2] == (OK, b"g" * 512)
    finally:
        subprocess.run(["umount", mount], check=True)
        os.rmdir(mount)


@case
def an_image_that_shrinks_fails_requests():
    for engine in ENGINES:
        with Disk("--io=" + engine, size=1 << 20, content=b"s" * (1 << 20)) as d:
            f = ready(d.path)
            assert blk(f, IN, 2000, length=512)[0] == OK
            os.truncate(d.image, 4096)
            assert blk(f, IN, 2000, length=512)[0] == IOERR
            assert blk(f, IN, 0, length=512)[:2] == (OK, b"s" * 512)
            os.truncate(d.image, 1 << 20)
            assert blk(f, IN, 2000, length=512)[:2] == (OK, bytes(512))


@case
def write_through_is_synchronous():
    for engine in "sync", "mmap":
        with Disk("--io=" + engine, size=1 << 20) as d:
            f = ready(d.path)

            def write_back_then_through():
                assert blk(f, OUT, 0, b"a" * 512)[0] == OK
                assert f.acked(SET_CONFIG, struct.pack("<III", 32, 1, 0) + b"\0") == 0
                assert blk(f, OUT, 8, b"b" * 512)[0] == OK
            said = traced(d.vubox, write_back_then_through)
            assert said.count("RWF_DSYNC") + said.count("fdatasync") == 1, said[-2000:]
            assert d.bytes(4096, 512) == b"b" * 512


@case
def o_direct_takes_aligned_and_unaligned():
    with Disk("--direct", size=4 << 20) as d:
        f = ready(d.path)
        data = os.urandom(65536)
        assert blk(f, OUT, 0, data)[0] == OK
        assert blk(f, OUT, 129, data[:512])[0] == OK
        assert blk(f, OUT, 256, data[:4096], cuts=((), (1, 100), ()))[0] == OK
        assert blk(f, IN, 0, length=65536)[:2] == (OK, data)
        assert blk(f, IN, 129, length=512)[:2] == (OK, data[:512])
        assert blk(f, IN, 256, length=4096, cuts=((), (3,), ()))[:2] == (OK, data[:4096])


@case
def auto_knows_tmpfs_from_files():
    with Disk("-v", where="/dev/shm") as d:
        assert "I/O by mmap: tmpfs" in d.vubox.said(), d.vubox.said()
    with Disk("-v") as d:
        assert "I/O by uring" in d.vubox.said() or "no io_uring" in d.vubox.said()


main()
