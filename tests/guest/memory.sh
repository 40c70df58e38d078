#!/bin/sh
# Guests with 4 GiB of memory, which the machine cuts in two: half of it lies above 4 GiB. Once the
# memory is a memfd, once a file; fio's buffers lie above.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

start_vubox blk --socket-path="$tmp/disk.sock" --blk-file="$tmp/disk.img" --size=64M
qemu_blk disk

# $1 is what the memory is, as a property of QEMU's and as a word of the case.
with_4g()
{
	case_title=$title
	title="$title ($1)"
	boot_qemu 4G "$2" <<'END'
fio="$fio --iodepth=32 --bs=64k --size=32M --mem=shm"

# A word of /proc/PID/pagemap is the number of the frame and, in its high bits, some flags.
first_frame()
{
	[ -d "/proc/$1" ] || fail "fio ended at once"
	from=$(sed -n 's/-.*SYSV.*//p' "/proc/$1/maps")
	[ -n "$from" ] || return 1
	dd if="/proc/$1/pagemap" bs=8 count=1 skip=$((0x$from / 4096)) 2>/dev/null |
		hexdump -e '"0x" 1/4 "%x" " 0x" 1/4 "%x" "\n"' >/tmp/entry
	read -r low high </tmp/entry
	frame=$(((high & 0x7fffff) << 32 | low))
	[ $frame != 0 ]
}

lies_above()
{
	$fio --time_based --runtime=60 &
	wait_for first_frame $! || fail "fio's buffers are not found"
	kill $!
	[ $frame -ge $((0x100000)) ] || fail "the buffers are at frame $frame"
}

has_4g()
{
	[ "$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)" -gt 3900000 ]
	grep -q '^1[0-9a-f]*-1[0-9a-f]* : System RAM' /proc/iomem || fail "nothing is above 4 GiB"
}

check "the guest has 4 GiB" has_4g
check "fio's buffers lie above 4 GiB" lies_above
check "fio verifies what it wrote" $fio
check "nothing in the kernel's log" log_is_clean
END
	title=$case_title
}

with_4g "memory-backend-memfd" memfd
with_4g "memory-backend-file" "file,mem-path=$tmp"
finish
