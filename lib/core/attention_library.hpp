#pragma once
#include <cstdint>

namespace selenite {

/// Who computes flash attention on a CUDA device: cuDNN where it can and our kernels elsewhere, cuDNN or an error, our
/// kernels alone, or of those the ones that any device since Ampere has.
enum class AttentionLibrary : std::uint8_t { automatic, cudnn, own, own_sm80 };
/// Whether cuDNN is to be asked.
constexpr bool asks_library(AttentionLibrary library) {
  return library == AttentionLibrary::automatic || library == AttentionLibrary::cudnn;
}

}  // namespace selenite
