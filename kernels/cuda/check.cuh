#pragma once
#include <cuda_runtime.h>

#include "core/error.hpp"

namespace selenite {

inline void cuda_check(cudaError_t status, char const* expression, char const* file, int line) {
  if (status == cudaSuccess) [[likely]]
    return;
  throw Error(concat("A CUDA call failed (", expression, " at ", file, ":", line, " says ", cudaGetErrorName(status),
                     ": ", cudaGetErrorString(status),
                     "). Earlier launches may be the cause: run again with CUDA_LAUNCH_BLOCKING=1 to see which."));
}

}  // namespace selenite

/// Around every call into the CUDA runtime: throws Error with the expression and its place.
#define CUDA_CHECK(expression) ::selenite::cuda_check((expression), #expression, __FILE__, __LINE__)
