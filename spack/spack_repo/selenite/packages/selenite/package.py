# SPDX-License-Identifier: Apache-2.0
from spack_repo.builtin.build_systems.cmake import CMakeBuilder, CMakePackage, generator
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

    generator("ninja")
    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")

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
    depends_on("boost@1.74:+test", type="test")

    depends_on("mpi", when="+mpi")
    depends_on("onednn@2.6:", when="+onednn")
    depends_on("sentencepiece@0.1.91:", when="+sentencepiece")

    with when("+cuda"):
        depends_on("cuda@12.4:")
        depends_on("cudnn@9.10.2:")
        depends_on("nccl@2.17:")
        for _arch in CudaPackage.cuda_arch_values:  # dependencies do not take it over by themselves
            depends_on(f"nccl cuda_arch={_arch}", when=f"cuda_arch={_arch}")
    conflicts("cuda_arch=none", when="+cuda", msg="selenite+cuda needs an architecture, for example cuda_arch=90")
    conflicts("%gcc@:11", msg="selenite is written in C++20 (GCC 12 or newer)")

    _programs = [f"selenite-{name}" for name in ("preprocess", "pretrain", "evaluate", "sweep")]
    _share = join_path("share", "selenite")
    sanity_check_is_file = [join_path("bin", _program) for _program in _programs] + [
        join_path(_share, "slurm", "submit.sh"),
        join_path(_share, "scaling", "studies", "quickstart.toml"),
        join_path(_share, "data", "quickstart", "pretrain.toml"),
    ]

    def cmake_args(self):
        args = [
            self.define_from_variant("SELENITE_CUDA", "cuda"),
            self.define_from_variant("SELENITE_NCCL", "cuda"),
            self.define_from_variant("SELENITE_CUDNN", "cuda"),
            self.define_from_variant("SELENITE_ONEDNN", "onednn"),
            self.define_from_variant("SELENITE_MPI", "mpi"),
            self.define_from_variant("SELENITE_SENTENCEPIECE", "sentencepiece"),
            self.define("SELENITE_TESTS", self.run_tests),
            self.define("SELENITE_BENCH", False),
            # Spack's compiler wrapper names the target; "native" would be the machine that builds
            self.define("SELENITE_CPU_ARCH", ""),
            # a ccache around the wrapper does not see the target; Spack's own (config:ccache) does
            self.define("SELENITE_CCACHE", False),
        ]
        if self.spec.satisfies("+cuda"):
            args.append(CMakeBuilder.define_cuda_architectures(self))
        return args

    def check(self):
        """The unit tests; those of other labels need a launcher, Slurm or a GPU."""
        with working_dir(self.build_directory):
            ctest("--output-on-failure", "--label-regex", "^unit$")

    def test_programs(self):
        """every installed program starts, and tells its version"""
        for program in self._programs:
            with test_part(self, f"test_programs_{program}", purpose=f"{program} --version"):
                text = Executable(join_path(self.prefix.bin, program))("--version", output=str.split, error=str.split)
                check_outputs(rf"{program} \d+\.\d+", text)

    def test_plan(self):
        """selenite-pretrain plans an installed run"""
        run = join_path(self.prefix, self._share, "data", "quickstart", "pretrain.toml")
        pretrain = Executable(join_path(self.prefix.bin, "selenite-pretrain"))
        check_outputs(r"Memory of a rank", pretrain(run, "--dry-run", output=str.split, error=str.split))
