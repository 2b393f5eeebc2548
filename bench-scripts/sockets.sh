# shellcheck shell=bash
# Whether the sockets of a run are gone; for other scripts, which source it.
#
# `before=$(sockets)` before anything is started, then `await_sockets BEFORE TENTHS` once all has ended:
# the kernel takes rings and their sockets down by and by.

# TCP sockets of the host.
sockets() {
    awk '/^TCP:/ {print $3}' /proc/net/sockstat
}

# Waits for $2 tenths of a second at most until there are no more than $1 and some ($3, or 1000).
await_sockets() {
    local tenths
    for ((tenths = 0; tenths < $2; tenths++)); do
        [ "$(sockets)" -gt $(($1 + ${3:-1000})) ] || return 0
        sleep 0.1
    done
}
