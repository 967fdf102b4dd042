#!/usr/bin/env bash
# A study on a real Slurm of two virtual nodes: arrays by node count with a throttle, failures with their reasons, what Slurm did
# to jobs, the dependent collector, nothing run twice. SELENITE_BIN names the folder of the executables.
set -euo pipefail
: "${SELENITE_BIN:?SELENITE_BIN must name the folder of the executables}"
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
export SELENITE_SLURM=$root/slurm
sweep=$SELENITE_BIN/selenite-sweep

for i in $(seq 20); do
  awk -v RS= -v i="$i" '{gsub(/[\\"]/, "\\\\&"); gsub(/\n */, " "); print "{\"text\": \"" i " " $0 "\"}"}' "$root/LICENSE"
done >text.jsonl
"$SELENITE_BIN/selenite-preprocess" tokenize --tokenizer bytes --append-eod --output "$work/tokens" "$work/text.jsonl" >tokenize.out 2>&1

cat >base.toml <<END
[model]
layers = 2
hidden = 64
heads = 2
vocab_size = 512
sequence_length = 64
[train]
micro_batch = 1
steps = 6
precision = "fp32"
[data]
train = ["$work/tokens"]
tokenizer = "bytes"
[log]
every = 1
[run]
threads = 1
END
study() { # NAME HEAD SLURM REST
  cat >"$1.toml" <<END
[study]
name = "$1"
base = "base.toml"
launcher = "slurm"
drop_steps = 1
$2
[slurm]
ranks_per_node = 1
time = "00:05:00"
$3
$4
END
}
jobs_of() { squeue -h -r -t all -o '%j %T' | awk -v name="$1" '$1 ~ "^" name {print $2}'; }
running() { jobs_of "$1" | grep -cx RUNNING || true; }
all_ended() { [ "$(jobs_of "$1" | grep -cvE '^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)$')" = 0 ]; }

# Two node counts; a point whose data are not there fails.
study scale "ranks = [1, 2]
repeats = 2" "throttle = 1" '[set]
train.global_batch = 4
[axes]
train.seed = [1, 2]'
"$sweep" plan scale.toml >plan.out
expect plan.out "4 points, 2 repeats each"
expect plan.out "--nodes=2"
expect plan.out "--array=0-3%1"
expect plan.out "--dependency=afterany:<array 1>:<array 2>"
expect plan.out "run-point"
[ ! -e study-scale ] || fail "plan left a folder"
[ -z "$(squeue -h -t all)" ] || fail "plan submitted something"

"$sweep" submit scale.toml >submit.out
expect submit.out "8 repeats submitted in 2 job arrays"
most=0
for _ in $(seq 600); do
  now=$(running scale-1n)
  [ "$now" -le "$most" ] || most=$now
  if all_ended scale; then break; fi
  sleep 0.1
done
[ "$most" = 1 ] || fail "$most elements of an array ran at once under a throttle of 1"
all_ended scale || { fail "the study did not end in time"; squeue -t all; tail -n 5 study-scale/jobs/*; }
"$sweep" status scale.toml >status.out
expect status.out "8 done"
[ -s study-scale/report.html ] || { fail "the collector left no report"; cat study-scale/jobs/collect-*.out || true; }
expect study-scale/report.csv ",done,"
[ "$(grep -ls '"nodes": "node\[1-2\]"' study-scale/*/repeat-*/point.json | wc -l)" = 4 ] || fail "the nodes of two-rank points are not recorded"
grep -qs '"job": "[0-9]*_[0-9]*"' study-scale/*/repeat-1/point.json || fail "no job id is recorded"
grep -qs '"ranks": 2' study-scale/ranks=2*/repeat-1/run.json || fail "two-rank points did not run on two ranks"
"$sweep" submit scale.toml >again.out
expect again.out "Nothing to submit"

# What goes wrong keeps its reason: no data, a job that is cancelled, a job that runs out of its time.
study trouble "timeout_minutes = 5" "" '[set]
train.global_batch = 1
train.steps = 100000
[[zip]]
train.seed = [1, 2, 3]
data.train = ["'"$work"'/nowhere", "'"$work"'/tokens", "'"$work"'/tokens"]'
"$sweep" submit trouble.toml >trouble.out
array=$(sed -n 's/.*job array (\([0-9]*\)).*/\1/p' trouble.out)
wait_for 60 grep -qs '"status": "running"' study-trouble/*seed=2*/repeat-1/point.json || fail "the second point did not start"
wait_for 60 grep -qs '"status": "running"' study-trouble/*seed=3*/repeat-1/point.json || fail "the third point did not start"
"$sweep" status trouble.toml >status.out
expect status.out "running since"
scancel --batch --signal=USR1 "${array}_1"   # as Slurm does before the time limit
scancel "${array}_2"
wait_for 90 all_ended trouble || { fail "the points did not end"; squeue -t all; }
"$sweep" status trouble.toml >status.out
expect status.out "1 failed"
expect status.out "1 timeout"
expect status.out "1 pending"
expect status.out "nowhere"
expect status.out "The time limit of its job came"
wait_for 30 test -s study-trouble/report.md || fail "the collector left no report of failures"
expect study-trouble/report.md "timeout"

# Only what is asked for again is submitted again: the cancelled one, and by --retry the failed ones.
"$sweep" submit trouble.toml >again.out
expect again.out "1 repeat submitted"
scancel --me
wait_for 60 all_ended trouble || fail "the second submission was not cancelled"
"$sweep" submit --retry trouble.toml >again.out
expect again.out "3 repeats submitted"
scancel --me
grep -qs '"attempts": \[' study-trouble/*seed=2*/repeat-1/point.json || fail "the earlier attempt is not kept"

# Slurm says no: the reason is shown, and nothing is lost.
study refused "" 'options = ["--partition=nowhere"]' '[set]
train.global_batch = 4'
if "$sweep" submit refused.toml >refused.out 2>&1; then fail "an unknown partition was accepted"; fi
expect refused.out "invalid partition"
"$sweep" status refused.toml >status.out
expect status.out "1 pending"
passed
