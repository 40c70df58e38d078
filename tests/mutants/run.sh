#!/bin/sh
# hang guard: 900 s
# Plants one bug after the other (NAME.patch, whose first line says of what class it is) into a copy
# of the tree, and requires that a test catches it: the simulator or, failing that, a unit test or,
# failing that too, a fuzz target in so many runs from its corpus.
#
#     tests/mutants/run.sh [NAME...]
set -eu
cd "$(dirname "$0")/../.."
SEEDS=${SEEDS:-4000}
FUZZ_RUNS=${FUZZ_RUNS:-20000}
JOBS=${JOBS:-2}
here=$(pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

class_of()
{
	sed -n '1s/^# //p' "$here/tests/mutants/$1.patch"
}

# plant NAME: a tree of its own with this bug, next to the clean one; goes there.
plant()
{
	cp -a "$tmp/clean" "$tmp/$1"
	cd "$tmp/$1"
	patch -s -p1 -F 2 <"$here/tests/mutants/$1.patch" >patch.log 2>&1
}

# Only unit tests and fuzz targets judge what a console does: the simulator has bad drivers of it.
is_for_units()
{
	! grep '^+++ ' "$here/tests/mutants/$1.patch" | grep -qv '^+++ b/src/dev/console'
}

try_sim()
{
	if ! plant "$1"; then
		echo "not ok mutant $1: the patch does not apply any more: $(tail -n 1 patch.log)" \
			"(replay: tests/mutants/run.sh $1)"
	elif is_for_units "$1"; then
		echo "$1" >>"$tmp/survivors"
	elif ! make -s BUILD=build build/tests/sim/sim >build.log 2>&1; then
		echo "not ok mutant $1: it does not build: $(grep -m 1 error: build.log)" \
			"(replay: tests/mutants/run.sh $1)"
	elif build/tests/sim/sim --seeds "1-$SEEDS" >sim.log 2>sim.err; then
		echo "$1" >>"$tmp/survivors"
	else
		seed=$(sed -n 's/^not ok[^:]*: \(seed [0-9]*\): .*/\1/p' sim.log)
		echo "ok mutant $1 (caught by sim, $seed)"
	fi
	rm -rf "${tmp:?}/$1"
}

# The unit tests that fail in this directory, but for those that need the real kernel.
unit_failures()
{
	units=$(make -s BUILD=build --eval 'units: ; @echo $(UNIT)' units | tr ' ' '\n' |
		grep -v /port_)
	make -s -k BUILD=build $units >unit.log 2>&1 || :
	for unit in $units; do
		[ ! -x "$unit" ] || "./$unit" >>unit.log 2>&1 </dev/null || echo "${unit##*/}"
	done
}

# The first fuzz target that fails in this directory.
fuzz_failure()
{
	for target in chain chain_packed inflight inflight_packed msg console; do
		fuzz=build/tests/fuzz/$target.fuzz
		make -s BUILD=build "$fuzz" >fuzz.log 2>&1 || return 0
		mkdir -p new
		if ! "$fuzz" -seed=1 -runs="$FUZZ_RUNS" -max_len=400 -timeout=10 new \
			"tests/fuzz/corpus/$target" >fuzz.log 2>&1; then
			echo "$target"
			return 0
		fi
		rm -rf new
	done
}

try_units()
{
	plant "$1"
	by=$(unit_failures | grep -vxFf "$tmp/clean.failures" | head -n 1)
	if [ -n "$by" ]; then
		echo "ok mutant $1 (caught by unit test $by)"
	elif by=$(fuzz_failure) && [ -n "$by" ]; then
		echo "ok mutant $1 (caught by fuzz target $by)"
	else
		echo "not ok mutant $1: no test notices: $(class_of "$1")" \
			"(replay: tests/mutants/run.sh $1)"
	fi
	rm -rf "${tmp:?}/$1"
}

# A worker takes every JOBS-th name.
work()
{
	worker=$1 n=0
	shift
	for name; do
		[ $((n % JOBS)) != "$worker" ] || (try_sim "$name")
		n=$((n + 1))
	done
}

if [ $# = 0 ]; then
	for patch in tests/mutants/*.patch; do
		set -- "$@" "$(basename "$patch" .patch)"
	done
fi

# The whole tree with the simulator built: a mutant builds what it changes, and no more.
mkdir "$tmp/clean"
cp -a Makefile include src port tests "$tmp/clean"
if ! make -s -C "$tmp/clean" BUILD=build build/tests/sim/sim >"$tmp/log" 2>&1; then
	cat "$tmp/log" >&2
	echo "not ok mutants: the simulator does not build (replay: make build/tests/sim/sim)"
	exit 1
fi

workers=
for worker in $(seq 0 $((JOBS - 1))); do
	work "$worker" "$@" >"$tmp/out.$worker" &
	workers="$workers $!"
done
for worker in $workers; do
	wait "$worker" || echo "not ok mutants: a worker failed (replay: tests/mutants/run.sh)"
done >"$tmp/out.workers"
if [ -e "$tmp/survivors" ]; then
	(cd "$tmp/clean" && unit_failures >"$tmp/clean.failures")
	while read -r name; do
		(try_units "$name")
	done <"$tmp/survivors" >"$tmp/out.units"
fi
sort "$tmp"/out.*
! grep -q '^not ok' "$tmp"/out.*
