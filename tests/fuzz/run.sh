#!/bin/sh
# Fuzzes each target, from its seed corpus and with a fixed seed.
# hang guard: 7200 s
#
#     tests/fuzz/run.sh [SECONDS]       for each target; default: 10
#
# TARGETS="msg chain" picks some. What is found and, with SECONDS given, what widens the coverage is
# kept in build/fuzz/.
set -u
cd "$(dirname "$0")/../.." || exit 2
seconds=${1:-10}
out=build/fuzz
bin=build/tests/fuzz
failed=0
# Memory that was freed is not kept back for long: a run allocates much.
export ASAN_OPTIONS=quarantine_size_mb=2

# A case: ok if the rest of the line, a run of libFuzzer, ends well.
check()
{
	name=$1
	shift
	rm -f "$out"/found-*
	if "$@" -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$out/found-" \
			>"$out/$target.log" 2>&1; then
		echo "ok fuzz/$target: $name"
		tail -n 1 "$out/$target.log" >&2
		return
	fi
	failed=1
	why=$(grep -m 1 -E 'fake port:|vubox: bug|runtime error:|ERROR:' "$out/$target.log")
	replay=$1
	for found in "$out"/found-*; do
		[ -f "$found" ] || continue
		kept=$out/$target-${found#"$out"/found-}
		mv "$found" "$kept"
		replay="$1 $kept"
	done
	echo "not ok fuzz/$target: $name: ${why:-see $out/$target.log} (replay: $replay)"
}

mkdir -p "$out"
for target in ${TARGETS:-msg chain chain_packed inflight opts}; do
	seeds=tests/fuzz/corpus/$target
	dict=
	[ ! -f "tests/fuzz/$target.dict" ] || dict=-dict=tests/fuzz/$target.dict
	new=$(mktemp -d)
	if [ $# -gt 0 ]; then
		rmdir "$new"
		new=$out/$target
		mkdir -p "$new"
	fi
	check "what was found before" "$bin/$target.fuzz" "$seeds" -runs=0
	check "something new" "$bin/$target.fuzz" "$new" "$seeds" $dict \
		-seed=1 -max_len=400 -max_total_time="$seconds"
	[ $# -gt 0 ] || rm -rf "$new"
done
exit $failed
