#!/usr/bin/env bash
# Proves and measures the CUDA backend on the GPU of this machine, in ten minutes at most, without network or package manager.
#   tests/gpu/check.sh [--bin FOLDER] [--out FOLDER] [--quick]
#   --bin FOLDER   executables built before; else they are built here, by the preset cuda
#   --out FOLDER   where results go (default scaling/results/<name of the GPU>)
#   --quick        correctness alone
# First the tests, each against the double-precision references, PyTorch's golden values or one rank on the CPU; then the
# machine's figures and the training step. The exit code is 1 if any test failed; measurements come in any case.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

bin='' out='' quick=0
while [ $# -gt 0 ]; do
  case $1 in
  --bin) bin=${2:?"--bin needs a folder"}; shift 2 ;;
  --out) out=${2:?"--out needs a folder"}; shift 2 ;;
  --quick) quick=1; shift ;;
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "Unknown argument $1 (it is not in --help)." >&2; exit 2 ;;
  esac
done

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
[ -n "$gpu" ] || { echo "There is no GPU here (nvidia-smi shows none). Run this on a machine with an NVIDIA GPU and its driver." >&2; exit 1; }
name=$(sed 's/^NVIDIA //; s/ .*//' <<<"$gpu" | tr '[:upper:]' '[:lower:]')
out=${out:-scaling/results/$name}
mkdir -p "$out"
echo "GPU: $gpu. Results go to $out."

if [ -z "$bin" ]; then
  if ! { cmake --preset cuda && cmake --build build/cuda -j "$(nproc)"; } >"$out/build.log" 2>&1; then
    tail -n 20 "$out/build.log"; echo "The build failed (see $out/build.log). Correct it, or pass --bin." >&2; exit 1
  fi
  bin=$PWD/build/cuda
fi
# the toolkit's libraries, or those that PyTorch brought
for folder in "$bin/lib" /usr/local/cuda/lib64 "$(python3 -c 'import nvidia, os; print(os.path.dirname(nvidia.__path__[0] + "/"))' 2>/dev/null)"/*/lib; do
  if [ -d "$folder" ]; then LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; fi
done
export LD_LIBRARY_PATH

failed=() passed=0
check() { # NAME COMMAND... : runs it, keeps its output
  local test=$1 started=$SECONDS; shift
  if "$@" >"$out/$test.log" 2>&1; then
    passed=$((passed + 1)); echo "passed  $test ($((SECONDS - started)) s)"; rm -f "$out/$test.log"
  else
    failed+=("$test"); echo "FAILED  $test ($((SECONDS - started)) s), see $out/$test.log"; tail -n 5 "$out/$test.log"
  fi
}

for test in "$bin"/tests/*_cuda_test; do check "$(basename "$test")" timeout 120 "$test"; done
check golden timeout 120 "$bin/tests/model_test" --run_test=golden -- --backend cuda
check layouts timeout 180 "$bin/tests/layout_fuzz_test" -- --backend cuda --draws 30 --ranks 8
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    check "sanitizer_$tool" timeout 120 compute-sanitizer --tool "$tool" --error-exitcode 1 "$bin/tests/norm_cuda_test" --run_test='!@speed'
  done
else
  echo "compute-sanitizer is not here: left out."
fi

if [ "$quick" = 0 ]; then
  run=(--set run.backend=cuda --set train.precision=bf16)
  timeout 120 "$bin/bin/selenite-pretrain" "${run[@]}" --calibrate "$out/machine.toml" && cat "$out/machine.toml"
  for model in gpt2-124m sc21-1.7b; do
    timeout 120 "$bin/bin/bench_step" run.backend=cuda train.precision=bf16 "model.preset=$model" train.micro_batch=4 |
      tee "$out/step-$model.txt"
  done
fi

{
  echo "# The CUDA backend on $gpu"
  echo
  echo "$(date -u +%F), $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1) driver, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)."
  echo "$passed tests passed, ${#failed[@]} failed${failed[*]:+: ${failed[*]}}."
  for file in "$out"/step-*.txt; do
    if [ -s "$file" ]; then sed '1s/^/\n    /; 2,$s/^/    /' "$file"; fi
  done
} >"$out/report.md"
cat "$out/report.md"
[ "${#failed[@]}" = 0 ]
