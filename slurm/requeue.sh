#!/usr/bin/env bash
# requeue.sh COMMAND [ARGUMENT …]: run a command in a batch job so that it can be interrupted and goes on in the same job.
#
# USR1 comes before the time limit or a preemption (--signal=B:USR1@120): handed on, upon which memphis writes a checkpoint
# and ends with status 85, which means "start me again". TERM comes from scancel, a requeue or a limit that is over, and
# goes to every process of the job anyway: it is waited out, and Slurm decides what happens next.
# No srun: on one node it adds nothing, and it would hand USR1 on to every process of the step, of which W&B's service dies.
unset WANDB_SERVICE # of the shell that submitted the job

asked="" interrupted=""
trap 'interrupted=1 asked=USR1; [ -z "${child:-}" ] || kill -USR1 "$child" 2>/dev/null' USR1
trap 'interrupted=1 asked="${asked:-TERM}"' TERM

"$@" &
child=$!
status=127
while true; do # a signal ends `wait` before the command has ended
    interrupted=""
    wait "$child"
    seen=$?
    [ "$seen" = 127 ] || status=$seen
    [ -n "$interrupted" ] || break
done

# 138: USR1 came before the program had begun to listen.
if { [ "$status" = 85 ] || [ "$status" = 138 ]; } && [ "$asked" != TERM ]; then
    # An array's task by its own number: the job id of one of them names the whole array.
    id="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"
    echo "requeue.sh: interrupted; job ${id:-$SLURM_JOB_ID} goes on when it is started again"
    scontrol requeue "${id:-$SLURM_JOB_ID}" && sleep 60 # Slurm ends this script
fi
exit "$status"
