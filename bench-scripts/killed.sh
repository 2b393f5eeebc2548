# shellcheck shell=bash
# By what a process was killed, as far as that can be seen; for other scripts, which source it.
#
# `kills_begin` before anything is started, then `say_killed NAME PID STATUS` for each process whose
# exit status is above 128.

# Processes killed for want of memory so far: in our memory cgroup, and on the whole host. Empty where
# nobody counts them, or it may not be seen.
kills_in_cgroup() {
    local v1 v2 file
    v1=$(awk -F: '("," $2 ",") ~ /,memory,/ {print $3}' /proc/self/cgroup 2>/dev/null) || true
    v2=$(awk -F: '$1 == 0 && $2 == "" {print $3}' /proc/self/cgroup 2>/dev/null) || true
    # A container sees its own group as the root.
    for file in "/sys/fs/cgroup/memory$v1/memory.oom_control" /sys/fs/cgroup/memory/memory.oom_control \
        "/sys/fs/cgroup$v2/memory.events" /sys/fs/cgroup/memory.events; do
        if [ -r "$file" ]; then
            awk '$1 == "oom_kill" {print $2}' "$file"
            return
        fi
    done
}
kills_on_host() {
    awk '$1 == "oom_kill" {print $2}' /proc/vmstat 2>/dev/null || true
}

kills_begin() {
    kills_since=$(cut -d' ' -f1 /proc/uptime)
    kills_cgroup_before=$(kills_in_cgroup) kills_host_before=$(kills_on_host)
}

# The kernel's line on the kill of $2, a $1: by its number, or in a container, which has numbers of its
# own, by its name, if it was written since we began. Fails when the kernel's log may not be read.
kill_line() {
    local log
    log=$(dmesg 2>/dev/null) || return 1
    printf '%s\n' "$log" | awk -v since="$kills_since" -v name="$1" -v pid="$2" '
        match($0, /^\[ *[0-9.]+\] /) {
            at = substr($0, 2, RLENGTH - 3) + 0
            line = substr($0, RLENGTH + 1)
            if (at < since - 1 || line !~ /ut of memory.*Killed process [0-9]+ \(/) next
            if (index(line, "Killed process " pid " (")) exact = line
            else if (index(line, " (" name ")")) like = line
        }
        END {print exact != "" ? exact : like}'
}

# Says in one line by what process $2, a $1, was killed that ended with status $3.
say_killed() {
    local signal=$(($3 - 128)) line='' by cgroup host
    local is_readable=yes
    if [ "$signal" -ne 9 ]; then
        echo "error: $1 was killed by signal $signal" >&2
        return
    fi
    line=$(kill_line "$1" "$2") || is_readable=''
    cgroup=$(kills_in_cgroup) host=$(kills_on_host)
    case $line in
        'Memory cgroup '*) by="the kernel: its memory cgroup was full ($line); fix: a higher limit" ;;
        *'ut of memory'*) by="the kernel: the host was out of memory ($line); fix: fewer connections" ;;
        *)
            if [ -n "$is_readable" ]; then
                by="somebody, not the kernel: its log has no word of it"
            elif [ "$cgroup" != "$kills_cgroup_before" ]; then
                by="the kernel, it seems: its memory cgroup counts oom_kill $kills_cgroup_before -> $cgroup"
            elif [ "$host" != "$kills_host_before" ]; then
                by="the kernel, it seems: the host counts oom_kill $kills_host_before -> $host; fix: dmesg as root"
            else
                by="somebody, it seems: the kernel counts no kill for want of memory"
            fi
            ;;
    esac
    echo "error: $1 was killed by signal 9, by $by" >&2
}
