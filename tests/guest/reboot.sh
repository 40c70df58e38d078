#!/bin/sh
# A guest that reboots, and one whose driver lets go of its disk and takes it again: the device is
# reset and set up anew over the same connection, and the disk is as it was.
cd "$(dirname "$0")/../.." || exit 1
parts="vmlinuz base.cpio.gz"
. tests/guest/lib.sh

start_vubox blk --socket-path="$tmp/disk.sock" --blk-file="$tmp/disk.img" --size=64M \
	-- rng --socket-path="$tmp/rng.sock"
qemu_blk disk
qemu_rng rng

boot_qemu 256M memfd -action reboot=reset <<'END'
rebind()
{
	dev=$(basename "$(readlink -f /sys/block/vda/device)")
	for round in 1 2 3; do
		echo "$dev" >/sys/bus/virtio/drivers/virtio_blk/unbind
		[ ! -e /sys/block/vda ] || fail "it is still there"
		echo "$dev" >/sys/bus/virtio/drivers/virtio_blk/bind
		same "round $round" "$(dd if=/dev/vda bs=1M skip=1 count=8 2>/dev/null | md5sum)" \
			"$(cat /tmp/sum)"
	done
}

second_life()
{
	same "the sum" "$(dd if=/dev/vda bs=1M skip=1 count=8 2>/dev/null | md5sum)" \
		"$(dd if=/dev/vda bs=64 skip=1 count=1 2>/dev/null | head -n 1)"
	[ "$(head -c 64 /dev/hwrng | wc -c)" = 64 ] || fail "no entropy after a reboot"
}

if [ "$(head -c 4 /dev/vda)" != "LIVE" ]; then
	dd if=/dev/urandom of=/dev/vda bs=1M seek=1 count=8 conv=fsync 2>/dev/null
	dd if=/dev/vda bs=1M skip=1 count=8 2>/dev/null | md5sum >/tmp/sum
	check "unbind and bind the driver" rebind
	{ printf '%-64s' LIVE; cat /tmp/sum; } | dd of=/dev/vda conv=fsync 2>/dev/null
	reboot -f
	sleep 60
fi
check "after a reboot the disk is as it was" second_life
check "its rings are $rings" has_rings
check "nothing in the kernel's log" log_is_clean
END
finish
