#!/usr/bin/env bash
# The check must find what it is there to find: a small tree that breaks each rule once, and one that breaks none.
set -euo pipefail
check=$(cd "$(dirname "$0")" && pwd)/check.sh
tree=$(mktemp -d); trap 'rm -rf "$tree"' EXIT
failed=0

put() { mkdir -p "$tree/$(dirname "$1")"; printf '%s\n' "${@:2}" >"$tree/$1"; }
clean() {
  rm -rf "${tree:?}"/*
  put lib/core/a.hpp '#pragma once'
  put lib/core/a.cpp '#include "core/a.hpp"' '#include <toml++/toml.h>' '#if defined(X)' 'int f();' '#endif'
  put lib/exec/ctx.hpp '#pragma once' '#include "core/a.hpp"' '#include "kernels/gemm/gemm.hpp"'
  put lib/train/step.cpp '#include "exec/ctx.hpp"' '#include "core/a.hpp"' '#include <mpi.h>'
  put kernels/gemm/gemm.hpp '#pragma once' '#include "core/a.hpp"'
  put kernels/norm/norm.hpp '#pragma once' '#include "kernels/gemm/gemm.hpp"'
  put kernels/norm/norm.cuh '#pragma once' '#include <cuda_runtime.h>'
  put kernels/norm/norm_cuda.cu '#include "kernels/norm/norm.cuh"'
  put apps/pretrain/main.cpp '#include "train/step.hpp"'
  put lib/train/step.hpp '#pragma once'
}
finds() { # TEXT
  local output
  if output=$("$check" "$tree"); then echo "FAILED: nothing was found, but '$1' is there"; failed=1
  elif ! grep -qF -- "$1" <<<"$output"; then echo "FAILED: '$1' was not found, but: $output"; failed=1; fi
  clean
}

clean
"$check" "$tree" || { echo "FAILED: a clean tree was refused"; failed=1; }
put lib/core/b.cpp '#include "train/step.hpp"'; finds "core may not use train"
put lib/data/d.cpp '#include "exec/ctx.hpp"'; finds "data may not use exec"
put apps/sweep/main.cpp '#include "apps/pretrain/main.cpp"'; finds "apps/sweep may not use apps/pretrain"
put lib/other/d.cpp '#include "core/a.hpp"'; finds "folder other is not in the list"
put lib/core/a.hpp '#pragma once' '#include "core/b.hpp"'; put lib/core/b.hpp '#pragma once' '#include "core/a.hpp"'; finds "Includes of files form a cycle"
put kernels/gemm/tile.hpp '#pragma once' '#include "kernels/norm/norm.hpp"'; finds "Includes of folders of kernels form a cycle"
put lib/core/b.cpp '#include <toml++/toml.h>'; finds "toml++ is included by lib/core/a.cpp lib/core/b.cpp"
put lib/io/b.hpp '#pragma once' '#include <CLI/CLI.hpp>'; finds "CLI is included by lib/io/b.hpp"
put lib/train/c.hpp '#pragma once' '#include <mpi.h>'; finds "lib/train/c.hpp includes mpi.h"
put kernels/gemm/c.hpp '#pragma once' '#include <cuda_runtime.h>'; finds "kernels/gemm/c.hpp includes cuda_runtime.h"
put kernels/gemm/c.cpp '#include "kernels/gemm/d.cuh"'; put kernels/gemm/d.cuh '#pragma once' '#include <cuda_runtime.h>'; finds "kernels/gemm/c.cpp includes kernels/gemm/d.cuh"
put lib/core/b.cpp 'void f() {' '#ifdef X' '  g();' '#endif' '}'; finds "lib/core/b.cpp:2: #if inside a function"
put lib/core/b.cpp '#include "nowhere.hpp"'; finds '"nowhere.hpp" is not found'
put lib/core/b.hpp 'int f();'; finds "lib/core/b.hpp has no #pragma once"
put lib/core/b.cpp; for _ in $(seq 501); do echo; done >>"$tree/lib/core/b.cpp"; finds "lib/core/b.cpp has 502 lines"
put lib/data/t.hpp '#pragma once' 'namespace selenite {' 'class Twice {' '};' '}  // namespace selenite'
put lib/plan/t.hpp '#pragma once' 'namespace selenite {' 'struct Twice : Base {' '};' '}  // namespace selenite'
put lib/io/t.cpp 'namespace selenite {' 'namespace {' 'struct Twice {' '};' '}  // namespace' '}  // namespace selenite'
finds "lib/plan/t.hpp defines selenite::Twice (so does lib/data/t.hpp"
exit "$failed"
