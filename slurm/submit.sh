#!/usr/bin/env bash
# Submits one of the templates with what the site file says about the cluster.
#   slurm/submit.sh [--site NAME|FILE] [--dry-run] [SBATCH OPTION]... JOB [ARGUMENT]...
#   JOB is preprocess, pretrain, evaluate or sweep; arguments after it go to the executable. (selenite-sweep submit
#   uses point and collect.)
#   --site NAME   slurm/sites/NAME.sh, or the path of a file (default: SELENITE_SITE, else generic)
#   --dry-run     print the sbatch command, and let Slurm say whether and when it could start
set -euo pipefail
SELENITE_SLURM=$(cd "$(dirname "$0")" && pwd)
export SELENITE_SLURM SELENITE_SITE=${SELENITE_SITE:-generic}

die() { printf 'submit.sh: %s\n' "$*" >&2; exit 1; }
# Whether the next word is this option's value ("-J pretrain" names no job): all but those with "=", short ones with the
# value attached, and those that take none, or only after "=".
takes_word() {
  case $1 in
  --*=* | -[!-]?* | [!-]*) return 1 ;;
  -[HIkOQsvW]) return 1 ;;
  --contiguous | --exclusive | --get-user-env | --hold | --ignore-pbs | --immediate | --nice | --no-kill | --no-requeue | --oom-kill-step | \
    --overcommit | --oversubscribe | --parsable | --propagate | --quiet | --reboot | --requeue | --spread-job | \
    --stepmgr | --test-only | --use-min-nodes | --verbose | --wait) return 1 ;;
  esac
}

job='' dry_run=0 options=()
while [ $# -gt 0 ]; do
  case $1 in
  --site) SELENITE_SITE=${2:?"--site needs a name"}; shift 2 ;;
  --site=*) SELENITE_SITE=${1#*=}; shift ;;
  --dry-run) dry_run=1; shift ;;
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  preprocess | pretrain | evaluate | sweep | point | collect) job=$1; shift; break ;;
  *)
    options+=("$1")
    if takes_word "$1" && [ $# -gt 1 ]; then options+=("$2"); shift; fi
    shift ;;
  esac
done
[ -n "$job" ] || die "No job was named (only options were given). Name preprocess, pretrain, evaluate or sweep."
if [ -f "$SELENITE_SITE" ]; then SELENITE_SITE=$(readlink -f "$SELENITE_SITE"); site=$SELENITE_SITE; else site=$SELENITE_SLURM/sites/$SELENITE_SITE.sh; fi
[ -f "$site" ] || die "There is no site $SELENITE_SITE ($site is not a file). Choose one of $(cd "$SELENITE_SLURM/sites" && echo *.sh), or copy generic.sh."
# shellcheck source=sites/generic.sh
. "$site"

ranks=1
case $job in pretrain | sweep | point) ranks=$site_ranks_per_node ;; esac
resources=(--ntasks-per-node="$ranks")
[ "$site_cpus_per_node" = 0 ] || resources+=(--cpus-per-task="$((site_cpus_per_node / ranks))")
[ "$site_gpus_per_node" = 0 ] || [ "$job" = preprocess ] || [ "$job" = collect ] || resources+=(--gpus-per-node="$site_gpus_per_node")
command=(sbatch "${site_sbatch[@]}" "${resources[@]}" "${options[@]}")
if [ "$dry_run" = 1 ]; then
  printf '%q ' "${command[@]}" "$SELENITE_SLURM/$job.sbatch" "$@"; echo
  exec "${command[@]}" --test-only "$SELENITE_SLURM/$job.sbatch" "$@"
fi
exec "${command[@]}" "$SELENITE_SLURM/$job.sbatch" "$@"
