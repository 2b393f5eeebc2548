#!/usr/bin/env bash
# The scripted scaling run: cores x connections x repeats, a run directory each, scale.csv with a line
# each, and one report with the curves.
#
# Runs are interleaved, so that a drift of a shared host does not look like an effect: cores change the
# fastest, repeats the slowest, and every second repeat goes backwards. What is in scale.csv is done:
# the same command with the same --out goes on where it was stopped, by whatever. It needs no root and
# changes no setting; it ends every process that it started.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: scale.sh [--cores LIST] [--connections LIST] [--repeat N] [--out DIR] [--apart] [--ports LO-HI]

  --cores LIST        numbers of cores, of each end, like 1,2,4 [default: powers of two, as CPUs allow]
  --connections LIST  numbers of connections, like 1k,1M        [default: 1k,10k,100k]
  --repeat N          runs of each                              [default: 3]
  --out DIR           where the run directories go              [default: runs/scale-DATE-TIME]
  --apart             refuse where both ends would share CPUs   [default: they do, and are labelled]
  --ports LO-HI       ports of the server on 127.0.0.1          [default: 7800-7815]

Both ends run on this machine, on CPUs of their own where there are twice as many: the server on the
first, the client on the next. In each run the connections are opened, 500,000 messages for each
core are sent over them, each connection's next one when its last echo is verified and 1,024 at once on
each core, and all are held for a second and reset. To go on after an interruption: the same command with
the same --out.

Exit status: 0 every run met its target; 1 some did not, or were refused; 2 refused before starting,
with the fix; 130 or 143 after a signal.
HELP
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

cores='' connections=1k,10k,100k repeat=3 out='' ports=7800-7815 apart=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --apart) apart=yes && shift ;;
        --cores | --connections | --repeat | --out | --ports)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see scale.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see scale.sh --help" ;;
    esac
done
[[ $repeat =~ ^[1-9][0-9]{0,3}$ ]] || refuse "--repeat $repeat is no whole number from 1 to 9999; fix: --repeat 3"
[[ $ports =~ ^([1-9][0-9]*)(-[1-9][0-9]*)?$ ]] || refuse "--ports $ports is no range; fix: --ports 7800-7815"
first_port=${BASH_REMATCH[1]}
[[ $connections =~ ^[1-9][0-9]{0,8}[kM]?(,[1-9][0-9]{0,8}[kM]?)*$ ]] ||
    refuse "--connections $connections is no list of counts; fix: --connections 1k,10k,1M"
connections=${connections//k/000}
connections=${connections//M/000000}
[[ ${cores:-1} =~ ^[1-9][0-9]{0,4}(,[1-9][0-9]{0,4})*$ ]] ||
    refuse "--cores $cores is no list of numbers of cores; fix: --cores 1,2,4"
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=bench-scripts/cpus.sh
. bench-scripts/cpus.sh
# shellcheck source=bench-scripts/killed.sh
. bench-scripts/killed.sh
# shellcheck source=bench-scripts/sockets.sh
. bench-scripts/sockets.sh
allowed=$(cpus_allowed | wc -l)
if [ -z "$cores" ]; then
    most=$allowed
    [ -z "$apart" ] || most=$((allowed / 2))
    for ((count = 1; count <= most; count *= 2)); do cores+=${cores:+,}$count; done
    [ -n "$cores" ] || refuse "--apart takes two CPUs, and $allowed is allowed; fix: without --apart"
fi
for count in ${cores//,/ }; do
    placed=$(cpus_for "$count") || refuse "--cores $count: $allowed CPUs are allowed; fix: --cores $allowed"
    [[ $placed == *no ]] || [ -z "$apart" ] ||
        refuse "--apart: $count cores for each end are more than $allowed CPUs have; fix: at most $((allowed / 2)), or without --apart"
    [[ $placed == *no ]] ||
        echo "shared: with $count cores both ends run on the same CPUs, and are labelled so" >&2
done
out=${out:-$root/runs/scale-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out" || refuse "--out $out cannot be made; fix: a directory that you may write"
out=$(cd "$out" && pwd)

sockets_before=$(sockets)
server='' client='' timer=''

# Ends what runs: the client first, so that it reports what it held, then the server; then waits until
# the kernel has taken their sockets down, so that the next run finds as much memory as this one did.
# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    local pid
    for pid in $client $server $timer; do
        kill "-$1" "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    client='' server='' timer=''
    await_sockets "$sockets_before" 1200
}
trap 'end_all TERM' EXIT
trap 'end_all INT; exit 130' INT
trap 'end_all TERM; exit 143' TERM

echo "building (the first time takes a minute)" >&2
cargo build --release --locked --quiet || refuse "the build failed; see above"
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release

# If this script is killed, the kernel ends what it started: else the server would go on for ever.
with_us=()
! command -v setpriv >/dev/null || with_us=(setpriv --pdeathsig TERM)

answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$first_port") 2>/dev/null
}

# scale.csv anew, from every run directory in which a run came to its end. CPU time for a message is that of
# the threads of the cores, from the last tick before the first message to the first tick with all of them.
collect() {
    python3 - "$out" <<'PY'
import glob, json, os, re, sys
out = sys.argv[1]
COLUMNS = """cores connections repeat shared_cores connect_per_s messages_per_s server_cpu_us_per_message
client_cpu_us_per_message p50_us p99_us kernel_bytes_per_connection server_bytes_per_connection
client_bytes_per_connection established lost verdict commit""".split()


def cpu_us(path, messages):
    ticks = {}
    for line in open(path):
        if line.endswith("}\n"):
            line = json.loads(line)
            sums = ticks.setdefault(line["at_ms"], [0, 0])
            sums[0] += line["messages_total"]
            sums[1] += line["ran_us_total"]
    ticks = [ticks[at] for at in sorted(ticks)]
    before = [ran for done, ran in ticks if done == 0]
    after = [ran for done, ran in ticks if done == ticks[-1][0]]
    return (after[0] - before[-1]) / messages


# What could not be measured is left empty.
def known(figure):
    try:
        return round(figure(), 3)
    except (OSError, ValueError, KeyError, TypeError, IndexError, ZeroDivisionError):
        return ""


def row(path, numbers):
    try:
        result = json.load(open(f"{path}/result.json"))
        if result["close"] is None:
            return None
        plateau, cost, verdict = result["plateaus"][-1], result["cost_per_connection"], result["verdict"]
        messages = plateau["messages"]
        cpus = [{core["cpu"] for core in result["per_core"] if core["side"] == side} for side in ("server", "client")]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return result["started_at"], [
        *numbers, "yes" if cpus[0] & cpus[1] else "no",
        known(lambda: plateau["connect"]["rate_per_s"]),
        known(lambda: messages["received"] / messages["seconds"]),
        known(lambda: cpu_us(f"{path}/server.ndjson", messages["received"])),
        known(lambda: cpu_us(f"{path}/client.ndjson", messages["received"])),
        known(lambda: messages["latency_us"]["p50"]), known(lambda: messages["latency_us"]["p99"]),
        known(lambda: cost["kernel_bytes"]), known(lambda: cost["server_user_bytes"]),
        known(lambda: cost["client_user_bytes"]), result["established"], sum(result["lost"].values()),
        "met" if verdict["met"] else (verdict["wall"] or {}).get("id", "missed"), result["commit"] or "",
    ]


rows = []
for path in glob.glob(f"{glob.escape(out)}/cores-*-connections-*-repeat-*"):
    name = re.fullmatch(r"cores-(\d+)-connections-(\d+)-repeat-(\d+)", os.path.basename(path))
    if name and (found := row(path, name.groups())):
        rows.append(found)
with open(f"{out}/scale.csv.new", "w") as file:
    for fields in [COLUMNS, *(fields for _, fields in sorted(rows, key=lambda row: row[0]))]:
        print(*fields, sep=",", file=file)
os.replace(f"{out}/scale.csv.new", f"{out}/scale.csv")
PY
}

# One run in the directory $1: $2 cores, $3 connections. It fails when the client refused, or there is no
# result.
measure() {
    local dir=$1 cores=$2 connections=$3 status=0 of_server of_client messages
    read -r of_server of_client _ < <(cpus_for "$cores")
    messages=$((500000 * cores / connections))
    messages=$((messages < 1 ? 1 : messages > 65535 ? 65535 : messages))
    mkdir -p "$dir"
    rm -f "$dir"/{result,environment,doctor,counters}.json "$dir/report.html" \
        "$dir"/{server,client}.{ndjson,log} "$dir/client.out"
    # A server that was left behind is being ended; another one is the server's to name.
    for _ in $(seq 50); do
        answers || break
        sleep 0.2
    done
    kills_begin
    sockets_before=$(sockets)
    touch "$dir/server.log"
    set -m
    "${with_us[@]}" "$bin/megaconn" serve --cores "$of_server" --listen "127.0.0.1:$ports" \
        --stats "$dir/server.ndjson" --stats-every 100ms 2>"$dir/server.log" &
    server=$!
    for _ in $(seq 100); do
        ! grep -q '^listening on' "$dir/server.log" || break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    if ! grep -q '^listening on' "$dir/server.log"; then
        refuse "the server did not start: $(grep '^error:' "$dir/server.log" || echo "see $dir/server.log")"
    fi
    "${with_us[@]}" "$bin/megaconn-client" run --cores "$of_client" --target "127.0.0.1:$ports" \
        --connections "$connections" --message-count "$messages" --hold 1s --close reset \
        --out "$dir" --stats-every 100ms >"$dir/client.out" 2>"$dir/client.log" &
    client=$!
    # A minute of idling on any machine, and a second for each 2,000 connections: far more than it takes.
    "${with_us[@]}" sleep $((60 + connections / 2000 + connections * messages / 5000)) &
    timer=$!
    set +m
    # Whoever ends first: the client, or what must not.
    wait -n "$client" "$server" "$timer" || true
    if ! kill -0 "$timer" 2>/dev/null; then
        echo "error: $(basename "$dir") took too long, and is ended" >&2
    elif ! kill -0 "$server" 2>/dev/null; then
        echo "error: the server ended by itself, see $dir/server.log" >&2
    else
        wait "$client" || status=$?
        [ "$status" -le 128 ] || say_killed megaconn-client "$client" "$status"
        client=''
    fi
    end_all TERM
    if [ ! -e "$dir/result.json" ]; then
        grep '^error:' "$dir/client.log" >&2 || echo "error: no result, see $dir/client.log" >&2
        return 1
    fi
}

collect
runs=0 refused=0
total=$(($(tr , '\n' <<<"$cores" | wc -l) * $(tr , '\n' <<<"$connections" | wc -l) * repeat))
for ((n = 1; n <= repeat; n++)); do
    cells=()
    for count in ${connections//,/ }; do
        for of_cores in ${cores//,/ }; do
            # Every second time from the end.
            if ((n % 2)); then cells+=("$of_cores $count"); else cells=("$of_cores $count" "${cells[@]}"); fi
        done
    done
    for cell in "${cells[@]}"; do
        read -r of_cores count <<<"$cell"
        runs=$((runs + 1))
        ! grep -q "^$of_cores,$count,$n," "$out/scale.csv" || continue
        echo "run $runs of $total: $of_cores cores, $count connections, repeat $n" >&2
        if measure "$out/cores-$of_cores-connections-$count-repeat-$n" "$of_cores" "$count"; then
            collect
            grep "^$of_cores,$count,$n," "$out/scale.csv" || true
        else
            refused=$((refused + 1))
        fi
    done
done
if [ "$(wc -l <"$out/scale.csv")" -gt 1 ]; then
    "$bin/megaconn" report "$out"
    echo "       scale.csv  $out/scale.csv"
    echo "          report  $out/report.html"
fi
missed=$(awk -F, 'NR > 1 && $16 != "met"' "$out/scale.csv" | wc -l)
if [ "$missed" -gt 0 ] || [ "$refused" -gt 0 ]; then
    echo "$missed runs missed their target, $refused were refused or had no result" >&2
    exit 1
fi
