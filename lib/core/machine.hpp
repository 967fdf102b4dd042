#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.hpp"

namespace selenite {

/// A rate that depends on size: points (size, rate), sizes rising; between them the time is interpolated on log scales,
/// beyond them the nearest rate holds.
struct RateCurve {
  std::vector<double> sizes, rates;
  bool empty() const { return sizes.empty(); }
  double at(double size) const;
};

/// What one rank's device and its links can do. From a file in scaling/machines, or measured at start ("auto").
/// All rates are of one rank; FLOPs count a multiply-add as two.
struct Machine {
  std::string name, source;
  std::int64_t memory_bytes = 0;                       ///< a rank may use; 0: unknown
  double peak_fp32 = 0, peak_bf16 = 0, peak_fp16 = 0;  ///< FLOP/s; the denominator of MFU and HFU
  RateCurve gemm_fp32, gemm_bf16;                      ///< FLOP/s by FLOPs of the call
  RateCurve attention_fp32, attention_bf16;            ///< FLOP/s by FLOPs of the call
  RateCurve stream;                                    ///< bytes/s, read and written, by bytes of the call
  double launch_seconds = 0;                           ///< fixed time of a call
  double link_bandwidth = 0, link_latency = 0;         ///< bytes/s and s between two ranks
  double peak(DType dtype) const {
    return dtype == DType::fp32 ? peak_fp32 : dtype == DType::fp16 && peak_fp16 > 0 ? peak_fp16 : peak_bf16;
  }
};

/// From and to TOML. Missing or negative figures are errors that name the key.
Machine load_machine(std::string const& path);
std::string to_toml(Machine const& machine);

}  // namespace selenite
