#!/bin/bash
# ./run.sh [bench.py's arguments]: measures every server of servers/ (or those named) side by side, writes out/tables.md, and puts the
# run on record in record/. LISTS names a folder of real block lists; without one, names of the same shape are generated.
set -euo pipefail
cd "$(dirname "$0")"
export LISTS=${LISTS:-}
[ -s lists/huge.txt ] || lists/make_lists.sh
[ -s queries/mix-public.txt ] || python3 queries/make_queries.py
(cd tools && cargo build -q --release --target-dir target)
(cd hickory && cargo build -q --release --target-dir target)
(cd .. && cargo build -q --release -p sheshi)
SHESHI=$(realpath "${CARGO_TARGET_DIR:-../target}/release/sheshi") RUN=$(date +%Y-%m-%dT%H:%M:%S)
export SHESHI RUN
load() { cut -d' ' -f1-3 /proc/loadavg; }
before=$(load)
./bench.py "$@"
./report.py > out/tables.md
tree=$(git rev-parse 'HEAD^{tree}' 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain -- .. ':(exclude)record' 2>/dev/null)" ] || tree="$tree and changes that are in no commit"
{
	echo "# Bench of ${RUN/T/ }"
	echo
	echo "| | |"
	echo "|---|---|"
	echo "| tree | $tree |"
	echo "| arguments | ${*:-none} |"
	echo "| lists | $(wc -l <lists/city.txt) names (${LISTS:-generated}), $(wc -l <lists/huge.txt) names |"
	echo "| machine | $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(nproc) processors, $(awk '/MemTotal/{printf "%.0f GiB", $2/1048576}' /proc/meminfo) |"
	echo "| system | $(. /etc/os-release && echo "$PRETTY_NAME"), kernel $(uname -r), $(rustc --version | cut -d' ' -f1-2) |"
	echo "| load before and after | $before; $(load) |"
	echo
	./report.py "$RUN"
} >"record/${RUN//:/}.md"
echo "on record: benches/record/${RUN//:/}.md" >&2
