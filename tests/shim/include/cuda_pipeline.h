#pragma once
#include <cstddef>
#include <cuda_runtime.h>

#include "tests/shim/memory.hpp"

// Asynchronous copies: nothing arrives before the thread waits for it, and until then NaN is in its place. The last
// `zeros` bytes are not read.
inline void __pipeline_memcpy_async(void* shared, void const* global, std::size_t bytes, std::size_t zeros = 0) {
  selenite::shim::start_copy(selenite::shim::thread(), shared, global, bytes, zeros);
}
inline void __pipeline_commit() { selenite::shim::commit_copies(selenite::shim::thread()); }
inline void __pipeline_wait_prior(std::size_t batches) {
  selenite::shim::finish_copies(selenite::shim::thread(), batches);
}
