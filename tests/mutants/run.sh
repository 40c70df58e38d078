#!/bin/sh
# hang guard: 900 s
# Plants one bug after the other (NAME.patch, whose first line says of what class it is) into a copy
# of the tree, and requires that a test catches it: the simulator or, failing that, a unit test.
#
#     tests/mutants/run.sh [NAME...]
set -eu
cd "$(dirname "$0")/../.."
SEEDS=${SEEDS:-4000}
JOBS=${JOBS:-2}
here=$(pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# The whole tree, with the simulator built, so that a mutant builds what it changes and no more.
mkdir "$tmp/clean"
cp -a Makefile include src port tests "$tmp/clean"
make -s -C "$tmp/clean" BUILD=build build/tests/sim/sim >"$tmp/clean.log" 2>&1 || {
	cat "$tmp/clean.log" >&2
	echo "not ok mutants: the simulator does not build (replay: make build/tests/sim/sim)"
	exit 1
}

# What of the tests notices the bug in this directory; nothing if none does.
caught_by()
{
	if ! build/tests/sim/sim --seeds "1-$SEEDS" >sim.log 2>sim.err; then
		sed -n 's/^not ok.*: \(seed [0-9]*\): .*/sim, \1/p' sim.log
		return
	fi
	make -s -k BUILD=build unit >unit.log 2>&1 || :
	sed -n 's|^ *not ok \([^:]*\):.*|unit: \1|p' unit.log | head -n 1
}

try_one()
{
	name=$1
	cp -a "$tmp/clean" "$tmp/$name"
	cd "$tmp/$name"
	if ! patch -s -p1 -F 2 <"$here/tests/mutants/$name.patch" >patch.log 2>&1; then
		echo "not ok mutant $name: the patch does not apply any more: $(tail -n 1 patch.log)"
	elif ! make -s BUILD=build build/tests/sim/sim >build.log 2>&1; then
		echo "not ok mutant $name: it does not build: $(grep -m 1 error: build.log)"
	else
		by=$(caught_by)
		if [ -n "$by" ]; then
			echo "ok mutant $name (caught by $by)"
		else
			echo "not ok mutant $name: no test notices" \
				"$(sed -n '1s/^# //p' "$here/tests/mutants/$name.patch")" \
				"(replay: tests/mutants/run.sh $name)"
		fi
	fi
	rm -rf "${tmp:?}/$name"
}

# A worker takes every JOBS-th name.
work()
{
	worker=$1 n=0
	shift
	for name; do
		if [ $((n % JOBS)) = "$worker" ]; then
			(try_one "$name")
		fi
		n=$((n + 1))
	done
}

if [ $# = 0 ]; then
	for patch in tests/mutants/*.patch; do
		set -- "$@" "$(basename "$patch" .patch)"
	done
fi
i=0
while [ $i -lt "$JOBS" ]; do
	work $i "$@" >"$tmp/out.$i" &
	i=$((i + 1))
done
wait
cat "$tmp"/out.* | sort
! grep -q '^not ok' "$tmp"/out.*
