#!/bin/sh
# Makes of the lines "calls" in port/*.c the list of what a serving vubox may ask of the kernel, for
# the architecture and libc of a compiler:
#
#     sh port/calls.sh CC port/*.c >calls.h
#
# Above each function of port/ that others use, and above each signal handler, stands what it and
# the static functions that it needs call (other such functions have lines of their own):
#
#     /* calls: poll write fcntl(F_GETFL) */    at any time
#     /* calls of a client: connect */          with --client only
#     /* calls of a log: rename */              where a device writes one
#     /* calls at the start: open */            only before the cage is closed
#     /* calls: nothing */
#
# Names are libc's, or the kernel's where syscall(2) is used. In brackets is the one value that an
# argument has, the bits that it has not (!PROT_EXEC), or `self`, this process. tests/cage/lines.sh
# compares the lines with the code.
set -eu

cc=$1
shift

# What libc makes of a function, where that is not the call of this name alone. a|b: the first that
# the architecture has. A row may be for one libc only, and for words of 32 or 64 bits.
made_of='
	_exit                  exit_group
	clock_gettime          clock_gettime64 clock_gettime32 clock_gettime
	epoll_wait      musl   epoll_pwait
	epoll_wait      glibc  epoll_wait|epoll_pwait
	fcntl                  fcntl64|fcntl
	fstat         musl64   fstat|statx fcntl(F_GETFD)
	fstat         musl32   statx fstat64 fcntl(F_GETFD)
	fstat         glibc64  newfstatat fstat|statx
	fstat         glibc32  statx fstatat64 fstat64
	fstatfs                fstatfs64|fstatfs
	ftruncate              ftruncate64|ftruncate
	open                   openat
	rename                 rename|renameat|renameat2
	lstat         musl64   lstat|newfstatat|statx
	lstat         musl32   statx lstat64|fstatat64
	lstat         glibc64  newfstatat|statx
	lstat         glibc32  statx fstatat64
	mmap                   mmap2|mmap
	poll                   poll|ppoll
	pread                  pread64
	recv            musl   recvfrom
	recv            glibc  recv recvfrom
	send            musl   sendto
	send            glibc  send sendto
	sigaction              rt_sigaction rt_sigprocmask
	sigprocmask            rt_sigprocmask
	tcgetattr              ioctl(TCGETS)
	tcsetattr              ioctl(TCSETS)
	unlink                 unlink|unlinkat
'
# Which argument, counted from 0, is the one in brackets.
checked='fcntl 1 ioctl 1 kill 0 mmap 2 socket 0'

list=$({
	echo "$made_of"
	echo '#include <features.h>
	#include <sys/syscall.h>' | $cc -E -dM -
	cat "$@"
	# These nobody calls: the end of a signal handler, and what being stopped has interrupted.
	echo '/* calls: rt_sigreturn sigreturn restart_syscall */'
} | awk -v checked="$checked" '
	function fail(why)
	{
		print "port/calls.sh: " why >"/dev/stderr"
		exit failed = 1
	}

	# A call of the kernel, made for a function of libc: name|name(argument).
	function put(when, function_name, call,    at, argument, name, n, i)
	{
		at = index(call, "(")
		argument = at ? substr(call, at + 1, length(call) - at - 1) : ""
		n = split(at ? substr(call, 1, at - 1) : call, name, "|")
		for (i = 1; i <= n && !(name[i] in number); i++)
			;
		if (i > n)
			return # this architecture has none, and libc no use for it
		if (argument && !(function_name in place))
			fail(function_name "(" argument "): of which argument?")
		if (argument == "" && when == "ANY")
			plain[name[i]] = 1
		else if (argument == "")
			rule[name[i], when, "0, LACKS, 0"] = 1
		else
			rule[name[i], when, place[function_name] ", " \
				(argument == "self" ? "IS_SELF, 0" : \
				argument ~ /^!/ ? "LACKS, " substr(argument, 2) : \
				"EQUALS, " argument)] = 1
	}

	# A word of a line: function or function(argument).
	function take(when, word,    name, argument, n, part, i, at)
	{
		at = index(word, "(")
		name = at ? substr(word, 1, at - 1) : word
		argument = at ? substr(word, at) : ""
		if (word !~ /^[a-z_][a-z0-9_]*(\(!?[A-Za-z_0-9]+\))?$/)
			fail("no call: " word)
		if (name == "nothing")
			return
		if (!(name in parts)) {
			put(when, name, word)
			return
		}
		n = split(parts[name], part, " ")
		for (i = 1; i <= n; i++)
			if (part[i] ~ /^(fcntl|ioctl)\(/ && name !~ /^(fcntl|ioctl)$/)
				take(when, part[i])
			else
				put(when, name, part[i] argument)
	}

	$1 == "#define" && $2 ~ /^SYS_/ { number[substr($2, 5)] = 1 }
	$1 == "#define" && $2 == "__GLIBC__" { glibc = 1 }
	$1 == "#define" && $2 == "__SIZEOF_LONG__" { bits = $3 * 8 }
	$1 ~ /^[a-z_0-9]+$/ && !bits && NF > 1 { row[++rows] = $0 }

	/^\/\* calls/ {
		if (!known++) {
			n = split(checked, word, " ")
			for (i = 1; i < n; i += 2)
				place[word[i]] = word[i + 1]
			libc = glibc ? "glibc" : "musl"
			for (i = 1; i <= rows; i++) {
				n = split(row[i], word, " ")
				if (word[2] !~ /^(musl|glibc)(32|64)?$/)
					k = 2
				else if (word[2] == libc || word[2] == libc bits)
					k = 3
				else
					continue
				for (; k <= n; k++)
					parts[word[1]] = parts[word[1]] " " word[k]
			}
		}
		if ($0 !~ /^\/\* calls( of a client| of a log| at the start)?: [^*]*[^ *] \*\/$/)
			fail("not as it should be: " $0)
		if ($2 $3 $4 == "callsatthe")
			next
		n = split($0, word, " ")
		for (i = $2 == "calls:" ? 3 : 6; i < n; i++)
			take($2 == "calls:" ? "ANY" : $5 == "log:" ? "LOG" : "CLIENT", word[i])
	}

	END {
		if (!failed && !bits)
			fail("the compiler says nothing")
		for (name in plain)
			print "CALL(" name ")"
		# What is always allowed needs no rule for some.
		for (key in rule) {
			split(key, word, SUBSEP)
			if (!(word[1] in plain) && (word[2] == "ANY" || \
					!((word[1], "ANY", word[3]) in rule)))
				print "RULE(" word[1] ", " word[2] ", " word[3] ")"
		}
	}')
echo '/* Made by port/calls.sh of the lines "calls" in port/. */'
echo "$list" | LC_ALL=C sort -u
