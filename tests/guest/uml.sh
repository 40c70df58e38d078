#!/bin/sh
# User Mode Linux, the other front-end: its kernel is a process, and speaks vhost-user itself.
# Debian's has no driver for virtio's entropy device, but finds it.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

start_vubox blk --socket-path="$tmp/disk.sock" --blk-file="$tmp/disk.img" --size=64M --serial=uml \
	-- rng --socket-path="$tmp/rng.sock"
# It takes the packed format wherever that is offered.
boot_uml 256M rings=packed \
	"virtio_uml.device=$tmp/disk.sock:2" "virtio_uml.device=$tmp/rng.sock:4" <<'END'
finds_devices()
{
	same "the serial number" "$(cat /sys/block/vda/serial)" uml
	same "the types" "$(cat /sys/bus/virtio/devices/*/device | tr '\n' ' ')" "0x0002 0x0004 "
}

write()
{
	mkfs.ext4 -q /dev/vda
	mount -t ext4 /dev/vda /mnt
	seq 200000 >/mnt/numbers
	sync
	echo 3 >/proc/sys/vm/drop_caches
	same "the sum" "$(md5sum </mnt/numbers)" "$(seq 200000 | md5sum)"
	umount /mnt
}

check "finds both devices" finds_devices
check "fio verifies what it wrote" $fio --iodepth=16 --bsrange=512-64k --size=16M
check "make a file system, write, sync, read back" write
check "its rings are $rings" has_rings
check "nothing in the kernel's log" log_is_clean
END

check "the host finds the bytes in the image" finds_numbers "$tmp/disk.img"
check "e2fsck finds nothing in the image" e2fsck -fn "$tmp/disk.img"
finish
