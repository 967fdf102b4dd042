#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/combine.hpp"
#include "core/cuda.hpp"

namespace selenite {

/// How thread ranks move and add what they show to each other: by the host's threads, or by the CUDA device that holds
/// it.
class Mover {
 public:
  virtual ~Mover() = default;
  /// body(first, last) for parts of about `grain` of `count` things, in any order.
  virtual void each(std::int64_t count, std::int64_t grain,
                    std::function<void(std::int64_t, std::int64_t)> const& body) = 0;
  virtual void copy(std::byte const* from, std::byte* to, std::int64_t bytes) = 0;
  /// As selenite::combine.
  virtual void combine(DType dtype, std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count,
                       Reduction reduction) = 0;
  /// Of messages, which wait in host memory.
  virtual void to_host(std::byte const* from, std::byte* to, std::int64_t bytes) = 0;
  virtual void from_host(std::byte const* from, std::byte* to, std::int64_t bytes) = 0;
  /// Returns when all that was asked for, here and on the device's stream, is done: before others read it, and before
  /// they go on to change what it reads.
  virtual void settle() = 0;
};
std::unique_ptr<Mover> make_host_mover();
/// Works on the stream that `cuda` has at the time. Throws Error in builds without CUDA.
std::unique_ptr<Mover> make_cuda_mover(Cuda& cuda);

}  // namespace selenite
