#!/bin/sh
# A guest whose first process is BusyBox' init, as on a small VM host: it runs vubox itself, by the
# init script and the configuration that make install puts in place.
cd "$(dirname "$0")/../.." || exit 1
parts="vmlinuz base.cpio.gz"
. tests/guest/lib.sh

# The guest has no tests/guest/init, but what an installation has.
make_initrd()
{
	root=$tmp/root
	mkdir -p "$root/etc/init.d" "$root/usr/bin" "$root/run" "$root/var"
	cp "$VUBOX" "$root/usr/bin/vubox"
	cp share/init.d/vubox "$root/etc/init.d/vubox"
	ln -s /bin/busybox "$root/init"
	cat >"$root/etc/inittab" <<'END'
::sysinit:/etc/init.d/rcS
::once:/test.sh
::shutdown:/etc/init.d/vubox stop
::shutdown:/bin/echo GUEST ends
END
	cat >"$root/etc/init.d/rcS" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
ln -s /bin/busybox /sbin/init
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run
truncate -s 1M /var/one.img "/var/number two.img"
/etc/init.d/vubox start >/run/started
echo "$?" >>/run/started
ls /run/vubox >>/run/started
END
	# A sample with real lines: those of share/vubox.conf, for images that are here.
	{
		cat share/vubox.conf
		echo 'blk --socket-path=/run/vubox/one.sock --blk-file=/var/one.img --name=one'
		echo 'blk --socket-path=/run/vubox/2.sock --blk-file="/var/number two.img" # quoted'
		echo "rng --socket-path='/run/vubox/rng.sock'"
	} >"$root/etc/vubox.conf"
	cat >"$root/test.sh"
	chmod +x "$root/etc/init.d/rcS" "$root/etc/init.d/vubox" "$root/test.sh"
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$tmp/own.cpio.gz"
	cat "$cache/base.cpio.gz" "$tmp/own.cpio.gz" >"$tmp/initrd"
}

# What runs inside: the functions of tests/guest/init, then what comes on stdin.
boot()
{
	{
		echo '#!/bin/busybox sh'
		echo 'export PATH=/sbin:/bin:/usr/bin'
		echo 'exec </dev/console >/dev/console 2>&1'
		sed -n '/^# check NAME/,/^for module/p' tests/guest/init | sed '$d'
		cat
		echo poweroff
	} | boot_qemu 192M ram
}

boot <<'END'
service=/etc/init.d/vubox
sockets="2.sock one.sock rng.sock "

has_sockets()
{
	same "what is in /run/vubox" "$(ls /run/vubox | tr '\n' ' ')" "$1"
}

# said STATUS TEXT WORD: what the script says and returns.
said()
{
	got=0
	text=$($service "$3") || got=$?
	same "what $3 says" "$text" "$2"
	same "the status of $3" "$got" "$1"
}

pid()
{
	cat /run/vubox.pid
}

by_init()
{
	same "what the start said" "$(tr '\n' ' ' </run/started)" "Starting vubox: OK 0 $sockets"
	same "the first process" "$(readlink /proc/1/exe)" /bin/busybox
	same "what runs" "$(readlink "/proc/$(pid)/exe")" /usr/bin/vubox
}

twice()
{
	old=$(pid)
	said 0 "Starting vubox: OK" start
	same "its process" "$(pid)" "$old"
}

stops()
{
	old=$(pid)
	said 0 "Stopping vubox: OK" stop
	wait_for test ! -d "/proc/$old" || fail "it lives" # until init has buried it
	has_sockets ""
	said 3 "vubox is not running" status
}

starts()
{
	said 0 "Starting vubox: OK" start
	has_sockets "$sockets"
	said 0 "vubox is running" status
}

restarts()
{
	old=$(pid)
	$service restart || fail "status $?"
	[ "$(pid)" != "$old" ] || fail "it is the same process"
	has_sockets "$sockets"
	said 0 "vubox is running" status
}

killed()
{
	old=$(pid)
	kill -9 "$old"
	wait_for test ! -d "/proc/$old"
	said 1 "vubox is dead" status
	has_sockets "$sockets"
	starts
	[ "$(pid)" != "$old" ] || fail "it is the same process"
}

grows()
{
	truncate -s 2M /var/one.img
	said 0 "Reloading vubox: OK" reload
	said 0 "vubox is running" status
}

counts()
{
	kill -USR1 "$(pid)"
	wait_for log_has 'vubox: one: state=listening features=0x0 socket=/run/vubox/one.sock'
	log_has 'vubox: blk2: state=listening' || fail "nothing of blk2"
	log_has 'vubox: rng: state=listening' || fail "nothing of rng"
}

log_has()
{
	dmesg | grep -q "$1"
}

refuses()
{
	cp /etc/vubox.conf /run/good.conf
	echo 'rng --socket-path=/run/vubox/more.sock --nonsense' >>/etc/vubox.conf
	lines=$(wc -l </etc/vubox.conf)
	stops
	said 1 "Starting vubox: FAIL" start
	has_sockets ""
	log_has "vubox: /etc/vubox.conf:$lines: --nonsense: no such option" || fail "no such line"
	cp /run/good.conf /etc/vubox.conf
	starts
}

sandboxed()
{
	grep -q '^Seccomp:.2' "/proc/$(pid)/status" || fail "no filter"
	grep -q '^NoNewPrivs:.1' "/proc/$(pid)/status" || fail "it can have new privileges"
}

check "init has started it before anything else" by_init
check "status: running" said 0 "vubox is running" status
check "it is in its sandbox" sandboxed
check "a second start changes nothing" twice
check "stop" stops
check "stop again" said 0 "Stopping vubox: OK" stop
check "start" starts
check "restart" restarts
check "kill -9: dead, and a start after that" killed
check "reload" grows
check "counters are in the kernel's log" counts
check "a configuration that is wrong is refused" refuses
check "an unknown word" said 2 "" fly
check "nothing in the kernel's log" log_is_clean
END

exit $failed
