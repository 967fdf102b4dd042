#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>

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
  explicit Limit(Runner const& runner)
      : from_(t_.in(DType::fp32, {runner.copied}, Values([](std::int64_t) { return 1.0; }))),
        to_(t_.out(DType::fp32, {runner.copied})) {}
  Limit(DType type, Runner const& runner) {
    std::int64_t const n = runner.gemm_side;
    bool const fp8 = size_of(type) == 1;
    gemm_ = {.a = t_.in(type, {n, n}),
             .b = t_.in(type, {n, n}),
             .out = t_.out(fp8 ? DType::bf16 : type, {n, n}),
             .transpose_b = fp8};  // as devices want it
    scratch_.resize(static_cast<std::size_t>(workspace(gemm_, 64 << 20)) + 256);
  }
  double rate(Runner const& runner) {
    double const n = static_cast<double>(runner.gemm_side);
    if (gemm_.a.defined()) return 2 * n * n * n / seconds([&] { multiply(runner); }, runner.finish, 2);
    return 8.0 * static_cast<double>(runner.copied) / seconds([&] { runner.copy(from_, to_); }, runner.finish, 1);
  }

 private:
  void multiply(Runner const& runner) {
    auto const skew = (256 - reinterpret_cast<std::uintptr_t>(scratch_.data()) % 256) % 256;
    runner.multiply({scratch_.data() + skew, scratch_.size() - 256}, gemm_);
  }
  Tensors t_{Tensors::rounded};
  Gemm gemm_;
  Tensor from_, to_;
  std::vector<std::byte> scratch_;
};

bool computes(Cost const& cost) { return cost.work == Work::gemm || cost.work == Work::attention; }

/// Made once for all cases: its tensors are large. Never freed, as a device may be gone when the program ends.
Limit& limit_of(Cost const& cost, Runner const& runner) {
  static auto& limits = *new std::map<std::optional<DType>, Limit>;
  std::optional<DType> key;
  if (computes(cost)) key = cost.dtype == DType::fp16 ? DType::bf16 : cost.dtype;  // no CPU multiplies fp16 faster
  if (key) return limits.try_emplace(key, *key, runner).first->second;
  return limits.try_emplace(key, runner).first->second;
}

}  // namespace

double print_speed(std::string const& name, DType type, Cost const& cost, Runner const& runner) {
  Limit& limit = limit_of(cost, runner);
  limit.rate(runner);
  seconds(runner.run, runner.finish, 1);
  int const repeats = std::max(1, static_cast<int>(0.03 / seconds(runner.run, runner.finish, 1)));
  double const work = computes(cost) ? cost.flops : cost.bytes;
  std::vector<double> ratios;
  double best = 1e30;
  auto const begin = std::chrono::steady_clock::now();
  for (int round = 0; round < 9 && (round < 3 || std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
       ++round) {
    double const peak = limit.rate(runner), s = seconds(runner.run, runner.finish, repeats);
    ratios.push_back(work / s / peak);
    best = std::min(best, s);
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("%-52s %-5s %9.3f ms %8.1f GB/s %8.1f GFLOP/s %5.1f %% of the %s\n", name.c_str(),
              std::string(selenite::name(type)).c_str(), best * 1e3, cost.bytes / best / 1e9, cost.flops / best / 1e9,
              100 * ratios[ratios.size() / 2], computes(cost) ? "best GEMM rate" : "copy bandwidth");
  std::fflush(stdout);
  return best;
}

}  // namespace selenite::test::detail
