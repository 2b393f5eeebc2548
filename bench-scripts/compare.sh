#!/usr/bin/env bash
# What one would otherwise pick beside this server: echo servers with plain epoll, a plain ring, tokio,
# glommio's own streams, Go and gevent, in TLS and WebSocket those of tokio and Go, and nginx, each on one CPU,
# the same one; the same client on another CPU; in turn; medians, ratios of pairs and their spread. Where a
# baseline is better, the table says so.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: compare.sh [--connections N] [--seconds N] [--runs N] [--rate N] [--only ROWS] [--servers NAMES]
                  [--ring WORDS] [--port N] [--python PATH] [--out FILE] [--quick]
       compare.sh --summary FILE...

  --connections N   connections of the large rows                          [default: 15000]
  --seconds N       length of a measurement, about; fractions are allowed  [default: 1]
  --runs N          runs of each server in each row, in turn               [default: 5]
  --rate N          messages a second of the row rate-500                  [default: 20000]
  --only ROWS       rows to run, with commas                               [default: all]
  --servers NAMES   of epoll,ring,tokio,glommio,go,gevent,nginx, with commas, or none, which measures ours alone
                                                                           [default: all that can run]
  --ring WORDS      how the plain ring waits: see baselines/ring-echo.rs         [default: multishot try]
  --port N          first of 200 ports on 127.0.0.1, used in turn          [default: 7800]
  --python PATH     the Python that has gevent                             [default: python3]
  --out FILE        where every single run goes, as CSV                    [default: none]
  --quick           tries the script itself, in a minute: debug builds, 200 connections, one short run of each;
                    its figures mean nothing
  --summary FILE... only the table, of runs that --out left

Rows (15000 is --connections):
  open-15000        opens so many: connections/s as the client sees them; server CPU each; the server's own
                    memory (heap, stacks) each has added when it has exchanged a message and rests; and all that
                    is resident of the server, by connection
  echo-1, echo-16, echo-500, echo-15000
                    so many busy connections, 64-byte messages, each sent after the echo of the one before it
  echo-500+15000    500 busy ones, with so many idle ones beside them
  rate-500          messages by a schedule that waits for nobody, on 500 connections
  tls-open-15000, tls-echo-500, ws-echo-500
                    the same in TLS 1.3 (TLS_AES_128_GCM_SHA256, P-256, no tickets) and WebSocket: tokio (tokio-rustls
                    on ring, tokio-tungstenite), Go (crypto/tls, gorilla), and of tls-open nginx, as a proxy of plain
                    epoll, which is not counted; two descriptors each, so that it may have fewer connections
  tls-handshakes-2000  opens 2,000 again and again: full handshakes/s, and server CPU each

Of pairs, ours is `ahead` or `behind` where all agree but at most one of five, by more than 3 %, which is what the
client's histograms resolve. What idle connections cost is told where a row was run with them and without. In the CSV,
server_busy and client_busy are shares of a CPU: where the client's is 1, messages/s is its pace; see the CPU of the server.
It needs two CPUs: the server runs on the first that is allowed, the client on the second. Servers with file
descriptors set the bound of --connections. All of it takes about a quarter of an hour.
HELP
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
baselines=$root/bench-scripts/baselines
connections=15000 seconds=1 runs=5 rate=20000 only='' servers='' ring='multishot try' port=7800 python=python3 out=/dev/null quick='' handshakes=2000
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --quick)
            quick=yes connections=200 seconds=0.2 runs=1 rate=2000 handshakes=100
            shift
            ;;
        --summary)
            [ $# -ge 2 ] || refuse "$1 needs a file; fix: see compare.sh --help"
            shift
            exec python3 "$root/bench-scripts/compare.py" table "$@"
            ;;
        --connections | --seconds | --runs | --rate | --only | --servers | --ring | --port | --python | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see compare.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see compare.sh --help" ;;
    esac
done
for name in connections runs rate port; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--$name ${!name} is no whole number; fix: see compare.sh --help"
done
[[ $seconds =~ ^[0-9]*\.?[0-9]+$ ]] || refuse "--seconds $seconds is no number; fix: see compare.sh --help"
for tool in cargo:cargo cc:gcc python3:python3 taskset:util-linux; do
    command -v "${tool%:*}" >/dev/null || refuse "${tool%:*} is missing; fix: apt-get install ${tool#*:}"
done
limit=$(ulimit -n)
[ "$limit" = unlimited ] || [ "$servers" = none ] || [ "$limit" -ge $((connections + 600)) ] ||
    refuse "$limit descriptors are too few for the baselines; fix: --connections $((limit - 600)), or ulimit -n"
rows=("open-$connections" echo-1 echo-16 echo-500 "echo-$connections" "echo-500+$connections" rate-500
    "tls-open-$connections" "tls-handshakes-$handshakes" tls-echo-500 ws-echo-500)
if [ -n "$only" ]; then
    IFS=, read -ra asked <<<"$only"
    for row in "${asked[@]}"; do
        [[ " ${rows[*]} " == *" $row "* ]] || refuse "--only $row is no row; fix: of ${rows[*]}"
    done
    rows=("${asked[@]}")
fi
read -ra ring_words <<<"$ring"
mapfile -t cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
[ "${#cpus[@]}" -ge 2 ] || refuse "only CPU ${cpus[0]} is allowed; fix: run on two CPUs"

# What the connections of the row $1 speak.
protocol_of() {
    case $1 in
        tls-* | ws-*) echo "${1%%-*}" ;;
        *) echo tcp ;;
    esac
}
# The baselines of the row $1.
baselines_of() {
    case $1 in
        tls-open-*) echo tokio go nginx ;;
        tls-* | ws-*) echo tokio go ;;
        *) echo epoll ring tokio glommio go gevent ;;
    esac
}

# The slots of ring-echo, less 500 busy ones and its accepts.
readonly RING_MOST=15800
# Debian's Go packages, from which go-ws-echo takes its library.
readonly GOCODE=/usr/share/gocode
# Why the server $1 cannot run in a row of the protocol $2, and the fix; nothing when it can.
lacks() {
    case $1-$2 in
        go-*)
            if ! command -v go >/dev/null; then
                echo "go is not installed; fix: apt-get install golang-go"
            elif [ "$2" = ws ] && [ ! -d "$GOCODE/src/github.com/gorilla/websocket" ]; then
                echo "gorilla is not installed; fix: apt-get install golang-github-gorilla-websocket-dev"
            fi
            ;;
        ring-*) [ "$connections" -le "$RING_MOST" ] || echo "it holds few; fix: --connections $RING_MOST" ;;
        gevent-*) "$python" -c 'import gevent' 2>/dev/null ||
            echo "$python has no gevent; fix: python3 -m venv DIR && DIR/bin/pip install gevent, and --python DIR/bin/python" ;;
        nginx-*) [ -n "$(nginx_module)" ] ||
            echo "nginx or its stream module is not installed; fix: apt-get install nginx-light libnginx-mod-stream" ;;
        *-tls) command -v openssl >/dev/null || echo "no certificate without openssl; fix: apt-get install openssl" ;;
    esac
}
nginx_module() {
    ! command -v nginx >/dev/null || ls /usr/lib/nginx/modules/ngx_stream_module.so 2>/dev/null || true
}

# Who is in a row, ours first, by row. What cannot run is skipped, or refused when it was asked for by name.
declare -A chosen=()
used=' '
for row in "${rows[@]}"; do
    protocol=$(protocol_of "$row")
    why=$(lacks megaconn "$protocol")
    if [ -n "$why" ]; then
        [ -z "$only" ] || refuse "$row: $why"
        echo "SKIPPED: $row: $why" >&2
        continue
    fi
    chosen[$row]=megaconn
    for name in $(baselines_of "$row"); do
        [ -z "$servers" ] || [[ ",$servers," == *",$name,"* ]] || continue
        why=$(lacks "$name" "$protocol")
        if [ -z "$why" ]; then
            chosen[$row]+=" $name" used+="$name-$protocol "
        elif [ -n "$servers" ]; then
            refuse "the baseline $name of $protocol: $why"
        elif [[ $used != *" no-$name-$protocol "* ]]; then
            used+="no-$name-$protocol "
            echo "SKIPPED: the baseline $name of $protocol: $why" >&2
        fi
    done
done
IFS=, read -ra asked <<<"$servers"
for name in "${asked[@]}"; do
    [[ " none epoll ring tokio glommio go gevent nginx " == *" $name "* ]] ||
        refuse "--servers $name is no baseline; fix: see compare.sh --help"
done

[ "$out" = /dev/null ] || out=$(realpath "$out")
work=$(mktemp -d)
server='' measuring='' behind=''
# shellcheck disable=SC2317,SC2329  # called by the trap
end_all() {
    for pid in $measuring $server $behind; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$root"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
bin=$target/release profile=(--release)
[ -z "$quick" ] || bin=$target/debug profile=()
cargo build "${profile[@]}" --locked --quiet
if [[ $used =~ \ (ring|tokio|glommio)- ]]; then
    cargo build "${profile[@]}" --locked --quiet --manifest-path "$baselines/Cargo.toml" --target-dir "$target"
fi
cc -O2 -Wall -Wextra -o "$work/epoll-echo" "$baselines/epoll-echo.c"
# The Go program $1, where it is used as $2.
build_go() {
    [[ $used != *" $2 "* ]] || (cd "$baselines/$1" && go build -buildvcs=false -o "$work/$1" .)
}
build_go go-echo go-tcp
build_go go-tls-echo go-tls
GO111MODULE=off GOPATH=$GOCODE build_go go-ws-echo go-ws
certificate=("$work/certificate.pem" "$work/key.pem")
if [[ " ${!chosen[*]}" == *" tls-"* ]]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
        -out "${certificate[0]}" -keyout "${certificate[1]}" 2>/dev/null
fi

# shellcheck source=bench-scripts/sockets.sh
. bench-scripts/sockets.sh

readonly PORTS=100
sockets_before=$(sockets)
measurements=0 here=$port
# The command line of the server $1 of the protocol $2, into `command`.
command_of() {
    local ours=("$bin/megaconn" serve --cores "${cpus[0]}" --listen "127.0.0.1:$here")
    case $1-$2 in
        megaconn-tcp) command=("${ours[@]}") ;;
        megaconn-tls) command=("${ours[@]}" --tls-cert "${certificate[0]}" --tls-key "${certificate[1]}") ;;
        megaconn-ws) command=("${ours[@]}" --websocket) ;;
        epoll-tcp) command=("$work/epoll-echo" "$here" "${cpus[0]}") ;;
        ring-tcp) command=("$bin/ring-echo" "$here" "${cpus[0]}" "${ring_words[@]}") ;;
        tokio-tcp | glommio-tcp) command=("$bin/$1-echo" "$here") ;;
        tokio-tls) command=("$bin/tokio-tls-echo" "$here" "${certificate[@]}") ;;
        tokio-ws) command=("$bin/tokio-ws-echo" "$here") ;;
        go-tcp) command=(env GOMAXPROCS=1 "$work/go-echo" "$here") ;;
        go-tls) command=(env GOMAXPROCS=1 "$work/go-tls-echo" "$here" "${certificate[@]}") ;;
        go-ws) command=(env GOMAXPROCS=1 "$work/go-ws-echo" "$here") ;;
        gevent-tcp) command=("$python" "$baselines/gevent-echo.py" "$here") ;;
        nginx-tls) nginx_conf && command=(nginx -p "$work" -e stderr -c "$work/nginx.conf") ;;
    esac
}

# Connections that nginx can have: two descriptors each.
nginx_most=1000000
[ "$limit" = unlimited ] || nginx_most=$(((limit - 600) / 2))
# nginx in one process, with the smallest buffers that it takes, before an echo of plain epoll, which has the
# client's CPU.
nginx_conf() {
    "$work/epoll-echo" $((here + PORTS)) "${cpus[1]}" 2>/dev/null &
    behind=$!
    cat >"$work/nginx.conf" <<CONF
load_module $(nginx_module);
daemon off;
master_process off;
pid $work/nginx.pid;
events { worker_connections $((nginx_most < connections ? 2 * nginx_most + 100 : 2 * connections + 100)); }
stream {
    server {
        listen 127.0.0.1:$here ssl backlog=4096;
        ssl_certificate ${certificate[0]};
        ssl_certificate_key ${certificate[1]};
        ssl_protocols TLSv1.3;
        ssl_session_tickets off;
        proxy_buffer_size 1k;
        proxy_pass 127.0.0.1:$((here + PORTS));
    }
}
CONF
}

# One measurement of the server $2 in the row $1, number $3 of its runs there.
measure() {
    local command most=$((2 ** 31))
    # A port of its own: a ring's listener outlives its process by a moment, TIME_WAIT does by a minute.
    here=$((port + measurements % PORTS)) measurements=$((measurements + 1))
    command_of "$2" "$(protocol_of "$1")"
    [ "$2" != nginx ] || most=$nginx_most
    taskset -c "${cpus[0]}" "${command[@]}" 2>"$work/server.log" &
    server=$!
    for _ in $(seq 200); do
        kill -0 "$server" 2>/dev/null || break
        ! (exec 3<>"/dev/tcp/127.0.0.1/$here") 2>/dev/null || break
        sleep 0.05
    done
    kill -0 "$server" 2>/dev/null || refuse "$2 did not start: $(tail -n 1 "$work/server.log")"
    taskset -c "${cpus[1]}" python3 "$root/bench-scripts/compare.py" measure --row "$1" --run "$3" --server "$2" \
        --pid "$server" --client "$bin/megaconn-client" --target "127.0.0.1:$here" --seconds "$seconds" \
        --rate "$rate" --most "$most" --work "$work" >"$work/line" &
    measuring=$!
    wait "$measuring" || refuse "$2 could not be measured in $1; see above"
    measuring=''
    tee -a "$work/runs.csv" <"$work/line"
    [ "$out" = /dev/null ] || cp "$work/runs.csv" "$out"
    for pid in $server $behind; do
        kill "$pid"
        wait "$pid" 2>/dev/null || true
    done
    server='' behind=''
    # A million idle ones are not gone at once, and the next one is not to pay for that.
    await_sockets "$sockets_before" 600
}

python3 "$root/bench-scripts/compare.py" head | tee "$work/runs.csv"
# Runs go around all rows, so that a host that becomes slower or faster meets each of them.
for run in $(seq "$runs"); do
    for row in "${rows[@]}"; do
        # There and back, so that each is as often before ours as after it.
        read -ra turn <<<"${chosen[$row]:-}"
        if ((run % 2 == 0)); then
            mapfile -t turn < <(tr ' ' '\n' <<<"${chosen[$row]:-}" | tac)
        fi
        for name in "${turn[@]}"; do
            measure "$row" "$name" "$run"
        done
    done
done
python3 "$root/bench-scripts/compare.py" table "$work/runs.csv"
