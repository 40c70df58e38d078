#!/bin/sh
# Measures vubox against Debian's qemu-storage-daemon: the same load, the same image in the page
# cache, the contestants in turn, so that a noisy machine is noisy for all. Prints medians and the
# ratio to the best peer. ROUNDS=5 SECONDS_EACH=1 by default.
#
#     tests/bench/run.sh [SOCKET]    measures one more vhost-user-blk back-end, which listens there
set -eu
cd "$(dirname "$0")/../.."

ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-1} IMAGE_MB=${IMAGE_MB:-1024}
tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/vubox-bench.XXXXXX")
pids=
trap 'for p in $pids; do kill "$p" 2>/dev/null || :; done; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM PIPE

mkdir -p build/tests/bench
gcc -std=c11 -D_GNU_SOURCE -O2 -Wall -o build/tests/bench/load tests/bench/load.c

image=$tmp/image
dd if=/dev/urandom of="$image" bs=1M count="$IMAGE_MB" status=none
sync "$image"
cat "$image" >/dev/null

# With two cores or more, back-end and load each get one.
cores=$(nproc)
on()
{
	core=$1
	shift
	if [ "$cores" -gt 1 ]; then
		exec taskset -c "$core" "$@"
	fi
	exec "$@"
}

start()
{
	name=$1
	shift
	(on 0 "$@") 2>"$tmp/$name.log" &
	pids="$pids $!"
	contestants="$contestants $name"
}
contestants=
start vubox ./vubox blk --socket-path="$tmp/vubox" --blk-file="$image" --no-lock
start vubox-mmap ./vubox blk --socket-path="$tmp/vubox-mmap" --blk-file="$image" --no-lock --io=mmap
for aio in io_uring threads; do
	address="addr.type=unix,addr.path=$tmp/qsd-$aio"
	start "qsd-$aio" qemu-storage-daemon \
		--blockdev "driver=file,node-name=f,filename=$image,aio=$aio,locking=off" \
		--export "type=vhost-user-blk,id=e,node-name=f,writable=on,$address"
done
if [ $# -gt 0 ]; then
	ln -s "$(readlink -f "$1")" "$tmp/yours"
	contestants="$contestants yours"
fi

measure()
{
	row=$1
	shift
	for round in $(seq "$ROUNDS"); do
		for c in $contestants; do
			echo "$row $c $(on 1 build/tests/bench/load --socket="$tmp/$c" \
				--seconds="$SECONDS_EACH" "$@")" >>"$tmp/results"
		done
	done
	show "$row"
}

# The median of a column of one contestant's lines.
median()
{
	awk -v row="$1" -v c="$2" -v col="$3" '$1 == row && $2 == c { print $col }' "$tmp/results" |
		sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

show()
{
	peer=$(median "$1" qsd-io_uring 3)
	for c in $contestants; do
		iops=$(median "$1" "$c" 3)
		times=$(echo "$iops $peer" | awk '{ print $1 / $2 }')
		printf '%-22s %-13s %10d %7d %7d %8.2f\n' "$1" "$c" "$iops" \
			"$(median "$1" "$c" 4)" "$(median "$1" "$c" 5)" "$times"
	done
}

printf '%-22s %-13s %10s %7s %7s %8s\n' load back-end op/s p50/us p99/us "x qsd"
measure read-4k-depth-32 --depth=32
measure read-4k-depth-1 --depth=1
measure read-4k-depth-1-call --depth=1 --wait=call
measure write-4k-depth-32 --depth=32 --mode=write
measure seqread-128k-depth-16 --depth=16 --bytes=131072 --mode=seqread
