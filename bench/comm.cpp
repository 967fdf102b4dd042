// What do the ranks of one machine lose between each other: as threads, which read each other's memory, and as MPI
// processes, which copy? All-reduce, ring shift and a message there and back, against a copy of the same size by every
// rank at once. GB/s are bytes sent by a rank and second ("bus bandwidth"), as nccl-tests count them.
//   bench_comm RANKS [MIB]               threads
//   mpirun -n RANKS bench_comm mpi [MIB] MPI
#include "comm/comm.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "core/parallel_for.hpp"

using namespace selenite;

namespace {

/// The fastest of a few runs, of the slowest rank.
double seconds(Comm& comm, std::function<void()> const& run) {
  double best = 1e30;
  for (int i = 0; i < 8; ++i) {
    comm.barrier();
    auto const start = std::chrono::steady_clock::now();
    run();
    double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    comm.all_reduce({&s, 1}, Reduction::max);
    best = std::min(best, s);
  }
  return best;
}

void measure(Comm& comm, char const* backend, std::int64_t mib) {
  set_threads(1);
  std::int64_t const n = comm.world();
  comm.set_grid(ProcessGrid({1, 1, 1, n, 1}));
  Rank const next((*comm.rank() + 1) % n), before((*comm.rank() + n - 1) % n);
  for (std::int64_t const bytes : {std::int64_t{4096}, mib << 20}) {
    std::vector<std::byte> a(static_cast<std::size_t>(bytes)), b(a.size());
    auto const size = static_cast<double>(bytes);
    double const copied = size / seconds(comm, [&] { std::memcpy(b.data(), a.data(), a.size()); });
    auto report = [&](char const* what, double sent, double s) {
      if (*comm.rank() == 0)
        std::printf("%s x%d  %-16s %9.0f KiB %10.1f us %7.2f GB/s  %.2f of a copy\n", backend, static_cast<int>(n),
                    what, size / 1024, s * 1e6, sent / s * 1e-9, sent / s / copied);
    };
    for (DType dtype : {DType::fp32, DType::bf16, DType::fp16}) {
      AllReduce const reduce{.data = Tensor(a.data(), dtype, {bytes / size_of(dtype)}), .group = {Axis::data}};
      report(("all-reduce " + std::string(name(dtype))).c_str(),
             static_cast<double>(sent_bytes(reduce, n, *comm.rank())), seconds(comm, [&] { comm.launch(reduce); }));
    }
    Tensor const out(a.data(), DType::uint8, {bytes}), in(b.data(), DType::uint8, {bytes});
    report("ring shift", size,
           seconds(comm, [&] { comm.launch(RingShift{.send = out, .recv = in, .group = {Axis::data}}); }));
    report("send and receive", size, seconds(comm, [&] {
             comm.launch(Send{.data = out, .to = next});
             comm.launch(Recv{.data = in, .from = before});
             comm.finish(Channel::forward);
           }));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t const mib = argc > 2 ? std::atoll(argv[2]) : 64;
  if (argc > 1 && std::strcmp(argv[1], "mpi") == 0)
    measure(*make_mpi_comm(), "mpi    ", mib);
  else
    run_threads(argc > 1 ? std::atoll(argv[1]) : 2, [&](Comm& comm) { measure(comm, "threads", mib); });
}
