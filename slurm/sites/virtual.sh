# The virtual nodes that tests/slurm/cluster.sh starts on one machine: no GPUs, all traffic on the loopback interface.
# shellcheck shell=bash disable=SC2034

site_sbatch=()
site_cpus_per_node=0
site_gpus_per_node=0
site_ranks_per_node=1

site_launcher=(srun --mpi=pmix --kill-on-bad-exit=1)

site_prepare() {
  export OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_mpi_yield_when_idle=1
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
}
