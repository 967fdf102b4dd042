// Collectives of thread ranks that share a device: copies and sums on the rank's stream.
#include <cuda_runtime.h>

#include "comm/mover.hpp"
#include "core/element.cuh"
#include "core/error.hpp"

namespace selenite {
namespace {

constexpr int most_parts = 16;
struct Parts {
  void const* part[most_parts];
  int count;
};

__device__ double widen(double x) { return x; }
template <class T>
__device__ float widen(T x) {
  return to_float(x);
}
__device__ void put(double v, double* to) { *to = v; }
template <class T>
__device__ void put(float v, T* to) {
  *to = from_float<T>(v);
}

/// Element by element in the order of the parts; `out` may be one of them.
template <class T>
__global__ void combine_kernel(Parts parts, T* out, std::int64_t count, Reduction reduction) {
  std::int64_t const stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    auto v = widen(static_cast<T const*>(parts.part[0])[i]);
    for (int r = 1; r < parts.count; ++r) {
      auto const other = widen(static_cast<T const*>(parts.part[r])[i]);
      v = reduction == Reduction::sum ? v + other : (v < other ? other : v);
    }
    put(v, out + i);
  }
}

class CudaMover final : public Mover {
 public:
  explicit CudaMover(Cuda& cuda) : cuda_(cuda) {}
  void each(std::int64_t count, std::int64_t grain,
            std::function<void(std::int64_t, std::int64_t)> const& body) override {
    for (std::int64_t first = 0; first < count; first += grain)
      body(first, first + grain < count ? first + grain : count);
  }
  void copy(std::byte const* from, std::byte* to, std::int64_t bytes) override {
    CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, cuda_.stream));
  }
  void combine(DType dtype, std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count,
               Reduction reduction) override {
    switch (dtype) {
      case DType::fp32:
        return combine_as<float>(parts, out, count, reduction);
      case DType::fp64:
        return combine_as<double>(parts, out, count, reduction);
      case DType::bf16:
        return combine_as<bf16>(parts, out, count, reduction);
      case DType::fp16:
        return combine_as<fp16>(parts, out, count, reduction);
      default:
        throw Error(concat("Tensors of ", name(dtype),
                           " can't be reduced between ranks (only fp32, fp64, bf16 and fp16 can). This is a defect of "
                           "Selenite; please report it."));
    }
  }
  void to_host(std::byte const* from, std::byte* to, std::int64_t bytes) override {
    copy(from, to, bytes);
    settle();
  }
  void from_host(std::byte const* from, std::byte* to, std::int64_t bytes) override { to_host(from, to, bytes); }
  void settle() override { CUDA_CHECK(cudaStreamSynchronize(cuda_.stream)); }

 private:
  template <class T>
  void combine_as(std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count, Reduction reduction) {
    validate(parts.size() <= most_parts, "A group of ", parts.size(), " thread ranks shares a device (", most_parts,
             " at most). Use fewer ranks, or run.comm = \"nccl\".");
    if (count == 0) return;
    Parts list{{}, static_cast<int>(parts.size())};
    for (std::size_t r = 0; r < parts.size(); ++r) list.part[r] = parts[r];
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(count < 256 * 1024 ? (count + 255) / 256 : 1024));
    config.blockDim = dim3(256);
    config.stream = cuda_.stream;
    CUDA_CHECK(cudaLaunchKernelEx(&config, combine_kernel<T>, list, reinterpret_cast<T*>(out), count, reduction));
  }

  Cuda& cuda_;
};

}  // namespace

std::unique_ptr<Mover> make_cuda_mover(Cuda& cuda) { return std::make_unique<CudaMover>(cuda); }

}  // namespace selenite
