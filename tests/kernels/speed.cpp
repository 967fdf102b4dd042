#include <algorithm>
#include <chrono>
#include <cstdio>

#include "cases.hpp"

namespace selenite::test::detail {
namespace {

double seconds(std::function<void()> const& run, int repeats) {
  auto const begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / repeats;
}

/// What the backend can do at best, to divide by: a copy of 256 MiB in bytes/s (read and written), or a GEMM of 2048^3
/// in FLOP/s.
class Limit {
 public:
  Limit(Cost const& cost, Yardsticks const& yardsticks)
      : compute_(cost.work == Work::gemm || cost.work == Work::attention),
        yardsticks_(yardsticks),
        t_(Tensors::rounded) {
    if (compute_) {
      DType const type = cost.dtype == DType::fp16 ? DType::bf16 : cost.dtype;  // no CPU multiplies fp16 faster
      gemm_ = {t_.in(type, {size, size}), t_.in(type, {size, size}), t_.out(type, {size, size})};
    } else {
      copy_ = {t_.in(DType::fp32, {copied}, Values([](std::int64_t) { return 1.0; })), t_.out(DType::fp32, {copied})};
    }
  }
  bool compute() const { return compute_; }
  double rate() {
    if (compute_) return 2.0 * size * size * size / seconds([&] { yardsticks_.multiply(gemm_); }, 2);
    return 2.0 * copied * 4 / seconds([&] { yardsticks_.copy(copy_); }, 1);
  }

 private:
  static constexpr std::int64_t size = 2048, copied = 64 << 20;
  bool compute_;
  Yardsticks const& yardsticks_;
  Tensors t_;
  Gemm gemm_;
  Cast copy_;
};

}  // namespace

double print_speed(std::string const& name, DType type, Cost const& cost, std::function<void()> const& run,
                   Yardsticks const& yardsticks) {
  Limit limit(cost, yardsticks);
  limit.rate();
  run();
  int const repeats = std::max(1, static_cast<int>(0.03 / seconds(run, 1)));
  double const work = limit.compute() ? cost.flops : cost.bytes;
  std::vector<double> ratios;
  double best = 1e30;
  auto const begin = std::chrono::steady_clock::now();
  for (int round = 0; round < 9 && (round < 3 || std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
       ++round) {
    double const peak = limit.rate(), s = seconds(run, repeats);
    ratios.push_back(work / s / peak);
    best = std::min(best, s);
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("%-52s %-5s %9.3f ms %8.1f GB/s %8.1f GFLOP/s %5.1f %% of the %s\n", name.c_str(),
              std::string(selenite::name(type)).c_str(), best * 1e3, cost.bytes / best / 1e9, cost.flops / best / 1e9,
              100 * ratios[ratios.size() / 2], limit.compute() ? "best GEMM rate" : "copy bandwidth");
  std::fflush(stdout);
  return best;
}

}  // namespace selenite::test::detail
