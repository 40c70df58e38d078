#!/bin/sh
# vubox with glibc in its own cage, which has a list of calls of its own: the suites of the command
# line and of the protocol, but for what is about memory (glibc's share of it is glibc's).
#
# hang guard: 300 s
set -u
cd "$(dirname "$0")/../.." || exit 2

build=build/cage-glibc
unset MAKEFLAGS MFLAGS MAKELEVEL
failed=0
if ! make CC=gcc BUILD=$build $build/vubox >"$build.log" 2>&1; then
	cat "$build.log" >&2
	echo "not ok cage glibc: make CC=gcc fails (replay: make CC=gcc BUILD=$build)"
	exit 1
fi
make -s proto-suites || exit 1
protos=
for name in blk config fds framing hang host inflight kill life memory messages rings rng shrink \
	stop; do
	protos="$protos build/tests/proto/$name"
done
export VUBOX=$build/vubox KILLS=10 TURNS=40
for suite in tests/cli/serve.sh tests/cli/sandbox.sh tests/proto/[!f]*.py $protos; do
	timeout 200 "$suite" >$build/cases 2>$build/errors || [ $? = 1 ] || {
		cat $build/errors >&2
		echo "not ok cage glibc: $suite does not end well (replay: VUBOX=$VUBOX $suite)"
		failed=1
	}
	grep -E '^(ok|not ok|skip) ' $build/cases | grep -v '_connections_leave_nothing' |
		sed 's/^\(ok\|not ok\|skip\) /&glibc: /' >$build/lines
	cat $build/lines
	! grep -q '^not ok' $build/lines || failed=1
done
exit $failed
