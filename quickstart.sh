#!/usr/bin/env bash
# From a fresh machine to a trained, evaluated and measured GPT, in minutes, with everything it makes under ./quickstart/.
#   ./quickstart.sh [--text FOLDER] [--no-install] [STEP]...
#   --text FOLDER   train on the *.txt files of this folder instead of the sample corpus
#   --no-install    install nothing; libraries come from where CMake finds them
#   STEP            only these, in this order: build corpus tokenizer tokens pretrain evaluate sweep
# A step whose inputs have not changed and whose output is there is skipped. Remove ./quickstart/ to begin anew.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/setup.sh
. tools/setup.sh

texts='' install=1 steps=()
while [ $# -gt 0 ]; do
  case $1 in
  --text) texts=$(readlink -f "${2:?"--text needs a folder"}"); shift 2 ;;
  --no-install) install=0; shift ;;
  build | corpus | tokenizer | tokens | pretrain | evaluate | sweep) steps+=("$1"); shift ;;
  -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) die "Unknown argument $1 (it is neither an option nor a step). See --help." ;;
  esac
done
[ "${#steps[@]}" -gt 0 ] || steps=(build corpus tokenizer tokens pretrain evaluate sweep)

q=quickstart
bin=build/release/bin
run_file=data/quickstart/pretrain.toml
study_file=scaling/studies/quickstart.toml
longest=${QUICKSTART_SECONDS:-240}   # of pretraining, at most
mkdir -p "$q/.done"
summary=()

# step NAME OUTPUT "INPUT..." COMMAND... : runs the command unless OUTPUT is there, made by the same command from the same inputs.
# A relative input or output holds no spaces.
step() {
  local name=$1 output=$2 inputs=$3 key started; shift 3
  # shellcheck disable=SC2086 # a list of files
  key=$( (printf '%s\n' "$*"; cksum $inputs) | cksum)
  if [ -s "$output" ] && [ "$(cat "$q/.done/$name" 2>/dev/null)" = "$key" ]; then
    say "== $name: done before"
    summary+=("$(printf '%-10s %6s' "$name" 'before')")
    return
  fi
  say "== $name"
  rm -f "$q/.done/$name"
  started=$SECONDS
  set +e   # a subshell of its own, since bash ignores -e in whatever stands left of ||
  (set -e; "$@")
  local code=$?
  set -e
  [ "$code" = 0 ] || die "Step $name failed (exit code $code, see above). Correct it and start again; what is done is kept."
  [ -s "$output" ] || die "Step $name left no $output (although it ended well). This is a defect; please report it with the output above."
  printf '%s\n' "$key" >"$q/.done/$name"
  summary+=("$(printf '%-10s %4d s' "$name" $((SECONDS - started)))")
}

make_build() {
  local started=$SECONDS
  say "== build"
  [ "$install" = 0 ] || selenite_install needed build run
  [ "$install" = 0 ] || selenite_install optional speed
  selenite_build release selenite-preprocess selenite-pretrain selenite-evaluate selenite-sweep
  summary+=("$(printf '%-10s %4d s' build $((SECONDS - started)))")
}
make_corpus() { data/fetch_corpus.sh "$q/corpus" ${texts:+"$texts"}; }
make_tokenizer() { "$bin/selenite-preprocess" train-tokenizer --vocab-size 8192 --overwrite --output "$q/tokenizer" "$q/corpus/train.jsonl"; }
make_tokens() {
  local split
  mkdir -p "$q/tokens"
  for split in train valid; do
    # what an earlier run left may be of another tokenizer
    "$bin/selenite-preprocess" tokenize --restart --overwrite --append-eod --tokenizer "$q/tokenizer" --output "$q/tokens/$split" "$q/corpus/$split.jsonl"
  done
}
make_pretrain() {
  # A run on other inputs begins anew; one that was cut off goes on.
  local key; key=$(cksum "$run_file" "$q/tokens/train.idx" "$q/tokens/valid.idx" | cksum)
  [ "$(cat "$q/run/.inputs" 2>/dev/null)" = "$key" ] || rm -rf "$q/run"
  mkdir -p "$q/run"
  printf '%s\n' "$key" >"$q/run/.inputs"
  "$bin/selenite-pretrain" "$run_file" --dry-run
  # On a machine much slower than planned USR1 lets it save and stop, so that the rest still comes.
  local code=0
  timeout --foreground --signal=USR1 --kill-after=60 "$longest" "$bin/selenite-pretrain" "$run_file" || code=$?
  if [ "$code" = 124 ]; then
    say "Pretraining was stopped after $longest s with a checkpoint. Start again to go on from it."
  fi
  [ "$code" = 0 ] || [ "$code" = 124 ]
}
make_evaluate() {
  "$bin/selenite-evaluate" "$q/run" --split valid --samples 400 --prompt "The history of" | tee "$q/evaluation.partial"
  mv "$q/evaluation.partial" "$q/evaluation.txt"
}
make_sweep() {
  local code=0
  "$bin/selenite-sweep" run "$study_file" --folder "$q/sweep" || code=$?
  [ "$code" = 0 ] || [ "$code" = 3 ]   # 3: some points failed, and the report tells why
  "$bin/selenite-sweep" report "$study_file" --folder "$q/sweep"
}

selenite_mpi_environment
for name in "${steps[@]}"; do
  case $name in
  build) make_build ;;
  corpus) step corpus "$q/corpus/train.jsonl" "data/fetch_corpus.sh" make_corpus "$texts" ;;
  tokenizer) step tokenizer "$q/tokenizer/vocab.json" "$q/corpus/train.jsonl" make_tokenizer ;;
  tokens) step tokens "$q/tokens/valid.idx" "$q/tokenizer/vocab.json $q/corpus/train.jsonl $q/corpus/valid.jsonl" make_tokens ;;
  pretrain) step pretrain "$q/run/run.json" "$run_file $q/tokens/train.idx $q/tokens/valid.idx" make_pretrain
    grep -q '"result": "finished"' "$q/run/run.json" || rm -f "$q/.done/pretrain" ;;   # the next start goes on
  evaluate) step evaluate "$q/evaluation.txt" "$q/run/run.json" make_evaluate ;;
  sweep) step sweep "$q/sweep/report.html" "$study_file $run_file $q/tokens/train.idx" make_sweep ;;
  esac
done

say
say "Time by step:"
printf '  %s\n' "${summary[@]}" "$(printf '%-10s %4d s' all "$SECONDS")"
[ "${steps[-1]}" = sweep ] || exit 0
cat <<END

What was made, all of it under $PWD/$q:
  corpus/train.jsonl, valid.jsonl   the text, one document a line (data/README.md tells its sources and licences)
  tokenizer/                        a byte-level BPE of 8,192 tokens: vocab.json, merges.txt
  tokens/train.bin, .idx            the tokenized corpus
  run/                              the run: run.json (config, result), metrics.jsonl, TensorBoard files, checkpoints
  evaluation.txt                    loss and perplexity on held-out text, beside a unigram baseline, and a sample
  sweep/report.html                 speed, memory and prediction of a small study; open it in a browser

What to do next:
  $bin/selenite-evaluate $q/run --prompt "Once upon a time"
  $bin/selenite-pretrain $run_file --set train.steps=400          (goes on from the checkpoint)
  $bin/selenite-pretrain $run_file --set model.layers=12 --set run.folder=$q/deeper --dry-run
  mpirun -n 2 $bin/selenite-pretrain $run_file --set run.folder=$q/two-ranks
  slurm/submit.sh --help                          the same on a cluster
END
