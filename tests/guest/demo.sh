#!/bin/sh
# make demo: a guest boots on vubox, keeps a file on its disk, draws entropy and powers off, and the
# host finds the file in the image. The status is 0 only if all of it was seen. Installs what is
# missing.
cd "$(dirname "$0")/../.." || exit 1
sh tests/install.sh build guest || exit 1
parts="vmlinuz base.cpio.gz"
. tests/guest/lib.sh

text="kept on vubox: $(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')"

say()
{
	printf '\n== %s\n' "$*"
}

# A command of the host, as one would type it there.
show()
{
	echo "\$ $*" | sed -e "s|$tmp/||g" -e "s|$cache/||g" -e "s|$VUBOX|./vubox|g"
}

ok()
{
	:
}

not_ok()
{
	failed=1
	echo "demo: FAILED: $1" >&2
}

# What the guest says is shown, but for its words with the host.
on_line()
{
	case $1 in
	GUEST* | "") ;;
	*) echo "    guest | $1" | tee -a "$tmp/said" ;;
	esac
}

guest_said()
{
	grep -Eq "^    guest \| $1\$" "$tmp/said" || fail "the guest did not say: $1"
}

# Two lines of 16 bytes, which chance does not make equal.
guest_drew()
{
	sed -n 's/.*guest | 000000[01]0: \(.\{39\}\).*/\1/p' "$tmp/said" >"$tmp/drawn"
	same "the number of lines" "$(sort -u "$tmp/drawn" | wc -l)" 2
}

say "vubox serves a disk and a source of entropy"
set -- blk --socket-path="$tmp/disk.sock" --blk-file="$tmp/disk.img" --size=64M \
	-- rng --socket-path="$tmp/rng.sock"
show "$VUBOX" "$@" "&"
start_vubox "$@"

say "a Debian kernel in QEMU finds both"
qemu_blk disk
qemu_rng rng
# shellcheck disable=SC2086 # devices are words
show qemu-system-x86_64 -M q35,memory-backend=memory \
	-object memory-backend-memfd,id=memory,size=256M,share=on -m 256M \
	$qemu_devices ...
boot_qemu 256M memfd <<END
run()
{
	echo "# \$*"
	eval "\$*" || { echo "GUEST not ok '\$*' in the guest"; exit 1; }
}

run uname -sr
run cat /proc/partitions
run mkfs.ext4 -q /dev/vda
run mount -t ext4 /dev/vda /mnt
run 'echo "$text" >/mnt/hello'
run 'sync; echo 3 >/proc/sys/vm/drop_caches'
run cat /mnt/hello
run umount /mnt
run cat /sys/class/misc/hw_random/rng_current
run 'head -c 32 /dev/hwrng | xxd'
run sync
echo "# poweroff"
END

say "the guest is gone, and the host finds its file in the image"
show debugfs -R "'cat /hello'" "$tmp/disk.img"
debugfs -R 'cat /hello' "$tmp/disk.img" 2>/dev/null | tee "$tmp/found"
show e2fsck -fn "$tmp/disk.img"
e2fsck -fn "$tmp/disk.img" 2>/dev/null | sed -n "\$s|$tmp/||p"

check "the guest read its file" guest_said "$text"
check "the guest's entropy is vubox's" guest_said "virtio_rng.0"
check "the guest drew entropy" guest_drew
check "the guest powered off" guest_said ".*reboot: Power down"
check "the host found the file" same "the file" "$(cat "$tmp/found")" "$text"
check "the file system is clean" e2fsck -fn "$tmp/disk.img"
end_vubox
[ $failed != 0 ] || say "all of it was seen"
exit $failed
