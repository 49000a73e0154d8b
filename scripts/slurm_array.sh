#!/usr/bin/env bash
#SBATCH --job-name=sweep
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
#SBATCH --output=slurm-%A_%a.out
#
# The runs of scripts/sweep.sh as a SLURM array, one a task. Submit from the repository; give what your cluster needs
# (partition, account) to sbatch, and the dataset and options of sweep.sh behind the script:
#
#   scripts/sweep.sh CIFAR100 --commands | wc -l
#   sbatch --array=1-70%8 scripts/slurm_array.sh CIFAR100 -- --data_dir /data/cifar
#   sbatch --gres=none --array=1-70%8 scripts/slurm_array.sh demo -- --GPU cpu          # on nodes without a GPU
#
# A task goes on where an earlier one stopped and ends at once if its run is finished, so the same array can be
# submitted again. Three minutes before the time limit the run is stopped and its task queued again; on SIGTERM, as sent
# before a machine is taken back, it is stopped, and SLURM queues it again by itself (--requeue).

set -euo pipefail

repository=${SLURM_SUBMIT_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)} # SLURM runs a copy kept elsewhere
task=${SLURM_ARRAY_TASK_ID:?is not set: submit with sbatch --array=1-N}

if [[ " $* " == *" --left "* ]]; then
    echo "leave out --left: the lines of the list must stay the same from task to task; a finished run ends at once" >&2
    exit 2
fi
commands=$("$repository/scripts/sweep.sh" --commands "$@")
command=$(sed -n "${task}p" <<<"$commands")
if [ -z "$command" ]; then
    echo "there is no run $task: submit with --array=1-$(wc -l <<<"$commands")" >&2
    exit 2
fi

echo "run $task: $command"
timed_out='' signalled='' child=''
pass_on() { [ -z "$signalled" ] || kill -TERM $child 2>/dev/null || true; } # the signal may come before the child is known
trap 'signalled=1; pass_on' TERM
trap 'signalled=1 timed_out=1; pass_on' USR1
bash -c "exec $command" &
child=$!
pass_on
status=0
wait "$child" || status=$?
while kill -0 "$child" 2>/dev/null; do # a signal ends the first wait before the run has ended
    status=0
    wait "$child" || status=$?
done
if [ -n "$timed_out" ] && ((status != 0)); then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
