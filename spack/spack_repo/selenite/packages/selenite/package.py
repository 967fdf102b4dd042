# SPDX-License-Identifier: Apache-2.0
from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Selenite(CMakePackage, CudaPackage):
    """Slurm-integrated HPC job suite that trains transformer language models, from C++."""

    # No release yet: spack.yaml at the root of a checkout builds that checkout.
    license("Apache-2.0")

    version("main", branch="main")

    variant("onednn", default=True, description="Matrix products on the CPU through oneDNN")
    variant("mpi", default=True, description="Ranks over MPI")
    variant("sentencepiece", default=True, description="Read SentencePiece tokenizers")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconf", type="build")
    generator("ninja")

    depends_on("tomlplusplus@3.3:")
    depends_on("cli11@2.1:")
    depends_on("nlohmann-json@3.11:")
    depends_on("hdf5@1.10.7:~mpi")  # checkpoints are one serial file a rank; file locking is a property since 1.10.7
    depends_on("xxhash@0.8:")
    depends_on("zstd")
    depends_on("zlib-api")
    depends_on("utf8proc+shared")
    depends_on("pcre2")
    depends_on("gnuplot", type="run")  # plots of the sweep's report
    depends_on("boost@1.74:+test", type=("build", "test"))

    depends_on("mpi", when="+mpi")
    depends_on("onednn@2.6:", when="+onednn")
    depends_on("sentencepiece@0.1.91:", when="+sentencepiece")

    with when("+cuda"):
        depends_on("cuda@12:")
        depends_on("cudnn@9.10.2:")
        depends_on("nccl")
        for _arch in CudaPackage.cuda_arch_values:  # dependencies do not take it over by themselves
            depends_on(f"nccl cuda_arch={_arch}", when=f"cuda_arch={_arch}")
    conflicts("cuda_arch=none", when="+cuda", msg="selenite+cuda needs an architecture, for example cuda_arch=90")
    conflicts("%gcc@:11", msg="selenite is written in C++20 (GCC 12 or newer)")

    # -march for each target; without it the kernels would be built for the machine that builds
    _march = {
        "x86_64": "x86-64",
        "x86_64_v2": "x86-64-v2",
        "x86_64_v3": "x86-64-v3",
        "x86_64_v4": "x86-64-v4",
        "zen4": "znver4",
    }

    def cmake_args(self):
        target = str(self.spec.target)
        args = [
            self.define_from_variant("SELENITE_CUDA", "cuda"),
            self.define_from_variant("SELENITE_NCCL", "cuda"),
            self.define_from_variant("SELENITE_CUDNN", "cuda"),
            self.define_from_variant("SELENITE_ONEDNN", "onednn"),
            self.define_from_variant("SELENITE_MPI", "mpi"),
            self.define_from_variant("SELENITE_SENTENCEPIECE", "sentencepiece"),
            self.define("SELENITE_TESTS", self.run_tests),
            self.define("SELENITE_BENCH", False),
            self.define("SELENITE_CPU_ARCH", self._march.get(target, target)),
        ]
        if self.spec.satisfies("+cuda"):
            args.append(self.define("CMAKE_CUDA_ARCHITECTURES", list(self.spec.variants["cuda_arch"].value)))
        return args

    def check(self):
        """The unit tests; those of other labels need a launcher, Slurm or a GPU."""
        with working_dir(self.build_directory):
            ctest("--output-on-failure", "--label-regex", "^unit$")

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def check_installed(self):
        for name in ("preprocess", "pretrain", "evaluate", "sweep"):
            Executable(join_path(self.prefix.bin, f"selenite-{name}"))("--version")
