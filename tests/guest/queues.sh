#!/bin/sh
# A guest with two processors uses two queues of its disk at once, and fio finds all it wrote.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

start_vubox blk --socket-path="$tmp/disk.sock" --blk-file="$tmp/disk.img" --size=64M
qemu_blk disk num-queues=2
boot_qemu 512M memfd -smp 2 <<'END'
has_two_queues()
{
	same "the number of processors" "$(nproc)" 2
	same "the number of queues" "$(ls /sys/block/vda/mq | wc -l)" 2
}

# How often queue $1 has called.
calls()
{
	awk -v queue="-req.$1\$" '$NF ~ queue { print $2 + $3 }' /proc/interrupts
}

verify()
{
	before_0=$(calls 0) before_1=$(calls 1)
	$fio --iodepth=16 --bsrange=512-64k --size=16M --offset_increment=32M \
		--numjobs=2 --cpus_allowed=0-1 --cpus_allowed_policy=split
	[ "$(calls 0)" -gt "$before_0" ] || fail "queue 0 was not used"
	[ "$(calls 1)" -gt "$before_1" ] || fail "queue 1 was not used"
}

check "there are two queues" has_two_queues
check "fio verifies what it wrote through both at once" verify
check "its rings are $rings" has_rings
check "nothing in the kernel's log" log_is_clean
END
finish
