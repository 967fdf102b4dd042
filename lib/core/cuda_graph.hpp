#pragma once
#include <functional>
#include <utility>

struct CUgraphExec_st;
struct CUstream_st;

namespace selenite {

/// What a stream was given once, to be launched again as a whole. All calls throw Error as CUDA_CHECK does, and in
/// builds without CUDA.
class CudaGraph {
 public:
  /// What `body` gives the stream is captured and not done. What it asks of the runtime otherwise must not wait or
  /// allocate; other threads may. Throws what `body` throws, and Error where something can't be captured: then nothing
  /// of it has been done, and the stream is as it was.
  CudaGraph(CUstream_st* stream, std::function<void()> const& body);
  /// One that is under way goes on; the runtime frees it when it is over.
  ~CudaGraph();
  CudaGraph(CudaGraph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  CudaGraph& operator=(CudaGraph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  /// Behind what the stream has so far.
  void launch(CUstream_st* stream) const;

 private:
  CUgraphExec_st* graph_ = nullptr;
};

}  // namespace selenite
