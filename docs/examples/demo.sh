#!/usr/bin/env bash
# A tour of `cas` with real outputs, in a temporary folder: `make demo`.
# Every command is shown as a person would type it; the tour stops where one does not do as told.
set -euo pipefail

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    printf '\ndemo: %s\n' "$1" >&2
    [ -z "${folder:-}" ] || printf 'demo: stopped; its folder is %s\n' "$folder" >&2
    exit 1
}

# tell TEXT…: a paragraph of narration.
tell() {
    printf '\n%s\n' "$*" | fold -s -w 79 | sed -e 's/ *$//' -e 's/^/# /' -e '1s/^# $//'
}

# run CODE COMMAND: shows COMMAND, runs it, and stops unless it exits with CODE.
run() {
    local expected=$1 code=0
    printf '\n$ %s\n' "$2"
    bash -o pipefail -c "$2" >"$last" 2>&1 || code=$?
    cat "$last"
    [ "$code" -eq 0 ] || printf '(exit %s)\n' "$code"
    [ "$code" -eq "$expected" ] || fail "'$2' ended with exit code $code, not $expected"
}

# expect TEXT…: stops unless the last command printed every TEXT.
expect() {
    local text
    for text in "$@"; do
        grep -qF -- "$text" "$last" || fail "the last command did not print '$text'"
    done
}

for needed in cas python; do
    command -v "$needed" >/dev/null || fail "no '$needed' on the PATH; run: make demo"
done
python -c 'import PIL' 2>/dev/null || fail "this python has no Pillow; run: make demo"

# Nothing of the surroundings may change what is shown.
unset CAS_STORE CAS_AGENT CAS_RUN CAS_TRACE CAS_WORKSPACE CAS_OPERATION_ID TRACEPARENT PYTHONDONTWRITEBYTECODE
export CAS_AUTHOR=alice@example.org NO_COLOR=1

folder=$(mktemp -d "${TMPDIR:-/tmp}/castore-demo.XXXXXX")
last=$folder/.last-output
work=$folder/work
mkdir "$work"
cp -R "$examples/clocks/data" "$examples/clocks/report.py" "$examples/clocks/figures.schema.json" "$work"
cp "$examples/service/openapi.schema.json" "$work"
mkdir "$work/specs"
for name in clocks service; do
    for version in 1.0 1.1; do
        cp "$examples/$name/spec-$version.yaml" "$work/specs/$name-$version.yaml"
    done
done
cp -R "$examples/service" "$work/service-drafts"
rm -f "$work/service-drafts/"spec-* "$work/service-drafts/openapi.schema.json"
cd "$work"

printf 'This tour runs in %s and leaves it there for you.\n' "$work"

tell "1. A STORE AND A FIRST VERSION. The input is the time zone database's record of clock changes" \
    "(data/README.md says where it is from). No spec is needed to begin."
run 0 'cas init'
run 0 'cas commit --name clock-data -m "tz database 2025b" data/clock-changes.csv'
expect 'clock-data@v1'

tell "2. A SPEC. It lists what a run must put out; a set that does not answer to it is refused."
run 0 'cp specs/clocks-1.0.yaml clocks.spec.yaml'
run 0 'cat clocks.spec.yaml'
run 0 'cas spec check'
expect 'clocks 1.0: 5 artifacts'
run 0 'python report.py out --until 2024'
run 0 'cas commit -m "Up to 2024" --agent reporter@1 --source clock-data@v1'
expect 'clocks@v1'

tell "3. THE SPEC MOVES ON. Version 1.1 asks for one artifact more; status says what that changes."
run 0 'cp specs/clocks-1.1.yaml clocks.spec.yaml'
run 0 'python report.py out --by-area'
run 0 'cas status'
expect 'spec version: 1.0 → 1.1' 'areas'
run 0 'cas commit -m "Up to 2025, by area" --agent reporter@2 --source clock-data@v1'
expect 'clocks@v2'
run 0 'cas diff clocks@v2 --stat'
expect '+ areas' 'spec version: 1.0 → 1.1'
run 0 'cas diff clocks@v1:figures clocks@v2:figures'
expect '/latest/zones: 111 → 107'

tell "4. ONE ARTIFACT ANEW. The plot is drawn larger; --only commits it and carries the other five" \
    "from the version that made them."
run 0 'python report.py out --by-area --size 960x480'
run 0 'cas commit --only plot -m "A larger plot" --agent reporter@3'
expect 'clocks@v3'
run 0 'cas show'
expect 'agent      reporter@3' 'carried from v2, spec 1.1'

tell "5. A RUN FAILS. The disk is full, here: no file may grow beyond 4 KB. The report dies while it" \
    "writes figures.json. The commit is refused with every fault, and what is good is kept."
run 0 'rm -r out'
run 1 '(ulimit -f 4; python report.py out --by-area --size 960x480) 2>&1 | tail -n 1'
expect 'File too large'
run 5 'cas commit -m "Once more" --agent reporter@3 --run run-81'
expect '4 faults' 'figures: format' 'years: present' 'plot: present' 'areas: present'
run 0 'cas partial list'
expect 'partial/run-81/clocks'

tell "No selector finds a partial by the branch's name: the newest version is still the third."
run 0 'cas log clocks --oneline -n 1'
expect 'clocks@v3'

tell "There is room again. --resume takes what was good from the partial and the rest from out/. The" \
    "outputs are those of version 3, so nothing new is stored."
run 0 'python report.py out --by-area --size 960x480'
run 0 'cas commit --resume run-81 -m "Once more, whole" --agent reporter@3'
expect 'clocks@v4' '0 B new' 'identical'
run 0 'cas partial list'
expect 'no incomplete sets'

tell "6. CODE, TESTS AND AN API DOCUMENT under spec 1.0 of another branch."
run 0 'mkdir service && cp service-drafts/*.py service/'
run 0 'cp service-drafts/openapi-1.0.yaml service/openapi.yaml'
run 0 'cp specs/service-1.0.yaml clock-service.spec.yaml'
run 0 'cd service && python -m unittest 2>&1 | tail -n 1'
expect 'OK'
run 0 'cas commit --spec clock-service.spec.yaml -m "The service" --agent coder@3'
expect 'clock-service@v1'

tell "The spec moves to 1.1: the document must describe the answer 404 too. It does not yet."
run 0 'diff specs/service-1.0.yaml specs/service-1.1.yaml || true'
run 0 'cp specs/service-1.1.yaml clock-service.spec.yaml'
run 5 'cas commit --spec clock-service.spec.yaml --only openapi --agent coder@4 --run run-82'
expect 'openapi: schema' '"404" is a required property'

tell "Now it does. show says of each artifact where it comes from: code and tests were made under" \
    "spec 1.0, openapi under 1.1."
run 0 'cp service-drafts/openapi-1.1.yaml service/openapi.yaml'
run 0 'cas commit --spec clock-service.spec.yaml --only openapi --resume run-82 -m "Describe 404" --agent coder@4'
expect 'clock-service@v2'
run 0 'cas show clock-service'
expect 'spec       clock-service 1.1'
[ "$(grep -c 'carried from v1, spec 1.0' "$last")" -eq 2 ] || fail "code and tests were not carried"

tell "7. WHAT IS STALE? Code and tests no longer match the spec in force; stale says so, and the gate" \
    "of a pipeline refuses."
run 0 'cas stale clock-service'
expect 'code' 'tests' 'made under'
run 6 'cas gate clock-service --require fresh'
run 0 'cas commit --spec clock-service.spec.yaml -m "All of it under 1.1" --agent coder@5'
expect 'clock-service@v3'
run 0 'cas gate clock-service --require fresh'

tell "8. MAY IT GO OUT? The spec's policy asks for one approval, not by the author; so alice's does not" \
    "count, and bob's does."
run 6 'cas gate clock-service'
expect '0 of 1 approvals'
run 0 'cas approve clock-service@v3 -m "mine"'
run 6 'cas gate clock-service'
run 0 'cas approve clock-service@v3 --author bob@example.org -m "read it, ran the tests"'
run 0 'cas gate clock-service --require approved,valid,fresh'
run 0 'cas deploy clock-service@approved --to prod --author bob@example.org'

tell "9. WHO MADE WHAT, FROM WHAT? Answered from indexes, however many versions there are."
run 0 'cas audit --agent coder'
expect 'clock-service@v3' 'clock-service@v1'
run 0 'cas lineage clocks@v2'
expect 'clock-data@v1'
run 0 'cas impact ./data/clock-changes.csv'
expect 'clocks@v2'

tell "10. LOOKING BACK. Every version of every branch, and its parent."
run 0 'cas log --graph'
expect 'clocks@v1' 'clock-service@v2'
run 0 'cas diff clock-service@v2'
expect '+        "404":'
run 0 'cas cat clocks@v1:summary'
expect 'In 2024, 111 of 312 time zones'

tell "11. GETTING IT BACK. A checkout is verified, and never overwrites."
run 0 'cas checkout clocks@v1 -o restored'
run 4 'cas checkout clocks@v2 -o restored'
run 0 'cas checkout clocks@v4 -o newest && diff -r out newest && echo "the same, byte for byte"'
expect 'the same, byte for byte'

tell "12. IS IT ALL THERE? Every stored byte is hashed again."
run 0 'cas stats'
expect 'versions'
run 0 'cas fsck --full'
expect 'no damage found'

tell "13. A TEAM, AND A BUCKET. A server of the S3 kind is started on this machine; castore needs no" \
    "server of its own. Alice pushes her store; bob clones it."
(cd "$examples/../.." && exec python -m tests.servers "$folder/server") >"$folder/.server" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
    grep -q AWS_ENDPOINT_URL "$folder/.server" && break
    kill -0 "$server" 2>/dev/null || fail "the server did not start"
    sleep 0.2
done
# shellcheck source=/dev/null
. "$folder/.server"
export XDG_CACHE_HOME=$folder/caches
run 0 'cas remote add origin s3://castore/clocks'
run 0 'cas push'
expect 'clock-service' 'packs'
run 0 'cas clone s3://castore/clocks ../bob'
expect 'fetched'

tell "Alice pushes a new version. Bob pulls it, approves it and pushes that; the gate of alice's" \
    "pipeline opens when it has pulled."
run 0 'echo "# reviewed by a person" >> service/service.py'
run 0 'cas commit --spec clock-service.spec.yaml -m "A remark" --agent coder@6 && cas push'
run 6 'cas gate clock-service'
run 0 'cd ../bob && cas pull && cas approve clock-service@v4 --author bob@example.org -m "read it" && cas push'
expect 'clock-service@v4' '1 note'
run 0 'cas pull'
run 0 'cas gate clock-service --require approved,valid'

tell "A URL takes the place of a store too, on any machine, in --store or in a spec's store: line."
run 0 'cas --store s3://castore/clocks log clock-service --oneline'
expect 'clock-service@v4'

rm -f "$last" "$folder/.server"
tell "That was the tour. To look round: cd $work"
