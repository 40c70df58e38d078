#!/bin/sh
# make demo: a guest boots with five devices, all from one vubox and one configuration file. It
# keeps a file on its disk, draws entropy, and the host comes to it by its network, its sockets and
# its console; then it powers off, and the host finds the file in the image. The status is 0 only if
# all of it was seen. Installs what is missing. It has a network of its own, which goes with it.
cd "$(dirname "$0")/../.." || exit 1
parts="vmlinuz base.cpio.gz"
if [ "${OWN_NETWORK:-}" != yes ]; then
	sh tests/install.sh build guest demo || exit 1
	# shellcheck disable=SC2086 # parts are words
	sh tests/guest/prepare.sh $parts >/dev/null || exit 1 # while there is a network
	DEMO_QEMU=$(sh tests/guest/prepare_qemu.sh) || DEMO_QEMU=
	export DEMO_QEMU OWN_NETWORK=yes
	set --
	[ "$(id -u)" = 0 ] || set -- --user --map-root-user
	if ! unshare "$@" --net --mount true; then
		echo "demo: FAILED: needs root, or user namespaces, for its own network" >&2
		exit 1
	fi
	exec unshare "$@" --net --mount sh tests/guest/demo.sh
fi
mount -t sysfs sysfs /sys 2>/dev/null || : # it shows the network of whoever mounts it
QEMU=${DEMO_QEMU:-qemu-system-x86_64}
. tests/guest/lib.sh

text="kept on vubox: $(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')"
console=${DEMO_QEMU:+yes} # whether this QEMU has a front-end for it

say()
{
	printf '\n== %s\n' "$*"
}

# A command of the host, as one would type it there.
show()
{
	printf '$ %s\n' "$*" | as_typed
}

as_typed()
{
	sed -e "s|$tmp/||g" -e "s|$cache/||g" -e "s|$VUBOX|./vubox|g" \
		-e "s|$QEMU|qemu-system-x86_64|g"
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

# What the guest says is shown, but for its words with the host, and for what QEMU says of features
# that it does not have.
on_line()
{
	case $1 in
	GUEST* | done | "" | *warning:*"but QEMU does not."*) ;;
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

# heard FILE COMMAND...: what a command of the host says, which the file keeps, too.
heard()
{
	file=$tmp/$1
	shift
	quoted=
	for word in "$@"; do
		case $word in
		*[!a-zA-Z0-9/:._-]*) quoted="$quoted '$word'" ;;
		*) quoted="$quoted $word" ;;
		esac
	done
	show "${quoted# }"
	# A shell on a terminal asks for the place of the cursor.
	timeout 60 "$@" 2>&1 | tr -d '\r\033' | sed -e 's/\[6n//' -e '/^ *$/d' | tee "$file" |
		sed 's/^/     host | /'
}

on_network()
{
	heard fetched busybox wget -q -O - http://10.9.8.2/hello
}

on_socket()
{
	heard answered python3 tests/guest/peer.py "$tmp/guest" say 'CONNECT 2001\n' expect OK \
		say "$text\n" hear "$text"
}

on_shell()
{
	heard typed python3 tests/guest/peer.py "$tmp/shell" \
		say 'ls /sys/bus/virtio/drivers; cat /mnt/hello; exit\n' hear "the shell has ended"
}

file_has()
{
	grep -Fqx "$text" "$tmp/$1" || fail "the host did not read: $text"
}

if [ -z "$console" ]; then
	cat >&2 <<'END'

*** This demo has FOUR devices instead of five, and NO CONSOLE: neither has this machine's QEMU a
*** front-end for it, nor can Debian sid's QEMU be had from here (see above).
END
fi

say "vubox serves a guest's devices, from one file"
cat >"$tmp/vm.conf" <<END
blk     --socket-path=$tmp/blk.sock --blk-file=$tmp/disk.img --size=64M
net     --socket-path=$tmp/net.sock --tap=vubox0
rng     --socket-path=$tmp/rng.sock
vsock   --socket-path=$tmp/vsock.sock --guest-cid=42 --uds-path=$tmp/guest
${console:+console --socket-path=$tmp/console.sock --backend=unix:$tmp/shell}
END
show cat "$tmp/vm.conf"
as_typed <"$tmp/vm.conf"
show "$VUBOX" --config="$tmp/vm.conf" "&"
start_vubox --config="$tmp/vm.conf"
show ip address add 10.9.8.1/24 dev vubox0
ip address add 10.9.8.1/24 dev vubox0
ip link set lo up
ip link set vubox0 up

say "a Debian kernel in QEMU finds them all"
qemu_blk blk
qemu_rng rng
add_device vhost-user-vsock-pci vsock
qemu_devices="$qemu_devices -chardev socket,id=net,path=$tmp/net.sock
	-netdev vhost-user,id=lan,chardev=net -device virtio-net-pci,netdev=lan,vectors=0,romfile="
[ -z "$console" ] || qemu_any console 3 2 12
# shellcheck disable=SC2086 # devices are words
show "$QEMU" -M q35,memory-backend=memory \
	-object memory-backend-memfd,id=memory,size=256M,share=on -m 256M \
	$qemu_devices ...

# The guest's part of the sockets, and the host's.
mkdir "$tmp/root"
gcc -static -O1 -o "$tmp/root/vsock" tests/guest/vsock.c
"$tmp/root/vsock" echo "$tmp/guest_1001" 1 &
echoes=$!
trap 'end_all; kill $echoes 2>/dev/null || :; rm -rf "$tmp"' EXIT

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
run cat /sys/class/misc/hw_random/rng_current
run 'head -c 32 /dev/hwrng | xxd'
run ip address add 10.9.8.2/24 dev eth0
run ip link set eth0 up
run ping -c 2 10.9.8.1
run httpd -h /mnt
host network
killall httpd
run '/vsock serve 2001 1 >/tmp/serving &'
wait_for [ -s /tmp/serving ]
host socket
run /vsock pour 1001 1000000
echo "a million bytes went to the host and back"
if [ -n "$console" ]; then
	run '{ sh; echo the shell has ended; } <>/dev/hvc0 >&0 2>&1 &'
	host shell
	wait
fi
run umount /mnt
run sync
echo "# poweroff"
END

say "the guest is gone, and the host finds its file in the image"
show debugfs -R "'cat /hello'" "$tmp/disk.img"
debugfs -R 'cat /hello' "$tmp/disk.img" 2>/dev/null | tee "$tmp/found"
show e2fsck -fn "$tmp/disk.img"
e2fsck -fn "$tmp/disk.img" 2>/dev/null | sed -n "\$s|$tmp/||p"

check "the guest read its file" guest_said "$text"
check "the guest's entropy is vubox's" guest_said "virtio_rng.[0-9]"
check "the guest drew entropy" guest_drew
check "the guest reached the host by its network" \
	guest_said "2 packets transmitted, 2 .* received.*"
check "the host got the file by the guest's network" file_has fetched
check "the host connected to the guest" file_has answered
check "the guest connected to the host" guest_said "a million bytes went to the host and back"
[ -z "$console" ] || check "the host typed at the guest's console" file_has typed
check "the guest powered off" guest_said ".*reboot: Power down"
check "the host found the file" same "the file" "$(cat "$tmp/found")" "$text"
check "the file system is clean" e2fsck -fn "$tmp/disk.img"
end_vubox
if [ $failed != 0 ]; then
	exit 1
elif [ -n "$console" ]; then
	say "all of it was seen, with five devices"
else
	say "all of it was seen, but with four devices: NO CONSOLE, as said above"
fi
