# A cluster of which nothing is known but Slurm. Copy this file to NAME.sh, fill it in, and use it by --site NAME.
# shellcheck shell=bash disable=SC2034

site_sbatch=()              # options of sbatch for every job here: --partition, --account, --exclusive, --constraint
site_cpus_per_node=0        # cores of a node that a job gets; 0: Slurm's default
site_gpus_per_node=0        # GPUs of a node; 0: none
site_ranks_per_node=1       # ranks of pretraining on a node: one for each GPU, or one for each socket

# How the ranks are started. Open MPI needs srun's pmix plugin (see srun --mpi=list), or its own mpirun.
site_launcher=(srun --mpi=pmix --kill-on-bad-exit=1)

site_prepare() {            # runs in the job before anything else: module load, spack load, exports
  export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}   # srun does not take this over from sbatch
}
