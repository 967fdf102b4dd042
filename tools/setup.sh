# Sourced by quickstart.sh, run_tests.sh and .ci/run: the one list of packages, and how they are installed and built.
# shellcheck shell=bash

# group  Debian package  Spack package  what for
# Groups: build (needed), run (needed by quickstart.sh), speed and slurm (used where they are there).
selenite_packages() {
  cat <<'END'
build  g++                        gcc@12:                  C++20 compiler
build  cmake                      cmake@3.25:              build system
build  ninja-build                ninja                    build system
build  git                        git                      version recorded in run.json
build  pkg-config                 pkgconf                  finds libraries without a CMake package
build  libopenmpi-dev             openmpi                  data parallelism
build  openmpi-bin                openmpi                  mpirun
build  openssh-client             openssh                  mpirun looks for it, even on one machine
build  libdnnl-dev                onednn                   GEMM on the CPU
build  libhdf5-dev                hdf5~mpi                 checkpoints (the serial flavour)
build  hdf5-tools                 hdf5~mpi+tools           h5dump, h5diff
build  libcli11-dev               cli11                    command lines
build  libtomlplusplus-dev        tomlplusplus             configuration
build  nlohmann-json3-dev         nlohmann-json            JSON
build  libsentencepiece-dev       sentencepiece            SentencePiece models
build  libutf8proc-dev            utf8proc                 Unicode normal forms
build  libpcre2-dev               pcre2                    pre-tokenizer patterns
build  libzstd-dev                zstd                     .zst input
build  zlib1g-dev                 zlib-api                 .gz input
build  libxxhash-dev              xxhash                   checksums of checkpoints
build  libboost-test-dev          boost+test               tests
run    gnuplot-nox                gnuplot                  plots of the report
speed  ccache                     ccache                   compiles twice what has not changed only once
slurm  slurm-wlm                  slurm                    tests labelled slurm
slurm  slurm-wlm-basic-plugins    slurm                    tests labelled slurm
slurm  munge                      munge                    tests labelled slurm
END
}

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

selenite_column() { # COLUMN GROUP... : one column of the list, on one line
  local column=$1; shift
  selenite_packages | awk -v column="$column" -v groups=" $* " 'index(groups, " " $1 " ") {print $column}' | awk '!seen[$0]++' | xargs
}

selenite_missing() { # GROUP... : Debian packages of these groups that are not installed
  local name
  for name in $(selenite_column 2 "$@"); do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | cut -c1-2)" = ii ] || printf '%s ' "$name"
  done
}

# selenite_install needed|optional GROUP... : with apt when this is Debian and we are root or may use sudo; otherwise says
# what to install. Optional packages that cannot be installed are only mentioned.
selenite_install() {
  local need=$1 missing sudo=(); shift
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    [ "$need" = optional ] || say "No apt here: taking libraries from where CMake finds them. With Spack: spack env activate . && spack install (or: spack install $(selenite_column 3 "$@"))."
    return 0
  fi
  missing=$(selenite_missing "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      sudo=(sudo)
    elif [ "$need" = optional ]; then
      say "Not installed, and we are not root: $missing(optional)."; return 0
    else
      die "Packages are missing: $missing(this user is neither root nor allowed to use sudo).
Ask an administrator for:  apt-get install $missing
or use Spack:              spack install $(selenite_column 3 "$@")
and then pass --no-install if what Spack installed is not known to apt."
    fi
  fi
  say "Installing with apt: $missing"
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
  "${apt[@]}" update || say "apt-get update failed; going on with the lists that are here."
  # shellcheck disable=SC2086 # a list of words
  if ! "${apt[@]}" install -y --no-install-recommends $missing >/dev/null; then
    [ "$need" = optional ] || die "apt-get could not install $missing(see above). Install them by hand, or with Spack: spack install $(selenite_column 3 "$@")."
    say "Going on without $missing(optional)."
  fi
}

selenite_build() { # PRESET [TARGET...] : configure and build into build/PRESET
  local preset=$1; shift
  mkdir -p "build/$preset"
  if ! cmake --preset "$preset" >"build/$preset/configure.log" 2>&1; then
    cat "build/$preset/configure.log" >&2
    die "CMake could not configure preset $preset (see above). Install what it names."
  fi
  cmake --build --preset "$preset" --parallel "$(nproc)" ${1:+--target "$@"} || die "The build of preset $preset failed (see above)."
}

# Open MPI refuses to start as root unless told twice, and takes no more ranks than cores unless allowed.
selenite_mpi_environment() {
  if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
  export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
}
