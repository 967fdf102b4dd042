#include "comm/combine.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace selenite {
namespace {

template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

template <class T>
void combine(std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count, Reduction reduction) {
  using A = typename Accumulate<T>::type;
  auto* result = reinterpret_cast<T*>(out);
  constexpr std::int64_t block = 2048;
  A sums[block];
  for (std::int64_t first = 0; first < count; first += block) {
    std::int64_t const n = std::min(block, count - first);
    auto const* p0 = reinterpret_cast<T const*>(parts[0]) + first;
    for (std::int64_t i = 0; i < n; ++i) sums[i] = static_cast<A>(p0[i]);
    for (std::size_t r = 1; r < parts.size(); ++r) {
      auto const* p = reinterpret_cast<T const*>(parts[r]) + first;
      if (reduction == Reduction::sum)
        for (std::int64_t i = 0; i < n; ++i) sums[i] += static_cast<A>(p[i]);
      else
        for (std::int64_t i = 0; i < n; ++i) sums[i] = std::max(sums[i], static_cast<A>(p[i]));
    }
    for (std::int64_t i = 0; i < n; ++i) result[first + i] = static_cast<T>(sums[i]);
  }
}

}  // namespace

void combine(DType dtype, std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count,
             Reduction reduction) {
  switch (dtype) {
    case DType::fp32:
      return combine<float>(parts, out, count, reduction);
    case DType::fp64:
      return combine<double>(parts, out, count, reduction);
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
