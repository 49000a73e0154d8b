#!/usr/bin/env bash
# Trains every run of a grid on a dataset: skips finished ones, goes on with interrupted ones, and a failure stops no other.
#
#   scripts/sweep.sh DATASET [options] [-- flags of the training script for every run]
#
#   --seeds "1 2 3"  seeds instead of the grid's
#   --jobs N         runs at a time (default: one for each of the GPUs named)
#   --in_process     start Python and read the images once for all runs of a job, not once a run: for runs of seconds, as
#                    with --freeze butlast
#   --GPU 0,1        GPUs that the runs are spread over, one each; cpu for none (default: left to the training script)
#   --grid FILE      table of the runs (default: scripts/kim2023.txt, which says how to write another)
#   --list           only print each run's state and command
#   --left           the same for those that are not finished
#   --commands       only print the commands, one a line, for any job queue; all of them, or with --left what is left:
#                    scripts/sweep.sh demo --commands | tr '\n' '\0' | xargs -0 -n 1 -P 4 bash -c
#
#   scripts/sweep.sh demo --seeds 1 --jobs 2 --GPU cpu -- --epochs 3
#   scripts/sweep.sh MicroS --jobs 2 --in_process -- --data_dir plankton/MicroS --freeze butlast
#   scripts/sweep.sh MicroS --GPU 0,1,2,3 --jobs 8 -- --data_dir plankton/MicroS
#
# What a run prints goes to <its folder>.out. The exit status is 0 if no run failed, 1 if some did, 2 if the grid or the
# flags are wrong, 143 after Ctrl-C or SIGTERM, which stop all runs; those go on from their last epoch another time.
# Python is $PYTHON, or else that of the active environment, of .venv in the repository, or of the system.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dataset='' jobs='' gpus='' only_print='' in_process='' selection=() extra=()

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

refuse() {
    echo "sweep.sh: $*; see scripts/sweep.sh --help" >&2
    exit 2
}

while (($#)); do
    case $1 in
        --grid | --seeds | --jobs | --GPU)
            (($# > 1)) || refuse "$1 needs a value"
            case $1 in
                --jobs) jobs=$2 ;;
                --GPU) gpus=$2 ;;
                *) selection+=("$1" "$2") ;;
            esac
            shift ;;
        --list) only_print=$1 ;;
        --in_process) in_process=$1 ;;
        --commands | --left) only_print=$1 selection+=("$1") ;;
        -h | --help) usage && exit ;;
        --) shift && extra=("$@") && break ;;
        -*) refuse "there is no option $1; flags of the training script go behind --" ;;
        *) [ -z "$dataset" ] || refuse "one dataset at a time, got $dataset and $1" && dataset=$1 ;;
    esac
    shift
done
[ -n "$dataset" ] || refuse "which dataset?"
[ -z "$only_print" ] || [ -z "$jobs$gpus$in_process" ] || refuse "$only_print starts nothing: no --jobs or --in_process, and --GPU only behind --"
IFS=, read -ra devices <<<"$gpus"
jobs=${jobs:-$((${#devices[@]} > 0 ? ${#devices[@]} : 1))}
[[ $jobs =~ ^[1-9][0-9]*$ ]] || refuse "--jobs must be a whole number above 0, got $jobs"

if [ -z "${PYTHON:-}" ]; then
    PYTHON=$(command -v python3 || true)
    [ ! -x "$repository/.venv/bin/python" ] || PYTHON=$repository/.venv/bin/python
    [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || PYTHON=$(command -v python)
fi
[ -n "$PYTHON" ] || refuse "there is no python3; name one with PYTHON=..."
runs=("$PYTHON" "$repository/scripts/grid.py" "$dataset" ${selection[@]+"${selection[@]}"})
extra=(-- ${extra[@]+"${extra[@]}"})
[ -z "$only_print" ] || exec "${runs[@]}" "${extra[@]}"

table=$("${runs[@]}" --tabs "${extra[@]}") || exit
states=() folders=() commands=()
while IFS=$'\t' read -r state folder command; do
    states+=("$state") folders+=("$folder") commands+=("$command")
done <<<"$table"
total=${#commands[@]}

if [ -z "${OMP_NUM_THREADS:-}" ] && ((jobs > 1)); then
    cores=$(getconf _NPROCESSORS_ONLN)
    export OMP_NUM_THREADS=$((cores > jobs ? cores / jobs : 1)) # otherwise every run would take all cores
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

signalled=''

# Tells processes to stop once a signal has come, which it may before the number of the latest is known.
pass_on() { [ -z "$signalled" ] || kill -TERM "$@" 2>/dev/null || true; }

# Takes runs that no other worker has taken, on one device, until none is left or a signal comes.
work() {
    local device=$1 child='' i status start reason
    trap '' INT # Ctrl-C reaches every process of the terminal: the main one tells the workers, they tell their runs
    trap 'signalled=1; pass_on $child' TERM
    for ((i = 0; i < total; i++)); do
        [ -z "$signalled" ] || break
        case ${states[i]} in finished | running) continue ;; esac
        mkdir "$scratch/$i" 2>/dev/null || continue
        mkdir -p "$(dirname "${folders[i]}")"
        echo "[$((i + 1))/$total] starts     ${folders[i]}${device:+  (--GPU $device)}"
        start=$SECONDS status=0
        bash -c "exec ${commands[i]} ${device:+--GPU $device}" >>"${folders[i]}.out" 2>&1 &
        child=$!
        pass_on "$child"
        wait "$child" || status=$?
        while kill -0 "$child" 2>/dev/null; do # a signal ends the first wait before the run has ended
            status=0
            wait "$child" || status=$?
        done
        child=''
        echo "$status" >"$scratch/$i/status"
        if ((status == 0)); then
            echo "[$((i + 1))/$total] finished   ${folders[i]}  ($((SECONDS - start)) s)"
        elif [ -z "$signalled" ]; then
            reason=$(tail -n 1 "${folders[i]}.out" | tr '\r' '\n' | tail -n 1)
            echo "[$((i + 1))/$total] FAILED     ${folders[i]}  (status $status: $reason)"
        fi
    done
}

# The same in one process, which says itself what becomes of the runs that it takes.
work_in_process() {
    local device=$1 child=''
    trap '' INT
    trap 'signalled=1; pass_on $child' TERM
    "${runs[@]}" --in_process --claims "$scratch" "${extra[@]}" ${device:+--GPU "$device"} &
    child=$!
    pass_on "$child"
    while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
}

workers=()
trap 'signalled=1; pass_on ${workers[@]+"${workers[@]}"}' INT TERM
for ((slot = 0; slot < jobs; slot++)); do
    [ -z "$signalled" ] || break
    device=''
    ((${#devices[@]} == 0)) || device=${devices[slot % ${#devices[@]}]}
    work${in_process:+_in_process} "$device" &
    workers+=($!)
    pass_on $!
done
for worker in ${workers[@]+"${workers[@]}"}; do
    while kill -0 "$worker" 2>/dev/null; do wait "$worker" || true; done
done

finished=0 running=0 failed=() left=()
for ((i = 0; i < total; i++)); do
    status=$(cat "$scratch/$i/status" 2>/dev/null || true)
    if [ -f "${folders[i]}/metrics.csv" ]; then
        finished=$((finished + 1))
    elif [ "${states[i]}" = running ]; then
        running=$((running + 1))
    elif [ -n "$status" ] && [ -z "$signalled" ]; then
        failed+=("failed  ${folders[i]}  (see ${folders[i]}.out)")
    else
        left+=("left    ${folders[i]}")
    fi
done
echo "$dataset: $finished of $total runs finished, ${#failed[@]} failed, ${#left[@]} left, $running running elsewhere"
for line in ${failed[@]+"${failed[@]}"} ${left[@]+"${left[@]}"}; do echo "$line"; done
[ -z "$signalled" ] || exit 143
((${#failed[@]} + ${#left[@]} == 0)) || exit 1
