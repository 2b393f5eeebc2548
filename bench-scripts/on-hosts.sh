# shellcheck shell=bash
# Commands on many hosts at once, by ssh or pdsh; for other scripts, which source it.
#
# It needs the array `host`, `remote` (ssh or pdsh), the array `options` of ssh, and the directory `work`, which takes
# what the hosts say.
# shellcheck disable=SC2154  # they are of the script that sources this

# Runs a script on every host, with the host's number from 0 as $1. What each says is in $work/NAME.NUMBER, and its
# exit status is the last line there; of a host that was not reached there is none, and the reason in $work/NAME.log.
each() { # name script
    local at line pids=()
    rm -f "$work/$1".*
    for at in "${!host[@]}"; do : >"$work/$1.$at"; done
    : >"$work/$1.log"
    # Each line says of which host it is. In base64, so that no shell, and not pdsh, finds anything to expand.
    # shellcheck disable=SC2016  # they are expanded there
    line="{ ($2"$'\n'') 2>&1 </dev/null; echo "status $?"; } | sed -u "s/^/$1 /"; exit 0'
    line="echo $(base64 -w 0 <<<"$line") | base64 -d | sh -s %n"
    if [ "$remote" = pdsh ]; then
        PDSH_SSH_ARGS_APPEND="${options[*]}" pdsh -N -f "${#host[@]}" -R ssh -w "$(IFS=, && echo "${host[*]}")" "$line" \
            2>>"$work/$1.log" | deal "$1"
        return
    fi
    for at in "${!host[@]}"; do
        { ssh -n "${options[@]}" "${host[at]}" "${line//%n/$at}" || echo "ssh exited with exit code $?" >&2; } \
            2> >(sed -u "s/^/${host[at]}: /" >>"$work/$1.log") | deal "$1" &
        pids+=($!)
    done
    wait "${pids[@]}" || true
}

deal() { # name
    local row
    while IFS= read -r row; do
        [[ ! $row =~ ^([0-9]+)\ (.*) ]] || printf '%s\n' "${BASH_REMATCH[2]}" >>"$work/$1.${BASH_REMATCH[1]}"
    done
}

status() { # name number
    sed -n '$s/^status \([0-9]*\)$/\1/p' "$work/$1.$2"
}

# Whether the connection has ended on which a host says this.
is_gone() { # name number
    grep -qE "^(pdsh@[^:]*: )?${host[$2]}: ssh exited" "$work/$1.log"
}

why_gone() { # name number
    grep -E "^${host[$2]}: .*[^[:space:]]" "$work/$1.log" | grep -v 'ssh exited' | tail -1 | grep . || echo "its connection has ended"
}

# Names the hosts of which a step has failed, and refuses.
demand() { # name fix
    local at bad=''
    for at in "${!host[@]}"; do
        case $(status "$1" "$at") in
            0) continue ;;
            '') bad=$(why_gone "$1" "$at") ;;
            *) bad=$(sed '$d' "$work/$1.$at" | grep -A 1 -E '^(error|FAIL)' || tail -4 "$work/$1.$at" | sed '$d') ;;
        esac
        printf '%s: %s\n' "${host[at]}" "${bad:-it failed without a word}" >&2
    done
    [ -z "$bad" ] || refuse "nothing was opened: not every host can do its part, see above; fix: $2"
}

# Refuses two names of one host; each has said first what tells it from others.
all_differ() { # name
    local at same
    for at in "${!host[@]}"; do echo "$(head -1 "$work/$1.$at")=${host[at]}"; done | grep net: | sort >"$work/places"
    same=$(cut -d= -f1 "$work/places" | uniq -d | head -1)
    [ -z "$same" ] || refuse "--hosts: $(grep -F "$same" "$work/places" | cut -d= -f2 | paste -sd ' ' | sed 's/ / and /g') are one host; fix: each once"
}

# Copies programs to a directory of every host.
copy_all() { # directory file...
    local at file into=$1 mark=new-$$ names='' copies=() name
    each directory "mkdir -p $(quoted "$into")"
    demand directory "a directory that you may write there"
    for file in "${@:2}"; do names+="${file##*/}:$(stat -Lc %s "$file") "; done
    for at in "${!host[@]}"; do
        for file in "${@:2}"; do
            name=${file##*/}
            # shellcheck disable=SC2029  # the name is of here
            ssh "${options[@]}" "${host[at]}" "cat >'$into/$name.$mark'" <"$file" 2>/dev/null || true
        done &
        copies+=($!)
    done
    wait "${copies[@]}" || true
    # One that runs cannot be written, and can be replaced.
    each programs "cd $(quoted "$into")
        for name in $names; do
            file=\${name%:*}
            [ \"\$(stat -c %s \$file.$mark)\" = \${name#*:} ] || { rm -f \$file.$mark; echo \"error: \$file is not whole\"; exit 1; }
            chmod 755 \$file.$mark && mv \$file.$mark \$file || exit
        done"
    demand programs "room in $into of those hosts"
}

quoted() { # arguments, for sh over there
    [ $# -eq 0 ] || printf "'%s' " "${@//\'/\'\\\'\'}"
}
