#!/usr/bin/env bash
# Packs what tests/gpu/check.sh needs into one folder, for a machine with a GPU that can build nothing: executables for sm_90,
# stripped, beside them the shared libraries that belong neither to CUDA nor to glibc (as packed.tar.xz, which check.sh
# unpacks), the tests' data, and check.sh itself.
#   tests/gpu/pack.sh [--out FOLDER] [--build FOLDER] [--jobs N] [--no-build] [TEST]...
#   --out FOLDER     where to (default build/gpu-check; it is made anew)
#   --build FOLDER   where it builds (default build/pack)
#   --no-build       pack what is built there, without what is missing
#   TEST             only these of the operations' tests, e.g. norm_cuda_test (default: all)
# Then, on the other machine: FOLDER/tests/gpu/check.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

out=build/gpu-check build=build/pack jobs=$(nproc) make=1 tests=()
most=$((60 << 20))   # bytes in all
while [ $# -gt 0 ]; do
  case $1 in
  --out) out=${2:?"--out needs a folder"}; shift 2 ;;
  --build) build=${2:?"--build needs a folder"}; shift 2 ;;
  --jobs) jobs=${2:?"--jobs needs a number"}; shift 2 ;;
  --no-build) make=0; shift ;;
  -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "Unknown argument $1 (it is not in --help)." >&2; exit 2 ;;
  *) tests+=("$1"); shift ;;
  esac
done
if [ ${#tests[@]} = 0 ]; then
  for source in tests/kernels/*_test.cpp; do
    name=$(basename "$source" _test.cpp)
    tests+=("${name}_cuda_test")
  done
fi
programs=(selenite-preprocess selenite-pretrain selenite-sweep bench_device) tests+=(model_test layout_fuzz_test)

if [ "$make" = 1 ]; then
  # No MPI, NCCL, oneDNN or SentencePiece: one GPU asks for none of them, and each brings libraries. An older CPU than this
  # one may run it. Libraries are looked for beside the executables, theirs as well.
  # shellcheck disable=SC2016 # $ORIGIN is the loader's
  cmake --preset cuda -B "$build" -DCMAKE_CUDA_ARCHITECTURES="${CUDAARCHS:-90-real}" -DSELENITE_MPI=OFF \
    -DSELENITE_NCCL=OFF -DSELENITE_ONEDNN=OFF -DSELENITE_SENTENCEPIECE=OFF -DSELENITE_CPU_ARCH=x86-64-v3 \
    -DCMAKE_BUILD_RPATH='$ORIGIN/../lib' -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags
  cmake --build "$build" -j "$jobs" --target "${programs[@]}" "${tests[@]}"
fi

rm -rf "$out"
mkdir -p "$out/packed/bin" "$out/packed/tests" "$out/packed/lib" "$out/tests/gpu"
take() { # FILE FOLDER : stripped; what is missing is named
  if [ -x "$1" ]; then
    cp "$1" "$2/" && strip --strip-unneeded "$2/$(basename "$1")"
  else
    missing+=("$(basename "$1")")
  fi
}
missing=()
for program in "${programs[@]}"; do take "$build/bin/$program" "$out/packed/bin"; done
for test in "${tests[@]}"; do take "$build/tests/$test" "$out/packed/tests"; done
if [ "$make" = 1 ] && [ ${#missing[@]} -gt 0 ]; then
  echo "The build left no ${missing[*]} (although it ended well). This is a defect; please report it." >&2; exit 1
fi

# Of CUDA, glibc and the driver there must be some on the machine, fitting each other.
theirs='^(linux-vdso|ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util|anl|mvec|cuda|cudart|cublas|cublasLt|cudnn.*|nccl|nvrtc.*|nvJitLink|nvidia-.*))\.so'
for executable in "$out"/packed/bin/* "$out"/packed/tests/*; do
  [ -f "$executable" ] && ldd "$executable"
done | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | while read -r library; do
  name=$(basename "$library")
  if [[ ! $name =~ $theirs ]]; then
    cp -L "$library" "$out/packed/lib/$name" && strip --strip-unneeded "$out/packed/lib/$name"
  fi
done

cp tests/gpu/check.sh tests/gpu/torch_baseline.py tests/gpu/report.py "$out/tests/gpu/"
mkdir "$out/tests/kernels"
cp -r tests/golden "$out/tests/golden" && cp -r tests/kernels/fixtures "$out/tests/kernels/fixtures"
git rev-parse --short=12 HEAD >"$out/packed/commit" 2>/dev/null || echo unknown >"$out/packed/commit"

du -sb "$out"/packed/* | awk '{printf "%8.2f MiB  %s\n", $1 / 1048576, $2}'
# The executables hold the same kernels: a dictionary larger than all of them stores these once.
tar -C "$out" -cf - packed | xz -c --lzma2=preset=3,dict=256MiB >"$out/packed.tar.xz"
rm -r "$out/packed"
bytes=$(du -sb "$out" | cut -f1)
printf '%8.2f MiB  in all, compressed (%d files, limit %d MiB): %s\n' "$(awk "BEGIN {print $bytes / 1048576}")" "$(find "$out" -type f | wc -l)" $((most >> 20)) "$out"
if [ ${#missing[@]} -gt 0 ]; then echo "Not built, so not packed: ${missing[*]}"; fi
if [ "$bytes" -gt "$most" ]; then
  echo "That is more than may travel (the limit is $((most >> 20)) MiB). Pack fewer tests, or find what has grown." >&2; exit 1
fi
