#!/bin/bash
# ./run.sh [bench.py's arguments]: measures every server of servers/ (or those named) side by side and writes out/tables.md.
# LISTS names a folder of real block lists; without one, names of the same shape are generated.
set -euo pipefail
cd "$(dirname "$0")"
export LISTS=${LISTS:-}
[ -s lists/huge.txt ] || lists/make_lists.sh
[ -s queries/mix-public.txt ] || python3 queries/make_queries.py
(cd tools && cargo build -q --release) && (cd hickory && cargo build -q --release) && (cd .. && cargo build -q --release -p sheshi)
./bench.py "$@"
./report.py > out/tables.md
