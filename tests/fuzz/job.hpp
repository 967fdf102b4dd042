#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/config.hpp"

namespace selenite::test {

/// A logical tensor, put together from the ranks' boxes.
struct Whole {
  std::vector<double> values;
  std::vector<int> written;  ///< how often each element was
};
using Wholes = std::map<std::string, Whole>;

/// What a training left.
struct Trained {
  std::vector<double> losses, norms;
  Wholes gradients;  ///< of the first step, times the backward seed
  Wholes weights;    ///< after the last
  std::vector<std::string> wrong;  ///< what did not equal the plan: bytes held, FLOPs, bytes sent
};

/// Trains a resolved config on the toy language for some steps, all ranks of its layout as threads of this process.
Trained train_as_threads(Config const& config, std::int64_t steps);

}  // namespace selenite::test
