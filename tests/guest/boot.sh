#!/bin/sh
# A guest that has its disk and its entropy from one vubox: makes a file system on it, writes, reads
# back, powers off; and the host finds the bytes in the image.
cd "$(dirname "$0")/../.." || exit 1
parts="vmlinuz base.cpio.gz"
. tests/guest/lib.sh

head -c 1M /dev/urandom >"$tmp/source"
start_vubox blk --socket-path="$tmp/disk.sock" --blk-file="$tmp/disk.img" --size=64M \
	-- rng --socket-path="$tmp/rng.sock" \
	-- rng --socket-path="$tmp/file.sock" --source="$tmp/source"
qemu_blk disk
qemu_rng rng
qemu_rng file

drawn=
# The kernel draws for itself, too: what comes from the file may be anywhere in it.
on_line()
{
	show_line "$1"
	case $1 in
	"drawn: "*) drawn=${1#drawn: } ;;
	esac
}

boot_qemu 256M memfd <<'END'
make_file_system()
{
	same "the size" "$(cat /sys/block/vda/size)" 131072
	mkfs.ext4 -q /dev/vda
	mount -t ext4 /dev/vda /mnt
}

write()
{
	seq 200000 >/mnt/numbers
	sync
	echo 3 >/proc/sys/vm/drop_caches
	same "the sum" "$(md5sum </mnt/numbers)" "$(seq 200000 | md5sum)"
	umount /mnt
}

entropy()
{
	echo virtio_rng.0 >/sys/class/misc/hw_random/rng_current
	head -c 4096 /dev/hwrng >/tmp/one
	head -c 4096 /dev/hwrng >/tmp/two
	same "the length" "$(wc -c </tmp/one)" 4096
	! cmp -s /tmp/one /tmp/two || fail "twice the same"
	# What is random does not shrink.
	[ "$(gzip -c </tmp/one | wc -c)" -gt 4096 ] || fail "it can be compressed"
}

from_file()
{
	echo virtio_rng.1 >/sys/class/misc/hw_random/rng_current
	echo "drawn: $(head -c 16 /dev/hwrng | xxd -p)" >/dev/console
}

check "make a file system on /dev/vda" make_file_system
check "write, sync, read back" write
check "draw entropy from /dev/hwrng" entropy
check "draw entropy from a file" from_file
check "its rings are $rings" has_rings
check "nothing in the kernel's log" log_is_clean
END

bytes_are_in_source()
{
	same "the length" ${#drawn} 32
	od -An -v -tx1 "$tmp/source" | tr -d ' \n' | grep -q "$drawn" || fail "$drawn is not there"
}

check "what it drew is in the file" bytes_are_in_source
check "the host finds the bytes in the image" finds_numbers "$tmp/disk.img"
check "e2fsck finds nothing in the image" e2fsck -fn "$tmp/disk.img"
finish
