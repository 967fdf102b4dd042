#pragma once
#include <atomic>
#include <mutex>
#include <set>
#include <utility>

/// How many devices the stand-in for the runtime shows; the memory of all is the host's.
namespace selenite::shim {

inline std::atomic<int> device_count{1};
inline thread_local int device_of_thread = 0;
inline std::mutex peers_mutex;
inline std::set<std::pair<int, int>> open_peers;  ///< who reads, whose memory

inline int devices() { return device_count; }
inline int chosen_device() { return device_of_thread; }
inline bool choose_device(int device) {
  if (device < 0 || device >= devices()) return false;
  device_of_thread = device;
  return true;
}
/// To the thread's device. False: it has been opened before.
inline bool open_peer(int peer) {
  std::lock_guard const lock(peers_mutex);
  return open_peers.emplace(chosen_device(), peer).second;
}

/// So many devices, as long as this lives.
class Devices {
 public:
  explicit Devices(int count) : before_(device_count.exchange(count)) {}
  ~Devices() { device_count = before_; }
  Devices(Devices const&) = delete;
  Devices& operator=(Devices const&) = delete;

 private:
  int before_;
};

}  // namespace selenite::shim
