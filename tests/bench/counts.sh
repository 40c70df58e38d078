# What is counted, not timed, so that the machine's noise does not matter. Sourced by run.sh.
# shellcheck shell=sh disable=SC2154 # its variables

# less_row NAME ROW COLUMN REFERENCE TARGET: what else another row has measured, of which less is
# better. COLUMN is 2 for p50, 3 for p99, 4 for processor time.
less_row()
{
	case $rows in "  " | *" $2 "*) ;; *) return 0 ;; esac
	awk -v row="$2" -v shown="$1" -v measured="$3" -v reference="$4" -v target="$5" \
		-v csv="$out/results.csv" -f tests/bench/row.awk "$tmp/raw"
}

# count_is NAME CONTESTANT WHAT VALUE TARGET: one line; no more than the target is good.
count_is()
{
	target=${5:-} said=
	if [ -n "$target" ]; then
		said=$(echo "$4 $target" |
			awk '{ print $1 == "-" ? "failed" : $1 <= $2 ? "met" : "missed" }')
	fi
	printf '%-16s %-16s %9s %-45s %s\n' "$1" "$2" "$4" "$3" "${target:+<= $target: $said}"
	echo "$1,$2,$4,,,,,,,,$target,$said" >>"$out/results.csv"
}

# ---- a connected guest that has nothing to do ----

switches_of()
{
	cat /proc/"$1"/task/*/status | awk '/^voluntary_ctxt_switches/ { n += $2 } END { print n }'
}

idle_wakeups()
{
	idle_pids=
	for c in vubox qsd-io_uring; do
		"$LOAD" --socket="$tmp/disk.$c" --seconds=0.1 --idle=60 >"$tmp/idle.$c" 2>&1 &
		idle_pids="$idle_pids $!"
	done
	pids="$pids$idle_pids"
	until grep -q idle "$tmp/idle.vubox" && grep -q idle "$tmp/idle.qsd-io_uring"; do
		sleep 0.1
	done
	sleep 2
	for c in vubox qsd-io_uring; do
		switches_of "$(pid_of "disk.$c")" >"$tmp/before.$c"
	done
	sleep 3
	for c in vubox qsd-io_uring; do
		n=$(($(switches_of "$(pid_of "disk.$c")") - $(cat "$tmp/before.$c")))
		[ $c = vubox ] && most=0 || most=
		count_is idle $c 'wake-ups in 3 s with nothing to do' $n "$most"
	done
	for p in $idle_pids; do
		kill "$p" 2>/dev/null || :
	done
}

# ---- instructions ----

# What vubox executes for a read of 4 KiB, from the loop inwards, without the copy of the data.
instructions()
{
	label=$1 most=$2
	shift 2
	(on 0 valgrind --tool=callgrind --toggle-collect='loop_run*' \
		--callgrind-out-file="$tmp/callgrind" build/vubox.debug blk \
		--socket-path="$tmp/counted" --blk-file="$shm/image" --no-lock --sandbox=off) \
		>"$tmp/callgrind.log" 2>&1 &
	counted=$!
	pids="$pids $counted"
	(on 1 "$LOAD" --socket="$tmp/counted" --count=50000 "$@") >>"$tmp/callgrind.log" || :
	kill $counted
	wait $counted || :
	# musl's memcpy is assembly, which has no name there, only its address; built for size, the
	# copy is one instruction of engine_move, counted for each byte.
	copy=$(nm build/vubox.debug | sed -n 's/^0*\([0-9a-f]*\) . memcpy$/0x0*\1/p')
	n=$(callgrind_annotate --threshold=100 "$tmp/callgrind" | tr -d , |
		awk -v copy="[:/_]memcpy|memmove|engine_move|${copy:-memcpy}" '
			/PROGRAM TOTALS/ { all = $1 }
			$0 ~ copy && / \[/ { copied += $1 }
			END { print all && copied ? int((all - copied) / 50000) : "-" }')
	count_is instructions "$label" 'a 4 KiB read at depth 32, without the copy' "$n" "$most"
}

# ---- system calls ----

# traced COUNT OPTIONS...: the calls of a vubox that has served so many requests, after others: what
# it does once for a place of the image is done.
traced()
{
	count=$1
	shift
	# shellcheck disable=SC2086 # the engine's option
	(on 0 strace -c -f -o "$tmp/strace" "$VUBOX" blk --socket-path="$tmp/counted" \
		--blk-file="$tmp/small" --no-lock --sandbox=off $engine) 2>"$tmp/strace.log" &
	counted=$!
	pids="$pids $counted"
	{
		(on 1 "$LOAD" --socket="$tmp/counted" --count=100000) &&
			(on 1 "$LOAD" --socket="$tmp/counted" --count="$count" "$@")
	} >>"$tmp/strace.log" || :
	# The tracer ends with what it traces, and tells then.
	kill "$(cat "/proc/$counted/task/$counted/children")"
	wait $counted || :
	awk '$NF == "total" { print $4 }' "$tmp/strace"
}

# system_calls LABEL ENGINE TARGET THOUSANDS OPTIONS...: of so many thousand requests
system_calls()
{
	label=$1 engine=$2 most=$3 thousands=$4
	shift 4
	few=$(traced 10000 "$@") many=$(traced $((10000 + thousands * 1000)) "$@")
	if [ -n "$few" ] && [ -n "$many" ]; then
		n=$(((many - few) / thousands))
	else
		n=-
	fi
	count_is system-calls "$label" "for 1,000 reads: $*" $n "$most"
}

count_rows()
{
	case $rows in "  " | *" counts "*) ;; *) return 0 ;; esac
	head -c 67108864 "$tmp/image" >"$tmp/small"
	echo
	idle_wakeups
	instructions split 350
	instructions packed 300 --packed
	system_calls vubox '' 3000 10 --depth=1 --wait=call
	system_calls vubox '' 100 200 --depth=32
	system_calls vubox '' 100 200 --depth=128
	system_calls vubox-uring --io=uring 3000 10 --depth=1 --wait=call
	system_calls vubox-uring --io=uring 200 200 --depth=32
	system_calls vubox-uring --io=uring 200 200 --depth=128
}
