#!/bin/sh
# Two guests: on one bridge, with offloads as they are and completed for a guest that takes none;
# and one of vubox at the other end of a cable to one of QEMU.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

# boot_neighbour BOOT...: another guest, at 10.9.8.1, beside the one that comes after it. What it
# gets on port 7 it gives back on port 9, until something comes on port 8. (Not both on one: nc does
# not read while it writes, and two who both write wait for each other for ever.)
boot_neighbour()
{
	(
		tmp=$tmp/neighbour
		mkdir -p "$tmp"
		"$@" <<'END'
ip addr add 10.9.8.1/24 dev eth0
ip link set eth0 up
ip link add link eth0 name vlan7 type vlan id 7
ip addr add 10.9.7.1/24 dev vlan7
ip link set vlan7 up
nc -ll -p 7 -e sh -c "cat >/tmp/kept" &
nc -ll -p 9 -e cat /tmp/kept &
nc -l -p 8 >/dev/null
wrong=$(awk "/^Tcp: [0-9]/ { print \$NF }" /proc/net/snmp)
check "the neighbour saw no wrong checksum" same "their number" "$wrong" 0
END
		exit "$failed"
	) &
	neighbour=$!
}

# try BYTES BOOT...: this guest, which sends so many bytes there and back.
try()
{
	bytes=$1
	shift
	"$@" <<END
bytes=$bytes
ip addr add 10.9.8.2/24 dev eth0
ip link set eth0 up
ip link add link eth0 name vlan7 type vlan id 7
ip addr add 10.9.7.2/24 dev vlan7
ip link set vlan7 up

# pings ADDRESS
pings()
{
	wait_for ping -q -c 1 -W 1 "\$1"
	ping -q -c 5 -i 0.2 -s 3000 "\$1"
}

# comes_back ADDRESS
comes_back()
{
	head -c \$bytes /dev/urandom >/tmp/data
	nc "\$1" 7 </tmp/data
	nc "\$1" 9 </dev/null >/tmp/back
	same "the sum" "\$(md5sum </tmp/back)" "\$(md5sum </tmp/data)"
}

no_wrong_sums()
{
	same "their number" "\$(awk "/^Tcp: [0-9]/ { print \\\$NF }" /proc/net/snmp)" 0
}

check "ping the neighbour" pings 10.9.8.1
check "\$bytes bytes there and back" comes_back 10.9.8.1
check "ping over a VLAN" pings 10.9.7.1
check "\$bytes bytes over a VLAN" comes_back 10.9.7.1
check "saw no wrong checksum" no_wrong_sums
check "nothing in the kernel's log" log_is_clean
echo end | nc 10.9.8.1 8
END
	wait "$neighbour" || failed=1 # it has said why
}

uml_on()
{
	boot_uml 384M "virtio_uml.device=$1:1"
}

# Both on a bridge take all offloads.
serve_bridge()
{
	start_vubox net --socket-path="$tmp/first.sock" --bridge=lan \
		-- net --socket-path="$tmp/second.sock" --bridge=lan
}
title="$title, bridge"
serve_bridge
boot_neighbour uml_on "$tmp/first.sock"
try 30000000 uml_on "$tmp/second.sock"
end_vubox

# One of them takes none, and one buffer must do for each frame.
title="$title, no offloads"
serve_bridge
boot_neighbour uml_on "$tmp/first.sock"
qemu_devices="-chardev socket,id=second,path=$tmp/second.sock -netdev vhost-user,id=n,chardev=second
	-device virtio-net-pci,netdev=n,vectors=0,mrg_rxbuf=off,csum=off,guest_csum=off"
try 5000000 boot_qemu 512M memfd
end_vubox

# QEMU's own guest, behind QEMU's own network.
qemu_behind()
{
	qemu_devices="-netdev $1,id=n -device virtio-net-pci,netdev=n"
	boot_qemu 512M memfd
}

title="${title%%,*}, stream"
start_vubox net --socket-path="$tmp/net.sock" --peer-unix="$tmp/peer.sock"
boot_neighbour qemu_behind "stream,server=on,addr.type=unix,addr.path=$tmp/peer.sock"
try 5000000 uml_on "$tmp/net.sock"
rm -f "$tmp/peer.sock" # QEMU leaves it
end_vubox

title="${title%%,*}, dgram"
start_vubox net --socket-path="$tmp/net.sock" --peer-unix="$tmp/peer.sock" \
	--peer-local="$tmp/local.sock"
local=local.type=unix,local.path=$tmp/peer.sock
boot_neighbour qemu_behind "dgram,$local,remote.type=unix,remote.path=$tmp/local.sock"
try 5000000 uml_on "$tmp/net.sock"
rm -f "$tmp/peer.sock" # QEMU leaves it
finish
