#!/usr/bin/env bash
# The executables under the templates on a real Slurm of two virtual nodes: tokenize, pretrain over both nodes with a stop and a
# requeue in the middle, the same without a stop, evaluate, sweep. SELENITE_BIN names the folder of the executables.
set -euo pipefail
: "${SELENITE_BIN:?SELENITE_BIN must name the folder of the executables}"
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# A small corpus: every paragraph of the licence, many times, each time with another number in it.
for i in $(seq 60); do
  awk -v RS= -v i="$i" '{gsub(/[\\"]/, "\\\\&"); gsub(/\n */, " "); print "{\"text\": \"" i " " $0 "\"}"}' "$root/LICENSE"
done >text.jsonl
tokens=$(submit tokens preprocess tokenize --tokenizer bytes --append-eod --output "$work/tokens" "$work/text.jsonl")
ends_as "$tokens" COMPLETED 60 tokens

cat >run.toml <<END
[model]
layers = 2
hidden = 64
heads = 2
vocab_size = 512
sequence_length = 64
[train]
micro_batch = 2
global_batch = 8
steps = 300
precision = "bf16"
[data]
train = ["$work/tokens"]
tokenizer = "bytes"
[checkpoint]
every = 1000
[log]
every = 1
[run]
folder = "$work/stopped"
threads = 1
END
losses() { sed -n 's/.*"step": *\([0-9]*\).*"loss": *\([^,}]*\).*/\1 \2/p' "$1/metrics.jsonl"; }
steps_of() { losses "$1" 2>/dev/null | wc -l; }
at_step() { [ "$(steps_of "$1")" -ge "$2" ]; }

# Stopped in the middle as by the time limit, requeued, resumed.
job=$(submit pretrain --nodes=2 pretrain run.toml)
wait_for 60 at_step stopped 40 || fail "pretraining did not come to step 40"
scancel --batch --signal=USR1 "$job"
wait_for 60 has pretrain.out "requeued: the time limit is near" || fail "pretraining was not requeued"
before=$(steps_of stopped)
ends_as "$job" COMPLETED 120 pretrain
expect stopped/run.json '"result": "finished"'
expect pretrain.out "restart 1"
[ "$before" -lt 300 ] || fail "the run was not stopped in the middle, but at step $before"
[ "$(steps_of stopped)" = 300 ] || fail "there are losses of $(steps_of stopped) steps, not of 300"

# Never stopped: the same losses, to the last digit.
job=$(submit whole --nodes=2 pretrain run.toml --set run.folder="$work/whole")
ends_as "$job" COMPLETED 120 whole
losses stopped >stopped.losses; losses whole >whole.losses
cmp stopped.losses whole.losses || fail "a run that was stopped has other losses than one that was not"
[ "$(awk 'NR == 1 {first = $2} END {print ($2 < first - 1)}' whole.losses)" = 1 ] || fail "the loss did not fall by 1: $(sed -n '1p;$p' whole.losses | xargs)"

job=$(submit evaluate evaluate "$work/stopped" --split valid --samples 32)
ends_as "$job" COMPLETED 60 evaluate
grep -qi perplexity evaluate.out || fail "the evaluation names no perplexity"

cat >study.toml <<END
[study]
name = "virtual"
base = "run.toml"
[set]
train.steps = 4
checkpoint.save_at_end = false
[axes]
train.micro_batch = [1, 2]
END
job=$(submit sweep --nodes=1 sweep study.toml --folder "$work/study")
ends_as "$job" COMPLETED 120 sweep
[ -s study/report.html ] || fail "the sweep left no report"

# A mistake in the run file ends the job at once, with the reason.
job=$(submit mistake --nodes=2 pretrain run.toml --set model.layer=3)
ends_as "$job" FAILED 30 mistake
expect mistake.out "model.layers"
passed
