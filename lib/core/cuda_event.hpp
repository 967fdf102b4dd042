#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

struct CUevent_st;
struct CUstream_st;

namespace selenite {

/// A moment on a stream of a CUDA device; any thread may ask for it. All calls throw Error as CUDA_CHECK does, and in
/// builds without CUDA.
class CudaEvent {
 public:
  enum class Kind : std::uint8_t {
    order,    ///< the cheapest
    timed,    ///< seconds between two of these can be asked for
    sleeping  ///< a host thread that waits for it leaves its core to others
  };
  explicit CudaEvent(Kind kind = Kind::order);
  ~CudaEvent();
  CudaEvent(CudaEvent&& other) noexcept : event_(std::exchange(other.event_, nullptr)), device_(other.device_) {}
  CudaEvent& operator=(CudaEvent&& other) noexcept {
    std::swap(event_, other.event_);
    std::swap(device_, other.device_);
    return *this;
  }

  /// When the stream has done what it has so far.
  void record(CUstream_st* stream);
  /// The stream goes on after it.
  void hold(CUstream_st* stream) const;
  /// Never waits; also true if it has not been recorded.
  bool passed() const;
  /// The host goes on after it.
  void wait() const;
  /// Both are timed and have passed.
  double seconds_since(CudaEvent const& earlier) const;

 private:
  /// A thread that has no device yet gets the event's, not a context on another one.
  void choose_device() const;

  CUevent_st* event_ = nullptr;
  int device_ = 0;
};

/// Fills device memory with zeros; returns when done.
void clear_cuda(std::byte* memory, std::int64_t bytes);
/// Copies between host and device memory behind what the stream has; host memory is pinned, and left alone until the
/// stream is there.
void copy_cuda_on(CUstream_st* stream, void* to, void const* from, std::int64_t bytes);

}  // namespace selenite
