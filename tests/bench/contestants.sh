# The back-ends, their images, and one measurement of one of them. Sourced by run.sh.
# shellcheck shell=sh disable=SC2154 # its variables

make_images()
{
	dd if=/dev/urandom of="$tmp/image" bs=1M count="$IMAGE_MB" status=none
	dd if=/dev/urandom of="$shm/image" bs=1M count="$SHM_MB" status=none
	sync "$tmp/image"
	cat "$tmp/image" >/dev/null
}

image_of()
{
	case $1 in
	disk) echo "$tmp/image" ;;
	shm) echo "$shm/image" ;;
	esac
}

cores=$(nproc)
# on PROCESSOR COMMAND...: with two or more, back-end and load each get one.
on()
{
	core=$1
	shift
	[ "$cores" = 1 ] || set -- taskset -c "$core" "$@"
	exec "$@"
}

# start NAME COMMAND...: its socket is $tmp/NAME, its process pid_of NAME.
start()
{
	name=$1
	shift
	(on 0 "$@") >"$tmp/$name.log" 2>&1 &
	pids="$pids $!"
	echo $! >"$tmp/$name.pid"
}

pid_of()
{
	cat "$tmp/$1.pid"
}

qsd()
{
	image=$1 aio=$2
	file="driver=file,node-name=f,filename=$(image_of "$image"),aio=$aio,locking=off"
	export="type=vhost-user-blk,id=e,node-name=f,writable=on,num-queues=8"
	start "$image.qsd-$aio" qemu-storage-daemon --blockdev "$file" \
		--export "$export,addr.type=unix,addr.path=$tmp/$image.qsd-$aio"
}

vubox()
{
	image=$1 name=$2
	shift 2
	start "$image.$name" "$VUBOX" blk --socket-path="$tmp/$image.$name" \
		--blk-file="$(image_of "$image")" --no-lock "$@"
}

# Sixteen devices in one process. All but the first have a guest that has nothing to do.
sixteen()
{
	set -- blk --socket-path="$tmp/disk.16-devices" --blk-file="$tmp/image" --no-lock
	for i in $(seq 2 16); do
		set -- "$@" -- blk --socket-path="$tmp/disk.$i" --blk-file="$tmp/image" --no-lock
	done
	start disk.16-devices "$VUBOX" "$@"
	for i in $(seq 2 16); do
		"$LOAD" --socket="$tmp/disk.$i" --count=64 --idle=100000 >"$tmp/idle.log" 2>&1 &
		pids="$pids $!"
	done
}

serve_all()
{
	for image in disk shm; do
		vubox "$image" vubox
		vubox "$image" vubox-uring --io=uring
		qsd "$image" io_uring
	done
	vubox disk vubox-mmap --io=mmap
	qsd disk threads
	sixteen
	[ -z "$yours" ] || ln -s "$yours" "$tmp/disk.yours"
	[ -z "$yours" ] || ln -s "$yours" "$tmp/shm.yours"
}

# A contestant is BACK-END or LABEL=BACK-END, and options of the load behind commas.
label()
{
	echo "$1" | sed 's/[=,].*//'
}

# One measurement of a contestant of this row: the load's line.
measure()
{
	# shellcheck disable=SC2046,SC2086 # lists of options
	set -- $(echo "$1" | sed 's/^[^=,]*=//' | tr , ' ') $options
	server=$1
	shift
	if [ "$image" = packets ]; then
		measure_packets "$server" "$@"
		return
	fi
	# Who writes next does not pay for what the last one has left to be written.
	case "$*" in *write*) sync "$(image_of "$image")" ;; esac
	case $server in
	bare-*)
		bytes=$(echo "$*" | sed -n 's/.*--bytes=\([0-9]*\).*/\1/p')
		(on 0 "$BARE" "${server#bare-}" "$(image_of "$image")" "${bytes:-4096}" \
			"$SECONDS_EACH")
		;;
	*)
		[ "$server" = yours ] || set -- --cpu="$(pid_of "$image.$server")" "$@"
		(on 1 "$LOAD" --socket="$tmp/$image.$server" --seconds="$SECONDS_EACH" "$@")
		;;
	esac
}
