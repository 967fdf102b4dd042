#include "exec/cuda_lanes.hpp"

namespace selenite {

struct CudaLanes::Streams {};
CudaLanes::CudaLanes(int ordinal) { cuda_.device = open_cuda_device(ordinal); }  // throws
CudaLanes::~CudaLanes() = default;
void CudaLanes::select(Lane) {}
CUstream_st* CudaLanes::stream(Lane) const { return nullptr; }
std::uint64_t CudaLanes::record() { return 0; }
void CudaLanes::wait(std::uint64_t) {}
void CudaLanes::wait_on_host(std::uint64_t) {}
void CudaLanes::copy(void*, void const*, std::int64_t) {}
void CudaLanes::synchronize() {}

}  // namespace selenite
