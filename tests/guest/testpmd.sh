#!/bin/sh
# DPDK's driver of network cards as the front-end, without a guest: what testpmd sends from one card
# comes out at the other one, goes back, and so on, and nobody has lost a frame.
# shellcheck disable=SC2317 # what check calls
cd "$(dirname "$0")/../.." || exit 1
. tests/guest/lib.sh

FRAMES=20000 # that have come through, at least
PER_CARD=32  # that are sent first; all others are those again

# counter DEVICE QUEUE NAME: of vubox, or 0 while there is none
counter()
{
	python3 - "$tmp/stats.sock" "$@" <<'END'
import json, socket, sys

path, device, queue, name = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.connect(path)
text = b"".join(iter(lambda: s.recv(65536), b""))
queues = {(d["name"], str(q["queue"])): q for d in json.loads(text)["devices"] for q in d["queues"]}
print(queues.get((device, queue), {}).get(name, 0))
END
}

enough()
{
	[ "$(counter b 0 requests)" -ge "$FRAMES" ]
}

# of_port N WHAT: what testpmd says in the end
of_port()
{
	awk -v port="$1" -v what="$2-packets:" '
		/Forward statistics for port/ { here = $6 == port }
		here && $1 == what { print $2; exit }
	' "$tmp/testpmd.log"
}

# near WHAT IS WANTED: what is on its way when it ends is counted by one side alone
near()
{
	difference=$(($2 - $3))
	[ "${difference#-}" -le $((2 * PER_CARD)) ] || fail "$1 is $2 instead of $3 or nearly"
}

# one_way FROM PORT TO PORT
one_way()
{
	sent=$(counter "$1" 1 requests) given=$(counter "$3" 0 requests)
	same "what $3 was given" "$given" "$sent"
	same "what $1 has lost" "$(counter "$1" 1 errors)" 0
	same "what $3 has lost" "$(counter "$3" 0 errors)" 0
	near "what $1 took" "$sent" "$(of_port "$2" TX)"
	near "what came from $3" "$(of_port "$4" RX)" "$given"
}

ends_well()
{
	same "the exit status of testpmd" "$status" 0
}

# try NAME BYTES PROPERTY: frames of so many bytes, in segments
try()
{
	case=$1 bytes=$2 property=$3
	start_vubox net --name=a --socket-path="$tmp/a.sock" --bridge=lan \
		--stats="$tmp/stats.sock" -- net --name=b --socket-path="$tmp/b.sock" --bridge=lan
	set -- --no-huge -m 256 --no-pci --no-telemetry --lcores '(0-1)@0' --file-prefix vubox
	for i in a b; do
		set -- "$@" --vdev "net_virtio_user_$i,path=$tmp/$i.sock,queues=1,$property"
	done
	status=0
	{ wait_for enough && echo; } | RUNTIME_DIRECTORY=$tmp timeout "$GUARD_S" \
		dpdk-testpmd "$@" -- --forward-mode=io --tx-first --txpkts="$bytes" \
		--total-num-mbufs=2048 >"$tmp/testpmd.log" 2>&1 || status=$?
	[ $status = 0 ] || cat "$tmp/testpmd.log" >&2
	check "$case: testpmd ends well" ends_well
	check "$case: all frames, one way" one_way a 0 b 1
	check "$case: all frames, the other way" one_way b 1 a 0
	end_vubox
}

try "split rings" 64 packed_vq=0,mrg_rxbuf=0
try "split rings, frames in pieces" 64,200,1200 packed_vq=0,mrg_rxbuf=1
# (In pieces over packed rings DPDK 22.11 says that the device may write the header.)
try "packed rings" 64 packed_vq=1,mrg_rxbuf=0
try "packed rings, long frames" 1464 packed_vq=1,mrg_rxbuf=1
exit $failed
