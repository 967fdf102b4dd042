#pragma once
#include <cstdint>
#include <optional>
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

/// Flash attention in one direction: seconds + FLOPs (1 + ramp / keys) / rate(head size), FLOPs of visible pairs.
struct AttentionLaw {
  double seconds = 0;  ///< of a call however small
  double ramp = 0;     ///< tokens: blocks of keys that are begun and ended, or cut by the mask
  RateCurve rates;     ///< FLOP/s by head size
};

/// A device by its physical figures, where there is no measurement by size. A GEMM multiplies tiles of its result on
/// its multiprocessors, in waves; lib/exec/price says how.
struct Processor {
  double multiprocessors = 0;
  double gemm_efficiency = 0;    ///< of the peak, while all multiprocessors multiply
  double gemm_ramp = 0;          ///< depth that filling a tile's pipeline costs
  double wave_tail = 0;          ///< of what the last wave leaves idle, the part that is lost
  double result_exposure = 0;    ///< of the time to write (and, accumulating, read) results, the part not hidden
  double memory_bandwidth = 0;   ///< bytes/s, data sheet
  double memory_efficiency = 0;  ///< of it, what copies and the products' operands and results reach
  double stream_efficiency = 0;  ///< of it, what memory-bound kernels reach, counted in the bytes that ours move
  AttentionLaw attention_forward, attention_backward;
};

/// What connects ranks beyond the links inside a node. Zero ranks a node: all ranks are on one.
struct Cluster {
  std::int64_t ranks_per_node = 0;
  double network_bandwidth =
      0;  ///< bytes/s of a node, all its adapters, one direction, as messages reach it; 0: not known
  double network_latency = 0;     ///< s of a step between nodes
  double collective_seconds = 0;  ///< of any collective or message, before its first step
  double overlap_cost = 0;        ///< of the compute rate, lost while communication goes on beside
  /// Between the fastest and the slowest device of a kind, of the time that multiplying takes; all wait for the
  /// slowest.
  double device_spread = 0;
};

/// Where a program that was measured on the machine is known to do otherwise than this one. Zero: as this one.
struct OtherProgram {
  double logit_forward_bytes = 0,  ///< moved a logit by a cross entropy that is no kernel of its own
      logit_backward_bytes = 0;
  double gradient_bytes = 0;  ///< moved a gradient once a step, before gradients are summed over their ranks
  bool operator==(OtherProgram const&) const = default;
};

/// What one rank's device and its links can do. From a file in scaling/machines, or measured at start ("auto").
/// All rates are of one rank; FLOPs count a multiply-add as two.
struct Machine {
  std::string name, source;
  std::int64_t memory_bytes = 0;                       ///< a rank may use; 0: unknown
  double peak_fp32 = 0, peak_bf16 = 0, peak_fp16 = 0;  ///< FLOP/s; the denominator of MFU and HFU; fp16 0: as bf16
  double peak_fp8 = 0;                                 ///< FLOP/s; 0: no faster than 16 bits
  double draw_rate = 0;                                ///< decisions/s of dropout in flash attention; 0: not known
  double launch_seconds = 0;                           ///< fixed time of a call
  double link_bandwidth = 0, link_latency = 0;  ///< bytes/s (one direction, as reached; 0: not known) and s a step, in
                                                ///< a node
  Cluster cluster;
  OtherProgram program;
  std::optional<Processor> processor;        ///< else these, by size:
  RateCurve gemm_fp32, gemm_bf16;            ///< FLOP/s by FLOPs of the call
  RateCurve attention_fp32, attention_bf16;  ///< FLOP/s by FLOPs of the call
  RateCurve stream;                          ///< bytes/s, read and written, by bytes of the call
  /// Bytes/s that a rank sends (nccl-tests' bus bandwidth), by bytes of the whole message, in a group of all ranks that
  /// were measured; all_gather is reduce-scatter's, too, and ring_shift a message's. Empty: link_* and cluster say it.
  RateCurve all_reduce, all_gather, ring_shift;
  double peak(DType dtype) const {
    if (dtype == DType::fp32) return peak_fp32;
    if (size_of(dtype) == 1 && peak_fp8 > 0) return peak_fp8;
    return dtype == DType::fp16 && peak_fp16 > 0 ? peak_fp16 : peak_bf16;
  }
};

/// From and to TOML. Missing, unknown or negative figures are errors that name the key. A file with `like = "other"`
/// says what differs from other.toml beside it.
Machine load_machine(std::string const& path);
std::string to_toml(Machine const& machine);

}  // namespace selenite
