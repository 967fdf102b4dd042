#pragma once
#include "kernels/activation/activation.hpp"
#include "kernels/gemm/gemm.hpp"

namespace selenite {

/// Throws Error where an epilogue or a bias' gradient can't go with the rest.
void check_epilogue(Gemm const& op);

inline bool has_epilogue(Gemm const& op) { return op.epilogue != Epilogue::none || op.bias_gradient.defined(); }

/// The same results by a plain product and passes over memory: what the epilogues mean, and what runs where no library
/// has them.
template <class Run>
void apart(Gemm const& op, Run&& run) {
  Gemm product = op;
  product.epilogue = Epilogue::none, product.before = product.bias_gradient = {};
  if (op.epilogue == Epilogue::gelu) product.out = op.before;
  run(product);
  if (op.epilogue == Epilogue::gelu) run(Activation{.x = op.before, .y = op.out});
  if (op.epilogue == Epilogue::gelu_backward) run(ActivationBackward{.x = op.before, .dy = op.out, .dx = op.out});
  if (op.bias_gradient.defined()) run(SumRows{.x = op.a, .out = op.bias_gradient});
}

}  // namespace selenite
