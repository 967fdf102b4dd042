#pragma once
// Stands in for the toolkit's header where kernels are compiled for the host: what *_cuda.cu and kernels/cuda use of
// CUDA, no more. A launch runs its blocks one after the other; the threads of a block are fibers
// (tests/shim/block.hpp).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>

#include "tests/shim/block.hpp"
#include "tests/shim/devices.hpp"
#include "tests/shim/memory.hpp"
#include "tests/shim/streams.hpp"
#include "tests/shim/tensor_core.hpp"
#include "tests/shim/types.hpp"
#include "tests/shim/warpgroup.hpp"

#define SELENITE_SHIM 1
#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local
#define __forceinline__ inline
#define __launch_bounds__(...)

// --- runtime

enum cudaError_t {
  cudaSuccess,
  cudaErrorInvalidConfiguration,
  cudaErrorMemoryAllocation,
  cudaErrorInvalidDevice,
  cudaErrorNotReady,
  cudaErrorStreamCaptureUnsupported,
  cudaErrorStreamCaptureInvalidated,
  cudaErrorIllegalState,
  cudaErrorPeerAccessAlreadyEnabled
};
inline char const* cudaGetErrorName(cudaError_t e) {
  constexpr char const* names[] = {"cudaSuccess",
                                   "cudaErrorInvalidConfiguration",
                                   "cudaErrorMemoryAllocation",
                                   "cudaErrorInvalidDevice",
                                   "cudaErrorNotReady",
                                   "cudaErrorStreamCaptureUnsupported",
                                   "cudaErrorStreamCaptureInvalidated",
                                   "cudaErrorIllegalState",
                                   "cudaErrorPeerAccessAlreadyEnabled"};
  return names[e];
}
inline char const* cudaGetErrorString(cudaError_t e) {
  constexpr char const* texts[] = {"no error",
                                   "invalid configuration argument",
                                   "out of memory",
                                   "invalid device ordinal",
                                   "device not ready",
                                   "operation not permitted when stream is capturing",
                                   "operation failed due to a previous error during capture",
                                   "the operation cannot be performed in the present state",
                                   "peer access is already enabled"};
  return texts[e];
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

struct CUstream_st;
struct CUgraph_st;
struct CUgraphExec_st;
using cudaStream_t = CUstream_st*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  selenite::shim::ask_for_shared(reinterpret_cast<void const*>(kernel), static_cast<std::size_t>(bytes));
  return cudaSuccess;
}
/// What a kernel has of static memory is known once it has run.
struct cudaFuncAttributes {
  std::size_t sharedSizeBytes = 0;
};
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  *attributes = {};
  return cudaSuccess;
}

namespace selenite::shim {
/// Does work(stream), or makes it a part of the graph that is captured from the stream.
template <class Work>
cudaError_t give(cudaStream_t stream, Work const& work) {
  switch (capture_of(stream)) {
    case Capture::failed:
      return cudaErrorStreamCaptureInvalidated;
    case Capture::going_on:
      capture(work);
      return cudaSuccess;
    case Capture::none:
      work(stream);
  }
  return cudaSuccess;
}
}  // namespace selenite::shim

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(Params...), Args&&... args) {
  if (!selenite::shim::launchable(config->gridDim, config->blockDim)) return cudaErrorInvalidConfiguration;
  std::tuple<Params...> const arguments(args...);
  auto const run = [=, grid = config->gridDim, block = config->blockDim,
                    bytes = config->dynamicSmemBytes](void const*) {
    selenite::shim::run_grid(reinterpret_cast<void const*>(kernel), grid, block, bytes,
                             [&] { std::apply(kernel, arguments); });
  };
  return selenite::shim::give(config->stream, run);
}

// --- the device: one, whose memory is the host's. Everything is done when it is called, but on streams that a test
// holds; what streams and events are asked for is remembered where somebody wants to know (tests/shim/streams.hpp).

struct cudaDeviceProp {
  char name[32] = "the host shim";
  int major = 9, minor = 0, multiProcessorCount = 132;
  int l2CacheSize = 64 << 10;  // little: attention takes its heads in sections that it holds
  std::size_t sharedMemPerBlockOptin = 227 << 10, totalGlobalMem = std::size_t{1} << 33;
  struct {
    char bytes[16] = {};
  } uuid;
};
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = selenite::shim::devices();
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  return selenite::shim::choose_device(device) ? cudaSuccess : cudaErrorInvalidDevice;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = selenite::shim::chosen_device();
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  properties->uuid.bytes[15] = static_cast<char>(device);
  return device < selenite::shim::devices() ? cudaSuccess : cudaErrorInvalidDevice;
}
inline cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = device != peer && std::max(device, peer) < selenite::shim::devices();
  return cudaSuccess;
}
inline cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  if (peer == selenite::shim::chosen_device() || peer >= selenite::shim::devices()) return cudaErrorInvalidDevice;
  return selenite::shim::open_peer(peer) ? cudaSuccess : cudaErrorPeerAccessAlreadyEnabled;
}
inline cudaError_t cudaDeviceSynchronize() {
  return selenite::shim::fail_capture() ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  *memory = selenite::shim::skips_work() ? selenite::shim::reserve_addresses(bytes)
                                         : std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaMallocHost(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }
inline cudaError_t cudaFree(void* memory) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  if (!selenite::shim::release_addresses(memory)) std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = cudaDeviceProp{}.totalGlobalMem;
  return cudaSuccess;
}
inline cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  if (!selenite::shim::skips_work()) std::memset(memory, value, bytes);
  return cudaSuccess;
}
enum cudaMemcpyKind { cudaMemcpyDefault };
inline cudaError_t cudaMemcpy(void* to, void const* from, std::size_t bytes, cudaMemcpyKind) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  std::memmove(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return selenite::shim::give(
      stream, [=](void const* on) { selenite::shim::run_on(on, [=] { std::memmove(to, from, bytes); }); });
}
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice };
struct cudaPointerAttributes {
  cudaMemoryType type = cudaMemoryTypeUnregistered;
  int device = 0;
};
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, void const*) {
  *attributes = {};
  return cudaSuccess;
}

using cudaEvent_t = CUevent_st*;
enum { cudaEventDefault = 0, cudaStreamNonBlocking = 1, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = static_cast<cudaStream_t>(selenite::shim::new_handle());
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  selenite::shim::remember({.kind = selenite::shim::Step::Kind::host_waits_for_stream, .stream = stream});
  selenite::shim::wait_for_stream(stream);
  return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  selenite::shim::remember({.kind = selenite::shim::Step::Kind::wait, .stream = stream, .event = event});
  selenite::shim::wait_for(event);
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = selenite::shim::new_event();
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  selenite::shim::destroy(event);
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  selenite::shim::remember({.kind = selenite::shim::Step::Kind::record, .stream = stream, .event = event});
  selenite::shim::record(event, stream);
  return cudaSuccess;
}
inline cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  return selenite::shim::passed(event) ? cudaSuccess : cudaErrorNotReady;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  selenite::shim::remember({.kind = selenite::shim::Step::Kind::host_waits_for_event, .event = event});
  selenite::shim::wait_for(event);
  return cudaSuccess;
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t second) {
  if (!selenite::shim::passed(first) || !selenite::shim::passed(second)) return cudaErrorNotReady;
  *milliseconds = static_cast<float>(selenite::shim::milliseconds_between(first, second));
  return cudaSuccess;
}

// --- graphs. A thread that captures must not wait, ask or allocate; here it must not use events either, which on a
// device would become part of the graph.

using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraphExec_st*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return selenite::shim::begin_capture(stream) ? cudaSuccess : cudaErrorIllegalState;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = selenite::shim::end_capture(stream);
  return *graph ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
}
inline cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* launched, cudaGraph_t graph, unsigned long long) {
  *launched = reinterpret_cast<cudaGraphExec_t>(selenite::shim::copy(graph));
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  selenite::shim::destroy(graph);
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  return cudaGraphDestroy(reinterpret_cast<cudaGraph_t>(graph));
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  if (selenite::shim::fail_capture()) return cudaErrorStreamCaptureUnsupported;
  selenite::shim::launch(reinterpret_cast<cudaGraph_t>(graph), stream);
  return cudaSuccess;
}

// --- threads of a warp and of a block. The place of the call is remembered: threads that wait at different ones are an
// error.

inline void __syncthreads(selenite::shim::At at = selenite::shim::At::current()) { selenite::shim::block_barrier(at); }
inline int __syncthreads_or(int value, selenite::shim::At at = selenite::shim::At::current()) {
  return selenite::shim::block_or(value, at);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, selenite::shim::At at = selenite::shim::At::current()) {
  selenite::shim::warp_barrier(mask, at);
}
template <class V>
V __shfl_xor_sync(unsigned mask, V v, int lanes, int = 32, selenite::shim::At at = selenite::shim::At::current()) {
  return selenite::shim::shuffle(mask, v, selenite::shim::lane() ^ lanes, at);
}
template <class V>
V __shfl_sync(unsigned mask, V v, int lane, int = 32, selenite::shim::At at = selenite::shim::At::current()) {
  return selenite::shim::shuffle(mask, v, lane & 31, at);
}
template <class V>
V __shfl_down_sync(unsigned mask, V v, unsigned lanes, int = 32,
                   selenite::shim::At at = selenite::shim::At::current()) {
  int const from = selenite::shim::lane() + static_cast<int>(lanes);
  return selenite::shim::shuffle(mask, v, from < 32 ? from : selenite::shim::lane(), at);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, selenite::shim::At at = selenite::shim::At::current()) {
  return selenite::shim::ballot(mask, predicate != 0, at);
}
inline int __any_sync(unsigned mask, int predicate, selenite::shim::At at = selenite::shim::At::current()) {
  return selenite::shim::ballot(mask, predicate != 0, at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, selenite::shim::At at = selenite::shim::At::current()) {
  return selenite::shim::ballot(mask, predicate != 0, at) == mask;
}

// --- atomics: one thread runs at a time

template <class V>
V atomicAdd(V* p, V value) {
  V const before = *p;
  *p = before + value;
  return before;
}
template <class V>
V atomicMax(V* p, V value) {
  V const before = *p;
  *p = std::max(before, value);
  return before;
}

// --- intrinsics

using std::isfinite;
using std::isnan;
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __expf(float x) { return std::exp(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
