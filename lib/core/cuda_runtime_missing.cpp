#include "core/cuda.hpp"
#include "core/cuda_event.hpp"
#include "core/cuda_graph.hpp"
#include "core/cuda_profiler.hpp"
#include "core/error.hpp"

namespace selenite {
namespace {

[[noreturn]] void missing() {
  throw Error(
      "run.backend = \"cuda\" can't be used (this program was built without CUDA). Use cpu, or build with "
      "-DSELENITE_CUDA=ON (cmake --preset cuda).");
}

}  // namespace

void check_cuda(int status, char const* expression, char const*, int) {
  validate(status == 0, "A CUDA call failed (", expression, "; status ", status, "). There is no CUDA runtime here.");
}
int cuda_devices() { return 0; }
std::vector<std::string> cuda_device_ids() { return {}; }
CudaDevice open_cuda_device(int) { missing(); }
void open_peers(int, int) { missing(); }
bool has_code_for(std::string_view, int, int) { return false; }
std::int64_t free_cuda_memory() { missing(); }
std::byte* allocate_cuda(std::int64_t) { missing(); }
std::byte* allocate_pinned(std::int64_t) { missing(); }
void free_cuda(std::byte*) noexcept {}
void free_pinned(std::byte*) noexcept {}
void copy_cuda(void*, void const*, std::int64_t) { missing(); }

CudaEvent::CudaEvent(Kind) { missing(); }
CudaEvent::~CudaEvent() = default;
void CudaEvent::record(CUstream_st*) { missing(); }
void CudaEvent::hold(CUstream_st*) const { missing(); }
bool CudaEvent::passed() const { missing(); }
void CudaEvent::wait() const { missing(); }
void CudaEvent::choose_device() const {}
double CudaEvent::seconds_since(CudaEvent const&) const { missing(); }

CudaProfilerRange::CudaProfilerRange() { missing(); }
CudaProfilerRange::~CudaProfilerRange() = default;

CudaGraph::CudaGraph(CUstream_st*, std::function<void()> const&) { missing(); }
CudaGraph::~CudaGraph() = default;
void CudaGraph::launch(CUstream_st*) const { missing(); }

void clear_cuda(std::byte*, std::int64_t) { missing(); }
void copy_cuda_on(CUstream_st*, void*, void const*, std::int64_t) { missing(); }

}  // namespace selenite
