#include "core/element.hpp"
#include "core/rng.hpp"
#include "kernels/cast/cast.hpp"

namespace selenite {

void reference(Cast const& op) {
  for (std::int64_t r = 0; r < op.x.rows(); ++r)
    for (std::int64_t c = 0; c < op.x.cols(); ++c) store(op.y, r, c, load(op.x, r, c));
}

void reference(Fill const& op) {
  for (std::int64_t r = 0; r < op.x.rows(); ++r)
    for (std::int64_t c = 0; c < op.x.cols(); ++c) store(op.x, r, c, op.value);
}

void reference(InitNormal const& op) {
  for (std::int64_t r = 0; r < op.x.rows(); ++r) {
    for (std::int64_t c = 0; c < op.x.cols(); ++c) {
      auto const element = static_cast<std::uint64_t>((op.row0 + r) * op.logical_cols + op.col0 + c);
      std::uint32_t const word = init_words(op.seed, op.name_hash, element / 4)[element % 4];
      store(op.x, r, c, static_cast<float>(normal_from_word(word)) * static_cast<float>(op.std));
    }
  }
}

}  // namespace selenite
