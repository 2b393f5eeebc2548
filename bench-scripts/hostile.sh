#!/usr/bin/env bash
# What hostile peers, and storms of honest ones, do to the others: 500 connections echo at a pace, calm and
# beside each kind of peer, in turns; the p99 of those 500, and what the server has counted of the peers.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: hostile.sh [--rounds N] [--halves N] [--only KIND,...] [--out DIR]

  --rounds N       times that each kind is met                            [default: 5]
  --halves N       connections that send half a ClientHello, or nothing, and connects of a storm
                                                                          [default: 100000]
  --only KIND,...  these kinds alone, the calm ones among them            [default: all]
  --out DIR        where hostile.csv and the runs go                      [default: runs/hostile-DATE]

The server has CPU 0, the measuring client CPU 1, and hostile peers what is left of it. A round takes 4 min.
Exit status: 1 when a median is above 1.5 of the calm one, or 2 beside a storm of connects; 2 for wrong flags.
EOF
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

kinds=calm,half,silent,hello,trickle,closes,handshakes,ws-calm,fragments,tcp-calm,connects,messages
# What each is compared with; all others with calm.
declare -A beside=([ws-calm]=ws-calm [fragments]=ws-calm [tcp-calm]=tcp-calm [connects]=tcp-calm [messages]=tcp-calm)
rounds=5 halves=100000 only=$kinds out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --rounds | --halves | --only | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see hostile.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see hostile.sh --help" ;;
    esac
done
for name in rounds halves; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no whole number; fix: see hostile.sh --help"
done
for kind in ${only//,/ }; do
    [[ ,$kinds, = *,$kind,* ]] || refuse "--only: there is no kind $kind; fix: some of $kinds"
    calm=${beside[$kind]:-calm}
    [[ ,$only, = *,$calm,* ]] || refuse "--only: $kind is compared with $calm; fix: add it"
done
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install $tool"
done

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/hostile-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"
cargo build --release --locked --quiet --workspace
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
here=$root/bench-scripts
tls=7680 websocket=7681 plain=7682
pids=()
# shellcheck disable=SC2317,SC2329  # called by the trap
end_all() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_server() { # port, flags
    local port=$1
    shift
    "$bin/megaconn" serve --listen "127.0.0.1:$port" --cores 0 "$@" \
        --stats "$out/server-$port.ndjson" --stats-every 200ms >"$out/server-$port.log" 2>&1 &
    pids+=($!)
}
start_server "$tls" --tls-self-signed
start_server "$websocket" --websocket
start_server "$plain"
sleep 1

# The first half of a ClientHello: a record that says 512 bytes, and 100 of them.
half='\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'$(printf 'x%.0s' {1..100})

peers() { # kind
    local tcp=(taskset -c 1 nice -n 19 "$bin/megaconn-client" run --cores 1 --source 127.0.1.0/28
        --connections "$halves" --rate 20k/s --hold 10s --out "$out/peers" --target "127.0.0.1:$tls"
        --server-metrics none)
    # As fast as they go.
    local honest=(taskset -c 1 nice -n 19 "$bin/megaconn-client" run --cores 1 --source 127.0.1.0/28 --hold 2s
        --out "$out/peers" --server-metrics none)
    case $1 in
        calm) ;;
        half) "${tcp[@]}" --hello "$half" ;;
        silent) "${tcp[@]}" --expect nothing ;;
        connects) "${honest[@]}" --connections "$halves" --expect nothing --target "127.0.0.1:$plain" ;;
        # A message each when all are up, as fast as they are answered, 1,024 at a time.
        messages) "${honest[@]}" --connections "$halves" --target "127.0.0.1:$plain" ;;
        handshakes) "${honest[@]}" --connections 20000 --tls-insecure --target "tls://127.0.0.1:$tls" ;;
        hello) taskset -c 1 nice -n 19 python3 "$here/hostile-peers.py" hello "$tls" 5000 12 ;;
        trickle) taskset -c 1 nice -n 19 python3 "$here/hostile-peers.py" trickle "$tls" 200 12 ;;
        closes) taskset -c 1 nice -n 19 python3 "$here/hostile-peers.py" closes "$tls" 20 12 ;;
        fragments) taskset -c 1 nice -n 19 python3 "$here/hostile-peers.py" fragments "$websocket" 500 12 ;;
    esac
}

others() { # target
    local trust=()
    case $1 in tls:*) trust=(--tls-insecure) ;; esac
    "$bin/megaconn-client" run --target "$1" "${trust[@]}" --cores 1 --connections 500 --rate 500/s \
        --message-rate 2000/s --hold 12s --out "$out/others" --server-metrics none >"$out/others.log" 2>&1
}

meet() { # kind, target
    rm -rf "$out/others" "$out/peers"
    others "$2" &
    local measuring=$!
    pids+=("$measuring")
    # When its connections are up.
    sleep 2.5
    peers "$1" >"$out/peers-$1.log" 2>&1 || true
    wait "$measuring" || { cat "$out/others.log" >&2 && return 1; }
    python3 - "$out/others/result.json" <<'EOF'
import json, sys
result = json.load(open(sys.argv[1]))
latency = result["plateaus"][0]["messages"]["latency_us"]
print(latency["p99"], sum(result["plateaus"][0]["lost"].values()))
EOF
}

csv=$out/hostile.csv
echo kind,round,p99_us,lost,beside >"$csv"
for ((round = 1; round <= rounds; round++)); do
    for kind in ${only//,/ }; do
        target=tls://127.0.0.1:$tls
        case $kind in
            ws-calm | fragments) target=ws://127.0.0.1:$websocket/ ;;
            tcp-calm | connects | messages) target=127.0.0.1:$plain ;;
        esac
        # What the kernel still has of the one before.
        sleep 3
        read -r p99 lost < <(meet "${kind#*-}" "$target")
        echo "$kind,$round,$p99,$lost,${beside[$kind]:-calm}" | tee -a "$csv"
    done
done
python3 - "$csv" <<'EOF'
import csv, statistics, sys
rows = list(csv.DictReader(open(sys.argv[1])))
p99s = lambda kind: [float(row["p99_us"]) for row in rows if row["kind"] == kind]
is_missed = False
beside = {row["kind"]: row["beside"] for row in rows}
print(f"{'peers':<10} {'p99 of others':>14} {'of calm':>8}")
for kind in dict.fromkeys(row["kind"] for row in rows):
    calm, p99 = (statistics.median(p99s(name)) for name in (beside[kind], kind))
    # Messages as many as are answered are shown: those of others wait behind the 1,024 that are out.
    bound = {"connects": 2.0, "handshakes": 2.0, "messages": float("inf")}.get(kind, 1.5)
    is_missed |= p99 > bound * calm
    print(f"{kind:<10} {p99:>11.0f} us {p99 / calm:>8.2f}")
sys.exit(is_missed)
EOF
