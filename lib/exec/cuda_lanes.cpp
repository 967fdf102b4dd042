#include "exec/cuda_lanes.hpp"

#include <array>
#include <cuda_runtime.h>

#include "core/error.hpp"

namespace selenite {
struct CudaLanes::Streams {
  static constexpr std::uint64_t kept = 256;
  struct OneLane {
    cudaStream_t stream = nullptr;
    std::array<CudaEvent, kept> events;
    std::uint64_t recorded = 0;
  };
  std::array<OneLane, lane_count> lanes;

  Streams() {
    for (OneLane& l : lanes) CUDA_CHECK(cudaStreamCreateWithFlags(&l.stream, cudaStreamNonBlocking));
  }
  ~Streams() {
    for (OneLane const& l : lanes)
      if (l.stream) static_cast<void>(cudaStreamDestroy(l.stream));
  }
  /// Numbers tell the lane, so that the oldest event that is known of it comes later than an older one.
  static std::uint64_t number(Lane lane, std::uint64_t nth) {
    return nth * lane_count + static_cast<std::uint64_t>(lane);
  }
  CudaEvent const& event(std::uint64_t number) const {
    OneLane const& l = lanes[static_cast<std::size_t>(number % lane_count)];
    std::uint64_t const oldest = l.recorded > kept ? l.recorded - kept + 1 : 1, nth = number / lane_count;
    return l.events[static_cast<std::size_t>((nth < oldest ? oldest : nth) % kept)];
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

CUstream_st* CudaLanes::stream(Lane lane) const { return streams_->lanes[static_cast<std::size_t>(lane)].stream; }

void CudaLanes::select(Lane lane) {
  lane_ = lane;
  cuda_.stream = stream(lane);
}

std::uint64_t CudaLanes::record() {
  Streams::OneLane& lane = streams_->lanes[static_cast<std::size_t>(lane_)];
  std::uint64_t const nth = ++lane.recorded;
  lane.events[static_cast<std::size_t>(nth % Streams::kept)].record(cuda_.stream);
  return Streams::number(lane_, nth);
}

void CudaLanes::wait(std::uint64_t number) {
  if (number > 0) streams_->event(number).hold(cuda_.stream);
}

void CudaLanes::wait_on_host(std::uint64_t number) {
  if (number > 0) streams_->event(number).wait();
}

void CudaLanes::copy(void* to, void const* from, std::int64_t bytes) { copy_cuda_on(cuda_.stream, to, from, bytes); }

void CudaLanes::synchronize() { CUDA_CHECK(cudaStreamSynchronize(cuda_.stream)); }

}  // namespace selenite
