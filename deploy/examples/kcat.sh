#!/bin/sh
# Print the incidents that are open now, with kcat and awk: kcat.sh BOOTSTRAP TOPIC [json]
#
# The CloudEvents headers say which incident, which revision and which state, whatever the value is. Where no registry
# is set values are JSON: with `json` they are printed as well. Avro values take a kcat that was built with Avro
# (`kcat -V` says so; Debian's was not): kcat -C -b BOOTSTRAP -t TOPIC -s value=avro -r REGISTRY
set -eu
format='%k\t%h\n'
[ "${3:-}" != json ] || format='%k\t%h\t%s\n'
kcat -C -q -e -o beginning -b "$1" -t "$2" -f "$format" | awk -F '\t' '
    function header(name,    rest) {
        if (!match($2, "(^|,)" name "=[^,]*")) return ""
        rest = substr($2, RSTART, RLENGTH)
        return substr(rest, index(rest, "=") + 1)
    }
    {
        revision = header("ce_id")
        sub(/.*\//, "", revision)
        if (revision + 0 <= newest[$1]) next
        newest[$1] = revision + 0
        state = header("ce_type")
        sub(/.*\./, "", state)
        open[$1] = state == "opened" || state == "updated"
        line[$1] = header("ce_time") " " $1 " " header("ce_subject") " " $3
    }
    END { for (id in newest) if (open[id]) print line[id] }
'
