#include "exec/cuda_lanes.hpp"

#include <array>
#include <cuda_runtime.h>

#include "core/error.hpp"

namespace selenite {
struct CudaLanes::Streams {
  static constexpr std::uint64_t kept = 256;
  std::array<cudaStream_t, lane_count> streams{};
  std::array<cudaEvent_t, kept> events{};
  std::uint64_t recorded = 0;

  Streams() {
    for (cudaStream_t& s : streams) CUDA_CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    for (cudaEvent_t& e : events) CUDA_CHECK(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
  }
  ~Streams() {
    for (cudaEvent_t const e : events) static_cast<void>(cudaEventDestroy(e));
    for (cudaStream_t const s : streams) static_cast<void>(cudaStreamDestroy(s));
  }
  /// The event of a number; of one that has been used again since, the oldest that is known: it comes later.
  cudaEvent_t event(std::uint64_t number) const {
    std::uint64_t const oldest = recorded > kept ? recorded - kept + 1 : 1;
    return events[static_cast<std::size_t>((number < oldest ? oldest : number) % kept)];
  }
};

CudaLanes::CudaLanes(int ordinal) {
  cuda_.device = open_cuda_device(ordinal);
  streams_ = std::make_unique<Streams>();
  constexpr std::int64_t mailbox_bytes = 4096;
  mailbox_ = allocate_pinned(mailbox_bytes);
  select(Lane::compute);
}

CudaLanes::~CudaLanes() {
  static_cast<void>(cudaDeviceSynchronize());  // nothing on its way reads memory that is about to go
  free_pinned(mailbox_);
}

void CudaLanes::select(Lane lane) { cuda_.stream = streams_->streams[static_cast<std::size_t>(lane)]; }

std::uint64_t CudaLanes::record() {
  std::uint64_t const number = ++streams_->recorded;
  CUDA_CHECK(cudaEventRecord(streams_->event(number), cuda_.stream));
  return number;
}

void CudaLanes::wait(std::uint64_t number) {
  if (number > 0) CUDA_CHECK(cudaStreamWaitEvent(cuda_.stream, streams_->event(number), 0));
}

void CudaLanes::wait_on_host(std::uint64_t number) {
  if (number > 0) CUDA_CHECK(cudaEventSynchronize(streams_->event(number)));
}

void CudaLanes::copy(void* to, void const* from, std::int64_t bytes) {
  CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, cuda_.stream));
}

void CudaLanes::synchronize() { CUDA_CHECK(cudaStreamSynchronize(cuda_.stream)); }

}  // namespace selenite
