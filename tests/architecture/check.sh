#!/usr/bin/env bash
# Checks that the sources keep to the architecture: direction of includes between folders, no cycles, third-party headers
# only where they belong, no #if inside functions, no file beyond 500 lines, no two types of one name. Prints
# each violation; exits with 1 if any.
#   check.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

# A folder may include the folders named here and all that those may include.
arrows='core:
kernels: core
comm: core
exec: core kernels comm
model: core kernels comm exec
schedule: core
train: model schedule exec
data: core
io: core
plan: train
run: train data io plan
study: plan io
apps/common: core comm run study
apps/preprocess: apps/common data
apps/pretrain: apps/common run
apps/evaluate: apps/common run
apps/sweep: apps/common study'

mapfile -t sources < <(find lib kernels apps -type f \( -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.h' \) | LC_ALL=C sort)
[ "${#sources[@]}" -gt 0 ] || { echo "There are no sources in $PWD (lib, kernels and apps are empty). Name the root of a checkout."; exit 1; }
mapfile -t headers < <(printf '%s\n' "${sources[@]}" | grep -E '\.(hpp|cuh|h)$')
report=$(mktemp); trap 'rm -f "$report"' EXIT

# file, included file (resolved), one line each; quoted includes only
includes=$(awk '/^[ \t]*#[ \t]*include[ \t]*"/ {split($0, part, "\""); print FILENAME, part[2]}' "${sources[@]}" |
  while read -r file name; do
    if [ -f "lib/$name" ]; then echo "$file lib/$name"
    elif [ -f "$name" ]; then echo "$file $name"
    else echo "$file: \"$name\" is not found (paths are relative to lib/ or the root). Write the whole path." >>"$report"; fi
  done)

# 1. Direction.
printf '%s\n' "$arrows" "--" "$includes" | awk '
  function folder(path, part) {
    split(path, part, "/")
    return part[1] == "lib" ? part[2] : part[1] == "apps" ? "apps/" part[2] : part[1]
  }
  function reaches(from, to, i, n, names) {
    if (from == to) return 1
    n = split(arrow[from], names, " ")
    for (i = 1; i <= n; i++) if (reaches(names[i], to)) return 1
    return 0
  }
  $1 == "--" {body = 1; next}
  !body {name = $1; sub(":", "", name); $1 = ""; arrow[name] = $0; next}
  NF == 2 {
    from = folder($1); to = folder($2)
    if (!(from in arrow)) print $1 ": folder " from " is not in the list of arrows. Add it to tests/architecture/check.sh and to the design."
    else if (!reaches(from, to)) print $1 " includes " $2 " (" from " may not use " to "). Move what is needed to a folder that both may use."
  }' >>"$report"

# 2. Cycles: between files, and between the folders of kernels.
cycle() { # WHAT : edges on standard input
  local loop
  if ! loop=$(tsort 2>&1 >/dev/null); then echo "Includes of $1 form a cycle: $(sed -n 's/^tsort: //p' <<<"$loop" | grep -v 'contains a loop' | xargs). Break it." >>"$report"; fi
}
cycle files <<<"$includes"
awk '$1 ~ /^kernels\// && $2 ~ /^kernels\// {split($1, a, "/"); split($2, b, "/"); if (a[2] != b[2]) print a[2], b[2]}' <<<"$includes" | cycle "folders of kernels"

# 3. Third-party headers.
for library in toml++ CLI; do
  users=$(grep -lE "^[ \t]*#[ \t]*include[ \t]*[<\"]${library//+/\\+}/" "${sources[@]}" || true)
  if [ "$(wc -w <<<"$users")" -gt 1 ] || grep -qE '\.(hpp|h|cuh)$' <<<"$users"; then
    echo "$library is included by $(xargs <<<"$users") (it takes seconds to compile). Include it in one .cpp only." >>"$report"
  fi
done
for file in "${headers[@]}"; do
  case $file in *.cuh) continue ;; esac  # device code: known to .cu files alone, see below
  case $file in lib/core/* | kernels/* | lib/comm/* | lib/model/* | lib/schedule/* | lib/train/*) ;; *) continue ;; esac
  if name=$(grep -oE '^[ 	]*#[ 	]*include[ 	]*[<"](cuda|cublas|cudnn|nccl|mpi\.h|hdf5|H5)[^>"]*' "$file" | head -n 1); then
    echo "$file includes ${name##*[<\"]} (headers here are free of CUDA, NCCL, MPI and HDF5). Forward-declare what is needed." >>"$report"
  fi
done
awk '$2 ~ /\.cuh$/ && $1 !~ /\.cuh?$/ {print $1 " includes " $2 " (device code is for .cu and .cuh files). Declare what is needed in a .hpp."}' \
  <<<"$includes" >>"$report"

# 4. #if inside a function or class: what follows at namespace level is not indented.
awk 'FNR == 1 {after = 0; continued = 0}
  continued {continued = /\\$/; next}   # the rest of a macro
  after && /^[ \t]*#.*\\$/ {continued = 1; next}
  /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else)/ {after = FNR; next}
  after && /^[ \t]*(#|\/\/|$)/ {next}
  after && /^[ \t]/ {print FILENAME ":" after ": #if inside a function (choices belong to files and CMake). Put the choice into a file of its own."}
  {after = 0}' "${sources[@]}" >>"$report"

# 5. Sizes and guards.
while IFS= read -r file; do
  lines=$(wc -l <"$file")
  if [ "$lines" -gt 500 ]; then echo "$file has $lines lines (the limit is 500). Split it by what it does." >>"$report"; fi
done < <(find lib kernels apps tests bench tools slurm -type f \( -name '*.[hc]pp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.sh' -o -name '*.py' \) 2>/dev/null)
for file in "${headers[@]}"; do
  grep -q '^#pragma once' "$file" || echo "$file has no #pragma once (it would be read twice). Add it." >>"$report"
done

# 6. One name, one type: of two classes of one name the linker takes the functions of either for both. Names behind a macro
# (a namespace for each instruction set) and in unnamed namespaces are apart anyway.
awk 'FNR == 1 {depth = 0}
  /^(inline )?namespace ([A-Za-z_:]+ )?\{$/ {names[++depth] = $0; sub(/^(inline )?namespace /, "", names[depth]); sub(/ ?\{$/, "", names[depth]); next}
  /^}  \/\/ namespace/ {if (depth) --depth; next}
  /^(class|struct|union|enum class|enum) [A-Za-z_]+( final)?( : ?[^;]*)? \{/ {
    name = $1 == "enum" && $2 == "class" ? $3 : $2
    for (i = depth; i > 0; i--) {
      if (names[i] == "" || names[i] ~ /^[A-Z_]+$/) next
      name = names[i] "::" name
    }
    if (name in first) print FILENAME " defines " name " (so does " first[name] "; a program with both takes one for the other). Rename one."
    else first[name] = FILENAME
  }' "${sources[@]}" >>"$report"

cat "$report"
if [ -s "$report" ]; then echo "$(wc -l <"$report") violations in ${#sources[@]} sources"; exit 1; fi
echo "${#sources[@]} sources keep to the architecture"
