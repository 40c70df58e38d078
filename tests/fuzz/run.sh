#!/bin/sh
# Fuzzes each target, from its seed corpus and with a fixed seed.
# hang guard: 7200 s
#
#     tests/fuzz/run.sh [SECONDS]       for each target; default: 10
#     tests/fuzz/run.sh --coverage      prints how much of src/ the corpora reach (needs llvm)
#
# TARGETS="msg chain" picks some. What is found and, with SECONDS given, what widens the coverage is
# kept in build/fuzz/.
set -u
cd "$(dirname "$0")/../.." || exit 2
all="msg chain chain_packed inflight inflight_packed console net net_offload opts vsock"
targets=${TARGETS:-$all}
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

# The corpora in the tree and, if there are, those that longer runs have left in build/fuzz/.
coverage()
{
	set --
	for target in $targets; do
		set -- "$@" "build/coverage/tests/fuzz/$target.fuzz"
	done
	make -s BUILD=build/coverage "$@" \
		FUZZ_FLAGS="-fprofile-instr-generate -fcoverage-mapping" || return 2
	rm -f "$out"/*.profraw
	for target in $targets; do
		found=
		[ ! -d "$out/$target" ] || found=$out/$target
		LLVM_PROFILE_FILE="$out/$target.profraw" "build/coverage/tests/fuzz/$target.fuzz" \
			"tests/fuzz/corpus/$target" $found -runs=0 >"$out/$target.log" 2>&1 ||
			return 1
	done
	llvm-profdata merge -o "$out/profile" "$out"/*.profraw || return 1
	first=$1
	shift
	for target; do
		set -- "$@" -object "$target"
		shift
	done
	echo "file regions functions lines branches"
	llvm-cov report -instr-profile "$out/profile" -show-functions=false "$first" "$@" \
		src/core src/base src/dev src/opts.c 2>"$out/cov.log" |
		awk 'NF > 10 && $1 != "Filename" { print $1, $4, $7, $10, $13 }'
}

mkdir -p "$out"
if [ "${1:-}" = --coverage ]; then
	coverage
	exit
fi
for target in $targets; do
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
