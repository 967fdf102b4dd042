#!/usr/bin/env bash
# Proves and measures the CUDA backend on the GPU of this machine, in ten minutes at most, without network or package manager.
#   tests/gpu/check.sh [--bin FOLDER] [--out FOLDER] [--quick] [--profile]
#   --bin FOLDER   executables built before; default: those that tests/gpu/pack.sh packed beside this, else they are built here
#   --out FOLDER   where results go (default scaling/results/<name of the GPU>)
#   --quick        correctness alone
#   --profile      also the time of each kernel of a step, by ncu (kernels.csv, and a table in check.md)
# First the tests, several at a time, each against the double-precision references, PyTorch's golden values or one rank on the CPU; then the
# machine's ceilings, the operations' speed, training steps, and PyTorch training the same where a python3 has it.
# Writes check.jsonl (each measurement), check.md (the figures beside their goals) and machine.toml (of selenite-sweep
# calibrate). Exit code: 0; 1 if a test failed, while measurements come in any case; 77 if there is no GPU here.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

bin='' out='' quick=0 profile=0
ends=$((SECONDS + ${SELENITE_CHECK_SECONDS:-600}))
while [ $# -gt 0 ]; do
  case $1 in
  --bin) bin=${2:?"--bin needs a folder"}; shift 2 ;;
  --out) out=${2:?"--out needs a folder"}; shift 2 ;;
  --quick) quick=1; shift ;;
  --profile) profile=1; shift ;;
  -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "Unknown argument $1 (it is not in --help)." >&2; exit 2 ;;
  esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$bin" ] && [ -f packed.tar.xz ]; then
  if command -v xz >/dev/null; then
    tar -xJf packed.tar.xz -C "$work"
  else # Python has it, too
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' packed.tar.xz "$work"
  fi || { echo "packed.tar.xz can't be unpacked into $work (that needs xz, or python3). Copy it again, or make room there." >&2; exit 1; }
  bin=$work/packed
fi

# --- the machine

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
name=$(sed 's/^NVIDIA //; s/ .*//' <<<"${gpu:-none}" | tr '[:upper:]' '[:lower:]')
case $gpu in # dense bf16 of the data sheets
*H100*PCIe*) peak=756e12 ;;
*H100* | *H200*) peak=989e12 ;;
*A100*) peak=312e12 ;;
*B200*) peak=2250e12 ;;
*) peak=0 ;;
esac
python=''
for candidate in python3 /opt/torch/.venv/bin/python3; do
  if command -v "$candidate" >/dev/null 2>&1; then python=${python:-$candidate}; fi
done
# CUDA's libraries: the toolkit's, or those that PyTorch brought
site=$([ -z "$python" ] || "$python" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null)
for folder in /usr/local/cuda/lib64 "$site"/*/lib; do
  if [ -d "$folder" ]; then LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder; fi
done
export LD_LIBRARY_PATH

# What can be said without a GPU: do the executables start here?
say_what_starts() {
  local executable missing starts=0 all=0
  for executable in "$bin"/bin/* "$bin"/tests/*; do
    if [ ! -f "$executable" ] || [ ! -x "$executable" ]; then continue; fi
    all=$((all + 1))
    missing=$(LC_ALL=C ldd "$executable" 2>&1 | awk '/not found/ {print $1}' | sort -u | tr '\n' ' ')
    if [ -n "$missing" ]; then echo "  $(basename "$executable") lacks $missing"; else starts=$((starts + 1)); fi
  done
  echo "  $starts of $all executables find their libraries."
  if [ -x "$bin/bin/selenite-sweep" ]; then
    "$bin/bin/selenite-sweep" --version 2>&1 | head -n 1 | sed 's/^/  selenite-sweep --version: /'
    "$bin/bin/selenite-sweep" calibrate /dev/null --set run.backend=cuda 2>&1 | grep . | head -n 1 | sed 's/^/  with run.backend=cuda: /'
  fi
}
if [ -z "$gpu" ]; then
  echo "There is no GPU here: nvidia-smi is missing or shows none. Run this on a machine with an NVIDIA GPU and its driver."
  if [ -n "$bin" ]; then say_what_starts; else echo "  There are no executables here either: pass --bin, or pack them by tests/gpu/pack.sh."; fi
  echo "Skipped, each for want of a GPU: the operations' tables; golden values; drawn layouts; kill and resume;"
  echo "  compute-sanitizer; ceilings; the operations' speed; training steps; a layer of the 1T model; PyTorch."
  exit 77
fi
out=${out:-scaling/results/$name}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit
results=$out/check.jsonl notes=$out/check.notes
: >"$results"; : >"$notes"
echo "GPU: $gpu. Results go to $out."

if [ -z "$bin" ]; then
  if ! { cmake --preset cuda && cmake --build build/cuda -j "$(nproc)"; } >"$out/build.log" 2>&1; then
    tail -n 20 "$out/build.log"; echo "The build failed (see $out/build.log). Correct it, or pass --bin." >&2; exit 1
  fi
  bin=$PWD/build/cuda
fi
# --- tests

note() { echo "$*"; echo "$*" >>"$notes"; }
left() { echo $((ends - SECONDS)); }
# check NAME LIMIT COMMAND... : runs it for LIMIT seconds at most, and keeps its output if it fails, with what compute-sanitizer
# finds in the same test. Several run at a time: most of a test is its reference, on the CPU. `finish` waits for them.
atonce=$(($(nproc) < 8 ? $(nproc) : 8))
mkdir "$work/said"
check() {
  while [ "$(jobs -rp | wc -l)" -ge "$atonce" ]; do wait -n; done
  run_check "$@" >"$work/said/$1" &
}
run_check() {
  local test=$1 limit=$2 started=$SECONDS code log=$out/$1.log; shift 2
  if [ "$(left)" -lt 5 ]; then echo "left out  $test: the time is over"; return; fi
  timeout -k 5 "$((limit < $(left) ? limit : $(left)))" "$@" >"$log" 2>&1; code=$?
  case $code in
  0) echo "passed    $test ($((SECONDS - started)) s)"; rm -f "$log" ;;
  77) echo "skipped   $test: $(tail -n 1 "$log")"; rm -f "$log" ;;
  *)
    echo "FAILED    $test (exit code $code, $((SECONDS - started)) s), see $log"
    tail -n 5 "$log" | sed 's/^/            /'
    if [[ $1 == */tests/* ]] && command -v compute-sanitizer >/dev/null; then
      { echo "=== under compute-sanitizer"; timeout -k 5 40 compute-sanitizer --print-limit 20 "$@" 2>&1 | grep '^=========' | head -n 200; } >>"$log"
    fi
    ;;
  esac
}
failed=() passed=0
finish() { # shows what each said, in the order of their names
  local said
  wait
  for said in "$work"/said/*; do
    while IFS= read -r line; do note "$line"; done <"$said"
    case $(head -n 1 "$said") in
    passed*) passed=$((passed + 1)) ;;
    FAILED*) failed+=("$(basename "$said")") ;;
    esac
  done
}
present() { [ -x "$1" ] || { note "left out  $(basename "$1"): it is not among the executables"; return 1; }; }

losses() { sed -n 's/.*"step": *\([0-9]*\).*"loss": *\([^,}]*\).*/\1 \2/p' "$1/metrics.jsonl"; }
# A run that was killed goes on as if nothing had been.
kill_and_resume() {
  local pid settings=() setting
  awk '{gsub(/[\\"]/, " "); gsub(/[[:cntrl:]]/, " "); print "{\"text\": \"" $0 "\"}"}' tests/gpu/*.sh tests/gpu/*.py >"$work/text.jsonl"
  "$bin/bin/selenite-preprocess" train-tokenizer --vocab-size 512 --output "$work/tokenizer" "$work/text.jsonl" || return
  "$bin/bin/selenite-preprocess" tokenize --append-eod --tokenizer "$work/tokenizer" --output "$work/corpus" "$work/text.jsonl" || return
  for setting in model.layers=4 model.hidden=256 model.heads=4 model.vocab_size=512 model.sequence_length=128 train.micro_batch=4 \
    train.global_batch=16 train.steps=600 train.precision=fp32 train.deterministic=true checkpoint.every=20 checkpoint.keep=2 \
    run.backend=cuda log.tensorboard=false data.train="$work/corpus" data.cache="$work/cache"; do
    settings+=(--set "$setting")
  done
  "$bin/bin/selenite-pretrain" "${settings[@]}" --set run.folder="$work/whole" || return
  "$bin/bin/selenite-pretrain" "${settings[@]}" --set run.folder="$work/killed" &
  pid=$!
  until [ "$(losses "$work/killed" 2>/dev/null | wc -l)" -ge 70 ] || ! kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
  kill -KILL "$pid" && echo "killed after step $(losses "$work/killed" | tail -n 1)"
  wait "$pid"
  "$bin/bin/selenite-pretrain" "${settings[@]}" --set run.folder="$work/killed" >"$work/again.log" 2>&1 || { cat "$work/again.log"; return 1; }
  grep 'Resumed from' "$work/again.log" || { echo "It began anew."; return 1; }
  # the last word on each step counts
  diff <(losses "$work/whole" | tail -n 1) <(losses "$work/killed" | tail -n 1) && echo "the same loss after step 600"
}

for test in "$bin"/tests/*_cuda_test; do
  if [ -x "$test" ]; then check "$(basename "$test")" 90 "$test"; fi
done
if present "$bin/tests/model_test"; then check golden 60 "$bin/tests/model_test" --run_test=golden -- --backend cuda; fi
if present "$bin/tests/layout_fuzz_test"; then
  check layouts 90 "$bin/tests/layout_fuzz_test" -- --backend cuda --draws 10 --ranks 8
  check layouts_as_graphs 60 "$bin/tests/layout_fuzz_test" -- --backend cuda --graphs on --draws 5 --ranks 8
fi
if present "$bin/bin/selenite-preprocess" && present "$bin/bin/selenite-pretrain"; then
  export -f kill_and_resume losses; export bin work
  check kill_and_resume 60 bash -c kill_and_resume
fi
# The quick ones: ten to fifty times as slow under a sanitizer.
if command -v compute-sanitizer >/dev/null; then
  for quick_test in norm memcheck cross_entropy memcheck reduction memcheck embedding memcheck norm racecheck reduction racecheck; do
    case $quick_test in
    memcheck | racecheck) if [ -x "$bin/tests/${op}_cuda_test" ]; then
        check "${op}_$quick_test" 30 compute-sanitizer --tool "$quick_test" --error-exitcode 1 "$bin/tests/${op}_cuda_test"
      fi ;;
    *) op=$quick_test ;;
    esac
  done
else
  note "left out  compute-sanitizer: it is not on the PATH"
fi
finish

# --- measurements

# measure NAME LIMIT COMMAND... : what it prints is shown; a line of why where it fails
measure() {
  local what=$1 limit=$2 code; shift 2
  if [ "$(left)" -lt 5 ]; then note "left out  $what: the time is over"; return 1; fi
  timeout "$((limit < $(left) ? limit : $(left)))" "$@" 2>"$work/why"; code=$?
  [ "$code" = 0 ] || { note "left out  $what: exit code $code, $(grep . "$work/why" | tail -n 1)"; return 1; }
}
figure() { sed -n "s/.*\"question\": *\"$1\".*\"$2\": *\([-+.0-9e]*\).*/\1/p" "$results" | tail -n 1; }
vocabulary=51200
sizes() { # MODEL : layers, hidden, heads
  case $1 in
  1.3B) echo 24 2048 16 ;;
  2.7B) echo 32 2560 32 ;;
  6.7B) echo 32 4096 32 ;;
  esac
}
# step MODEL SEQUENCE PRECISION MICRO_BATCH... : the largest micro-batch that fits counts; with=KEY=VALUE: another setting. A
# step has 32,768 tokens, as many as a rank has where a million of them are shared out; samples=N: that many samples.
step() {
  local model=$1 sequence=$2 precision=$3 layers hidden heads b samples=${samples:-$((32768 / $2))}; shift 3
  read -r layers hidden heads <<<"$(sizes "$model")"
  for b in "$@"; do
    if measure "step $model s $sequence $precision b $b${with:+, $with}" 60 "$bin/bin/bench_device" step --json "$results" --peak "$peak" \
      --ceiling "$ceiling" model.layers="$layers" model.hidden="$hidden" model.heads="$heads" model.vocab_size=$vocabulary \
      model.sequence_length="$sequence" train.micro_batch="$b" train.global_batch="$samples" train.steps=1000 \
      train.precision="$precision" run.backend=cuda ${with:+"$with"}; then
      fitting=$b
      return
    fi
  done
}
torch() { # MODEL SEQUENCE MICRO_BATCH
  local layers hidden heads
  read -r layers hidden heads <<<"$(sizes "$1")"
  measure "PyTorch $1 s $2" 150 "$python" tests/gpu/torch_baseline.py --layers "$layers" --hidden "$hidden" --heads "$heads" \
    --sequence "$2" --vocabulary $vocabulary --micro-batch "$3" --peak "$peak" --limit 75 --seconds 2 --json "$results"
}
# Each kernel of a step of two layers of the 1.3B model: name, grid, nanoseconds, bytes of device memory.
kernels() { # MICRO_BATCH
  measure "kernels of a step" 90 ncu --profile-from-start off --clock-control none --cache-control none --csv \
    --metrics gpu__time_duration.sum,dram__bytes.sum --print-units base --log-file "$out/kernels.csv" \
    "$bin/bin/bench_device" kernels model.layers=2 model.hidden=2048 model.heads=16 model.vocab_size=$vocabulary \
    model.sequence_length=2048 train.micro_batch="$1" train.global_batch="$1" train.steps=1000 train.precision=bf16 run.backend=cuda
}
if [ "$quick" = 0 ] && present "$bin/bin/bench_device"; then
  measure ceilings 40 "$bin/bin/bench_device" ceilings --seconds 2 --json "$results" run.backend=cuda
  ceiling=$(figure ceilings gemm_held_flops) ceiling=${ceiling:-0}
  step 1.3B 2048 bf16 16 8 4
  full=${fitting:-4}
  with=run.fused_epilogues=none step 1.3B 2048 bf16 "$full"
  with=train.deterministic=false step 1.3B 2048 bf16 "$full"
  with=run.workspace=2147483648 step 1.3B 2048 bf16 "$full"  # attention's backward pass in fewer parts
  measure "layer of the 1T model" 40 "$bin/bin/bench_device" layer --json "$results" --ceiling "$ceiling" model.preset=sc21-1008b \
    layout.tensor=8 train.micro_batch=1 train.global_batch=1 train.steps=1000 train.precision=bf16 run.backend=cuda
  step 6.7B 2048 bf16 2 1
  full_67=${fitting:-1}
  step 2.7B 2048 bf16 8 4 2
  with=run.attention_library=own step 2.7B 2048 bf16 "$fitting"  # heads of 80, which cuDNN takes for 128
  with=train.deterministic=false step 2.7B 2048 bf16 "$fitting"
  step 1.3B 4096 bf16 8 4 2
  step 2.7B 4096 bf16 4 2 1
  with=run.attention_library=own step 2.7B 4096 bf16 "$fitting"
  step 6.7B 4096 bf16 1
  step 6.7B 2048 fp8 2 1
  [ "$fitting" = "$full_67" ] || step 6.7B 2048 bf16 "$fitting"  # the same micro-batch, to compare
  with=run.fused_epilogues=none step 6.7B 2048 fp8 "$fitting"
  # where the device may wait for its host
  samples=1 step 1.3B 2048 bf16 1
  samples=1 with=run.cuda_graphs=true step 1.3B 2048 bf16 1
  if [ -n "$python" ] && "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    torch 1.3B 2048 "$full"
  else
    note "left out  PyTorch: there is no python3 with a torch that finds the GPU"
  fi
  if [ "$profile" = 1 ] && command -v ncu >/dev/null && kernels "$full"; then profiled=1; fi
  for op in attention norm cross_entropy embedding gemm dropout activation reduction adamw rotary cast quantize matrix_attention; do
    test=$bin/tests/${op}_cuda_test
    if [ -x "$test" ]; then
      limit=25
      [ "$op" = attention ] && limit=60  # cuDNN makes plans
      measure "$op speed" "$limit" "$test" --run_test=@speed --report_level=no | tee "$work/speed"
      if [ -n "$python" ]; then "$python" tests/gpu/report.py speed "$op" <"$work/speed" >>"$results"; fi
    fi
  done
  with=run.fused_epilogues=all step 1.3B 2048 bf16 "$full"
  with=run.cuda_graphs=true step 1.3B 2048 bf16 "$full"
  measure calibrate 60 "$bin/bin/selenite-sweep" calibrate "$out/machine.toml" --set run.backend=cuda
fi

# --- the report

driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
commit=$(cat "$bin/commit" 2>/dev/null || git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
summary="$passed tests passed, ${#failed[@]} failed${failed[*]:+: ${failed[*]}}."
if [ -n "$python" ]; then
  "$python" tests/gpu/report.py report "$gpu, driver $driver, commit $commit, $(date -u +%F). $summary" "$results" "$notes" \
    ${profiled:+"$out/kernels.csv"} >"$out/check.md"
  cat "$out/check.md"
else
  echo "There is no python3: check.md is left out; the figures are in $results."
fi
echo "$summary It took $SECONDS s."
[ "${#failed[@]}" = 0 ]
