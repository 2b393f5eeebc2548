#!/usr/bin/env bash
# What dumps cost: a server that holds connections at rest, with --stats each second and without it in
# turn; the CPU time that each of its threads takes meanwhile, as the kernel counts it.
#
# Time on a CPU is not wall time: who else is busy on this host makes a thread wait, which is apart.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: dump-cost.sh [--connections N] [--seconds N] [--runs N] [--ports LO-HI] [--out DIR]

  --connections N   connections that are held                    [default: 500000]
  --seconds N       time over which each run is looked at        [default: 20]
  --runs N          pairs of runs, with --stats and without      [default: 5]
  --ports LO-HI     ports of the server on 127.0.0.1             [default: 7700-7715]
  --out DIR         where runs.csv goes                          [default: runs/dump-cost-DATE]

Exit status: 0, or 1 when a run did not hold every connection.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

connections=500000 seconds=20 runs=5 ports=7700-7715 out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --seconds | --runs | --ports | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see dump-cost.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see dump-cost.sh --help" ;;
    esac
done
for name in connections seconds runs; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no whole number; fix: see dump-cost.sh --help"
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/dump-cost-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
cargo build --release --locked --quiet
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
# shellcheck source=bench-scripts/sockets.sh
. bench-scripts/sockets.sh
sockets_before=$(sockets)
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

# The time, then the threads of the server, those of one name together: nanoseconds on a CPU, and of
# waiting for one.
look() {
    echo "time $(date +%s%N) 0"
    for task in "/proc/$server/task/"*; do
        echo "$(cat "$task/comm") $(cut -d ' ' -f 1,2 "$task/schedstat")"
    done | awk '{ ran[$1] += $2; waited[$1] += $3 }
        END { for (name in ran) printf "%s %.0f %.0f\n", name, ran[name], waited[name] }' | sort
}

# One run in the directory $1, with the flags that follow for the server.
run() {
    local log=$1
    shift
    mkdir -p "$log"
    touch "$log/server.log" "$log/client.log"
    set -m
    "$bin/megaconn" serve --listen "127.0.0.1:$ports" "$@" 2>"$log/server.log" &
    server=$!
    for _ in $(seq 100); do
        ! grep -q '^listening on' "$log/server.log" || break
        kill -0 "$server" 2>/dev/null || refuse "the server did not start: $(cat "$log/server.log")"
        sleep 0.1
    done
    "$bin/megaconn-client" run --target "127.0.0.1:$ports" --connections "$connections" \
        --hold "$((seconds + 6))s" --close reset >"$log/client.out" 2>"$log/client.log" &
    client=$!
    set +m
    for _ in $(seq 1200); do
        ! grep -q '^holding' "$log/client.log" || break
        kill -0 "$client" 2>/dev/null || break
        sleep 0.1
    done
    # What came of the last messages has come.
    sleep 3
    look >"$log/before"
    sleep "$seconds"
    look >"$log/after"
    wait "$client" || { cat "$log/client.out" "$log/client.log" >&2 && exit 1; }
    client=''
    kill "$server"
    wait "$server" || true
    server=''
    # The kernel takes its sockets down after it has ended.
    await_sockets "$sockets_before" 300
}

echo 'run,stats,thread,seconds,ran_us_per_s,waited_us_per_s' >"$out/runs.csv"
for n in $(seq "$runs"); do
    # Each kind is first as often as the other.
    kinds=(with without)
    [ $((n % 2)) -eq 1 ] || kinds=(without with)
    for kind in "${kinds[@]}"; do
        flags=()
        [ "$kind" = without ] || flags=(--stats "$out/server.ndjson" --stats-every 1s)
        run "$out/$n-$kind" "${flags[@]}"
        paste -d ' ' "$out/$n-$kind/before" "$out/$n-$kind/after" | awk -v run="$n" -v kind="$kind" '
            $1 != $4 { print "error: the threads changed" >"/dev/stderr"; exit 1 }
            NR == 1 { seconds = ($5 - $2) / 1e9; next }
            { printf "%d,%s,%s,%.2f,%.1f,%.1f\n", run, kind, $1, seconds,
                ($5 - $2) / seconds / 1e3, ($6 - $3) / seconds / 1e3 }' >>"$out/runs.csv"
    done
done
python3 - "$out/runs.csv" "$connections" <<'PY' | tee "$out/output.txt"
import csv, statistics, sys
rows = list(csv.DictReader(open(sys.argv[1])))
print(f"{int(sys.argv[2]):,} connections at rest; microseconds of CPU a second, median (least to most)")
ran = {}
for row in rows:
    ran.setdefault((row["thread"], row["stats"]), {})[row["run"]] = float(row["ran_us_per_s"])
for thread in sorted({thread for thread, _ in ran}):
    texts = []
    for kind in ("without", "with"):
        figures = ran[thread, kind].values()
        texts.append(f"{kind} {statistics.median(figures):8.1f} ({min(figures):.1f} to {max(figures):.1f})")
    more = [ran[thread, "with"][run] - ran[thread, "without"][run] for run in ran[thread, "with"]]
    texts.append(f"more {statistics.median(more):+.1f} ({min(more):+.1f} to {max(more):+.1f})"
                 f" = {statistics.median(more) / 1e4:+.4f} % of a core")
    print(f"{thread:>10}  " + "  ".join(texts))
PY
