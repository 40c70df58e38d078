# What moves packets: network cards, socket devices, DPDK's testpmd, bare loops. Sourced by run.sh.
# shellcheck shell=sh disable=SC2034,SC2154 # its variables

# A namespace of its own, so that no network of this machine is touched.
new_namespace()
{
	[ "$(id -u)" = 0 ] && echo unshare --net || echo unshare --map-root-user --net
}

# What to put before a command so that it runs in that of the tap.
inside()
{
	[ "$(id -u)" = 0 ] || echo nsenter --user --preserve-credentials \
		--target "$(pid_of packets.tap)"
	echo nsenter --net --target "$(pid_of packets.tap)"
}

# Polls its processor all the time, so it is stopped while others are measured. Its packet buffers
# are large, which it is quicker with; offloads go through it as they do through a bridge.
testpmd()
{
	set -- --no-huge -m 512 --no-pci --no-telemetry --file-prefix vubox
	set -- "$@" --lcores "0@$((cores > 1)),1@0"
	for i in 0 1; do
		port="net_vhost$i,iface=$tmp/packets.testpmd-$i,tso=1,legacy-ol-flags=1"
		set -- "$@" --vdev "$port"
	done
	RUNTIME_DIRECTORY=$tmp dpdk-testpmd "$@" -- --forward-mode=io --auto-start \
		--stats-period=1000 --mbuf-size=32896 --total-num-mbufs=4096 \
		>"$tmp/testpmd.log" 2>&1 </dev/null &
	pids="$pids $!"
	echo $! >"$tmp/packets.testpmd.pid"
	for _ in $(seq 100); do
		[ ! -S "$tmp/packets.testpmd-1" ] || break
		sleep 0.1
	done
	sleep 0.5
	kill -STOP "$(pid_of packets.testpmd)"
}

serve_packets()
{
	packets=$tmp/packets
	start packets.vubox "$VUBOX" net --socket-path="$packets.vubox-0" --bridge=lan \
		-- net --socket-path="$packets.vubox-1" --bridge=lan
	start packets.vsock "$VUBOX" vsock --socket-path="$packets.vsock" --guest-cid=7 \
		--uds-path="$packets.uds"
	# shellcheck disable=SC2046 # a command
	start packets.tap $(new_namespace) "$VUBOX" net --socket-path="$packets.tap" --tap=vubox0
	testpmd
	for s in vubox-0 vubox-1 vsock tap; do
		until [ -S "$packets.$s" ]; do
			sleep 0.05
		done
	done
	# The kernel says nothing of its own there.
	# shellcheck disable=SC2016 # of the inner shell
	$(inside) sh -c 'for i in all default; do
		echo 1 >"/proc/sys/net/ipv6/conf/$i/disable_ipv6"
	done' 2>/dev/null || :
}

# measure_packets BACK-END MODE OPTIONS...
measure_packets()
{
	server=$1 mode=$2
	shift 2
	set -- "$@" --seconds="$SECONDS_EACH"
	case $server in
	bare) set -- "bare-$mode" "$@" bare0 ;;
	*) set -- "$mode" "$@" --cpu="$(pid_of "packets.$server")" ;;
	esac
	[ "$cores" = 1 ] || set -- "$@" --core=0
	inside=$(inside)
	# shellcheck disable=SC2086 # a command
	case $server.$mode in
	bare.out) (on 0 $inside "$NET" "$@") ;;
	bare.in) (on 1 $inside "$NET" "$@") ;;
	tap.*) (on 1 $inside "$NET" "$@" "$packets.tap" vubox0) ;;
	vsock.*) (on 1 "$NET" "$@" "$packets.vsock" "$packets.uds") ;;
	testpmd.*)
		kill -CONT "$(pid_of packets.testpmd)"
		(on 1 "$NET" "$@" "$packets.testpmd-0" "$packets.testpmd-1")
		kill -STOP "$(pid_of packets.testpmd)"
		;;
	*.pass) (on 1 "$NET" "$@" "$packets.$server-0" "$packets.$server-1") ;;
	*) (on 1 "$NET" "$@") ;;
	esac
}

# least_middle_most ROW CONTESTANT COLUMN: of what the load has printed.
least_middle_most()
{
	awk -v row="$1" -v who="$2" -v column="$(($3 + 3))" \
		'$1 == row && $2 == who && $4 != "failed" { print $column }' "$tmp/raw" | sort -n |
		awk '{ v[NR] = $1 }
			END { print NR ? v[1] " " v[int((NR + 1) / 2)] " " v[NR] : "-" }'
}

# speed_is ROW CONTESTANT [TARGET]: what a row of 64 KiB has measured, in GiB/s; more is good.
speed_is()
{
	case $rows in "  " | *" $1 "*) ;; *) return 0 ;; esac
	least_middle_most "$1" "$2" 1 | awk -v row="speed-$1" -v who="$2" -v target="${3:-}" \
		-v csv="$out/results.csv" '{
			least = $1 / 2 ^ 14
			v = sprintf("%.1f", $2 / 2 ^ 14)
			most = $3 / 2 ^ 14
			said = least >= target ? "met" : most < target ? "missed" :
				"too noisy to tell"
			said = target == "" ? "" : NF < 3 ? "failed" : said
			shown = target == "" ? "" : ">= " target ": " said
			printf "%-16s %-16s %9s %-45s %s\n", row, who, v,
				sprintf("GiB/s (%.1f to %.1f)", least, most), shown
			printf "%s,%s,%s,%.1f,%.1f,,,,,,%s,%s\n", row, who, v, least, most,
				target, said >>csv
		}'
}

# time_row NAME TARGET REFERENCE: so many packets are under way all the time. What half of them need
# says how long each takes, even while others keep the processors busy.
time_row()
{
	less_row "p50-$1" "$1" 2 "$3" "$(echo "$2" | awk '{ print 1 / $1 }')"
}

# bridge NAME TARGET OPTIONS: guest to guest
bridge()
{
	row "bridge-$1" packets testpmd "$2" "pass $3" vubox testpmd
	time_row "bridge-$1" "$2" testpmd
	case $rows in "  " | *" bridge-$1 "*) ;; *) return 0 ;; esac
	image=packets options="pass $3 --wait=call"
	for round in $(seq "$ROUNDS"); do
		echo "calls-$1 vubox $round $(measure vubox || echo failed)" >>"$tmp/raw"
	done
	count_is "calls-$1" vubox 'packets for each call, not polled' \
		"$(least_middle_most "calls-$1" vubox 5 | cut -d ' ' -f 2)"
}

packet_rows()
{
	bridge 64 0.5 '--bytes=64'
	bridge 1500 0.5 '--bytes=1500'
	bridge 64k 1.0 '--bytes=65536 --buffer=4096 --depth=8'
	speed_is bridge-64k vubox
	# (The kernel would cut one of 65,536 bytes before it is in the tap.)
	row tap-out packets bare 0.9 'out --bytes=65536 --depth=32' tap bare
	time_row tap-out 0.9 bare
	row tap-in packets bare 0.9 'in --bytes=65535 --buffer=4096 --depth=8' tap bare
	time_row tap-in 0.9 bare
	row vsock-4k packets bare 0.9 'stream --bytes=65536 --buffer=4096' vsock bare
	speed_is vsock-4k vsock 2.0
	row vsock-64k packets bare 0.9 'stream --bytes=65536 --buffer=65536' vsock bare
	speed_is vsock-64k vsock 2.0
}
