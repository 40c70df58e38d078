#!/bin/sh
# The network card on a tap in a network of its own: both front-ends, offloads, large frames,
# several queues, a link that goes down, a driver that comes anew, kill -9.
cd "$(dirname "$0")/../.." || exit 1
if [ "${OWN_NETWORK:-}" != yes ]; then
	if ! unshare --net --mount true 2>/dev/null; then
		echo "skip guest net: needs root, to make a network of its own"
		exit 0
	fi
	sh tests/guest/prepare.sh >/dev/null || exit 1 # while there is a network
	OWN_NETWORK=yes exec unshare --net --mount "$0" "$@"
fi
mount -t sysfs sysfs /sys # it shows the network of whoever mounts it
. tests/guest/lib.sh

# ---- the host's side: 10.9.8.1, an iperf3 server, and port 9 that gives back what port 7 got ----

ip link set lo up
iperf3 --server >/dev/null 2>&1 &
servers=$!
busybox nc -ll -p 7 -e sh -c "cat >'$tmp/kept'" >/dev/null 2>&1 &
servers="$servers $!"
busybox nc -ll -p 9 -e cat "$tmp/kept" >/dev/null 2>&1 &
servers="$servers $!"
trap 'end_all; kill $servers; rm -rf "$tmp"' EXIT

tap_up()
{
	ip link set vubox0 mtu 9000 up
}

tap_exists()
{
	ip link show vubox0 >/dev/null 2>&1
}

serve()
{
	start_vubox net --socket-path="$tmp/net.sock" --tap=vubox0 "$@"
	wait_for tap_exists
	ip addr add 10.9.8.1/24 dev vubox0
	tap_up
}

on_down()
{
	ip link set vubox0 down
	kill -s HUP "$vubox_pid"
}

on_up()
{
	tap_up
	kill -s HUP "$vubox_pid"
}

on_kill()
{
	kill -s KILL "$vubox_pid"
	wait "$vubox_pid" 2>/dev/null || :
	serve $options
}

qemu_net()
{
	pairs=$1
	device=virtio-net-pci,netdev=n,mac=52:54:00:12:34:56,vectors=0
	[ "$pairs" = 1 ] || device=$device,mq=on
	[ -z "$ring_options" ] || device=$device,$ring_options
	qemu_devices="-chardev socket,id=net,path=$tmp/net.sock,$(reconnects)
		-netdev vhost-user,id=n,chardev=net,queues=$pairs -device $device"
}

# ---- the guest's side ----

common='
up()
{
	ip addr add 10.9.8.2/24 dev eth0 2>/dev/null
	ip link set eth0 up
	wait_for ping -q -c 1 -W 1 10.9.8.1
}

iperf()
{
	iperf3 --client 10.9.8.1 --time 1 "$@" >/tmp/iperf 2>&1 || fail "$(tail -n 1 /tmp/iperf)"
	grep receiver /tmp/iperf
}

# What comes back is what was sent.
transfer()
{
	seq 300000 | nc 10.9.8.1 7
	same "the sum" "$(nc 10.9.8.1 9 </dev/null | md5sum)" "$(seq 300000 | md5sum)"
}

sizes()
{
	for n in 0 1 17 18 19 1000 1472 1473 9000; do
		ping -q -c 1 -s $n 10.9.8.1 || fail "none of $n bytes"
	done
}

large_frames()
{
	ip link set eth0 mtu 9000
	ping -q -c 2 -s 8972 10.9.8.1
	iperf
	iperf --reverse
	ip link set eth0 mtu 1500
}

anew()
{
	device=$(basename "$(readlink -f /sys/class/net/eth0/device)")
	for _ in 1 2 3; do
		echo "$device" >/sys/bus/virtio/drivers/virtio_net/unbind
		echo "$device" >/sys/bus/virtio/drivers/virtio_net/bind
	done
	up
}

# By the control queue.
another_address()
{
	ip link set eth0 address 52:54:00:77:00:01
	ip neigh flush dev eth0 2>/dev/null
	wait_for ping -q -c 1 -W 1 10.9.8.1
	ip link set eth0 promisc on
	ip link set eth0 promisc off
	ping -q -c 1 10.9.8.1
}

has_carrier()
{
	[ "$(cat /sys/class/net/eth0/carrier)" = "$1" ]
}

follows()
{
	host down
	wait_for has_carrier 0 || fail "the link is up"
	host up
	wait_for has_carrier 1 || fail "the link is down"
	wait_for ping -q -c 1 -W 1 10.9.8.1
}

survives()
{
	host kill
	wait_for ping -q -c 1 -W 1 10.9.8.1 || fail "it does not go on"
	transfer
}

ip link set lo up
check "pings" up
check "pings of all sizes" sizes
check "sends a stream" iperf
check "receives a stream" iperf --reverse
check "gets back what it sent" transfer
check "frames of 9000 bytes" large_frames
'

title="net, UML" options=--mtu=9000
serve $options
boot_uml 256M "virtio_uml.device=$tmp/net.sock:1" <<END
$common
check "the MTU is known" same "it" "\$(cat /sys/class/net/eth0/mtu)" 1500
check "the link goes down and up" follows
check "another address" another_address
check "the driver comes anew" anew
check "nothing in the kernel's log" log_is_clean
END
end_vubox

for pairs in 1 2; do
	title="net, QEMU, $pairs, $rings" options="--num-queues=$pairs"
	serve $options
	qemu_net $pairs
	boot_qemu 512M memfd -smp 2 <<END
$common
check "the driver comes anew" anew
check "kill -9 and a new vubox" survives
check "nothing in the kernel's log" log_is_clean
END
	end_vubox
done
exit $failed
