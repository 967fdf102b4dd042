#pragma once
#include "kernels/matrix_attention/matrix_attention.hpp"

namespace selenite {

/// dscores = dropped * dscores - probabilities * (row sum of dropped * dscores), in place: the softmax and dropout part
/// of MatrixAttentionBackward.
void softmax_backward(Cuda& cuda, MatrixAttentionBackward const& op);

}  // namespace selenite
