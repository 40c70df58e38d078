#!/bin/sh
# What a disk can do beside reading and writing, each seen from inside a guest and in the image: one
# vubox serves the guest five disks, which it tells apart by their serial numbers (GET_ID). They use
# different I/O engines, for it is cheap here.
cd "$(dirname "$0")/../.." || exit 1
parts="vmlinuz base.cpio.gz"
. tests/guest/lib.sh

# Twenty characters are what fits; there is no zero at the end then.
all_20="12345678901234567890"
head -c 8M /dev/urandom >"$tmp/trim.img"
head -c 8M /dev/urandom >"$tmp/ro.img"
head -c 8M /dev/urandom >"$tmp/large.img"
head -c 1000300 /dev/urandom >"$tmp/odd.img" # 1953 sectors and 364 bytes
truncate -s 8M "$tmp/grow.img"
for disk in trim ro odd; do
	cp "$tmp/$disk.img" "$tmp/$disk.before"
done
used_before=$(stat -c %b "$tmp/trim.img")

start_vubox blk --socket-path="$tmp/trim.sock" --blk-file="$tmp/trim.img" --serial=trim \
	-- blk --socket-path="$tmp/ro.sock" --blk-file="$tmp/ro.img" --serial=ro \
	--read-only --io=mmap \
	-- blk --socket-path="$tmp/large.sock" --blk-file="$tmp/large.img" --serial=large \
	--logical-block-size=4096 --io=sync \
	-- blk --socket-path="$tmp/odd.sock" --blk-file="$tmp/odd.img" --serial="$all_20" \
	--io=mmap \
	-- blk --socket-path="$tmp/grow.sock" --blk-file="$tmp/grow.img" --serial=grow --io=mmap
for disk in trim ro large odd grow; do
	qemu_blk "$disk"
done

# Many file systems choose a place on the disk only when they write a page; this looks for pages
# that have none yet.
is_stable()
{
	! filefrag -v "$tmp/grow.img" | grep delalloc || fail "it is only in the host's memory"
}

on_flushed()
{
	check "what was flushed is on the host's disk" is_stable
}

on_written_through()
{
	check "what was written through is on the host's disk" is_stable
}

on_grow()
{
	truncate -s 12M "$tmp/grow.img"
	kill -s HUP "$vubox_pid"
}

boot_qemu 256M memfd <<'END'
trim=$(disk trim) ro=$(disk ro) large=$(disk large) grow=$(disk grow)
odd=$(disk 12345678901234567890)

get_id()
{
	for name in "$trim" "$ro" "$large" "$odd" "$grow"; do
		[ -n "$name" ] || fail "one is not seen"
	done
}

# Reads around the page cache, which knows nothing of what it is to check.
sum()
{
	dd if="/dev/$trim" bs=64k skip=$(($1 / 64)) count=$(($2 / 64)) iflag=direct 2>/dev/null |
		md5sum
}

zeroes()
{
	head -c "${1}k" /dev/zero | md5sum
}

# KiB 0 to 1024 stay, 1024 to 5120 are discarded, 5120 to 7168 become zeroes, the rest stays.
discard()
{
	[ "$(cat "/sys/block/$trim/queue/discard_max_bytes")" -gt 0 ] || fail "not offered"
	/sbin/blkdiscard -o 1M -l 4M "/dev/$trim"
	same "what was discarded" "$(sum 1024 4096)" "$(zeroes 4096)"
	[ "$(sum 0 1024)" != "$(zeroes 1024)" ] || fail "it took more than it should"
}

write_zeroes()
{
	[ "$(cat "/sys/block/$trim/queue/write_zeroes_max_bytes")" -gt 0 ] || fail "not offered"
	/sbin/blkdiscard -z -o 5M -l 2M "/dev/$trim"
	same "what was zeroed" "$(sum 5120 2048)" "$(zeroes 2048)"
	[ "$(sum 7168 1024)" != "$(zeroes 1024)" ] || fail "it took more than it should"
}

# How many flushes the disk has completed.
flushes()
{
	awk '{ print $16 }' "/sys/block/$grow/stat"
}

# $1 is the mode of the cache, $2 whether fsync must reach the disk then, $3 where to write.
flush()
{
	echo "$1" >"/sys/block/$grow/cache_type"
	same "the mode" "$(cat "/sys/block/$grow/cache_type")" "$1"
	same "the block layer's mode" "$(cat "/sys/block/$grow/queue/write_cache")" "$1"
	before=$(flushes)
	dd if=/init of="/dev/$grow" bs=4k count=1 seek="$3" conv=fsync 2>/dev/null
	case $2,$(($(flushes) - before)) in
	yes,0) fail "fsync did not flush the disk" ;;
	no,[1-9]*) fail "fsync flushed the disk" ;;
	esac
}

read_only()
{
	same "ro" "$(cat "/sys/block/$ro/ro")" 1
	blockdev --setrw "/dev/$ro" 2>/dev/null || :
	! dd if=/dev/zero of="/dev/$ro" bs=4k count=1 conv=fsync 2>/dev/null || fail "it is written"
	! /sbin/blkdiscard "/dev/$ro" 2>/dev/null || fail "it is discarded"
}

large_blocks()
{
	for size in logical physical; do
		same "the $size block" "$(cat "/sys/block/$large/queue/${size}_block_size")" 4096
	done
	dd if=/dev/zero of="/dev/$large" bs=4k seek=3 count=1 oflag=direct 2>/dev/null
}

odd_size()
{
	same "the size" "$(blockdev --getsize64 "/dev/$odd")" 999936
	dd if="/dev/$odd" bs=512 skip=1952 of=/tmp/last 2>/dev/null
	same "the length of the last sector" "$(wc -c </tmp/last)" 512
	dd if=/dev/zero of="/dev/$odd" bs=512 seek=1952 count=1 conv=fsync 2>/dev/null
}

has_grown()
{
	[ "$(blockdev --getsize64 "/dev/$grow")" = $((12 << 20)) ]
}

grow()
{
	wait_for has_grown || fail "the size is still $(blockdev --getsize64 "/dev/$grow")"
	dmesg | grep -q "$grow.*new size" || fail "the kernel's log does not tell"
	dd if=/init of="/dev/$grow" bs=1M seek=11 conv=fsync 2>/dev/null
}

check "GET_ID tells five disks apart" get_id
check "DISCARD" discard
check "WRITE_ZEROES" write_zeroes
check "FLUSH with the cache in write-back mode" flush "write back" yes 0
host flushed
check "no FLUSH in write-through mode" flush "write through" no 1
host written_through
check "FLUSH again after that" flush "write back" yes 2
check "read-only" read_only
check "logical blocks of 4096 bytes" large_blocks
check "an image that ends within a sector" odd_size
host grow
check "SIGHUP announces a grown image" grow
check "nothing in the kernel's log" log_is_clean
END

# part FILE KIB KIB: the sum of so many KiB from there.
part()
{
	tail -c +$(($2 * 1024 + 1)) "$1" | head -c $(($3 * 1024)) | md5sum
}

holes_are_punched()
{
	used=$(stat -c %b "$tmp/trim.img")
	# DISCARD gave 4 MiB back, that is 8192 blocks; an extent tree may take a few.
	[ "$used" -le $((used_before - 8000)) ] ||
		fail "the image has $used blocks, of $used_before before"
}

trim_is_exact()
{
	same "the size" "$(stat -c %s "$tmp/trim.img")" $((8 << 20))
	for range in "0 1024" "7168 1024"; do
		# shellcheck disable=SC2086 # from and length
		same "what was left" "$(part "$tmp/trim.img" $range)" \
			"$(part "$tmp/trim.before" $range)"
	done
	same "the rest" "$(part "$tmp/trim.img" 1024 6144)" "$(head -c 6M /dev/zero | md5sum)"
}

# Its first 1952 sectors, and the bytes behind the last whole one.
odd_tail_is_kept()
{
	same "the size" "$(stat -c %s "$tmp/odd.img")" 1000300
	cmp -n $((1952 * 512)) "$tmp/odd.img" "$tmp/odd.before"
	same "the last sector" "$(part "$tmp/odd.img" 976 1 | cut -c 1-8)" \
		"$({ head -c 512 /dev/zero; tail -c 364 "$tmp/odd.before"; } | md5sum | cut -c 1-8)"
}

large_block_is_written()
{
	same "block 3" "$(part "$tmp/large.img" 12 4)" "$(head -c 4096 /dev/zero | md5sum)"
}

new_room_is_written()
{
	size=$(stat -c %s tests/guest/init)
	cmp -i 0:$((11 << 20)) -n "$size" tests/guest/init "$tmp/grow.img"
}

check "the host gets the discarded blocks back" holes_are_punched
check "DISCARD and WRITE_ZEROES touch nothing else" trim_is_exact
check "a read-only image is unchanged" cmp "$tmp/ro.img" "$tmp/ro.before"
check "a large block is written where it belongs" large_block_is_written
check "the bytes behind the last sector are kept" odd_tail_is_kept
check "what was written to a grown disk is in the image" new_room_is_written
finish
