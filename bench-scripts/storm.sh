#!/usr/bin/env bash
# How soon all are back after a storm, with one back-off after the other: a server is killed and started
# again under its connections, or a part of them is dropped by the client. A table, and a report with the
# pictures side by side.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: storm.sh [--connections N] [--away SECONDS | --drop PERCENT] [--hold SECONDS] [--every SECONDS]
                [--setting 'PATTERN[,JITTER]']... [--out DIR]

  --connections N    connections that are held                            [default: 500000]
  --away SECONDS     time from the kill of the server to its next start, or
                     longer, until its port is free                       [default: 5]
  --drop PERCENT     the client drops that part of them by reset, and the server stays
  --hold SECONDS     time of each run from when all are open              [default: 120]
  --every SECONDS    time between two messages on each connection         [default: 60]
  --setting ...      what --reconnect and --jitter are given; repeatable
                     [default: 'fixed 1s', 'fixed 5s,full', 'backoff 1s-30s,none', 'backoff 1s-30s,full']
  --out DIR          run directories, one for each setting                [default: runs/storm-DATE]

The storm begins a third of --hold after all are open. Exit status: 0 every run had all back by its end; 1 not so;
2 refused.
USAGE
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=500000 away='' drop='' hold=120 every=60 out=''
settings=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --away | --drop | --hold | --every | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see storm.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        --setting)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see storm.sh --help"
            settings+=("$2") && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see storm.sh --help" ;;
    esac
done
[ -z "$away" ] || [ -z "$drop" ] || refuse "--away and --drop are two storms; fix: leave out one of them"
away=${away:-5}
for name in connections hold every away; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no whole number above 0; fix: see storm.sh --help"
done
[[ -z $drop || $drop =~ ^[1-9][0-9]?$|^100$ ]] || refuse "--drop $drop is no percentage; fix: a whole number from 1 to 100"
[ -n "$drop" ] || [ $((3 * away)) -lt $((2 * hold)) ] ||
    refuse "with --away $away nothing can be back within --hold $hold; fix: --hold $((2 * away + 60))"
for setting in "${settings[@]}"; do
    [[ ${setting%%,*} != none ]] || refuse "--setting none brings nothing back; fix: 'backoff 1s-30s'"
done
[ "${#settings[@]}" -gt 0 ] ||
    settings=('fixed 1s' 'fixed 5s,full' 'backoff 1s-30s,none' 'backoff 1s-30s,full')
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/storm-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
cargo build --release --locked --quiet
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
ports=7670-7685
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

# shellcheck source=bench-scripts/said.sh
. bench-scripts/said.sh

start_server() {
    # The kernel takes seconds to close the sockets of one that was killed, its listening ones among them.
    for _ in $(seq 60); do
        set -m
        "$bin/megaconn" serve --listen "127.0.0.1:$ports" 2>"$1" &
        server=$!
        set +m
        ! until_said 30 "$server" "$1" 'listening on' || return 0
        grep -q 'the port is in use' "$1" || break
        sleep 0.5
    done
    refuse "the server did not start: $(cat "$1")"
}

status=0 number=0 dirs=()
for setting in "${settings[@]}"; do
    number=$((number + 1))
    dir=$out/$number-$(tr -c 'a-z0-9\n' '-' <<<"$setting")
    mkdir -p "$dir"
    pattern=${setting%%,*} flags=()
    [ "$pattern" = "$setting" ] || flags+=(--jitter "${setting#*,}")
    [ -z "$drop" ] || flags+=(--storm "drop $drop% at $((hold / 3))s by reset")
    start_server "$dir/server.log"
    set -m
    "$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" --hold "${hold}s" \
        --message-every "${every}s" --reconnect "$pattern" "${flags[@]}" --close reset --out "$dir" \
        >"$dir/summary.txt" 2>"$dir/client.log" &
    client=$!
    set +m
    until_said 300 "$client" "$dir/client.log" 'holding' || refuse "the client does not hold: $(tail -3 "$dir/client.log")"
    if [ -z "$drop" ]; then
        sleep $((hold / 3))
        kill -KILL "$server"
        wait "$server" 2>/dev/null || true
        sleep "$away"
        start_server "$dir/server-again.log"
    fi
    of_client=0
    wait "$client" || of_client=$?
    client=''
    [ "$of_client" -ne 2 ] || refuse "$(tail -3 "$dir/client.log")"
    [ "$of_client" -eq 0 ] || status=1
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=''
    dirs+=("$dir")
    # What the kernel keeps of closed sockets would be the next run's.
    sleep 10
done

python3 - "${dirs[@]}" <<'PY'
import json, sys

def setting(environment):
    line = environment["command_line"]
    at = line.index("--reconnect") + 1
    jitter = line[line.index("--jitter") + 1] if "--jitter" in line else "default"
    return f"{line[at]}, jitter {jitter}"

rows = []
for dir in sys.argv[1:]:
    result = json.load(open(f"{dir}/result.json"))
    environment = json.load(open(f"{dir}/environment.json"))
    back = result["plateaus"][-1]["reconnect"]
    # Of several the one in which the most were gone: that is ours.
    storm = max(back["storms"], key=lambda storm: storm["lost"], default=None)
    if storm is None:
        sys.exit(f"error: {dir}: nothing was lost in its hold; see {dir}/client.log")
    rows.append((setting(environment), storm))

def seconds(value):
    return "-" if value is None else f"{value:.1f} s"

def ms(latency):
    return "-" if latency is None else f"{latency['p99'] / 1000:.1f} ms"

head = ["setting", "gone", "half back", "90 %", "99 %", "all", "tries", "most/s", "refused", "timed out",
        "other", "stayed p99", "before"]
table = [head]
for name, storm in rows:
    others = dict(storm["failed"])
    refused = others.pop("ECONNREFUSED", 0) + others.pop("ECONNRESET", 0)
    timed_out = others.pop("ETIMEDOUT", 0)
    times = [seconds(storm["back"][part]) for part in ("p50", "p90", "p99", "all")]
    table.append([name, f"{storm['lost']:,}", *times, f"{storm['tries']:,}",
                  f"{storm['tries_in_a_second']:,}", f"{refused:,}", f"{timed_out:,}",
                  f"{sum(others.values()):,}", ms(storm["stayed_latency_us"]), ms(storm["calm_latency_us"])])
widths = [max(len(row[at]) for row in table) for at in range(len(head))]
for row in table:
    print("  ".join(text.rjust(width) for text, width in zip(row, widths)))

def failed(storm):
    return sum(storm["failed"].values())

all_back = [(name, storm) for name, storm in rows if storm["back"]["all"] is not None]
clean = [(name, storm) for name, storm in all_back if failed(storm) == 0]
if clean:
    name, storm = min(clean, key=lambda row: row[1]["back"]["all"])
    print(f"back soonest with no connect failed: {name}, {storm['back']['all']:.1f} s")
elif all_back:
    name, storm = min(all_back, key=lambda row: row[1]["back"]["all"])
    print(f"back soonest: {name}, {storm['back']['all']:.1f} s, with {failed(storm):,} connects failed; each "
          "setting had some")
    name, storm = min(all_back, key=lambda row: failed(row[1]))
    print(f"fewest failed: {name}, {failed(storm):,}, all back after {storm['back']['all']:.1f} s")
else:
    print("with no setting all were back by the end; fix: a longer --hold")
PY
"$bin/megaconn" report "${dirs[@]}" --out "$out/report.html"
echo "pictures: $out/report.html"
exit "$status"
