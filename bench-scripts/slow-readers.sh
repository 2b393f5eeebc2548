#!/usr/bin/env bash
# Slow readers: what 1,000 connections see that read, beside 10,000 that send and never read, and
# without them. One server, messages at a fixed rate, alternating runs, ratios of the p99 latency.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: slow-readers.sh [--readers N] [--slow N] [--rate N] [--seconds N] [--runs N] [--out FILE]

  --readers N   connections that read                               [default: 1000]
  --slow N      connections that never read                         [default: 10000]
  --rate N      messages per second on those that read              [default: 10000]
  --seconds N   length of a run                                     [default: 5]
  --runs N      pairs of runs, one with and one without slow ones   [default: 7]
  --out FILE    where the figures of every run go, as CSV           [default: none]
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

readers=1000 slow=10000 rate=10000 seconds=5 runs=7 out=/dev/null
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --readers | --slow | --rate | --seconds | --runs | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see slow-readers.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see slow-readers.sh --help" ;;
    esac
done
for name in readers slow rate seconds runs; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no count; fix: see slow-readers.sh --help"
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt $((slow + 100)) ] ||
    refuse "--slow $slow needs as many open files, $(ulimit -n) are allowed; fix: ulimit -n"

root=$(cd "$(dirname "$0")/.." && pwd)
[ "$out" = /dev/null ] || out=$(realpath "$out")
cd "$root"
cargo build --release --locked --quiet
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
work=$(mktemp -d)
port=7580 server='' peers=''
# shellcheck disable=SC2317,SC2329  # called by the trap
end_all() {
    for pid in $peers $server; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$work"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The slow ones are to stay: after the default of 30 s the server would end them.
"$bin/megaconn" serve --listen "127.0.0.1:$port" --send-timeout 8m --stats "$work/server.ndjson" 2>"$work/server.log" &
server=$!
for _ in $(seq 100); do
    ! grep -q '^listening on' "$work/server.log" || break
    kill -0 "$server" 2>/dev/null || refuse "the server did not start: $(cat "$work/server.log")"
    sleep 0.1
done

# A figure of the server, over all cores, as it stood last.
figure() {
    tail -n 64 "$work/server.ndjson" | python3 -c '
import json, sys
last = {}
for line in sys.stdin:
    if line.endswith("}\n"):
        line = json.loads(line)
        last[line["core"]] = line
print(sum(line[sys.argv[1]] for line in last.values()))
' "$1"
}

measure() {
    "$bin/megaconn-client" run --target "127.0.0.1:$port" --connections "$readers" \
        --message-rate "$rate/s" --hold "${seconds}s" --out "$work" >"$work/client.txt" 2>"$work/client.log" ||
        refuse "the client failed: $(head -n 4 "$work/client.txt"; tail -n 1 "$work/client.log")"
    python3 - "$1" "$work/result.json" "$2" "$3" <<'PY' | tee -a "$work/runs.csv"
import json, sys
latency = json.load(open(sys.argv[2]))["plateaus"][0]["messages"]["latency_us"]
print(sys.argv[1], latency["p50"], latency["p99"], latency["max"], sys.argv[3], sys.argv[4], sep=",")
PY
}

echo "slow_readers,p50_us,p99_us,max_us,buffers_held,evicted" | tee "$work/runs.csv"
for _ in $(seq "$runs"); do
    measure 0 0 0
    mkfifo "$work/end"
    python3 bench-scripts/baselines/never-read.py 127.0.0.1 "$port" "$slow" \
        <"$work/end" >"$work/peers.txt" 2>&1 &
    peers=$!
    # Its stdin is open for as long as this descriptor is.
    exec 9>"$work/end"
    rm "$work/end"
    for _ in $(seq 1200); do
        ! grep -q ready "$work/peers.txt" || break
        kill -0 "$peers" 2>/dev/null || refuse "the slow ones failed: $(cat "$work/peers.txt")"
        sleep 0.1
    done
    grep -q ready "$work/peers.txt" || refuse "the slow ones were not ready within two minutes"
    # Both ends of each probe the other's closed window, first after 0.2 s and then half as often each
    # time: tens of thousands of packets a second, which are the beginning of a stall and not its course.
    sleep 15
    evicted=$(figure evicted_total) buffers=$(figure buffers_used)
    measure "$slow" "$buffers" "$evicted"
    exec 9>&-
    wait "$peers" || true
    peers=''
    for _ in $(seq 100); do
        [ "$(figure connections)" -gt 0 ] || break
        sleep 0.2
    done
done
python3 - "$work/runs.csv" <<'PY'
import csv, statistics, sys
rows = list(csv.DictReader(open(sys.argv[1])))
without, beside = ([r for r in rows if (r["slow_readers"] == "0") == w] for w in (True, False))
for key in ("p50_us", "p99_us"):
    a, b = ([float(row[key]) for row in side] for side in (beside, without))
    pairs = sorted(x / y for x, y in zip(a, b))
    print(f"{key}: beside slow readers {statistics.median(a):g}, without {statistics.median(b):g} "
          f"(medians); ratio of pairs {statistics.median(pairs):.3f} [{pairs[0]:.3f} .. {pairs[-1]:.3f}]")
PY
[ "$out" = /dev/null ] || cp "$work/runs.csv" "$out"
