#!/bin/sh
# Makes what the guests boot from, once, and prints where: under $VUBOX_CACHE (~/.cache/vubox).
#
#     vmlinuz        the kernel of Debian's cloud images, from its package; nothing is installed
#     base.cpio.gz   an initramfs: BusyBox, e2fsprogs, blkdiscard, the kernel's virtio modules
#     test.cpio      to be appended: fio, iperf3 and their libraries, User Mode Linux' modules
#
#     sh tests/guest/prepare.sh [PART...]      default: all three; base.cpio.gz needs no fio
#
# A part that is there is not made again, unless this script or User Mode Linux has changed since.
set -eu
umask 022
cd "$(dirname "$0")"

cache=${VUBOX_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vubox}/guest
mkdir -p "$cache"
tmp=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

say()
{
	echo "prepare.sh: $*" >&2
}

# Unpacks the kernel's package to $tmp/kernel, if that has not been done yet.
unpack_kernel()
{
	[ ! -d "$tmp/kernel" ] || return 0
	say "getting a Debian kernel"
	(cd "$tmp" && get_kernel) >"$tmp/log" 2>&1 || {
		tail -n 20 "$tmp/log" >&2
		say "apt-get cannot download linux-image-cloud-amd64's kernel"
		exit 1
	}
	dpkg-deb -x "$tmp"/linux-image-*.deb "$tmp/kernel"
	release=$(basename "$tmp"/kernel/lib/modules/*)
}

# The package lists of a fresh machine are empty, those of an old one name files that are gone.
get_kernel()
{
	download_kernel || { apt-get -o DPkg::Lock::Timeout=300 update && download_kernel; }
}

# linux-image-cloud-amd64 is empty and depends on the package of a certain version.
download_kernel()
{
	package=$(apt-cache depends linux-image-cloud-amd64 |
		sed -n 's/.*Depends: *\(linux-image-.*\)/\1/p' | head -n 1)
	[ -n "$package" ] && apt-get download "$package"
}

# put FILE...: programs into $root, with the libraries they are linked to.
put()
{
	for file in "$@"; do
		echo "$file"
		ldd "$file" 2>/dev/null | grep -o '/[^ ]*' || :
	done | sort -u | while read -r file; do
		cp -L --parents "$file" "$root"
	done
}

# The modules named, and what they need, numbered in the order in which they are to be loaded.
put_modules()
{
	modules=$root/lib/modules/$release
	mkdir -p "$modules"
	depmod -b "$tmp/kernel" "$release"
	modprobe -C /dev/null -d "$tmp/kernel" -S "$release" -D -a "$@" >"$tmp/modules"
	awk '$1 == "insmod" && !seen[$2]++ { printf "%02d %s\n", ++n, $2 }' "$tmp/modules" |
		while read -r number file; do
			cp "$file" "$modules/$number-${file##*/}"
		done
}

pack()
{
	(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet)
}

new_root()
{
	root=$tmp/root
	rm -rf "$root"
	mkdir -p "$root"
	(cd "$root" && mkdir bin sbin dev proc sys tmp mnt)
}

make_vmlinuz()
{
	unpack_kernel
	cat "$tmp/kernel/boot/vmlinuz-$release"
}

make_base()
{
	unpack_kernel
	new_root
	cp /bin/busybox "$root/bin"
	put /sbin/mkfs.ext4 /sbin/e2fsck /sbin/blkdiscard
	put_modules virtio_pci virtio_blk virtio-rng virtio_net 8021q virtio_console \
		vmw_vsock_virtio_transport
	pack | gzip -1
}

make_test()
{
	new_root
	put /usr/bin/fio /usr/bin/iperf3
	for dir in /usr/lib/uml/modules/*; do
		modules=$root/lib/modules/$(basename "$dir")
		mkdir -p "$modules"
		cp "$dir/kernel/drivers/block/virtio_blk.ko"* \
			"$dir/kernel/drivers/char/virtio_console.ko"* "$modules"
		for module in net/core/failover drivers/net/net_failover drivers/net/virtio_net; do
			cp "$dir/kernel/$module.ko"* "$modules" 2>/dev/null || :
		done
		number=0
		for module in vmw_vsock/vsock vmw_vsock/vmw_vsock_virtio_transport_common \
				vmw_vsock/vmw_vsock_virtio_transport llc/llc 802/stp 802/garp \
				802/mrp 8021q/8021q; do
			number=$((number + 1))
			cp "$dir/kernel/net/$module.ko" "$modules/$number-${module#*/}.ko" \
				2>/dev/null || :
		done
	done
	pack
}

export PATH="$PATH:/usr/sbin:/sbin"
key=$(cksum <prepare.sh; ls /usr/lib/uml/modules 2>/dev/null || :)
if [ "$(cat "$cache/key" 2>/dev/null)" != "$key" ]; then
	rm -f "$cache/vmlinuz" "$cache/base.cpio.gz" "$cache/test.cpio"
	echo "$key" >"$cache/key"
fi
[ $# != 0 ] || set -- vmlinuz base.cpio.gz test.cpio
for part in "$@"; do
	[ ! -s "$cache/$part" ] || continue
	say "making $cache/$part"
	"make_${part%%.*}" >"$tmp/part"
	mv "$tmp/part" "$cache/$part"
done
echo "$cache"
