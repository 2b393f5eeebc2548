#!/usr/bin/env bash
# The same run from many hosts as from one: each does a part of it, by ssh or pdsh, and one result is made of
# all. Nothing is opened before every host has been examined, and nothing stays behind on any.
set -euo pipefail

usage() {
    cat <<'EOT'
usage: fleet.sh --hosts A,B,... --connections N[,N...] --target URL [options] [options of megaconn-client run]

  --hosts A,B,...      hosts of the parts, as ssh knows them
  --remote ssh|pdsh    what runs commands on all of them                           [default: ssh]
  --ssh 'OPTIONS'      options for ssh                                             [default: none]
  --bin DIR            where megaconn and megaconn-client are on the hosts         [default: their PATH]
  --copy               copy the programs of here to the hosts: to --bin, or for this run only
  --lead DUR           from the last check until all parts begin                   [default: 5s]
  --skew DUR           how far a clock may be from the one here                    [default: 500ms]
  --on-part-lost stop|continue  what becomes of the others when a part is lost     [default: continue]
  --top                show `megaconn top` of all parts; needs --metrics
  --out DIR            run directory, made if it is not there                      [default: runs/fleet-DATE]

Every other option goes to megaconn-client run on each host, with its --part and one --start-at, which needs
--rate or --open-time. In --metrics %h is the address of the host: --metrics %h:9100. Names of files are those of
the hosts. Each host connects to the first address of each --target once, to see that it is there.

MEGACONN_BIN=DIR says where the programs of here are; else they are built. Leaves DIR/result.json and
DIR/report.html of all, and DIR/parts/HOST of each. SIGINT and SIGTERM end all parts, which report what they have;
a second one ends them at once.
Exit status: that of `megaconn merge`; 1 when a part was lost; 2 refused before anything was opened, with the fix;
130 or 143 after a signal.
EOT
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

seconds() { # flag value
    [[ $2 =~ ^([0-9]+(\.[0-9]+)?)(ms|s|m)$ ]] || refuse "$1 $2 is no time; fix: one like 500ms or 5s"
    local -A unit=([ms]=0.001 [s]=1 [m]=60)
    awk "BEGIN {print ${BASH_REMATCH[1]} * ${unit[${BASH_REMATCH[3]}]}}"
}

hosts='' remote=ssh ssh='' bin='' copy='' lead=5s skew=500ms on_part_lost=continue top='' out='' connections='' metrics=''
targets=() examined=() run=()
known='hosts|remote|ssh|bin|lead|skew|on-part-lost|out|metrics' theirs='connections|target|source|source-ports|cores'
while [ $# -gt 0 ]; do
    # One word or two, but for those that go on as they are.
    [[ ! $1 =~ ^--($known|$theirs)= ]] || set -- "${1%%=*}" "${1#*=}" "${@:2}"
    case $1 in
        -h | --help) usage && exit 0 ;;
        --copy | --top) declare "${1#--}=yes" && shift ;;
        --part | --start-at | --run-id) refuse "$1 is of one host, and set here; fix: leave it out" ;;
        *)
            if [[ ! $1 =~ ^--($known|$theirs)$ ]]; then
                run+=("$1") && shift && continue
            fi
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see fleet.sh --help"
            name=${1#--} && name=${name//-/_}
            case $1 in
                --connections) connections=$2 ;;
                --target) targets+=("$2") ;;
                --source | --source-ports | --cores) examined+=("$1" "$2") ;;
                *) declare "$name=$2" ;;
            esac
            [[ $1 =~ ^--($known)$ ]] || run+=("$1" "$2")
            shift 2
            ;;
    esac
done
[ -n "$hosts" ] || refuse "--hosts is missing; fix: --hosts a,b,c"
[ -n "$connections" ] || refuse "--connections is missing; fix: how many all hosts hold together"
[ "${#targets[@]}" -gt 0 ] || refuse "--target is missing; fix: where the connections go, as HOST:PORT"
[[ $remote = ssh || $remote = pdsh ]] || refuse "--remote $remote is unknown; fix: ssh or pdsh"
[[ $on_part_lost = stop || $on_part_lost = continue ]] || refuse "--on-part-lost $on_part_lost is unknown; fix: stop or continue"
for tool in ssh:openssh-client python3:python3 "$remote:$remote"; do
    command -v "${tool%:*}" >/dev/null || refuse "${tool%:*} is missing; fix: apt-get install ${tool#*:}"
done
IFS=, read -ra host <<<"$hosts"
parts=${#host[@]}
for name in "${host[@]}"; do
    [[ $name =~ ^[A-Za-z0-9@._:-]+$ && $name != -* ]] || refuse "--hosts: '$name' is no host; fix: names with commas between"
done
twice=$(printf '%s\n' "${host[@]}" | sort | uniq -d | head -1)
[ -z "$twice" ] || refuse "--hosts has $twice twice; fix: each once"
[[ -z $metrics || $metrics =~ ^(%h|0\.0\.0\.0|\[::\]):[1-9][0-9]*$ ]] || refuse "--metrics $metrics: that is not seen from here, or of each host; fix: --metrics %h:9100"
[ -z "$top" ] || { [ -n "$metrics" ] && [ -t 0 ] && [ -t 1 ]; } || refuse "--top needs --metrics and a terminal; fix: --metrics %h:9100, in a terminal"
{ lead=$(seconds --lead "$lead") && skew=$(seconds --skew "$skew"); } || exit
share=$(python3 -c '
import math, sys
powers = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
each = [float(n[:-1]) * powers[n[-1]] if n[-1:] in powers else float(n) for n in sys.argv[1].split(",")]
print(math.ceil(max(each) / int(sys.argv[2])))' "$connections" "$parts" 2>/dev/null) ||
    refuse "--connections $connections: parts need numbers; fix: one like 3M, or 10k,100k"

root=$(cd "$(dirname "$0")/.." && pwd)
out=${out:-$root/runs/fleet-$(date +%Y%m%d-%H%M%S)-$$}
mkdir -p "$out/parts" || refuse "--out $out cannot be made; fix: a directory that you may write"
out=$(cd "$out" && pwd)
[ -z "$(ls -A "$out/parts")" ] || refuse "$out/parts has parts of another run; fix: a new --out"
here=${MEGACONN_BIN:-}
if [ -z "$here" ]; then
    command -v cargo >/dev/null || refuse "cargo is missing; fix: rustup.rs, or MEGACONN_BIN=DIR with both programs"
    echo "building (the first time takes some minutes)" >&2
    (cd "$root" && cargo build --release --locked --quiet --workspace) || refuse "the build failed; see above"
    here=$(cd "$root" && realpath "${CARGO_TARGET_DIR:-target}")/release
fi
id=fleet-$(date +%Y%m%d-%H%M%S)-$$
there=/tmp/megaconn-$id # on each host
[ -z "$copy" ] || bin=${bin:-$there/bin}
prefix=${bin:+$bin/}
work=$(mktemp -d /tmp/megaconn-fleet.XXXXXX)
read -ra options <<<"$ssh"
options+=(-o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o ServerAliveCountMax=3 -o ControlMaster=auto
    -o "ControlPath=$work/%C" -o ControlPersist=600)

# shellcheck source=bench-scripts/on-hosts.sh
. "$root/bench-scripts/on-hosts.sh"

sessions='' begun='' signal='' top_pid=''
end_top() {
    [ -n "$top_pid" ] || return 0
    kill "$top_pid" 2>/dev/null || true
    wait "$top_pid" || true
    top_pid='' && exec 2>&3 3>&- && cat "$work/said" >&2
}
# shellcheck disable=SC2317,SC2329  # called by the trap
leave() {
    trap '' INT TERM
    local at clean="[ ! -s $there/pid ] || ! grep -qs $id /proc/\$(cat $there/pid)/cmdline || kill -KILL \$(cat $there/pid)
        rm -rf $there"
    end_top
    if [ -n "$begun" ]; then
        each clean "$clean" || true
        for at in "${!host[@]}"; do
            [ "$(status clean "$at")" = 0 ] || echo "warning: ${host[at]}:$there may have been left behind" >&2
        done
    fi
    [ -z "$sessions" ] || kill -- "-$sessions" 2>/dev/null || true
    for at in "${!host[@]}"; do
        ssh "${options[@]}" -O exit "${host[at]}" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap leave EXIT
trap '[ -z "$signal" ] || exit 130; signal=130; [ -n "$sessions" ] || exit 130' INT
trap '[ -z "$signal" ] || exit 143; signal=143; [ -n "$sessions" ] || exit 143' TERM

# ---- before anything is opened -------------------------------------------------------------------

echo "== $parts hosts, $connections connections: at most $share of them each" >&2
# One kept connection to each host, for all that follows.
python3 "$root/bench-scripts/fleet-clocks.py" "$work" "$skew" "$parts" "${host[@]}" ssh "${options[@]}" ||
    refuse "nothing was opened: not every host can do its part, see above; fix: what is said there"

# What is copied must have room there, and what is written.
room=64
[ -z "$copy" ] || room=$((room + $(du -cLm "$here/megaconn" "$here/megaconn-client" | tail -1 | cut -f 1)))
begun=yes
each place "echo \$(cat /proc/sys/kernel/random/boot_id) \$(readlink /proc/self/ns/net)
    mkdir -m 700 $there || exit
    free=\$(df -Pm /tmp | awk 'NR == 2 {print \$4}')
    [ \"\$free\" -ge $room ] || { echo \"error: /tmp has \$free MiB free, and $room are needed\"; exit 1; }"
all_differ place
demand place "room and rights in /tmp of those hosts"

if [ -n "$copy" ]; then
    echo "copying the programs" >&2
    copy_all "$bin" "$here/megaconn" "$here/megaconn-client"
fi

probe='' plan=()
for target in "${targets[@]}"; do
    [[ $target != *://* ]] || plan+=(--protocol "${target%%://*}")
    target=${target#*://} && target=${target%%/*}
    plan+=(--target "$target")
    first=${target%%,*} port=${target##*:} && first=${first%:*}
    [[ ! $first =~ ^([0-9.]+)-[0-9.]+$ ]] || first=${BASH_REMATCH[1]}
    probe+="timeout 10 bash -c $(quoted ": </dev/tcp/$(tr -d '[]' <<<"$first")/${port%%-*}") ||
        { echo $(quoted "error: $target cannot be reached from there"); exit 1; }; "
done
each examine "$(quoted "${prefix}megaconn") --version && $(quoted "${prefix}megaconn-client") --version || exit
    $(quoted "${prefix}megaconn" doctor --side client --connections "$share" "${plan[@]}" ${examined[@]+"${examined[@]}"}) || exit
    ! command -v bash >/dev/null || ! command -v timeout >/dev/null || { $probe }"
demand examine "what is said above, or fewer --connections; --copy brings the programs"
own=$("$here/megaconn" --version && "$here/megaconn-client" --version) || refuse "$here has no programs; fix: MEGACONN_BIN=DIR with both"
for at in "${!host[@]}"; do
    [ "$(head -2 "$work/examine.$at")" = "$own" ] ||
        refuse "${host[at]} has $(head -2 "$work/examine.$at" | paste -sd ' '), and here is $(paste -sd ' ' <<<"$own"); fix: --copy"
done

# ---- the run -------------------------------------------------------------------------------------

addresses=() cases=''
for at in "${!host[@]}"; do
    own=(--part "$((at + 1))/$parts")
    if [ -n "$metrics" ]; then
        address=$(getent ahosts "$(ssh "${options[@]}" -G "${host[at]}" 2>/dev/null | sed -n 's/^hostname //p')" | head -1 | cut -d' ' -f1)
        [[ $address != *:* ]] || address="[$address]"
        addresses+=("$address:${metrics##*:}")
        own+=(--metrics "${metrics/\%h/$address}")
    fi
    cases+="$at) set -- $(quoted "${own[@]}") ;; "
done
start=$(python3 -c 'import sys, time; print(f"{time.time() + float(sys.argv[1]):.3f}")' "$lead")
# The number of the process is written first, and then `stop` is looked for: no part goes on unnoticed.
script="cd $there || exit
    case \$1 in $cases esac
    : >client.log
    tail -n +1 -f client.log & tail=\$!
    sh -c 'echo \$\$ >pid; [ ! -e stop ] || exit 130; exec \"\$@\"' sh $(quoted "${prefix}megaconn-client" run "${run[@]}" \
    --run-id "$id" --start-at "$start" --out "$there/out") \"\$@\" >summary.txt 2>client.log
    status=\$?; sleep 0.3; kill \$tail
    [ -s out/result.json ] || echo \"unwritten: no result, with \$(df -Pm /tmp | awk 'NR == 2 {print \$4}') MiB free in /tmp\"
    exit \$status"
stop="cd $there && : >stop && [ ! -s pid ] || ! grep -qs $id /proc/\$(cat pid)/cmdline || kill -INT \$(cat pid)"
# In a process group of their own, so that Ctrl-C does not end the connections.
set -m
each run "$script" &
sessions=$!
set +m
until [ -e "$work/run.log" ]; do sleep 0.1; done
[ -z "$metrics" ] || echo "watch: $here/megaconn top ${addresses[*]}" >&2
# What is said while it has the terminal is said afterwards.
if [ -n "$top" ]; then
    "$here/megaconn" top "${addresses[@]}" <&0 &
    top_pid=$! && exec 3>&2 2>"$work/said"
fi

part() { # number
    echo "part $(($1 + 1))/$parts (${host[$1]})"
}

stop_all() { # why
    [ -z "$stopped" ] || return 0
    stopped=$SECONDS
    echo "== $1: all parts end" >&2
    each stop "$stop" || true
}

lost=0 refused=0 stopped='' too_bad='' ended=() since=() late=() held=0
# What became of each part since the last look; whether one goes on.
look() {
    local at status plateau least='' going=1
    for at in "${!host[@]}"; do
        [ -z "${ended[at]:-}" ] || continue
        status=$(status run "$at")
        if [ -z "$status" ] && kill -0 "$sessions" 2>/dev/null && ! is_gone run "$at"; then
            going=0 plateau=$(grep -c '^holding .* for ' "$work/run.$at" || true)
            [ "${least:-$plateau}" -lt "$plateau" ] || least=$plateau
            since[plateau]=${since[plateau]:-$SECONDS} plateau=$((plateau + 1))
            if [ $((SECONDS - ${since[plateau]:-$SECONDS})) -ge 3 ] && [ "${late[at]:-}" != "$plateau" ]; then
                late[at]=$plateau
                echo "$(part "$at") is late: it does not hold plateau $plateau yet, 3 s after others" >&2
            fi
            continue
        fi
        ended[at]=${status:-255}
        case $status in
            0 | 1 | 130 | 143) grep -q '^unwritten' "$work/run.$at" || continue
                echo "$(part "$at") is lost: $(sed -n 's/^unwritten: //p' "$work/run.$at")" >&2 ;;
            '') echo "$(part "$at") is lost: $(why_gone run "$at")" >&2 ;;
            2) refused=$((refused + 1)) && echo "$(part "$at") is refused: $(grep -m 1 '^error' "$work/run.$at")" >&2 ;;
            *) echo "$(part "$at") is lost: exit status $status$([ "$status" -lt 129 ] || echo ", signal $((status - 128))")" >&2 ;;
        esac
        lost=$((lost + 1))
        [ "$status" != 2 ] || [ "$(date +%s)" -ge "${start%.*}" ] || too_bad=yes
        [ "$on_part_lost$too_bad" = continue ] || stop_all "$(part "$at") is lost"
    done
    [ "${least:-0}" -le "$held" ] || { held=$least && echo "plateau $held is held by all parts that are there" >&2; }
    return "$going"
}
while look; do
    [ -z "$signal" ] || stop_all "signal"
    { [ -n "$top_pid" ] && kill -0 "$top_pid" 2>/dev/null; } || end_top
    if [ -n "$stopped" ] && [ $((SECONDS - stopped)) -gt 120 ]; then
        echo "warning: not all parts have ended within 120 s; they are killed" >&2
        break
    fi
    sleep 0.5 || true # Ctrl-C ends it, and not this script
done
end_top

# ---- what they have measured ---------------------------------------------------------------------

[ "$refused" -lt "$parts" ] || too_bad=yes
[ -z "$too_bad" ] || refuse "nothing was opened: a part was refused, see above; fix: what is said there"
dirs=("${host[@]/#/$out/parts/}") gathering=()
for at in "${!host[@]}"; do
    mkdir -p "${dirs[at]}"
    { ssh -n "${options[@]}" "${host[at]}" "tar -cf - -C $there client.log summary.txt -C $there/out ." |
        tar -xf - -C "${dirs[at]}" --no-same-owner; } 2>"$work/gather.$at" ||
        echo "$(part "$at"): not all was gathered: $(head -1 "$work/gather.$at")" >&2 &
    gathering+=($!)
done
wait "${gathering[@]}" || true
merged=0
"$here/megaconn" merge "${dirs[@]}" --anyway --out "$out" || merged=1
[ "$lost" -eq 0 ] || merged=1
exit "${signal:-$merged}"
