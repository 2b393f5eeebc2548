#!/usr/bin/env bash
# What pushing costs: a server that pushes to every connection at an interval, a client that holds
# it to that; CPU time of the server over one interval after the first, lateness from its dumps.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: push.sh [--connections N] [--every SECONDS] [--out DIR]

  --connections N   connections that are pushed to                       [default: 1000000]
  --every SECONDS   time between two pushes on each of them              [default: 60]
  --out DIR         run directory                                        [default: runs/push-DATE]

Takes three intervals and the time to open and close. Exit status: that of the client.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=1000000 every=60 out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --every | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see push.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see push.sh --help" ;;
    esac
done
for name in connections every; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no whole number; fix: see push.sh --help"
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/push-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
cargo build --release --locked --quiet
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
ports=7650-7665
# shellcheck source=bench-scripts/said.sh
. bench-scripts/said.sh
server='' client=''
# shellcheck disable=SC2317,SC2329  # called by the trap
end_all() {
    for pid in $client $server; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

rm -f "$out/server.ndjson"
set -m
"$bin/megaconn" serve --listen "127.0.0.1:$ports" --mode push --push-every "${every}s" \
    --stats "$out/server.ndjson" 2>"$out/server.log" &
server=$!
until_said 10 "$server" "$out/server.log" 'listening on' || refuse "the server did not start: $(cat "$out/server.log")"
"$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" \
    --hold "$((every * 3))s" --expect push --push-every "${every}s" --out "$out" \
    2>"$out/client.log" &
client=$!
set +m
# One that has ended says why when it is waited for.
until_said 300 "$client" "$out/client.log" 'holding' || true

# CPU time of the server so far, in clock ticks.
ticks() {
    awk '{print $14 + $15}' "/proc/$server/stat"
}
sleep $((every * 3 / 2))
before=$(ticks)
sleep "$every"
after=$(ticks)
status=0
wait "$client" || status=$?
client=''
python3 - "$out" "$((after - before))" "$(getconf CLK_TCK)" "$every" <<'PY'
import json, sys
out, ticks, hz, every = sys.argv[1], *map(int, sys.argv[2:])
lines = [json.loads(line) for line in open(f"{out}/server.ndjson") if line.endswith("}\n")]
last = {line["core"]: line for line in lines}.values()
# A sparse histogram has the indexes of its buckets and their counts; see the histogram crate.
counts = {}
for line in last:
    h = line["histograms"]["push_lateness_us"]
    for index, n in zip(h["index"], h["count"]):
        counts[index] = counts.get(index, 0) + n
power = 5
def upper(index):
    grouping = index >> power
    if grouping < 2:
        return index
    shift = grouping - 1
    return (((1 << power) + (index & ((1 << power) - 1)) + 1) << shift) - 1
total, seen, at = sum(counts.values()), 0, {}
for index in sorted(counts):
    seen += counts[index]
    for q in (0.5, 0.99, 0.999, 1.0):
        if seen >= q * total and q not in at:
            at[q] = upper(index)
pushes = sum(line["pushes_total"] for line in last)
print(f"{'server CPU':>16}  {ticks / hz / every * 100:.1f} % of one core over {every} s")
print(f"{'server':>16}  {pushes:,} pushes, lateness p50 {at[0.5]} us  p99 {at[0.99]} us  "
      f"p99.9 {at[0.999]} us  max {at[1.0]} us")
PY
exit "$status"
