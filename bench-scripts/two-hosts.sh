#!/usr/bin/env bash
# The same run across a real boundary: a server and a client in two network namespaces that are joined
# by a cable (veth), with bystanders in both directions.
#
# Everything happens inside namespaces that this script makes and removes. As root it makes them on the
# host; anybody else makes them in a user namespace of his own, where that is permitted.
set -euo pipefail

usage() {
    cat <<'EOT'
usage: two-hosts.sh [--connections N[,N...]] [--hold DUR] [--message-every DUR] [--out DIR]

  --connections N[,N...]  plateaus                                     [default: 10k,100k]
  --hold DUR              time to hold each                            [default: 30s]
  --message-every DUR     a message on each connection so often, or 0s [default: 60s]
  --out DIR               run directory, made if it is not there       [default: runs/DATE-TIME]

Leaves DIR/report.html (client to server) and DIR/back/report.html (server to client).
Exit status: that of the client; 2 refused before starting, with the fix.
EOT
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

given=("$@")
connections=10k,100k hold=30s message_every=60s out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --connections | --hold | --message-every | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see two-hosts.sh --help"
            name=${1#--}
            declare "${name//-/_}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see two-hosts.sh --help" ;;
    esac
done

root=$(cd "$(dirname "$0")/.." && pwd)
for tool in ip unshare nsenter; do
    command -v "$tool" >/dev/null || refuse "$tool is missing; fix: apt-get install iproute2 util-linux"
done
if [ "${MEGACONN_INSIDE:-}" != yes ]; then
    command -v cargo >/dev/null || refuse "cargo is missing; fix: install a Rust toolchain from rustup.rs"
    out=${out:-$root/runs/$(date +%Y%m%d-%H%M%S)-$$}
    mkdir -p "$out/back" || refuse "--out $out cannot be made; fix: a directory that you may write"
    out=$(cd "$out" && pwd)
    cd "$root"
    echo "building (the first time takes a minute)" >&2
    cargo build --release --locked --quiet || refuse "the build failed; see above"
    # A mount namespace, so that /sys is the network's own; without root a user namespace as well.
    flags=(--net --mount)
    [ "$(id -u)" = 0 ] || flags+=(--user --map-root-user)
    unshare "${flags[@]}" true 2>/dev/null ||
        refuse "no namespaces of our own are permitted; fix: root, or sysctl -w kernel.unprivileged_userns_clone=1"
    # The namespaces have no name and go with the last of their processes, however those end.
    MEGACONN_INSIDE=yes exec unshare "${flags[@]}" "$root/bench-scripts/two-hosts.sh" ${given[@]+"${given[@]}"} --out "$out"
fi

bin=$(cd "$root" && realpath "${CARGO_TARGET_DIR:-target}")/release
cd "$root"
mount -t sysfs none /sys 2>/dev/null || true
rm -f "$out"/{result,environment,doctor,counters}.json "$out"/report.html "$out"/*.ndjson "$out"/*.log
server_ip=10.77.0.1 client_ip=10.77.0.2
pids=()

# Ends what runs, the last one first.
# shellcheck disable=SC2317,SC2329  # called by the traps
end_all() {
    local at
    for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
        kill "-${1:-TERM}" "${pids[at]}" 2>/dev/null || true
        wait "${pids[at]}" 2>/dev/null || true
    done
    pids=()
}
trap end_all EXIT
trap 'end_all INT; exit 130' INT
trap 'end_all TERM; exit 143' TERM

# This process is in the server's namespace; the client's is that of a sleeper.
set -m
unshare --net --mount sleep infinity &
pids+=($!)
there=$!
for _ in $(seq 50); do
    [ "$(readlink "/proc/$there/ns/net")" = "$(readlink /proc/self/ns/net)" ] || break
    sleep 0.1
done
# By an array and not a function: what runs in the background is then the program itself.
client_side=(nsenter "--net=/proc/$there/ns/net" "--mount=/proc/$there/ns/mnt")
"${client_side[@]}" mount -t sysfs none /sys 2>/dev/null || true
ip link set lo up
ip link add to-client type veth peer name to-server netns "$there"
ip addr add "$server_ip/24" dev to-client
ip link set to-client up
"${client_side[@]}" ip link set lo up
"${client_side[@]}" ip addr add "$client_ip/24" dev to-server
# Source ports are 28,232 for each address and target port: as many addresses as it takes.
for n in $(seq 3 40); do
    "${client_side[@]}" ip addr add "10.77.0.$n/24" dev to-server
done
"${client_side[@]}" ip link set to-server up

# Starts a program and waits for its word.
start() {
    local log=$1 word=$2
    shift 2
    "$@" 2>"$log" &
    pids+=($!)
    for _ in $(seq 100); do
        ! grep -q "$word" "$log" || return 0
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    grep '^error:' "$log" >&2 || echo "error: no word of $1, see $log" >&2
    exit 2
}

start "$out/server.log" '^listening on' "$bin/megaconn" serve --listen "$server_ip:7000-7015" \
    --bystander "$server_ip:7900" --stats "$out/server.ndjson"
# Who is asked in the other direction: a service at the client's end, of a server that serves nobody.
start "$out/back/service.log" '^listening on' "${client_side[@]}" "$bin/megaconn" serve \
    --listen 127.0.0.1:7000 --bystander "$client_ip:7900"
start "$out/back/watch.log" '^bystanders=' "$bin/megaconn-client" watch --ping "$client_ip" \
    --bystander-service "$client_ip:7900" --beside "$out" --out "$out/back"
watch=${pids[-1]}
traffic=(--message-every "$message_every")
[ "$message_every" != 0s ] || traffic=()
"${client_side[@]}" "$bin/megaconn-client" run --target "$server_ip:7000-7015" --connections "$connections" \
    --hold "$hold" ${traffic[@]+"${traffic[@]}"} --bystanders --bystander-service "$server_ip:7900" \
    --out "$out" &
pids+=($!)
status=0
wait "$!" || status=$?
kill -INT "$watch" 2>/dev/null || true
wait "$watch" || { [ "$status" -ne 0 ] || status=1; }
set +m
if [ -e "$out/back/result.json" ]; then
    echo "server to client:" >&2
    sed -n '/^watching/,$p' "$out/back/watch.log" | grep -E '^[a-z]+( [^:]*)?: ' >&2 || true
fi
[ ! -e "$out/report.html" ] || echo "          report  $out/report.html"
[ ! -e "$out/back/report.html" ] || echo " other direction  $out/back/report.html"
exit "$status"
