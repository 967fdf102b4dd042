# Sourced by the templates in this folder, inside the job: the site, the executables, signals, and the decision to requeue.
# shellcheck shell=bash
set -euo pipefail

say() { printf '[slurm %s] %s\n' "$(date +%T)" "$*"; }
die() { printf '[slurm %s] %s\n' "$(date +%T)" "$*" >&2; exit 1; }

site=${SELENITE_SITE:-generic}
[ -f "$site" ] || site=$SELENITE_SLURM/sites/$site.sh
[ -f "$site" ] || die "There is no site file $site (SELENITE_SITE is '${SELENITE_SITE:-}'). Choose one of: $(cd "$SELENITE_SLURM/sites" && echo *.sh)."
# shellcheck source=sites/generic.sh
. "$site"
site_prepare

# Executables: SELENITE_BIN, the build of this checkout, the installation this folder is part of, PATH.
executable() { # NAME : its path
  local folder
  for folder in "${SELENITE_BIN:-}" "$SELENITE_SLURM/../build/release/bin" "$SELENITE_SLURM/../../../bin"; do
    if [ -n "$folder" ] && [ -x "$folder/$1" ]; then printf '%s\n' "$folder/$1"; return; fi
  done
  command -v "$1" || die "Cannot find $1 (not in SELENITE_BIN, build/release/bin or PATH). Build it, or set SELENITE_BIN to its folder."
}

asked=''       # the last signal that asked this job to end: USR1 (the time limit is near) or TERM (cancelled, preempted)
child=''
interrupted=0
forward() {
  asked=$1 interrupted=1
  say "got SIG$1$([ -n "$child" ] && echo ": telling process $child to save and stop")"
  [ -z "$child" ] || stop_child
}
stop_child() {
  local signal=$stop_signal
  [ "$signal" != SAME ] || signal=$asked
  kill -s "$signal" "$child" 2>/dev/null || true
}

# run SIGNAL COMMAND... : runs it in the background, since bash runs no trap while a foreground command runs, and sets
# exit_code. SIGNAL is what the command is told to stop by (SAME: by what came); srun and mpirun hand USR1 on to every rank,
# whereas TERM ends the launcher itself at once.
run() {
  stop_signal=$1; shift
  exit_code='' child=''
  trap 'forward USR1' USR1
  trap 'forward TERM' TERM
  "$@" &
  child=$!
  [ -z "$asked" ] || stop_child
  local code
  while :; do
    interrupted=0 code=0
    wait "$child" || code=$?
    # 127 after an interrupted wait: the shell has already handed out the child's code
    if [ "$code" != 127 ] || [ -z "$exit_code" ]; then exit_code=$code; fi
    [ "$interrupted" = 1 ] || break
  done
  child=''
}

result_of() { # FOLDER : what run.json there says about how the run ended: finished, stopped, error, or nothing
  if [ -f "$1/run.json" ]; then sed -n 's/.*"result" *: *"\([^"]*\)".*/\1/p' "$1/run.json" | head -n 1; fi
}

requeue() { # WHY
  local limit=${SELENITE_MAX_RESTARTS:-100}
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "$limit" ]; then
    die "Not requeued ($1, but this job was restarted ${SLURM_RESTART_COUNT:-0} times already). Submit it again, or raise SELENITE_MAX_RESTARTS."
  fi
  say "requeued: $1"
  trap '' TERM   # Slurm ends the script of a requeued job by TERM
  scontrol requeue "$SLURM_JOB_ID" || die "Slurm refused to requeue job $SLURM_JOB_ID (see above). Submit the same command again; it goes on from the last checkpoint."
  exit 0
}

say "job $SLURM_JOB_ID ${SLURM_JOB_NAME:-} on ${SLURM_JOB_NODELIST:-?}, restart ${SLURM_RESTART_COUNT:-0}, site $(basename "$site" .sh)"
