#!/usr/bin/env bash
# One run of the clients of a cluster: begins it, waits, fetches every part's run directory, and merges them.
set -euo pipefail

usage() {
    cat <<'EOT'
usage: run.sh [--parts N] [--connections N] [--rate N/s] [--hold DUR] [--message-every DUR] [--begin-in SECONDS]
              [--namespace NAME] [--with DIR] [--volume] [--out DIR]

  --parts N            client pods, all at once                                  [default: 10]
  --connections N      of all of them together, or plateaus as 100k,1M           [default: 1M]
  --rate N/s           connects of all of them together                          [default: 20k/s]
  --hold DUR           time to hold each plateau                                 [default: 5m]
  --message-every DUR  a message on each connection so often                     [default: 60s]
  --begin-in SECONDS   from now; by then every pod must be there                 [default: 120]
  --namespace NAME     where everything is                                       [default: megaconn]
  --with DIR           the kustomization to apply    [default: the folder of this script]
  --volume             with shared-volume: fetch from its volume
  --out DIR            for parts and what they make together, a new one          [default: runs/DATE-TIME]

Applies the kustomization, with the server that it finds or starts. Leaves DIR/part-N and DIR/result.json, DIR/report.html.
Exit status: that of `megaconn merge`; 1 a part is missing; 2 refused before starting, with the fix.
EOT
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
parts=10 connections=1M rate=20k/s hold=5m message_every=60s begin_in=120 namespace=megaconn with=$here volume='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --volume) volume=yes && shift ;;
        --parts | --connections | --rate | --hold | --message-every | --begin-in | --namespace | --with | --out)
            [ $# -ge 2 ] || refuse "$1 needs a value; fix: see run.sh --help"
            name=${1#--}
            declare "${name//-/_}=$2" && shift 2
            ;;
        *) refuse "unknown argument $1; fix: see run.sh --help" ;;
    esac
done
[[ $parts =~ ^[1-9][0-9]*$ ]] || refuse "--parts $parts is no number of pods; fix: as --parts 10"
[[ $begin_in =~ ^[1-9][0-9]*$ ]] || refuse "--begin-in $begin_in is no number of seconds; fix: as --begin-in 120"
command -v kubectl >/dev/null || refuse "kubectl is missing; fix: install it, and a kubeconfig of the cluster"
megaconn=${MEGACONN:-$(command -v megaconn || echo "$here/../../target/release/megaconn")}
[ -x "$megaconn" ] || refuse "megaconn is missing, which merges; fix: cargo build --release, or MEGACONN=its path"
out=${out:-runs/$(date +%Y%m%d-%H%M%S)}
[ ! -e "$out/result.json" ] || refuse "--out $out has a run; fix: a new directory"
mkdir -p "$out"

kubectl="kubectl --namespace $namespace"
run_id=kubernetes-$(date -u +%Y%m%d-%H%M%S)
# A Job's pods are of one run: the one before goes.
$kubectl delete job megaconn-client --ignore-not-found --wait
kubectl apply -k "$with"
$kubectl rollout status deployment/megaconn-server --timeout=300s
start_at=$(date -u -d "+$begin_in seconds" +%Y-%m-%dT%H:%M:%SZ)
$kubectl create configmap megaconn-run --dry-run=client --output=yaml \
    --from-literal=RUN_ID="$run_id" --from-literal=START_AT="$start_at" --from-literal=MEGACONN_PARTS="$parts" \
    --from-literal=CONNECTIONS="$connections" --from-literal=RATE="$rate" --from-literal=HOLD="$hold" \
    --from-literal=MESSAGE_EVERY="$message_every" | $kubectl apply -f -
$kubectl patch job megaconn-client --type=merge \
    --patch "{\"spec\": {\"completions\": $parts, \"parallelism\": $parts, \"suspend\": false}}"
echo "run $run_id: $parts parts begin at $start_at" >&2

selector=batch.kubernetes.io/job-name=megaconn-client,batch.kubernetes.io/job-completion-index
# What became of the client's container of one part: its pod and its exit status, which is empty while it runs.
part() {
    $kubectl get pods --selector "$selector=$1" \
        --output 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[?(@.name=="client")].state.terminated.exitCode}{"\n"}{end}' |
        head -n 1
}

missing=0 directories=()
for ((index = 0; index < parts; index++)); do
    tries=0
    until read -r pod status <<<"$(part "$index")" && [ -n "$status" ]; do
        sleep 2
        # A pod for which no node has room is waited for, and said.
        if [ $((tries += 1, tries % 30)) = 0 ]; then
            $kubectl get pods --selector "$selector=$index" >&2
        fi
    done
    echo "part $index: exit status $status" >&2
    $kubectl logs "$pod" --container client >"$out/part-$index.log" || true
    if [ -z "$volume" ]; then
        if $kubectl cp --container keeper "$pod:/results/part-$index" "$out/part-$index"; then
            directories+=("$out/part-$index")
            $kubectl exec "$pod" --container keeper -- touch /results/fetched
        else
            missing=$((missing + 1))
        fi
    fi
done
if [ -n "$volume" ]; then
    overrides='{"apiVersion": "v1", "spec": {"securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"}}, "volumes": [{"name": "results",
        "persistentVolumeClaim": {"claimName": "megaconn-results"}}], "containers": [{"name": "fetch",
        "image": "IMAGE", "command": ["sleep", "3600"], "securityContext": {"allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}}, "volumeMounts": [{"name": "results", "mountPath": "/results"}]}]}}'
    image=$($kubectl get deployment megaconn-server --output 'jsonpath={.spec.template.spec.containers[0].image}')
    $kubectl run megaconn-fetch --image="$image" --overrides="${overrides/IMAGE/$image}" --restart=Never
    trap '$kubectl delete pod megaconn-fetch --wait=false' EXIT
    $kubectl wait --for=condition=Ready pod/megaconn-fetch --timeout=120s
    for ((index = 0; index < parts; index++)); do
        if $kubectl cp "megaconn-fetch:/results/part-$index" "$out/part-$index"; then
            directories+=("$out/part-$index")
        else
            missing=$((missing + 1))
        fi
    done
fi
[ "${#directories[@]}" -gt 0 ] || { echo "error: no part left a run directory; fix: see $out/part-*.log" >&2; exit 1; }
status=0
"$megaconn" merge "${directories[@]}" --out "$out" || status=$?
[ "$missing" = 0 ] || { echo "error: $missing of $parts parts left no run directory; fix: see $out/part-*.log" >&2; exit 1; }
exit "$status"
