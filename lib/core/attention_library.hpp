#pragma once
#include <cstdint>

namespace selenite {

/// Who computes flash attention on a CUDA device: cuDNN where it can and our kernels elsewhere, cuDNN or an error, or
/// our kernels alone.
enum class AttentionLibrary : std::uint8_t { automatic, cudnn, own };

}  // namespace selenite
