#pragma once
#include <array>
#include <map>
#include <string>
#include <vector>

#include "tests/shim/include/cudnn.h"

/// What the stand-in for cuDNN saw. It checks descriptors and graphs as the library does, offers engines, and
/// interprets graphs in plain loops: cudnn.cpp has descriptors and engines, cudnn_graph.cpp what a graph says and does.
namespace selenite::shim {

struct DnnTensor {
  std::int64_t number = 0;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  std::array<std::int64_t, 4> extents{}, strides{};
  std::int64_t alignment = 1;
  bool is_virtual = false, by_value = false;
  bool operator==(DnnTensor const&) const = default;
};
/// One operation: inputs and output by number.
struct DnnOperation {
  enum class Kind { pointwise, matmul, reduce, reshape };
  Kind kind = Kind::pointwise;
  cudnnPointwiseMode_t mode{};
  cudnnReduceTensorOp_t reduction{};
  std::int64_t axis = 0;
  cudnnDataType_t math = CUDNN_DATA_FLOAT;
  std::vector<std::int64_t> inputs;
  std::int64_t output = 0;
};
struct DnnGraph {
  std::map<std::int64_t, DnnTensor> tensors;
  std::vector<DnnOperation> operations;  ///< each after those that make its inputs

  /// Adds up what is wrong: nothing if the string is empty. Puts the operations in order.
  std::string finish();
  /// Scratch that the library's engines need for graphs of attention, as those of cuDNN 9.19 for Hopper say.
  std::int64_t workspace() const;
  /// Runs it in plain loops; what lies in memory is at places[number].
  void run(std::map<std::int64_t, void*> const& places) const;
};

/// An engine on offer, best first.
struct DnnEngine {
  std::int64_t more_workspace = 0;  ///< than the graph's
  bool deterministic = true, supported = true;
};

struct DnnRun {
  DnnGraph graph;
  std::map<std::int64_t, void*> places;
  std::int64_t workspace = 0;
  std::size_t engine = 0;
  cudaStream_t stream = nullptr;
};
struct DnnRecord {
  std::size_t version = 91900;
  std::vector<DnnEngine> engines{1};
  int handles = 0, destroyed = 0;  ///< made, and given back
  int plans = 0;
  std::int64_t descriptors = 0;  ///< alive
  std::vector<DnnRun> runs;
};
/// Of this OS thread.
DnnRecord& dnn_record();
/// Plans run by all threads so far.
std::int64_t dnn_runs_of_all_threads();

}  // namespace selenite::shim
