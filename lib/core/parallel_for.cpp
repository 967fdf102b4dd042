#include "core/parallel_for.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <omp.h>
#include <sched.h>

namespace selenite {
namespace {
thread_local int thread_count = 0;

// libgomp is not instrumented: ThreadSanitizer would report races in correct programs, so there is no team then.
#ifdef __SANITIZE_THREAD__
constexpr bool under_thread_sanitizer = true;
#else
constexpr bool under_thread_sanitizer = false;
#endif

int allowed_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return omp_get_num_procs();
  return CPU_COUNT(&mask);
}
}  // namespace

void set_threads(int threads) {
  thread_count = threads > 0 ? threads : allowed_cpus();
  omp_set_num_threads(thread_count);  // oneDNN takes the same number
}

int threads() {
  if (thread_count == 0) set_threads(0);
  return thread_count;
}

namespace detail {

void run_parallel(std::int64_t tasks, void (*task)(void*, std::int64_t), void* argument) {
  std::exception_ptr failure;
  std::mutex mutex;
  std::atomic<bool> failed{false};
  int const team = under_thread_sanitizer ? 1 : static_cast<int>(tasks < threads() ? tasks : threads());
#pragma omp parallel for schedule(dynamic, 1) num_threads(team) if (team > 1)
  for (std::int64_t i = 0; i < tasks; ++i) {
    if (failed.load(std::memory_order_relaxed)) continue;
    try {
      task(argument, i);
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace detail
}  // namespace selenite
