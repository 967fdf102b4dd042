#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/comm.hpp"
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
  Wholes gradients;                                  ///< of the first step: of the sum of the counted tokens' losses
  Wholes weights;                                    ///< after the last
  std::map<std::string, std::vector<float>> amaxes;  ///< with fp8, the histories behind the scales
  std::int64_t bytes_sent = 0;                       ///< by all ranks
  std::vector<std::string> wrong;                    ///< what did not equal the plan: bytes held, FLOPs, bytes sent
};

/// Where a training begins and ends.
struct Part {
  std::int64_t until = 3;          ///< the last step
  std::filesystem::path from, to;  ///< folders of checkpoints: to go on from, and to save the end in; empty: none
};
/// Makes what a rank communicates by out of what threads have.
using Wrap = std::function<std::unique_ptr<Comm>(Comm&)>;
/// Trains a resolved config on the toy language, all ranks of its layout as threads of this process.
Trained train_as_threads(Config const& config, Part const& part, Wrap const& wrap = {});

}  // namespace selenite::test
