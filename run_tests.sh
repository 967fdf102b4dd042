#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests with CTest. The exit code is CTest's.
#   ./run_tests.sh [--preset NAME] [--label L]... [--target T]... [--jobs N] [--no-install] [-- CTEST OPTIONS]
#   --preset NAME   release (default), debug (AddressSanitizer, UndefinedBehaviorSanitizer) or tsan (ThreadSanitizer),
#                   see CMakePresets.json
#   --label L       only tests with this label: unit, mpi, threads, slurm, gpu, slow; may be given more than once
#   --target T      build only this; may be given more than once
#   --jobs N        tests at once (default 2)
#   --no-install    install nothing; libraries come from where CMake finds them
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/setup.sh
. tools/setup.sh

preset=release labels='' targets=() jobs=2 install=1
while [ $# -gt 0 ]; do
  case $1 in
  --preset) preset=${2:?"--preset needs a name"}; shift 2 ;;
  --label) labels=${labels:+$labels|}${2:?"--label needs a label"}; shift 2 ;;
  --target) targets+=("${2:?"--target needs a target"}"); shift 2 ;;
  --jobs) jobs=${2:?"--jobs needs a number"}; shift 2 ;;
  --no-install) install=0; shift ;;
  --) shift; break ;;
  -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) die "Unknown option $1 (it is not in --help). Put options for CTest behind --." ;;
  esac
done

if [ "$install" = 1 ]; then
  selenite_install needed build run
  selenite_install optional speed slurm
fi
selenite_build "$preset" "${targets[@]}"
selenite_mpi_environment
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" ${labels:+-L "^($labels)\$"} "$@"
