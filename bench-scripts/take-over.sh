#!/usr/bin/env bash
# A server is replaced several times while a client connects at a rate: connects offered, accepted,
# refused, and lost, and how long each server took to be ready.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: take-over.sh [--rate N] [--times N] [--every SECONDS] [--held N] [--drain SECONDS] [--out DIR]

  --rate N          connects a second                                    [default: 20000]
  --times N         servers that take over, one after the other          [default: 5]
  --every SECONDS   time between two of them                             [default: 5]
  --held N          connections that are held besides                    [default: 1000]
  --drain SECONDS   time in which an older server ends its connections   [default: 3]
  --out DIR         run directory                                        [default: runs/take-over-DATE]

Exit status: 0 when no connect was refused and none was lost, else 1.
TEXT
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

rate=20000 times=5 every=5 held=1000 drain=3 out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --rate | --times | --every | --held | --drain | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see take-over.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see take-over.sh --help" ;;
    esac
done
for name in rate times every held drain; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no whole number; fix: see take-over.sh --help"
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/take-over-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
# A build that is there already is taken with MEGACONN_BIN.
if [ -z "${MEGACONN_BIN:-}" ]; then
    cargo build --release --locked --quiet
    MEGACONN_BIN=$(realpath "${CARGO_TARGET_DIR:-target}")/release
fi
bin=$MEGACONN_BIN
ports=7666-7669
# shellcheck source=bench-scripts/said.sh
. bench-scripts/said.sh
server='' older='' client=''
# shellcheck disable=SC2317,SC2329  # called by the trap
end_all() {
    for pid in $client $server $older; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

rm -rf "$out/socket" "$out"/server-*.log "$out/taken"
# The same command line for the first server and for all that follow.
start() {
    "$bin/megaconn" serve --listen "127.0.0.1:$ports" --take-over "$out/socket" --drain "${drain}s" \
        2>"$out/server-$1.log" &
    server=$!
    for _ in $(seq 1000); do
        ! grep -q '^listening on' "$out/server-$1.log" || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.01
    done
    refuse "server $1 did not start: $(cat "$out/server-$1.log")"
}
set -m
start 0
seconds=$((times * every + every + drain))
"$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$held" --churn "$rate/s" \
    --source 127.0.0.0/24 --hold "${seconds}s" --server-metrics none --out "$out" \
    >"$out/client.txt" 2>"$out/client.log" &
client=$!
until_said 60 "$client" "$out/client.log" 'holding' || refuse "the client did not start: $(cat "$out/client.log")"
for n in $(seq "$times"); do
    sleep "$every"
    older=$server
    began=$(date +%s%N)
    start "$n"
    echo "$n $((($(date +%s%N) - began) / 1000000))" >>"$out/taken"
    status=0
    wait "$older" || status=$?
    older=''
    [ "$status" = 0 ] || echo "warning: server $((n - 1)) ended with status $status" >&2
done
# It misses its target: what was held is ended by the drains.
wait "$client" || true
client=''
set +m
python3 - "$out" <<'PY'
import json, re, sys
out = sys.argv[1]
result = json.load(open(f"{out}/result.json"))
churn = result["plateaus"][-1]["churn"]
failed, lost = churn["failed"], churn["lost"]
logs = [open(f"{out}/server-{n}.log").read() for n in range(len(open(f"{out}/taken").readlines()) + 1)]
drained = [tuple(map(int, (m[1].replace(",", ""), m[2].replace(",", ""))))
           for m in (re.search(r"drained ([\d,]+) connections.*cut ([\d,]+)", log) for log in logs) if m]
took = [int(line.split()[1]) for line in open(f"{out}/taken")]
print(f"{'take-overs':>16}  {sum('taken over by process' in log for log in logs)}, "
      f"ready after {min(took)} to {max(took)} ms")
print(f"{'connects':>16}  {churn['started']:,} offered, {churn['completed']:,} served, "
      f"{churn.get('unstarted', 0):,} not begun in time, {churn['rate_per_s']:,.0f}/s")
print(f"{'refused':>16}  {sum(failed.values()):,} {failed or ''}")
print(f"{'lost':>16}  {sum(lost.values()):,} {lost or ''}")
print(f"{'drained':>16}  {sum(d for d, _ in drained):,} by the older servers, cut {sum(c for _, c in drained):,}")
sys.exit(1 if sum(failed.values()) or sum(lost.values()) else 0)
PY
