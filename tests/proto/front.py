"""A vhost-user front-end and a split-ring driver, to test the real binary over a real socket.

A suite is a list of functions decorated with @case; main() runs them, prints `ok` and `not ok`
lines, and how to run one case again: tests/proto/SUITE.py CASE.
"""
import array
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

VUBOX = os.environ.get("VUBOX", "./vubox")
WAIT_S = float(os.environ.get("WAIT_S", "20"))  # nothing but a hang takes so long

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD,
 SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL,
 SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM,
 SET_VRING_ENABLE) = range(1, 19)
SET_BACKEND_REQ_FD, GET_CONFIG, SET_CONFIG = 21, 24, 25
GET_INFLIGHT_FD, SET_INFLIGHT_FD, RESET_DEVICE = 31, 32, 34
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS = 36, 37, 38, 39, 40

NEED_REPLY = 8
F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1 = 1 << 28, 1 << 29, 1 << 30, 1 << 32
F_RING_PACKED = 1 << 34
P_MQ, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG = 1 << 0, 1 << 3, 1 << 5, 1 << 9
P_INFLIGHT, P_RESET, P_SLOTS, P_STATUS = 1 << 12, 1 << 13, 1 << 15, 1 << 16
P_BASE_INFLIGHT, P_SKIP_DRAIN = 1 << 20, 1 << 23
NEXT, WRITE, INDIRECT = 1, 2, 4


def until(condition, what):
    """Waits for condition() to be true, and returns it."""
    end = time.monotonic() + WAIT_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("never: " + what)
        time.sleep(0.0005)


class Memory:
    """A region of guest memory: a memfd, its guest address, and a user address of its own."""

    def __init__(self, size=16 << 20, guest=0x40000000, user=None, offset=0):
        self.size, self.guest, self.offset = size, guest, offset
        self.user = guest + 0x7000_0000_0000 if user is None else user
        self.fd = os.memfd_create("guest")
        page = offset // 4096 * 4096
        os.ftruncate(self.fd, offset + size)
        self.map = mmap.mmap(self.fd, min(offset - page + size, 64 << 20), offset=page)
        self.skip = offset - page

    def describe(self):
        return struct.pack("<QQQQ", self.guest, self.size, self.user, self.offset)

    def holds(self, guest):
        return self.guest <= guest < self.guest + self.size

    def at(self, guest):
        return self.skip + guest - self.guest


class Ring:
    """A split ring in guest memory, and the driver's side of it."""

    def __init__(self, front, index, size, guest, event_idx=False):
        self.front, self.index, self.size, self.event_idx = front, index, size, event_idx
        self.desc = guest
        self.avail = self.desc + 16 * size
        self.used = (self.avail + 6 + 2 * size + 3) // 4 * 4
        self.end = self.used + 6 + 8 * size
        self.kick, self.call = os.eventfd(0), os.eventfd(0, os.EFD_NONBLOCK)
        self.err = os.eventfd(0, os.EFD_NONBLOCK)
        self.avail_idx = self.used_idx = 0

    def start_at(self, index):
        self.avail_idx = self.used_idx = index
        self.front.write(self.avail + 2, struct.pack("<H", index & 0xffff))
        self.front.write(self.used + 2, struct.pack("<H", index & 0xffff))

    def set_desc(self, i, addr, length, flags=0, following=0, table=None):
        at = (self.desc if table is None else table) + 16 * i
        self.front.write(at, struct.pack("<QIHH", addr, length, flags, following))

    def chain(self, buffers, first=0, table=None):
        """Lays out [(guest, length, writable)] as a chain that begins at descriptor `first`."""
        for i, (addr, length, writable) in enumerate(buffers):
            last = i == len(buffers) - 1
            self.set_desc(first + i, addr, length, (WRITE if writable else 0) |
                          (0 if last else NEXT), 0 if last else first + i + 1, table)
        return first

    def offer(self, head, kick=True):
        at = self.avail + 4 + 2 * (self.avail_idx % self.size)
        self.front.write(at, struct.pack("<H", head))
        self.avail_idx = (self.avail_idx + 1) & 0xffff
        self.front.write(self.avail + 2, struct.pack("<H", self.avail_idx))
        if kick:
            self.kick_now()

    def kick_now(self):
        os.write(self.kick, struct.pack("<Q", 1))

    def in_used(self):
        (index,) = struct.unpack("<H", self.front.read(self.used + 2, 2))
        return (index - self.used_idx) & 0xffff

    def take_used(self):
        until(self.in_used, "a used element")
        at = self.used + 4 + 8 * (self.used_idx % self.size)
        self.used_idx = (self.used_idx + 1) & 0xffff
        return struct.unpack("<II", self.front.read(at, 8))

    def calls(self):
        try:
            return struct.unpack("<Q", os.read(self.call, 8))[0]
        except BlockingIOError:
            return 0


class FrontEnd:
    def __init__(self, path, memory=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(path)
        self.memory = [Memory()] if memory is None else memory
        self.rings = []

    # ---- messages ----

    def send(self, request, payload=b"", fds=(), flags=1):
        self.send_raw(struct.pack("<III", request, flags, len(payload)) + payload, fds)

    def send_raw(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)

    def receive(self):
        """A reply: (request, payload, fds), or None if the connection is closed."""
        data, control, _, _ = self.socket.recvmsg(12, 1024, socket.MSG_WAITALL)
        if len(data) < 12:
            return None
        request, flags, size = struct.unpack("<III", data)
        assert flags & 7 == 5, f"flags of a reply: {flags:#x}"
        payload = self.socket.recv(size, socket.MSG_WAITALL) if size else b""
        fds = array.array("i")
        for _, _, raw in control:
            fds.frombytes(raw)
        return request, payload, list(fds)

    def ask(self, request, payload=b"", fds=(), flags=1):
        self.send(request, payload, fds, flags)
        reply = self.receive()
        assert reply is not None, f"closed by request {request}"
        assert reply[0] == request, f"reply {reply[0]} to request {request}"
        return reply

    def ask_u64(self, request, payload=b"", fds=(), flags=1):
        (value,) = struct.unpack("<Q", self.ask(request, payload, fds, flags)[1])
        return value

    def acked(self, request, payload=b"", fds=()):
        """The value of the ack (0: success)."""
        return self.ask_u64(request, payload, fds, 1 | NEED_REPLY)

    def set_u64(self, request, value, fds=()):
        self.send(request, struct.pack("<Q", value), fds)

    def is_open(self):
        """Whether the other side still answers."""
        try:
            self.send(GET_FEATURES)
            return self.receive() is not None
        except OSError:
            return False

    def is_closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()

    # ---- memory ----

    def region(self, guest):
        for m in self.memory:
            if m.holds(guest):
                return m
        raise KeyError(hex(guest))

    def read(self, guest, length):
        data = b""
        while length > 0:
            m = self.region(guest)
            part = min(length, m.guest + m.size - guest)
            data += m.map[m.at(guest):m.at(guest) + part]
            guest, length = guest + part, length - part
        return data

    def write(self, guest, data):
        while data:
            m = self.region(guest)
            part = min(len(data), m.guest + m.size - guest)
            m.map[m.at(guest):m.at(guest) + part] = data[:part]
            guest, data = guest + part, data[part:]

    def user(self, guest):
        m = self.region(guest)
        return guest - m.guest + m.user

    # ---- set-up ----

    def negotiate(self, features=None, protocol=None):
        offered = self.ask_u64(GET_FEATURES)
        self.protocol = self.ask_u64(GET_PROTOCOL_FEATURES) if protocol is None else protocol
        self.set_u64(SET_PROTOCOL_FEATURES, self.protocol)
        self.send(SET_OWNER)
        # (its driver knows split rings only)
        self.features = offered & ~F_RING_PACKED if features is None else features
        self.set_u64(SET_FEATURES, self.features)
        return offered

    def share(self):
        payload = struct.pack("<II", len(self.memory), 0)
        payload += b"".join(m.describe() for m in self.memory)
        self.send(SET_MEM_TABLE, payload, [m.fd for m in self.memory])

    def add_ring(self, size=128, index=None, guest=None):
        index = len(self.rings) if index is None else index
        at = self.memory[0].guest + 0x10000 * (index + 1) if guest is None else guest
        ring = Ring(self, index, size, at, bool(self.features & F_EVENT_IDX))
        self.rings.append(ring)
        return ring

    def set_ring(self, ring, base=0):
        i = ring.index
        self.send(SET_VRING_NUM, struct.pack("<II", i, ring.size))
        self.send(SET_VRING_BASE, struct.pack("<II", i, base))
        self.send(SET_VRING_ADDR, struct.pack("<IIQQQQ", i, 0, self.user(ring.desc),
                                              self.user(ring.used), self.user(ring.avail), 0))
        self.set_u64(SET_VRING_CALL, i, [ring.call])
        self.set_u64(SET_VRING_ERR, i, [ring.err])

    def start_ring(self, ring, base=0, enable=True, kick=True):
        self.set_ring(ring, base)
        if kick:
            self.set_u64(SET_VRING_KICK, ring.index, [ring.kick])
        else:
            self.set_u64(SET_VRING_KICK, ring.index | 0x100)
        if enable:
            self.send(SET_VRING_ENABLE, struct.pack("<II", ring.index, 1))

    def stop_ring(self, ring):
        payload = self.ask(GET_VRING_BASE, struct.pack("<II", ring.index, 0))[1]
        return struct.unpack("<II", payload)[1]


def ready(path, features=None, protocol=None, memory=None, size=128, rings=1):
    """A front-end with started rings."""
    front = FrontEnd(path, memory)
    front.negotiate(features, protocol)
    front.share()
    for _ in range(rings):
        front.start_ring(front.add_ring(size))
    return front


# ---- virtio-blk ----

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
# A slot: header, status, and up to 248 KiB of data before the next one begins.
HEADER_AT, STATUS_AT, DATA_AT = 0x2fe000, 0x2ff000, 0x300000


def cut(guest, length, writable, pieces):
    """A buffer as several of the given lengths; what is left is the last one."""
    buffers = []
    for p in pieces:
        p = min(p, length)
        buffers.append((guest, p, writable))
        guest, length = guest + p, length - p
    if length or not buffers:
        buffers.append((guest, length, writable))
    return buffers


def blk_buffers(front, kind, sector, data=b"", length=0, slot=0, cuts=((), (), ())):
    base = front.memory[0].guest + slot * 0x40000
    front.write(base + HEADER_AT, struct.pack("<IIQ", kind, 0, sector & (1 << 64) - 1))
    front.write(base + STATUS_AT, b"\xee")
    buffers = cut(base + HEADER_AT, 16, False, cuts[0])
    if data:
        front.write(base + DATA_AT, data)
        buffers += cut(base + DATA_AT, len(data), False, cuts[1])
    if length:
        buffers += cut(base + DATA_AT, length, True, cuts[1])
    return buffers + cut(base + STATUS_AT, 1, True, cuts[2])


def blk(front, kind, sector, data=b"", length=0, ring=None, cuts=((), (), ()), table=None):
    """A request: (status, data read, used length)."""
    ring = ring or front.rings[0]
    base = front.memory[0].guest
    buffers = blk_buffers(front, kind, sector, data, length, 0, cuts)
    if table is None:
        ring.chain(buffers)
    else:
        ring.chain(buffers, table=table)
        ring.set_desc(0, table, 16 * len(buffers), INDIRECT)
    ring.offer(0)
    head, written = ring.take_used()
    assert head == 0, f"used element of head {head}"
    return front.read(base + STATUS_AT, 1)[0], front.read(base + DATA_AT, length), written


# ---- vubox as a process ----

class Vubox:
    def __init__(self, *args, device="blk", wait=True, pass_fds=()):
        self.dir = tempfile.mkdtemp(prefix="vubox-")
        self.path = os.path.join(self.dir, "sock")
        self.log = open(os.path.join(self.dir, "log"), "w+")
        words = [VUBOX, device, *[a.replace("@", self.dir) for a in args]]
        if not any(a.startswith(("--socket-path", "--fd")) for a in args):
            words.append("--socket-path=" + self.path)
        self.process = subprocess.Popen(words, stderr=self.log, pass_fds=pass_fds)
        if wait:
            until(lambda: os.path.exists(self.path) or self.process.poll() is not None, "listening")
            assert self.process.poll() is None, self.said()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0]:
            sys.stderr.write(self.said())
        self.clean()

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def maps(self):
        with open(f"/proc/{self.process.pid}/maps") as f:
            return sum(1 for _ in f)

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def cpu_ticks(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(WAIT_S)
        return status

    def clean(self):
        self.stop(signal.SIGKILL)
        self.log.close()
        subprocess.run(["rm", "-rf", self.dir], check=False)


def traced(vubox, action):
    """The system calls that vubox makes while action() runs, as strace shows them."""
    trace = os.path.join(vubox.dir, "trace")
    tracer = subprocess.Popen(["strace", "-qq", "-f", "-o", trace, "-p", str(vubox.process.pid)],
                              stderr=subprocess.PIPE)
    status = f"/proc/{vubox.process.pid}/status"
    until(lambda: "TracerPid:\t0" not in open(status).read(), "strace is there (tests/packages)")
    action()
    tracer.terminate()
    tracer.communicate()
    with open(trace) as t:
        return t.read()


def image(size=8 << 20, where="/var/tmp"):
    fd, path = tempfile.mkstemp(prefix="vubox-image-", dir=where)
    os.ftruncate(fd, size)
    os.close(fd)
    return path


class Disk:
    """An image, and a vubox that serves it; both go with the `with`."""

    def __init__(self, *args, size=8 << 20, content=None, where="/var/tmp"):
        self.image = image(size, where)
        if content is not None:
            with open(self.image, "r+b") as f:
                f.write(content)
        self.args = args
        self.start()

    def start(self, *more):
        self.vubox = Vubox("--blk-file=" + self.image, *self.args, *more)
        self.path = self.vubox.path

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0]:
            sys.stderr.write(self.vubox.said())
        self.vubox.clean()
        os.unlink(self.image)

    def bytes(self, offset, length):
        with open(self.image, "rb") as f:
            f.seek(offset)
            return f.read(length)


# ---- cases ----

CASES = []


class Skip(Exception):
    """This machine cannot run the case."""


def case(function):
    CASES.append(function)
    return function


def main():
    suite = os.path.basename(sys.argv[0]).rsplit(".", 1)[0]
    failed = False
    for function in CASES:
        name = function.__name__
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        try:
            function()
            print(f"ok proto {suite}: {name.replace('_', ' ')}", flush=True)
        except Skip as why:
            print(f"skip proto {suite}: {name}: {why}", flush=True)
        except Exception as e:  # every failure of a case is that case's
            failed = True
            traceback.print_exc()
            why = str(e).split("\n")[0] or type(e).__name__
            print(f"not ok proto {suite}: {name}: {why} (replay: {sys.argv[0]} {name})", flush=True)
    sys.exit(failed)
