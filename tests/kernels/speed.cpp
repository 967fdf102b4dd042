#include <algorithm>
#include <chrono>
#include <cstdio>

#include "cases.hpp"

namespace selenite::test::detail {
namespace {

double seconds(std::function<void()> const& run, std::function<void()> const& finish, int repeats) {
  auto const begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) run();
  finish();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / repeats;
}

/// What the machine can do at best, to divide by: a large copy in bytes/s (read and written), or a large GEMM in
/// FLOP/s.
class Limit {
 public:
  Limit(Cost const& cost, Runner const& runner)
      : runner_(runner), compute_(cost.work == Work::gemm || cost.work == Work::attention), t_(Tensors::rounded) {
    if (compute_) {
      DType const type = cost.dtype == DType::fp16 ? DType::bf16 : cost.dtype;  // no CPU multiplies fp16 faster
      std::int64_t const n = runner.gemm_side;
      bool const fp8 = size_of(type) == 1;
      gemm_ = {.a = t_.in(type, {n, n}),
               .b = t_.in(type, {n, n}),
               .out = t_.out(fp8 ? DType::bf16 : type, {n, n}),
               .transpose_b = fp8};  // as devices want it
      scratch_.resize(static_cast<std::size_t>(workspace(gemm_, 64 << 20)) + 256);
    } else {
      from_ = t_.in(DType::fp32, {runner.copied}, Values([](std::int64_t) { return 1.0; })),
      to_ = t_.out(DType::fp32, {runner.copied});
    }
  }
  bool compute() const { return compute_; }
  double rate() {
    double const n = static_cast<double>(runner_.gemm_side);
    if (compute_) return 2 * n * n * n / seconds([&] { multiply(); }, runner_.finish, 2);
    return 8.0 * static_cast<double>(runner_.copied) / seconds([&] { runner_.copy(from_, to_); }, runner_.finish, 1);
  }

 private:
  void multiply() {
    auto const skew = (256 - reinterpret_cast<std::uintptr_t>(scratch_.data()) % 256) % 256;
    runner_.multiply({scratch_.data() + skew, scratch_.size() - 256}, gemm_);
  }
  Runner const& runner_;
  bool compute_;
  Tensors t_;
  Gemm gemm_;
  Tensor from_, to_;
  std::vector<std::byte> scratch_;
};

}  // namespace

double print_speed(std::string const& name, DType type, Cost const& cost, Runner const& runner) {
  Limit limit(cost, runner);
  limit.rate();
  seconds(runner.run, runner.finish, 1);
  int const repeats = std::max(1, static_cast<int>(0.03 / seconds(runner.run, runner.finish, 1)));
  double const work = limit.compute() ? cost.flops : cost.bytes;
  std::vector<double> ratios;
  double best = 1e30;
  auto const begin = std::chrono::steady_clock::now();
  for (int round = 0; round < 9 && (round < 3 || std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
       ++round) {
    double const peak = limit.rate(), s = seconds(runner.run, runner.finish, repeats);
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
