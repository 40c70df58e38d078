#!/bin/sh
# Two guests on one bridge: frames, with offloads as they are, and completed for a guest that takes
# none.
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

# A guest at 10.9.8.1 beside the other one: User Mode Linux, on the bridge's first port. It sends
# back what it gets on port 7, until something comes on port 8.
boot_neighbour()
{
	(
		tmp=$tmp/neighbour
		mkdir -p "$tmp"
		boot_uml 384M "virtio_uml.device=${tmp%/neighbour}/first.sock:1" <<'END'
ip addr add 10.9.8.1/24 dev eth0
ip link set eth0 up
nc -ll -p 7 -e cat &
nc -l -p 8 >/dev/null
wrong=$(awk "/^Tcp: [0-9]/ { print \$NF }" /proc/net/snmp)
check "the neighbour saw no wrong checksum" same "their number" "$wrong" 0
END
		exit $failed
	) &
	neighbour=$!
}

common='
ip addr add 10.9.8.2/24 dev eth0
ip link set eth0 up

pings()
{
	wait_for ping -q -c 1 -W 1 10.9.8.1
	ping -q -c 5 -i 0.2 -s 3000 10.9.8.1
}

comes_back()
{
	head -c "$1" /dev/urandom >/tmp/data
	nc 10.9.8.1 7 </tmp/data >/tmp/back
	same "the sum" "$(md5sum </tmp/back)" "$(md5sum </tmp/data)"
}

no_wrong_sums()
{
	wrong=$(awk "/^Tcp: [0-9]/ { print \$NF }" /proc/net/snmp)
	same "segments with a wrong checksum" "$wrong" 0
}

end_neighbour()
{
	echo end | nc 10.9.8.1 8
}
'

serve()
{
	start_vubox net --socket-path="$tmp/first.sock" --bridge=lan \
		-- net --socket-path="$tmp/second.sock" --bridge=lan
}

# ---- two that take all offloads ----

serve
boot_neighbour
{ echo "$common"; cat <<'END'; } |
check "ping the neighbour" pings
check "30 MB there and back" comes_back 30000000
check "saw no wrong checksum" no_wrong_sums
check "nothing in the kernel's log" log_is_clean
end_neighbour
END
	boot_uml 384M "virtio_uml.device=$tmp/second.sock:1"
wait "$neighbour" || failed=1 # it has said why
end_vubox

# ---- one that takes none ----

title=$title-plain
serve
boot_neighbour
qemu_devices="-chardev socket,id=second,path=$tmp/second.sock -netdev vhost-user,id=n,chardev=second
	-device virtio-net-pci,netdev=n,vectors=0,mrg_rxbuf=off,csum=off,guest_csum=off"
{ echo "$common"; cat <<'END'; } |
check "ping the neighbour" pings
check "5 MB there and back" comes_back 5000000
check "saw no wrong checksum" no_wrong_sums
check "nothing in the kernel's log" log_is_clean
end_neighbour
END
	boot_qemu 512M memfd
wait "$neighbour" || failed=1 # it has said why
finish
