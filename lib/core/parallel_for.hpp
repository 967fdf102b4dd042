#pragma once
#include <cstdint>
#include <type_traits>
#include <utility>

namespace selenite {

/// Threads that parallel_for uses in the calling thread (OpenMP's pool, shared with oneDNN: two pools on the same cores
/// would spin against each other). 0 means all that the affinity mask allows.
void set_threads(int threads);
int threads();

namespace detail {
void run_parallel(std::int64_t tasks, void (*task)(void*, std::int64_t), void* argument);
}

/// Calls body(first, last) for pieces of [0, count) of `grain` elements (the last may be shorter), on all threads.
/// The pieces depend on `grain` alone, never on the number of threads, so that results per piece are reproducible.
/// Exceptions thrown by a piece are rethrown in the caller (the first one). Not to be nested.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, Body&& body) {
  if (count <= 0) return;
  std::int64_t const tasks = (count + grain - 1) / grain;
  if (tasks == 1) return body(std::int64_t{0}, count);
  auto piece = [&](std::int64_t i) {
    std::int64_t const first = i * grain;
    body(first, first + grain < count ? first + grain : count);
  };
  using Piece = decltype(piece);
  detail::run_parallel(
      tasks, [](void* p, std::int64_t i) { (*static_cast<Piece*>(p))(i); }, &piece);
}

}  // namespace selenite
