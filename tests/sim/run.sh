#!/bin/sh
# The simulator as a suite: so many seeds (SEEDS=FROM-TO for others), workloads (CUTS=FROM-TO) in
# which the process dies at every store and call (`sim --cuts FROM-TO --deep` dies twice at every
# pair of them), and seeds with devices of other kinds, whose drivers are bad (OTHERS=FROM-TO).
set -u
cd "$(dirname "$0")/../.."
failed=0
build/tests/sim/sim --cuts "${CUTS:-1-64}" || failed=1
build/tests/sim/sim --seeds "${SEEDS:-1-20000}" || failed=1
build/tests/sim/sim --others "${OTHERS:-1-2000}" || failed=1
exit $failed
