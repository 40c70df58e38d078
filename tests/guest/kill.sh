#!/bin/sh
# kill -9 and a new vubox, again and again under fio: QEMU connects again, hands over what was in
# flight, and the guest must not notice but for the time it takes.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

start()
{
	# shellcheck disable=SC2086 # may be no word
	start_vubox blk --socket-path="$tmp/disk.sock" --blk-file="$tmp/disk.img" --size=64M $direct
}

on_kill()
{
	kill -s KILL "$vubox_pid"
	wait "$vubox_pid" 2>/dev/null || :
	start
	wait_for has_guest || not_ok "QEMU does not connect again"
}

# It has mapped the guest's memory.
has_guest()
{
	listens "$tmp/disk.sock" && grep -q memory-backend-memfd "/proc/$vubox_pid/maps"
}

# $1 is a word of the case, $2 an option of vubox.
with_kills()
{
	title="kill ($1, $rings)" direct=$2
	start
	boot_qemu 512M memfd -smp 2 <<'END'
kills_wanted=6

# How many requests the disk has completed.
requests()
{
	awk '{ print $1 + $5 + $16 }' /sys/block/vda/stat
}

running()
{
	[ -d "/proc/$job" ]
}

# Waits until so many more have been, or there is no more to come.
go_on()
{
	next=$(($(requests) + $1))
	wait_for have_moved || fail "after $kills kills, the disk stands still"
}

have_moved()
{
	[ "$(requests)" -ge "$next" ] || ! running
}

# An emulated guest is slower than vubox, which would have nothing in flight most of the time; but
# not when each write has to reach the host's disk. A new vubox does not know of it yet.
write_through()
{
	echo "write back" >/sys/block/vda/cache_type
	echo "write through" >/sys/block/vda/cache_type
}

# Kills at moments that differ, as requests go by; then fio goes on to write, or to verify.
write_and_verify()
{
	$fio --iodepth=32 --bsrange=512-64k --size=16M --offset_increment=16M --randseed=$round \
		--numjobs=2 --cpus_allowed=0-1 --cpus_allowed_policy=split >/tmp/said 2>&1 &
	job=$!
	while running; do
		write_through
		go_on $((kills * 37 % 200))
		if [ $kills -lt $kills_wanted ] && running; then
			kills=$((kills + 1))
			host kill
		fi
	done
	wait $job || fail "after $kills kills: $(tail -n 1 /tmp/said)"
}

survive()
{
	kills=0 round=0
	while [ $kills -lt $kills_wanted ]; do
		round=$((round + 1))
		write_and_verify
	done
	echo "$kills kills in $round runs of fio" >/dev/console
}

check "fio verifies all it wrote while vubox is killed and started again" survive
check "its rings are $rings" has_rings
check "nothing in the kernel's log" log_is_clean
END
	end_vubox
}

# Without the page cache, requests end in another order than they came; not all file systems can.
chardev_options=,$(reconnects)
qemu_blk disk num-queues=2
with_kills "page cache" ""
if dd if=/dev/zero of="$tmp/try" bs=4k count=1 oflag=direct 2>/dev/null; then
	with_kills "direct" --direct
else
	echo "skip guest kill (direct): $tmp is on a file system without O_DIRECT"
fi
exit $failed
