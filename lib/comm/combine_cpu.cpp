#include <algorithm>

#include "comm/combine.hpp"
#include "core/error.hpp"
#include "core/simd.hpp"

namespace selenite {
namespace {

// One pass over all parts, the sums in registers. `out` may be one of them: each element is read before it is written.
template <class T>
void combine(std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count, Reduction reduction) {
  auto const part = [&](std::size_t r) { return reinterpret_cast<T const*>(parts[r]); };
  auto* const result = reinterpret_cast<T*>(out);
  simd::for_lanes(count, [&](std::int64_t i, auto lanes) SELENITE_LAMBDA {
    simd::Floats v = simd::load(part(0) + i, lanes);
    if (reduction == Reduction::sum)
      for (std::size_t r = 1; r < parts.size(); ++r) v += simd::load(part(r) + i, lanes);
    else
      for (std::size_t r = 1; r < parts.size(); ++r) {
        simd::Floats const other = simd::load(part(r) + i, lanes);
        v = v < other ? other : v;
      }
    simd::store(result + i, v, lanes);
  });
}

void combine_doubles(std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count,
                     Reduction reduction) {
  auto* const result = reinterpret_cast<double*>(out);
  for (std::int64_t i = 0; i < count; ++i) {
    double v = reinterpret_cast<double const*>(parts[0])[i];
    for (std::size_t r = 1; r < parts.size(); ++r) {
      double const other = reinterpret_cast<double const*>(parts[r])[i];
      v = reduction == Reduction::sum ? v + other : std::max(v, other);
    }
    result[i] = v;
  }
}

}  // namespace

void combine(DType dtype, std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count,
             Reduction reduction) {
  switch (dtype) {
    case DType::fp32:
      return combine<float>(parts, out, count, reduction);
    case DType::fp64:
      return combine_doubles(parts, out, count, reduction);
    case DType::bf16:
      return combine<bf16>(parts, out, count, reduction);
    case DType::fp16:
      return combine<fp16>(parts, out, count, reduction);
    default:
      throw Error(concat("Tensors of ", name(dtype),
                         " can't be reduced between ranks (only fp32, fp64, bf16 and fp16 can). This is a defect of "
                         "Selenite; please report it."));
  }
}

}  // namespace selenite
