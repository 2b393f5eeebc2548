#!/usr/bin/env bash
# A fleet of hosts on this one: network namespaces on a bridge, each with an sshd, a name, processes and a /tmp
# of its own, and a command that runs beside them.
#
# The command takes the place of this script, and every host is a child that ends when it ends, however it ends.
# Files are in mounts of the namespaces: nothing is left on this host, and nothing of it is changed.
set -euo pipefail

usage() {
    cat <<'EOT'
usage: namespaces.sh [--clients N] [--servers N] [--tmp SIZE] COMMAND [ARGUMENT...]

  --clients N   hosts client-1 and so on                               [default: 4]
  --servers N   hosts server-1 and so on                               [default: 2]
  --tmp SIZE    room in /tmp of each host, as mount knows it           [default: 1g]

The command runs on the bridge, beside the hosts, and has in its environment:
  FLEET_SSH      options for ssh, as in `ssh $FLEET_SSH client-1 uptime`
  FLEET_CLIENTS  client-1,client-2,...
  FLEET_SERVERS  server-1,server-2,...
Names are known to every program, on every host: `--target server-1:7000`. There is no way to anywhere else.
Hosts share all files but those of /tmp. Root alone can make them: sshd needs it.
Example: namespaces.sh --clients 2 --servers 1 bash
Exit status: that of the command; 2 refused, with the fix.
EOT
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

fleet=/run/fleet

# What becomes a host, in a network namespace of its own already.
be_host() { # name address
    hostname "$1"
    mount -t sysfs none /sys
    mount -t tmpfs -o "size=$MEGACONN_FLEET_TMP,mode=1777" none /tmp
    unset "${!MEGACONN_FLEET_@}"
    exec "$(command -v sshd)" -D -E "$fleet/$1.log" -f "$fleet/sshd_config" -o "ListenAddress=$2"
}

# Its cable comes first: the other end is in the namespace of process $3, of which it knows nothing later.
lay_cable() { # name address process
    ip link set lo up
    ip link add eth0 type veth peer name "$1" netns "$3"
    ip addr add "$2/16" dev eth0
    ip link set eth0 up
    exec unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc "$0" --be-host "$1" "$2"
}

PATH=$PATH:/usr/sbin:/sbin
case ${MEGACONN_FLEET_TMP:+${1:-}} in
    --be-host) be_host "$2" "$3" ;;
    --lay-cable) lay_cable "$2" "$3" "$4" ;;
esac

given=("$@")
clients=4 servers=2 tmp=1g
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --clients | --servers | --tmp)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see namespaces.sh --help"
            declare "${1#--}=$2" && shift 2
            ;;
        -*) refuse "unknown argument $1; fix: see namespaces.sh --help" ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || refuse "no command to run beside the hosts; fix: namespaces.sh bash"
[[ $clients =~ ^[0-9]{1,2}$ && $servers =~ ^[0-9]{1,2}$ ]] || refuse "--clients $clients --servers $servers: no such numbers; fix: 0 to 99 of each"
clients=$((10#$clients)) servers=$((10#$servers))
[[ $tmp =~ ^[0-9]+[kmg]?$ ]] || refuse "--tmp $tmp is no size; fix: one like 64m"
for tool in ip:iproute2 unshare:util-linux setpriv:util-linux hostname:hostname ssh:openssh-client sshd:openssh-server; do
    command -v "${tool%:*}" >/dev/null || refuse "${tool%:*} is missing; fix: apt-get install ${tool#*:}"
done
[ "$(id -u)" = 0 ] || refuse "only root can start an sshd for each host; fix: sudo, or another machine"
if [ "${MEGACONN_FLEET_TMP:-}" = '' ]; then
    unshare --net --mount --pid --fork true 2>/dev/null || refuse "no namespaces are permitted; fix: a container with CAP_SYS_ADMIN"
    MEGACONN_FLEET_TMP=$tmp exec unshare --net --mount "$0" "${given[@]}"
fi

mount -t sysfs none /sys
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/sshd "$fleet"
ssh-keygen -q -t ed25519 -N '' -C fleet -f "$fleet/key"
ssh-keygen -q -t ed25519 -N '' -C fleet -f "$fleet/host_key"
cat >"$fleet/sshd_config" <<EOT
HostKey $fleet/host_key
AuthorizedKeysFile $fleet/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp internal-sftp
EOT
cat >"$fleet/ssh_config" <<EOT
User root
IdentityFile $fleet/key
IdentitiesOnly yes
UserKnownHostsFile $fleet/known_hosts
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
EOT

ip link set lo up
ip link add bridge0 type bridge
ip addr add 10.88.0.1/16 dev bridge0
ip link set bridge0 up
cp /etc/hosts "$fleet/hosts"
hosts=()
for ((n = 1; n <= clients; n++)); do hosts+=("client-$n 10.88.1.$n"); done
for ((n = 1; n <= servers; n++)); do hosts+=("server-$n 10.88.2.$n"); done
for host in ${hosts[@]+"${hosts[@]}"}; do
    echo "${host#* } ${host% *}" >>"$fleet/hosts"
    echo "${host% *},${host#* } $(cut -d' ' -f1,2 "$fleet/host_key.pub")" >>"$fleet/known_hosts"
done
mount --bind "$fleet/hosts" /etc/hosts
for host in ${hosts[@]+"${hosts[@]}"}; do
    # What its parent becomes, the command, need not end it: the kernel does.
    setpriv --pdeathsig KILL unshare --net "$0" --lay-cable "${host% *}" "${host#* }" $$ \
        </dev/null >"$fleet/${host% *}.log" 2>&1 &
done
is_up() { # name
    ip link set "$1" master bridge0 up 2>/dev/null && grep -q '^Server listening' "$fleet/$1.log"
}
for host in ${hosts[@]+"${hosts[@]}"}; do
    tries=100
    until is_up "${host% *}"; do
        ((tries--)) || refuse "${host% *} does not come up: $(tail -1 "$fleet/${host% *}.log"); fix: see above"
        sleep 0.1
    done
done
names() {
    local all=("${hosts[@]% *}")
    printf '%s\n' "${all[@]}" | grep "^$1" | paste -sd, || true
}
FLEET_CLIENTS=$(names client) FLEET_SERVERS=$(names server) FLEET_SSH="-F $fleet/ssh_config"
export FLEET_CLIENTS FLEET_SERVERS FLEET_SSH
unset MEGACONN_FLEET_TMP
exec "$@"
