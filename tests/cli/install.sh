#!/bin/sh
# `make install`: everything at its place, and usable there.
cd "$(dirname "$0")/../.." || exit 2
. tests/cli/lib.sh

unset MAKEFLAGS MFLAGS MAKELEVEL
root=$tmp/root
prefix=/opt/vubox

# has NAME COMMAND...: the command is true.
has()
{
	name=$1
	shift
	why=$("$@" 2>&1 >/dev/null) && case_is "$name" "" || case_is "$name" "no${why:+: $why}"
}

run make install DESTDIR="$root" PREFIX=$prefix
case_is "make install" "$([ "$status" = 0 ] || echo "status $status")"
bin=$root$prefix/bin
has "bin/vubox runs" "$bin/vubox" --version
command -v jq >/dev/null || echo "skip cli install: discovery files: no jq"
for device in $("$bin/vubox" --list | cut -f 1); do
	program=$bin/vhost-user-$device
	json=$root$prefix/share/qemu/vhost-user/50-vubox-$device.json
	has "vhost-user-$device is a link that works" test "$(readlink "$program")" = vubox
	has "vhost-user-$device runs" "$program" --print-capabilities
	command -v jq >/dev/null || continue
	has "the discovery file of $device names the installed program" \
		test "$(jq -r .binary "$json")" = "$prefix/bin/vhost-user-$device"
	has "the discovery file of $device names the program's type" \
		test "$(jq -r .type "$json")" = "$("$program" --print-capabilities | jq -r .type)"
done
man=$root$prefix/share/man/man8/vubox.8
has "the manual" test -s "$man"
has "no place holder is left" test -z "$(grep -rlI '@[A-Z]*@' "$root")"
has "nothing is installed elsewhere" test -z "$(cd "$root" &&
	find . -type f ! -path "./opt/vubox/*" ! -path './etc/*')"
sample=$(find "$root" -name vubox.conf | head -n 1)
has "the sample configuration" test -s "${sample:-/none}"

# The init script, as BusyBox would run it, with our directories instead of the system's.
init=$(find "$root" -path '*init.d*' -name vubox | head -n 1)
has "the init script" test -x "${init:-/none}"
if [ -n "$init" ] && command -v busybox >/dev/null; then
	mkdir "$tmp/busybox"
	busybox --install -s "$tmp/busybox"
	echo "rng --socket-path=$tmp/run/rng.sock" >"$tmp/vubox.conf"
	sed "/^PATH=/d; s|^DAEMON=.*|DAEMON=$bin/vubox|; s|^CONFIG=.*|CONFIG=$tmp/vubox.conf|
		s|^RUNDIR=[^ ]*|RUNDIR=$tmp/run|; s|^PIDFILE=.*|PIDFILE=$tmp/pid|
		s|^LOG=[^ ]*|LOG=$tmp/log|; /^\[ ! -r /d" "$init" >"$tmp/init"
	service()
	{
		PATH="$tmp/busybox" timeout "$GUARD_S" busybox sh "$tmp/init" "$1" >"$tmp/out" 2>&1
	}
	has "init: not running" test "$(service status || echo $?)" = 3
	has "init: start" service start
	has "init: it listens" wait_for test -S "$tmp/run/rng.sock"
	pids="$pids $(cat "$tmp/pid" 2>/dev/null || :)"
	first=$(cat "$tmp/pid" 2>/dev/null || :)
	has "init: start again does nothing" service start
	has "init: running" service status
	case_is "init: start waits for the sockets" "$(
		service stop && service start && [ -S "$tmp/run/rng.sock" ] || cat "$tmp/out"
	)"
	first=$(cat "$tmp/pid")
	pids="$pids $first"
	has "init: it is the same" test "$(cat "$tmp/pid")" = "$first"
	has "init: reload" service reload
	has "init: restart" service restart
	has "init: it listens again" wait_for test -S "$tmp/run/rng.sock"
	pids="$pids $(cat "$tmp/pid" 2>/dev/null || :)"
	has "init: stop" service stop
	has "init: nothing is left" test ! -e "$tmp/pid" -a ! -e "$tmp/run/rng.sock"
	service start
	dead=$(cat "$tmp/pid")
	kill -s KILL "$dead"
	wait_for gone "$dead"
	has "init: dead" test "$(service status || echo $?)" = 1
	has "init: start after that" service start
	pids="$pids $(cat "$tmp/pid" 2>/dev/null || :)"
	has "init: running again" service status
	service stop
	echo "nonsense" >"$tmp/vubox.conf"
	case_is "init: a start that fails says so, and does not wait" "$(
		! service start || echo "it does not"
		grep -q "vubox.conf:1: nonsense" "$tmp/log" || cat "$tmp/log"
		rm -f "$tmp/log" "$tmp/pid"
		: >"$tmp/log"
	)"
	has "init: unknown word" test "$(service fly || echo $?)" = 2
	case_is "init: it had nothing to say" "$(cat "$tmp/log" 2>&1)"
else
	echo "skip cli install: init script: no busybox"
fi
exit $failed
