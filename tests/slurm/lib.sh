# Sourced by the tests here: starts the cluster, submits, waits, checks.
# shellcheck shell=bash
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/selenite-slurm-test.XXXXXX")
export CLUSTER_DIR=$work/cluster SELENITE_SITE=virtual
failed=0

PATH=$PATH:/usr/sbin:/sbin
if ! { command -v slurmctld && command -v slurmd && command -v sbatch; } >/dev/null; then
  echo "SKIPPED: Slurm's daemons are not installed (slurmctld, slurmd). Install slurm-wlm (Spack: slurm) to run this test."
  rm -rf "$work"; exit 77
fi
chmod 0755 "$work"   # an ordinary user's tasks must enter it
cleanup() { "$root/tests/slurm/cluster.sh" down; rm -rf "$work"; }
trap cleanup EXIT
"$root/tests/slurm/cluster.sh" up
eval "$("$root/tests/slurm/cluster.sh" env)"
cd "$work"

submit() { # NAME ARGUMENT... : the job's number; its output goes to NAME.out
  local name=$1; shift
  "$root/slurm/submit.sh" --parsable --output="$work/$name.out" "$@"
}
state() { squeue -h -t all -j "$1" -o %T; }
wait_for() { # SECONDS COMMAND... : until it is true; the seconds of a quiet machine, a busy one gets three times as many
  local end=$((SECONDS + 3 * $1)); shift
  until "$@"; do if [ "$SECONDS" -ge "$end" ]; then return 1; fi; sleep 0.2; done
}
has_ended() { case $(state "$1") in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY) ;; *) return 1 ;; esac; }
ends_as() { # JOB STATE SECONDS NAME
  wait_for "$3" has_ended "$1" || true
  if [ "$(state "$1")" != "$2" ]; then
    fail "job $4 is $(squeue -h -t all -j "$1" -o '%T (%r)') after $3 s, not $2"; sed 's/^/    /' "$work/$4.out" || true
  fi
}
has() { grep -qF -- "$2" "$1" 2>/dev/null; }
expect() { # FILE TEXT : the file holds the text
  has "$1" "$2" || { fail "$1 does not hold '$2'"; sed 's/^/    /' "$1" 2>/dev/null || true; }
}
expect_not() { if has "$1" "$2"; then fail "$1 holds '$2'"; sed 's/^/    /' "$1"; fi; }
fail() { echo "FAILED: $*"; failed=$((failed + 1)); }
passed() { # what the jobs said is the only trace of a failure: the folder goes
  if [ "$failed" = 0 ]; then echo "all checks passed"; return; fi
  tail -n 25 "$work"/*.out
  echo "$failed checks failed"; exit 1
}
