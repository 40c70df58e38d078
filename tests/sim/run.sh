#!/bin/sh
# The simulator as a suite: so many seeds (SEEDS=FROM-TO for others).
set -eu
cd "$(dirname "$0")/../.."
exec build/tests/sim/sim --seeds "${SEEDS:-1-20000}"
