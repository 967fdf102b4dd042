#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cuda_profiler_api.h>
#include <cuda_runtime.h>

#include "core/cuda.hpp"
#include "core/cuda_event.hpp"
#include "core/cuda_graph.hpp"
#include "core/cuda_profiler.hpp"
#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {

constexpr int oldest_major = 8;  // Ampere: bf16 in tensor cores

std::atomic<int> opened{0};  // the device that was opened last

std::string reason(cudaError_t status) { return concat(cudaGetErrorName(status), ": ", cudaGetErrorString(status)); }

/// The lanes' streams do not wait for the default stream, on which the runtime clears, and may still copy when a call
/// returns (from pageable memory).
void finish_default_stream() { CUDA_CHECK(cudaStreamSynchronize(nullptr)); }

}  // namespace

void check_cuda(int status, char const* expression, char const* file, int line) {
  if (status == cudaSuccess) return;
  throw Error(concat(
      "A CUDA call failed (", expression, " at ", file, ":", line, " says ", reason(static_cast<cudaError_t>(status)),
      "). Earlier launches may be the cause: one rank alone with CUDA_LAUNCH_BLOCKING=1 shows which (more "
      "would wait for each other)."));
}

bool has_code_for(std::string_view architectures, int major, int minor) {
  for (std::string const& name : split(architectures, ',')) {
    std::size_t digits = 0;
    while (digits < name.size() && name[digits] >= '0' && name[digits] <= '9') ++digits;
    if (name.empty()) continue;
    if (digits < 2) return true;  // all, native, or OFF: then somebody else says
    int const number = std::atoi(name.c_str()), theirs = number / 10, minors = number % 10;
    std::string_view const rest = std::string_view(name).substr(digits);
    bool const this_one = theirs == major && minors == minor, same_major = theirs == major && minors <= minor;
    if (rest.starts_with("a") ? this_one : same_major) return true;
    bool const ptx = rest.empty() || rest == "-virtual";
    if (ptx && theirs < major) return true;
  }
  return false;
}

int cuda_devices() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

std::vector<std::string> cuda_device_ids() {
  std::vector<std::string> ids;
  for (int d = 0; d < cuda_devices(); ++d) {
    cudaDeviceProp properties{};
    CUDA_CHECK(cudaGetDeviceProperties(&properties, d));
    std::string id;
    for (char const byte : properties.uuid.bytes) {
      constexpr char digits[] = "0123456789abcdef";
      id += digits[static_cast<unsigned char>(byte) >> 4], id += digits[static_cast<unsigned char>(byte) & 15];
    }
    ids.push_back(id);
  }
  return ids;
}

void open_peers(int ordinal, int devices) {
  for (int d = 0; d < devices; ++d) {
    if (d == ordinal) continue;
    int can = 0;
    CUDA_CHECK(cudaDeviceCanAccessPeer(&can, ordinal, d));
    validate(can != 0, "CUDA device ", ordinal, " can't read the memory of device ", d,
             " (this machine has no peer access between them; run.comm = \"threads\" needs it). Use run.comm = "
             "\"nccl\", or show one device only: CUDA_VISIBLE_DEVICES=",
             ordinal, ".");
    cudaError_t const status = cudaDeviceEnablePeerAccess(d, 0);
    if (status == cudaErrorPeerAccessAlreadyEnabled)
      static_cast<void>(cudaGetLastError());  // it is no error, but would be taken for one of the next launch
    else
      CUDA_CHECK(status);
  }
}

CudaDevice open_cuda_device(int ordinal) {
  int devices = 0;
  cudaError_t const status = cudaGetDeviceCount(&devices);
  validate(status == cudaSuccess && devices > 0, "run.backend = \"cuda\" finds no device (",
           status == cudaSuccess ? "the driver shows none" : reason(status),
           "). Run on a machine with an NVIDIA GPU and its driver, make it visible (CUDA_VISIBLE_DEVICES, --gres), or "
           "use cpu.");
  validate(ordinal < devices, "Rank number ", ordinal, " of this machine has no device (it has ", devices,
           "; each rank takes one). Start at most ", devices, " ranks a machine.");
  CUDA_CHECK(cudaSetDevice(ordinal));
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, ordinal));
  validate(properties.major >= oldest_major, "CUDA device ", ordinal, " (", properties.name,
           ") is too old (it has compute "
           "capability ",
           properties.major, ".", properties.minor, ", and ", oldest_major,
           ".0 is the oldest with bf16). Use an A100, H100 or newer, or run.backend = \"cpu\".");
  validate(has_code_for(SELENITE_CUDA_ARCHITECTURES, properties.major, properties.minor),
           "This program has no code for CUDA device ", ordinal, " (", properties.name, ", compute capability ",
           properties.major, ".", properties.minor, "; it was built for ", SELENITE_CUDA_ARCHITECTURES,
           "). Build it with -DCMAKE_CUDA_ARCHITECTURES=", properties.major, properties.minor, ".");
  opened = ordinal;
  return {.ordinal = ordinal,
          .major = properties.major,
          .minor = properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .shared_bytes = static_cast<std::int64_t>(properties.sharedMemPerBlockOptin),
          .cache_bytes = properties.l2CacheSize,
          .memory = static_cast<std::int64_t>(properties.totalGlobalMem)};
}

std::int64_t free_cuda_memory() {
  std::size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(free);
}

std::byte* allocate_cuda(std::int64_t bytes) {
  void* memory = nullptr;
  cudaError_t const status = cudaMalloc(&memory, static_cast<std::size_t>(bytes));
  validate(
      status == cudaSuccess, "Can't take ", format_bytes(static_cast<double>(bytes)), " of the device's memory (",
      reason(status), "; ", format_bytes(static_cast<double>(free_cuda_memory())),
      " are free). Use a smaller model, micro-batch or sequence, or more ranks; --dry-run shows what takes the room.");
  clear_cuda(static_cast<std::byte*>(memory), bytes);
  return static_cast<std::byte*>(memory);
}

std::byte* allocate_pinned(std::int64_t bytes) {
  void* memory = nullptr;
  CUDA_CHECK(cudaMallocHost(&memory, static_cast<std::size_t>(bytes)));
  std::fill_n(static_cast<std::byte*>(memory), bytes, std::byte{0});
  return static_cast<std::byte*>(memory);
}

void free_cuda(std::byte* memory) noexcept { static_cast<void>(cudaFree(memory)); }
void free_pinned(std::byte* memory) noexcept { static_cast<void>(cudaFreeHost(memory)); }

void copy_cuda(void* to, void const* from, std::int64_t bytes) {
  // the calling thread may never have chosen a device: even to ask about a pointer would open its default, number 0
  thread_local bool const chosen = cudaSetDevice(opened) == cudaSuccess;
  static_cast<void>(chosen);
  for (void const* const side : {static_cast<void const*>(to), from}) {
    cudaPointerAttributes attributes{};
    CUDA_CHECK(cudaPointerGetAttributes(&attributes, side));
    if (attributes.type == cudaMemoryTypeDevice) CUDA_CHECK(cudaSetDevice(attributes.device));
  }
  CUDA_CHECK(cudaMemcpy(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault));
  finish_default_stream();
}

CudaEvent::CudaEvent(Kind kind) {
  unsigned const flags = kind == Kind::timed      ? cudaEventDefault
                         : kind == Kind::sleeping ? cudaEventDisableTiming | cudaEventBlockingSync
                                                  : cudaEventDisableTiming;
  CUDA_CHECK(cudaGetDevice(&device_));
  CUDA_CHECK(cudaEventCreateWithFlags(&event_, flags));
}
void CudaEvent::choose_device() const {
  int chosen = 0;
  CUDA_CHECK(cudaGetDevice(&chosen));
  if (chosen != device_) CUDA_CHECK(cudaSetDevice(device_));
}
CudaEvent::~CudaEvent() {
  if (event_) static_cast<void>(cudaEventDestroy(event_));
}
void CudaEvent::record(CUstream_st* stream) { CUDA_CHECK(cudaEventRecord(event_, stream)); }
void CudaEvent::hold(CUstream_st* stream) const { CUDA_CHECK(cudaStreamWaitEvent(stream, event_, 0)); }
bool CudaEvent::passed() const {
  choose_device();
  cudaError_t const status = cudaEventQuery(event_);
  if (status == cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());  // it is no error, but would be taken for one of the next launch
    return false;
  }
  CUDA_CHECK(status);
  return true;
}
void CudaEvent::wait() const {
  choose_device();
  CUDA_CHECK(cudaEventSynchronize(event_));
}
double CudaEvent::seconds_since(CudaEvent const& earlier) const {
  float milliseconds = 0;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, earlier.event_, event_));
  return static_cast<double>(milliseconds) / 1e3;
}

CudaProfilerRange::CudaProfilerRange() {
  CUDA_CHECK(cudaDeviceSynchronize());
  CUDA_CHECK(cudaProfilerStart());
}
CudaProfilerRange::~CudaProfilerRange() {
  static_cast<void>(cudaDeviceSynchronize());
  static_cast<void>(cudaProfilerStop());
}

CudaGraph::CudaGraph(CUstream_st* stream, std::function<void()> const& body) {
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t captured = nullptr;
  try {
    body();
  } catch (...) {  // a capture that has failed must be ended, too
    if (cudaStreamEndCapture(stream, &captured) == cudaSuccess) static_cast<void>(cudaGraphDestroy(captured));
    static_cast<void>(cudaGetLastError());  // else it would be taken for one of the next launch
    throw;
  }
  cudaError_t status = cudaStreamEndCapture(stream, &captured);
  if (status == cudaSuccess) status = cudaGraphInstantiateWithFlags(&graph_, captured, 0);
  if (captured) static_cast<void>(cudaGraphDestroy(captured));
  if (status != cudaSuccess) static_cast<void>(cudaGetLastError());
  validate(status == cudaSuccess, "A CUDA graph can't be made (", reason(status),
           "). Launch what it was to hold one by one.");
}
CudaGraph::~CudaGraph() {
  if (graph_) static_cast<void>(cudaGraphExecDestroy(graph_));
}
void CudaGraph::launch(CUstream_st* stream) const { CUDA_CHECK(cudaGraphLaunch(graph_, stream)); }

void clear_cuda(std::byte* memory, std::int64_t bytes) {
  CUDA_CHECK(cudaMemset(memory, 0, static_cast<std::size_t>(bytes)));
  finish_default_stream();
}
void copy_cuda_on(CUstream_st* stream, void* to, void const* from, std::int64_t bytes) {
  CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, stream));
}

}  // namespace selenite
