#!/bin/sh
# Fuzzes each target for a while, from the corpus in tests/fuzz/corpus: run.sh [SECONDS each] (15).
# What it finds new is kept in build/fuzz; an input that crashes is build/fuzz/TARGET-crash-….
#
# hang guard: 7200 s
set -u
cd "$(dirname "$0")/../.." || exit 2

seconds=${1:-15}
failed=0
for target in msg chain inflight opts; do
	binary=build/tests/fuzz/$target.fuzz
	found=build/fuzz/$target
	mkdir -p "$found" "tests/fuzz/corpus/$target"
	if "$binary" -seed=1 -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
			-artifact_prefix="build/fuzz/$target-" -print_final_stats=1 \
			"$found" "tests/fuzz/corpus/$target" >"$found.log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found.log")
		echo "ok fuzz $target ($runs runs)"
	else
		failed=1
		tail -n 30 "$found.log" >&2
		input=$(sed -n 's/.*Test unit written to //p' "$found.log" | tail -n 1)
		echo "not ok fuzz $target: it crashes or hangs (replay: $binary ${input:-})"
	fi
done
exit $failed
