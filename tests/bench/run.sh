#!/bin/sh
# Measures vubox, Debian's qemu-storage-daemon and testpmd, and bare loops: the same load, the same
# images or packets, the contestants of a row in turns, so that a noisy machine is noisy for all.
# Prints a table and writes bench/results.csv and bench/results.svg. Some five minutes; installs
# what it needs if root.
#
#     tests/bench/run.sh [--socket=PATH] [ROW...]
#
# --socket=PATH measures one more vhost-user-blk back-end, which listens there, as "yours". ROUNDS=7
# (5 at least, to mean something), SECONDS_EACH=0.4, IMAGE_MB=1024, SHM_MB=256, TMPDIR=/var/tmp.
#
# The back-end runs on processor 0, the load on 1. A ratio is the median of those in each round.
set -eu
cd "$(dirname "$0")/../.."

yours=
case ${1:-} in
--socket=*)
	yours=$(readlink -f "${1#*=}")
	shift
	;;
-*)
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
rows=" $* "
ROUNDS=${ROUNDS:-7} SECONDS_EACH=${SECONDS_EACH:-0.4}
IMAGE_MB=${IMAGE_MB:-1024} SHM_MB=${SHM_MB:-256}

# Installing comes first: it may bring the compiler that make looks for.
sh tests/install.sh build bench
make -s vubox build/tests/bench/load build/tests/bench/bare build/tests/bench/net
VUBOX=./vubox LOAD=build/tests/bench/load BARE=build/tests/bench/bare NET=build/tests/bench/net

tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/vubox-bench.XXXXXX")
shm=$(mktemp -d /dev/shm/vubox-bench.XXXXXX)
pids=
stop_all()
{
	for p in $pids; do
		kill "$p" 2>/dev/null || continue
		kill -CONT "$p" 2>/dev/null || :
	done
}
trap 'stop_all; rm -rf "$tmp" "$shm"' EXIT
trap 'exit 1' HUP INT TERM PIPE
out=bench
mkdir -p "$out"
. tests/bench/contestants.sh
. tests/bench/counts.sh
. tests/bench/packets.sh
. tests/bench/chart.sh
begin_s=$(date +%s)

make_images
serve_all
serve_packets

# row NAME IMAGE REFERENCE TARGET "LOAD-OPTIONS" CONTESTANT[,LOAD-OPTION]...
#
# The target is the first contestant's ratio to the reference: so many times as many operations.
row()
{
	row=$1 image=$2 reference=$3 target=$4 options=$5
	shift 5
	case $rows in "  " | *" $row "*) ;; *) return 0 ;; esac
	case " $yours $* " in "  "*) ;; *" qsd-io_uring "*) set -- "$@" yours ;; esac
	for round in $(seq "$ROUNDS"); do
		for contestant in "$@"; do
			figures=$(measure "$contestant") || figures=failed
			echo "$row $(label "$contestant") $round $figures" >>"$tmp/raw"
		done
	done
	awk -v row="$row" -v shown="$row" -v reference="$reference" -v target="$target" \
		-v csv="$out/results.csv" -f tests/bench/row.awk "$tmp/raw"
}

columns=row,contestant,operations_per_s,min,max,p50_us,p99_us,cpu_us,ratio,reference,target,verdict
echo "$columns" >"$out/results.csv"
echo "$(uname -srm), $(nproc) processors, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo |
	head -n 1), load $(cut -d ' ' -f 1 /proc/loadavg); $("$VUBOX" --version | head -n 1)," \
	"$(qemu-storage-daemon --version | sed -n '1s/.*version \([^ ]*\).*/qemu \1/p')"
printf '%-16s %-16s %9s %8s %8s %7s %-11s %6s %s\n' \
	row contestant op/s p50/us p99/us cpu/us spread ratio target

qsd='qsd-io_uring qsd-threads'
vubox='vubox vubox-uring vubox-mmap'
# shellcheck disable=SC2086 # lists of contestants
{
row read-32 disk qsd-io_uring 3.0 --depth=32 $vubox $qsd
less_row cpu-32 read-32 4 qsd-io_uring 0.5
less_row p50-32 read-32 2 qsd-io_uring 0.7
less_row p99-32 read-32 3 qsd-io_uring 0.7
row read-32-threads disk qsd-threads 8.0 --depth=32 vubox qsd-threads
row read-32-bare disk bare-pread 0.85 --depth=32 vubox bare-pread bare-memcpy
row read-128 disk qsd-io_uring 3.0 --depth=128 vubox $qsd
row tmpfs-32 shm bare-memcpy 0.6 --depth=32 vubox bare-memcpy vubox-uring qsd-io_uring
row depth-1-call disk qsd-io_uring 1.3 '--depth=1 --wait=call' vubox $qsd
less_row p50-1-call depth-1-call 2 qsd-io_uring 0.7
less_row p99-1-call depth-1-call 3 qsd-io_uring 0.7
row depth-1-poll disk qsd-io_uring 1.3 --depth=1 vubox $qsd
row write-32 disk qsd-io_uring 1.0 '--depth=32 --mode=write' $vubox $qsd
row seqread-16 disk qsd-io_uring 1.3 '--depth=16 --bytes=131072 --mode=seqread' \
	vubox $qsd bare-pread bare-memcpy
row seqwrite-16 disk qsd-io_uring 1.3 '--depth=16 --bytes=131072 --mode=seqwrite' \
	vubox $qsd bare-pwrite
row seqread-4 disk qsd-io_uring 1.3 '--depth=4 --bytes=131072 --mode=seqread' vubox $qsd
row packed disk split 1.0 --depth=32 packed=vubox,--packed split=vubox
row 16-devices disk one-device 0.97 --depth=32 16-devices one-device=vubox
row 509-regions disk 1-region 0.90 '--depth=32 --buffers=509' 509-regions=vubox,--regions=509 \
	1-region=vubox
row queues disk 1-queue 0.90 --depth=32 8-queues=vubox,--queues=8 4-queues=vubox,--queues=4 \
	2-queues=vubox,--queues=2 1-queue=vubox
row queues-8 disk qsd-io_uring 3.0 '--depth=32 --queues=8' vubox qsd-io_uring
}
packet_rows
count_rows

chart
echo "$out/results.csv, $out/results.svg; $(($(date +%s) - begin_s)) s"
