"""The host's side of a guest's port: peer.py PATH STEP...

PATH is a unix socket, or a terminal. Steps: `expect TEXT` reads until TEXT comes, `hear TEXT`
shows it and what was before it, `say TEXT` writes it (with escapes), `put FILE` and `get FILE
BYTES` move bytes, `slowly FILE BYTES` takes a pause before each piece, `stay SECONDS` does nothing,
and reads nothing.
"""
import os
import select
import socket
import stat
import sys
import time

LATEST = time.monotonic() + int(os.environ.get("GUARD_S", 240))


class Peer:
    def __init__(self, path):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(path)
            self.fd = self.socket.fileno()
        else:
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self.have = b""

    def read(self, size=65536):
        if not select.select([self.fd], [], [], LATEST - time.monotonic())[0]:
            sys.exit(f"nothing comes after {self.have[-100:]}")
        data = os.read(self.fd, size)
        if not data:
            sys.exit("it has hung up")
        self.have += data

    def write(self, data):
        while data:
            data = data[os.write(self.fd, data):]

    def expect(self, text):
        text = text.encode()
        while text not in self.have:
            self.read()
        before, _, self.have = self.have.partition(text)
        return before.decode(errors="replace") + text.decode()

    def hear(self, text):
        print(self.expect(text))

    def say(self, text):
        self.write(text.encode().decode("unicode_escape").encode())

    def put(self, path):
        with open(path, "rb") as f:
            self.write(f.read())

    def get(self, path, size, piece=65536, pause=0.0):
        while len(self.have) < int(size):
            time.sleep(pause)
            self.read(piece)
        with open(path, "wb") as f:
            f.write(self.have[:int(size)])
        self.have = self.have[int(size):]

    def slowly(self, path, size):
        self.get(path, size, piece=16384, pause=0.01)

    def stay(self, seconds):
        time.sleep(float(seconds))


def main():
    peer = Peer(sys.argv[1])
    words = sys.argv[2:]
    while words:
        step = getattr(peer, words.pop(0))
        count = step.__code__.co_argcount - 1 - len(step.__defaults__ or ())
        step(*words[:count])
        del words[:count]


main()
