#!/usr/bin/env python3
"""The lines "calls" of port/ (see port/calls.sh) against what its functions call.

Every function that is visible outside its file, and every one that nobody calls (a signal handler),
has a line; on it stands exactly what the function and its static helpers call in libc or, through
syscall(2), in the kernel. gcc writes down the call graph, with the place of each call.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLAGS = "-std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -O0 -fno-pie -fcallgraph-info".split()

# libc's functions that ask the kernel for nothing.
PURE = set("""__cmsg_nxthdr __errno_location getpagesize memcpy memset sigaddset sigemptyset strchr
    strcspn strlen strncmp strrchr""".split())
# The place of the argument that a line names.
CHECKED = {"fcntl": 1, "ioctl": 1, "socket": 0, "kill": 0, "mmap": 2}

failed = False


def case(name, reasons):
    global failed
    reasons = list(reasons)
    for reason in reasons:
        print("    " + reason, file=sys.stderr)
    if reasons:
        failed = True
        print(f"not ok cage lines: {name}: {reasons[0]} ({len(reasons)} in all) "
              "(replay: tests/cage/lines.py)")
    else:
        print(f"ok cage lines: {name}")


class Port:
    """The functions of a tree's port/, their lines, and what they call."""

    def __init__(self, tree):
        self.tree = tree
        self.lines = {}     # function: {when: set of words}
        self.defined = {}   # function: its file
        self.edges = {}     # function: [(callee, file, line, column)]
        self.libc = set()   # functions that come from outside the tree
        self.sources = {}
        self.complaints = []
        port = os.path.join(tree, "port")
        for name in sorted(os.listdir(port)):
            if name.endswith(".c"):
                self.read_lines("port/" + name)
        self.compile()

    def read_lines(self, path):
        with open(os.path.join(self.tree, path), encoding="utf-8") as f:
            self.sources[path] = text = f.read()
        pending = None
        for number, line in enumerate(text.split("\n"), 1):
            match = re.match(r"/\* calls( of a client| of a log| at the start)?: (.*) \*/$", line)
            if match:
                pending = pending or {}
                words = set(match[2].split()) - {"nothing"}
                pending.setdefault((match[1] or "").strip(), set()).update(words)
            elif pending is not None:
                name = re.search(r"(\w+)\(", line)
                if name:
                    self.lines[name[1]] = pending
                else:
                    self.complaints.append(f"{path}:{number}: a line above no function")
                pending = None

    def compile(self):
        with tempfile.TemporaryDirectory() as tmp:
            with open(os.path.join(tmp, "calls.h"), "w", encoding="utf-8") as f:
                subprocess.run(["sh", "port/calls.sh", "gcc", *self.sources], cwd=self.tree,
                               stdout=f, check=True)
            for path in self.sources:
                out = os.path.join(tmp, "x.o")
                subprocess.run(["gcc", *FLAGS, "-Iinclude", "-Iport", "-I" + tmp, "-c", path,
                                "-o", out], cwd=self.tree, check=True)
                with open(os.path.join(tmp, "x.ci"), encoding="utf-8") as f:
                    self.read_graph(f.read())

    def read_graph(self, text):
        names = {}
        for title, label, rest in re.findall(
                r'node: \{ title: "([^"]*)" label: "([^"]*)"(.*)\}', text):
            label = label.split("\\n")
            names[title] = label[0] if "ellipse" in rest else title
            if "ellipse" not in rest:
                self.defined[title] = label[1].split(":")[0]
            elif not label[-1].startswith(("include/", "port/")):
                self.libc.add(label[0])
        for source, target, place in re.findall(
                r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)" label: "([^"]*)"', text):
            path, line, column = place.rsplit(":", 2)
            self.edges.setdefault(source, []).append(
                (names[target], path, int(line), int(column)))

    def arguments(self, path, line, column):
        """The name and the arguments of the call that is written there."""
        text = "\n".join(self.sources[path].split("\n")[line - 1:])[column - 1:]
        at = text.index("(")
        parts, depth = [""], 0
        for c in text[at:]:
            depth += (c == "(") - (c == ")")
            if depth == 0:
                break
            if c == "," and depth == 1:
                parts.append("")
            elif depth > 1 or c != "(":
                parts[-1] += c
        return text[:at], [part.strip() for part in parts]

    def word(self, callee, path, line, column):
        """A call as it stands on a line, or None for one that asks the kernel for nothing."""
        if callee in PURE:
            return None
        _, arguments = self.arguments(path, line, column)
        if callee == "syscall":
            assert arguments[0].startswith("SYS_"), f"{path}:{line}: not by a SYS_ name"
            return arguments[0][4:]
        if callee not in CHECKED:
            return callee
        argument = arguments[CHECKED[callee]]
        if callee == "mmap":
            if "PROT_" not in argument: # a variable
                argument = re.search(rf"\b{argument} = ([^;]*);", self.sources[path])[1]
            assert "PROT_" in argument, f"{path}:{line}: {argument}"
            argument = "PROT_EXEC" if "PROT_EXEC" in argument else "!PROT_EXEC"
        return f"{callee}({'self' if argument == 'getpid()' else argument})"

    def called(self, function):
        """What it calls, through static helpers; and the visible functions that it calls."""
        words, others, seen, todo = set(), set(), set(), [function]
        while todo:
            one = todo.pop()
            for callee, *place in self.edges.get(one, []):
                if callee in self.libc:
                    words.add(self.word(callee, *place))
                elif ":" not in callee:
                    others.add(callee)
                elif callee not in seen:
                    seen.add(callee)
                    todo.append(callee)
        return words - {None}, others

    def heads(self):
        """The functions that need a line: title, name and file."""
        called = {callee for edges in self.edges.values() for callee, *_ in edges}
        for title, path in self.defined.items():
            if path.startswith("port/") and (":" not in title or title not in called):
                yield title, title.split(":")[-1], path

    def problems(self):
        yield from self.complaints
        heads = list(self.heads())
        for title, name, path in heads:
            words, others = self.called(title)
            if name not in self.lines:
                yield f"{path}: {name} has no line"
                continue
            said = set().union(*self.lines[name].values())
            for word in sorted(words - said):
                yield f"{path}: {name} calls {word}, which is not on its line"
            for word in sorted(said - words):
                yield f"{path}: {name} does not call {word}, which is on its line"
            if self.when(name) != "at the start":
                for other in sorted(others):
                    if self.when(other) == "at the start":
                        yield f"{path}: {name} calls {other}, which is only for the start"
        for name in sorted(set(self.lines) - {name for _, name, _ in heads}):
            yield f"{name} needs no line: it is a static helper, or not there"

    def when(self, name):
        whens = set(self.lines.get(name, {"": 0}))
        return whens.pop() if len(whens) == 1 else "mixed"


def fake_disagrees(port):
    """The fake port dies of what comes too late: by the same list."""
    with open(ROOT + "/tests/unit/fake_port.c", encoding="utf-8") as f:
        text = f.read()
    listed = re.search(r"at_the_start =([^;]*);", text)[1]
    late = {"port_" + name.lower() for name in re.findall(r"FAKE_(\w+)", listed)}
    with open(ROOT + "/tests/unit/fake_port.h", encoding="utf-8") as f:
        names = re.search(r"enum fake_call \{(.*?)FAKE_CALLS", f.read(), re.S)[1]
    known = {"port_" + name.lower() for name in re.findall(r"FAKE_(\w+)", names)} - {"port_io"}
    for name in sorted(known):
        if name not in port.lines:
            yield f"{name}, which the fake has, has no line"
        elif (port.when(name) == "at the start") != (name in late):
            yield f"{name}: its line says \"{port.when(name)}\", the fake does not"


def planted(name, path, old, new, expected):
    """A copy of the tree with one mistake in it, which must be found."""
    with tempfile.TemporaryDirectory() as tmp:
        for part in "include", "port":
            shutil.copytree(os.path.join(ROOT, part), os.path.join(tmp, part))
        with open(os.path.join(tmp, path), encoding="utf-8") as f:
            text = f.read()
        assert old in text, f"{path} has no {old!r}"
        with open(os.path.join(tmp, path), "w", encoding="utf-8") as f:
            f.write(text.replace(old, new, 1))
        found = list(Port(tmp).problems())
        case(name, [] if any(expected in p for p in found) else
             [f"\"{expected}\" is not among {found}"])


def main():
    port = Port(ROOT)
    case("every function has its line, and calls what is on it", port.problems())
    case("the fake port knows what is only for the start", fake_disagrees(port))
    planted("a missing line is noticed", "port/socket.c", "/* calls: sendmsg */\n", "",
            "port_send has no line")
    planted("a call that no line has is noticed", "port/map.c", "if (!state.hits)",
            "if (!state.hits || getppid() == 1)", "port_map_hits calls getppid")
    planted("so is one in a helper", "port/event.c", "struct epoll_event *events, unsigned max, "
            "int64_t timeout_ns)\n{", "struct epoll_event *events, unsigned max, "
            "int64_t timeout_ns)\n{\n\tclose(3);", "port_wait calls close")
    planted("so is one by number", "port/process.c", "SYS_getrandom", "SYS_getcpu",
            "port_random calls getcpu")
    planted("so is another argument", "port/io.c", "ioctl(f->fd, FS_BLKZEROOUT",
            "ioctl(f->fd, FS_BLKPBSZGET", "calls ioctl(FS_BLKPBSZGET)")
    planted("so is executable memory", "port/map.c", "PROT_READ | PROT_WRITE,",
            "PROT_READ | PROT_EXEC,", "bus_error calls mmap(PROT_EXEC)")
    planted("a call that is gone is noticed", "port/process.c", "\t(void)close(fd);\n}",
            "\t(void)fd;\n}", "port_close does not call close")
    planted("what is only for the start stays there", "port/file.c",
            "int error = file_size(file);", "int error = file_size(file) + uring_open();",
            "port_file_resize calls uring_open")
    sys.exit(failed)


main()
