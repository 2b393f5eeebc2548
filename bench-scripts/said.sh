# shellcheck shell=bash
# Whether a program that runs has said something; for other scripts, which source it.

# Waits up to $1 s until $3, the log of process $2, has a line that begins with $4.
until_said() {
    for _ in $(seq $(($1 * 10))); do
        ! grep -q "^$4" "$3" || return 0
        kill -0 "$2" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}
