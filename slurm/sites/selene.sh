# A cluster like Selene: nodes with two 64-core CPUs, eight GPUs joined by NVSwitch, and eight InfiniBand adapters.
# shellcheck shell=bash disable=SC2034

site_sbatch=(--partition=batch --exclusive --mem=0)
site_cpus_per_node=128
site_gpus_per_node=8
site_ranks_per_node=8

site_launcher=(srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores)

site_prepare() {
  export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-16}
  if command -v module >/dev/null; then module load selenite; fi
}
