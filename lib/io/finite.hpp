#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"

namespace selenite {

/// Has none of `count` packed values an infinity or a NaN? Integers have not.
bool all_finite(std::byte const* values, DType dtype, std::int64_t count);

}  // namespace selenite
