#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/config.hpp"
#include "study/study.hpp"

namespace selenite {

/// One combination of the axes' values.
struct Point {
  std::string name;             ///< short, for people: "micro_batch=4,sequence_length=512"
  std::string id;               ///< 12 hexadecimal digits: a hash of the resolved config without run.folder
  std::vector<Setting> varied;  ///< its values on the axes
  std::int64_t ranks = 1;
  Config config;           ///< resolved if feasible
  std::string infeasible;  ///< why it can't be run, or empty

  std::string folder_name() const { return name + "-" + id; }
};

/// All points of a study in the order of its axes, the last one fastest; what an [[exclude]] leaves out is not there,
/// what resolve() refuses carries its reason, and so does a point that resolves to the same run as an earlier one.
/// Throws Error if a value does not fit its key, or if nothing is left.
std::vector<Point> expand(Study const& study);

}  // namespace selenite
