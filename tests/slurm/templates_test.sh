#!/usr/bin/env bash
# The templates on a real Slurm of two virtual nodes, with stand-ins for the executables: signals, requeue, results.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
export SELENITE_BIN=$root/tests/slurm/stand_in

# A second site, whose ranks are started by mpirun.
cat "$root/slurm/sites/virtual.sh" - >"$work/by_mpirun.sh" <<'END'
# shellcheck shell=bash disable=SC2034
site_launcher=(mpirun)
END

# All of these run at once; each takes part of a node. Steps take 0.1 s: enough that none ends before its signal comes.
requeued=$(submit requeued --nodes=2 pretrain "$work/requeued" 150)
cancelled=$(submit cancelled --nodes=1 pretrain "$work/cancelled" 600)
mpirun=$(submit mpirun --site "$work/by_mpirun.sh" --nodes=2 pretrain "$work/mpirun" 150)
hung=$(submit hung --nodes=1 pretrain "$work/hung" 60 hang)
later=$(submit later --nodes=1 pretrain "$work/later" 6 hang-later)
limited=$(SELENITE_MAX_RESTARTS=0 submit limited --nodes=1 pretrain "$work/limited" 600)

starts() { # NAME RANKS : each of its ranks catches signals
  local rank
  for rank in $(seq 0 $(($2 - 1))); do
    wait_for 60 has "$work/$1.out" "rank $rank of $2 starts at step 0" || fail "rank $rank of job $1 did not start"
  done
}
starts requeued 2
starts mpirun 2
starts cancelled 1
starts limited 1

# Pretraining over two nodes: USR1 to the batch shell, as --signal=B:USR1@N sends it, must reach every rank.
scancel --batch --signal=USR1 "$requeued"
scancel --batch --signal=USR1 "$mpirun"
wait_for 20 has "$work/requeued.out" "requeued: the time limit is near" || fail "the job was not requeued"
expect "$work/requeued.out" "rank 0 on node1: stopped"
expect "$work/requeued.out" "rank 1 on node2: stopped"

# No requeue beyond the limit, and the reason is said.
scancel --batch --signal=USR1 "$limited"
ends_as "$limited" FAILED 20 limited
expect "$work/limited.out" "Not requeued (the time limit is near"

# scancel means the end: the run saves, and nothing is queued again.
scancel "$cancelled"
ends_as "$cancelled" CANCELLED 20 cancelled
expect "$work/cancelled/run.json" '"result": "stopped"'
expect_not "$work/cancelled.out" "requeued:"

# A hang without progress is not tried again, and its code reaches Slurm.
ends_as "$hung" FAILED 30 hung
expect "$work/hung.out" "Not requeued after a hang"
scontrol show job "$hung" | grep -qF "ExitCode=75:0" || fail "the exit code of the hang is not 75"
# With progress it is, and then goes on from there.
ends_as "$later" COMPLETED 40 later
expect "$work/later.out" "requeued: a hang was found, after progress"
expect "$work/later.out" "starts at step 3"

wait_for 20 has "$work/mpirun.out" "requeued: the time limit is near" || fail "the job under mpirun was not requeued"
expect "$work/mpirun.out" "rank 0 on node1: stopped"
expect "$work/mpirun.out" "rank 1 on node2: stopped"

preprocess=$(submit preprocess preprocess tokenize "$work/tokens" 4)
sweep=$(submit sweep sweep "$work" 4)
evaluate=$(submit evaluate evaluate "$work/requeued" --prompt "two words" 0)
broken=$(submit broken evaluate "$work/nowhere" 3)
wait_for 20 test -s "$work/points" || fail "the sweep did not start"
scancel --batch --signal=USR1 "$preprocess"
scancel --batch --signal=USR1 "$sweep"

ends_as "$evaluate" COMPLETED 30 evaluate
expect "$work/evaluate.out" "evaluates $work/requeued --prompt two words 0"
ends_as "$broken" FAILED 30 broken
ends_as "$requeued" COMPLETED 60 requeued
expect "$work/requeued.out" "restart 1"
expect "$work/requeued/run.json" '"result": "finished"'
expect "$work/requeued/run.json" '"step": 150'
expect_not "$work/requeued.out" "restart 2"
ends_as "$mpirun" COMPLETED 60 mpirun
expect "$work/mpirun/run.json" '"result": "finished"'
ends_as "$preprocess" COMPLETED 60 preprocess
expect "$work/preprocess.out" "restart 1"
[ "$(wc -l <"$work/tokens")" = 4 ] || fail "preprocessing wrote $(wc -l <"$work/tokens") lines, not 4"
ends_as "$sweep" COMPLETED 60 sweep
expect "$work/report.txt" "report of 4 points"

# What can be known before anything is queued.
"$root/slurm/submit.sh" --dry-run --nodes=2 pretrain run.toml >dry.out 2>&1 || fail "--dry-run of a possible job failed"
expect dry.out "sbatch --ntasks-per-node=1 --nodes=2"
if "$root/slurm/submit.sh" --dry-run --nodes=9 pretrain run.toml >dry.out 2>&1; then fail "--dry-run let nine nodes pass"; fi
if "$root/slurm/submit.sh" --site nowhere pretrain run.toml >dry.out 2>&1; then fail "an unknown site was accepted"; fi
expect dry.out "There is no site nowhere"
nofile=$(submit nofile pretrain)
ends_as "$nofile" FAILED 20 nofile
expect "$work/nofile.out" "No run file was given"
passed
