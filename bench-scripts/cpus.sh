# shellcheck shell=bash
# Which CPUs each end of a run gets, for other scripts, which source it.
#
# `cpus_for COUNT` gives the server's list, the client's and whether they share any, like `0,1 2,3 no`.
# Apart as far as the allowed CPUs go: on different cores, one thread of each; else on different cores
# with all their threads, so that no core has both ends; else both ends on the same. It fails when
# fewer than COUNT are allowed. CPUs are taken in order of their numbers, whatever NUMA node they are of.

# CPUs that this process may run on, one a line.
cpus_allowed() {
    awk '/^Cpus_allowed_list:/ {
        n = split($2, parts, ",")
        for (i = 1; i <= n; i++) {
            ends = split(parts[i], end, "-")
            for (cpu = end[1]; cpu <= end[ends]; cpu++) print cpu
        }
    }' "${cpus_root:-}/proc/self/status"
}

cpus_for() {
    local cpu
    for cpu in $(cpus_allowed); do
        echo "$cpu $(cat "${cpus_root:-}/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list" \
            2>/dev/null || echo "$cpu")"
    done | awk -v count="$1" '
        # So many of a list, from a place on, as a comma-separated list.
        function take(list, from,    i, text) {
            for (i = from; i < from + count; i++) text = text (i > from ? "," : "") list[i]
            return text
        }
        { if (!($2 in threads)) core[cores++] = $2; thread[$2, threads[$2]++] = $1 }
        END {
            # Core by core, and one thread of each core before the second of any.
            for (c = 0; c < cores; c++)
                for (t = 0; t < threads[core[c]]; t++) {
                    by_core[all++] = thread[core[c], t]
                    most = t > most ? t : most
                }
            for (t = 0; t <= most; t++)
                for (c = 0; c < cores; c++)
                    if (t < threads[core[c]]) spread[n++] = thread[core[c], t]
            if (all < count) exit 1
            # Where the first core begins that the server has no thread of.
            next_core = 0
            for (c = 0; c < cores && next_core < count; c++) next_core += threads[core[c]]
            if (2 * count <= cores) print take(spread, 0), take(spread, count), "no"
            else if (next_core + count <= all) print take(by_core, 0), take(by_core, next_core), "no"
            else print take(spread, 0), take(spread, 0), "yes"
        }'
}
