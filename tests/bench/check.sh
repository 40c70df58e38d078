#!/bin/sh
# The benchmark's load measures what it says: each mode against vubox with a small image for a tenth
# of a second, with data that is checked and a line of sane numbers; and so do the bare loops.
#
# hang guard: 60 s
set -eu
cd "$(dirname "$0")/../.."

LOAD=${LOAD:-build/tests/bench/load} BARE=${BARE:-build/tests/bench/bare}
NET=${NET:-build/tests/bench/net}
tmp=$(mktemp -d)
pid=
# shellcheck disable=SC2317 # the trap's
end()
{
	for p in $pid $packets; do
		kill "$p" 2>/dev/null || :
	done
	rm -rf "$tmp"
}
trap end EXIT
trap 'exit 1' HUP INT TERM
failed=0 calls=0 packets=

# check NAME COMMAND...: it prints operations a second, p50 <= p99, and processor time; and how many
# came for each call if there were calls
check()
{
	name=$1
	shift
	line=$("$@" 2>"$tmp/err") || line=
	why=$(echo "$line" | awk -v calls="$calls" '
		NF != 4 + calls { print "no line of as many numbers"; next }
		/[^0-9. ]/ { print "not a number" ; next }
		$1 < 100 || $1 > 1e8 { print "operations a second: " $1 }
		$2 <= 0 || $2 > $3 || $3 > 1e6 { print "p50 " $2 ", p99 " $3 }
		$4 <= 0 || $4 > 1e5 { print "processor time: " $4 }
		calls && $5 < 1 { print "for each call: " $5 }')
	if [ -z "$why" ]; then
		echo "ok bench $name"
		return
	fi
	failed=1
	cat "$tmp/err" >&2
	why=$(echo "$why" | head -n 1)
	echo "not ok bench $name: $why: \"$line\" (replay: tests/bench/check.sh)"
}

load()
{
	name=$1
	shift
	check "$name" "$LOAD" --socket="$tmp/socket" --cpu="$pid" --seconds=0.1 --warm=0 --verify \
		"$@"
}

"${VUBOX:-./vubox}" blk --socket-path="$tmp/socket" --blk-file="$tmp/image" --size=4194304 \
	>"$tmp/out" 2>"$tmp/err" </dev/null &
pid=$!

# Writes all of the disk; what comes after it reads what that wrote.
load seqwrite --mode=seqwrite --bytes=16384 --depth=16
load read
load seqread --mode=seqread --packed
load write --mode=write --depth=256 --indirect
load mix --mode=mix --packed --indirect --queues=3 --wait=call
load segments --segments=8 --indirect --depth=128 --queues=2 --buffers=300
load depth-1 --depth=1 --wait=call
load regions --mode=mix --segments=4 --regions=509 --depth=20
load packed-regions --mode=mix --packed --regions=509 --wait=call
load count --count=200000 --depth=7
check bare-pread "$BARE" pread "$tmp/image" 4096 0.05 0
cp "$tmp/image" "$tmp/copy"
check bare-pwrite "$BARE" pwrite "$tmp/copy" 131072 0.05 0
check bare-memcpy "$BARE" memcpy "$tmp/image" 4096 0.05 0

# Packets: two network cards with a bridge between them, and a socket device.
"${VUBOX:-./vubox}" net --socket-path="$tmp/a" --bridge=lan -- net --socket-path="$tmp/b" \
	--bridge=lan -- vsock --socket-path="$tmp/v" --guest-cid=3 --uds-path="$tmp/uds" \
	>"$tmp/out" 2>"$tmp/err" </dev/null &
packets=$!
until [ -S "$tmp/v" ]; do sleep 0.01; done

packets()
{
	name=$1
	shift
	check "$name" "$NET" "$@" --cpu="$packets" --seconds=0.1 --warm=0 --verify
}

packets bridge pass --bytes=64 "$tmp/a" "$tmp/b"
packets bridge-merged pass --bytes=1500 --buffer=200 --depth=20 "$tmp/a" "$tmp/b"
packets bridge-64k pass --bytes=65536 --buffer=4096 --depth=8 "$tmp/a" "$tmp/b"
packets stream stream --bytes=65536 --buffer=4096 "$tmp/v" "$tmp/uds"
packets bare-stream bare-stream --bytes=65536 --buffer=4096 -
calls=1
packets bridge-calls pass --bytes=64 --wait=call "$tmp/a" "$tmp/b"

# What is not as it was written is found.
printf wrong | dd of="$tmp/image" bs=512 seek=100 conv=notrunc status=none
"$LOAD" --socket="$tmp/socket" --verify --mode=seqread >"$tmp/out" 2>"$tmp/err" || :
if grep -q 'sector 96: wrong data at byte 2048' "$tmp/err" && [ ! -s "$tmp/out" ]; then
	echo "ok bench wrong data"
else
	cat "$tmp/err" >&2
	echo "not ok bench wrong data: not found (replay: tests/bench/check.sh)"
	failed=1
fi
exit $failed
