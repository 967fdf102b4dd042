#!/usr/bin/env bash
# A real Slurm of several virtual nodes on this machine: one slurmctld and a slurmd for each node, all inside one folder.
#   cluster.sh up | down | env        (settings: CLUSTER_DIR, CLUSTER_NODES, CLUSTER_CPUS, CLUSTER_PORT)
# As root each node has its own hostname and /dev/shm (namespaces), as a real one has. Otherwise nodes share them, and
# Open MPI is told to keep its shared-memory files apart. There is no authentication between the daemons: every address is the
# loopback interface and every process is this user's.
set -euo pipefail
dir=${CLUSTER_DIR:-/tmp/selenite-cluster-$(id -u)}
nodes=${CLUSTER_NODES:-2}
cpus=${CLUSTER_CPUS:-4}
port=${CLUSTER_PORT:-17600}        # slurmctld; node k listens on port + k
export SLURM_CONF=$dir/slurm.conf
PATH=$PATH:/usr/sbin:/sbin         # slurmctld and slurmd, for an ordinary user

die() { printf 'cluster.sh: %s\n' "$*" >&2; exit 1; }

write_configuration() {
  mkdir -p "$dir"/{state,spool,log,run,tmp,shm}
  local host user; host=$(hostname -s) user=$(id -un)
  { cat /etc/hosts; for k in $(seq "$nodes"); do echo "127.0.0.1 node$k"; done; } >"$dir/hosts"
  cat >"$dir/prolog.sh" <<PROLOG
#!/bin/sh
mkdir -p "$dir/shm/\$SLURMD_NODENAME"
echo "export OMPI_MCA_btl_vader_backing_directory=$dir/shm/\$SLURMD_NODENAME"
PROLOG
  chmod 0755 "$dir/prolog.sh"
  # TmpFS for each node: slurmd's PMIx plugin makes folders there whose names do not hold the node's.
  # cred_expire is also how long a requeued job waits (120 s by default, 5 s at least). MinJobAge keeps finished jobs in squeue.
  cat >"$SLURM_CONF" <<CONF
ClusterName=virtual
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=$dir/tmp/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
$($namespaces || echo "TaskProlog=$dir/prolog.sh")
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=10000,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
KillWait=20
MinJobAge=3600
NodeName=node[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=1024 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
CONF
}

namespaces=false
if [ "$(id -u)" = 0 ] && unshare --uts --mount true 2>/dev/null; then namespaces=true; fi

start_node() { # NAME
  mkdir -p "$dir/spool/$1" "$dir/tmp/$1"
  local enter=()
  if $namespaces; then
    # shellcheck disable=SC2016 # expanded by the inner shell
    enter=(unshare --uts --mount sh -c 'set -e; hostname "$1"; mount -t tmpfs shm /dev/shm; mount --bind "$2" /etc/hosts; shift 2; exec "$@"' sh "$1" "$dir/hosts")
  fi
  setsid "${enter[@]}" slurmd -D -N "$1" </dev/null >"$dir/log/$1.out" 2>&1 &
  echo $! >"$dir/run/$1.started"
}

# Gone, or a zombie that process 1 has not reaped yet.
ended() { local state; state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) || return 0; [ "$state" = Z ]; }

stop() { # FILE... : the daemons whose process ids are in these files
  local file pid
  for file in "$@"; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    case $(cat "/proc/$pid/comm" 2>/dev/null) in slurmctld | slurmd) ;; *) rm -f "$file"; continue ;; esac
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do ended "$pid" && break; sleep 0.05; done
    ended "$pid" || kill -KILL "$pid" 2>/dev/null || true
    rm -f "$file"
  done
}

# Steps outlive their slurmd. They are known by this cluster's SLURM_CONF in their environment.
stop_steps() {
  local file pid
  for file in /proc/[0-9]*/environ; do
    pid=${file#/proc/} pid=${pid%/environ}
    grep -qzxF "SLURM_CONF=$SLURM_CONF" "$file" 2>/dev/null || continue
    if grep -qz '^SLURM_JOB_ID=' "$file" 2>/dev/null || [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = slurmstepd ]; then
      kill -KILL "$pid" 2>/dev/null || true
    fi
  done
}

up() {
  { command -v slurmctld && command -v slurmd; } >/dev/null || die "Slurm's daemons are missing (slurmctld, slurmd). Install slurm-wlm (Spack: slurm)."
  write_configuration
  setsid slurmctld -D -i </dev/null >"$dir/log/slurmctld.out" 2>&1 &
  echo $! >"$dir/run/slurmctld.started"
  for k in $(seq "$nodes"); do start_node "node$k"; done
  local end=$((SECONDS + 30)) idle
  while [ "$SECONDS" -lt "$end" ] && ! ended "$(cat "$dir/run/slurmctld.started")"; do
    idle=$(timeout 3 sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l) || idle=0
    if [ "$idle" = "$nodes" ]; then return; fi
    sleep 0.1
  done
  tail -n 5 "$dir"/log/*.log "$dir"/log/*.out >&2 || true
  down
  die "The cluster did not come up within 30 s (see the logs above). Is port $port in use? Set CLUSTER_PORT."
}

down() {
  if [ -s "$dir/run/slurmctld.started" ] && ! ended "$(cat "$dir/run/slurmctld.started")"; then
    timeout 5 scancel -u "$(id -un)" 2>/dev/null || true
    for _ in $(seq 50); do [ -n "$(timeout 3 squeue -h -t R,CG 2>/dev/null)" ] || break; sleep 0.1; done
  fi
  stop "$dir"/run/node*.started "$dir/run/slurmctld.started"
  stop_steps
  rm -rf "$dir"/{state,spool,log,run,tmp,shm,hosts,prolog.sh,slurm.conf}
  rmdir "$dir" 2>/dev/null || true
}

case ${1:-} in
up) up ;;
down) down ;;
env) echo "export SLURM_CONF=$SLURM_CONF" ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
