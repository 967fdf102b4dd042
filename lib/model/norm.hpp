#pragma once
#include <string>

#include "core/config.hpp"
#include "core/param.hpp"
#include "exec/ctx.hpp"
#include "model/tensor_parallel.hpp"

namespace selenite {

/// LayerNorm or RMSNorm over the features.
class NormLayer {
 public:
  struct Saved {
    Tensor mean, rstd;  ///< fp32 [tokens]; mean undefined for RMSNorm
  };
  NormLayer() = default;
  NormLayer(std::string const& name, ModelConfig const& model, TensorParallel const& tensor);

  void list(ParameterList& parameters);
  /// y = norm(x); the statistics go into the slot.
  void forward(Ctx& ctx, Tensor const& x, Tensor const& y, Saved& saved) const;
  /// dx = gradient by x, plus `residual` (undefined: none); the weight's and bias's gradients are added in the same
  /// pass.
  void backward(Ctx& ctx, Tensor const& x, Tensor const& dy, Tensor const& residual, Tensor const& dx,
                Saved const& saved) const;

 private:
  Parameter weight_, bias_;
  bool has_bias_ = false, subtract_mean_ = true;
  double eps_ = 1e-5;
};

}  // namespace selenite
