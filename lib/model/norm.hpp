#pragma once
#include <string>

#include "core/config.hpp"
#include "core/param.hpp"
#include "exec/ctx.hpp"
#include "model/tensor_parallel.hpp"

namespace selenite {

/// LayerNorm or RMSNorm over the features. With selective recomputation its output is made again for backward.
class NormLayer {
 public:
  struct Saved {
    Tensor x;           ///< [rows, features], owned by whoever made it
    Tensor mean, rstd;  ///< fp32 [rows]; mean undefined for RMSNorm
    Tensor y;           ///< [rows, features]; undefined where it is made again
  };
  NormLayer() = default;
  NormLayer(std::string const& name, ModelConfig const& model, Recompute recompute, TensorParallel const& tensor);

  void list(ParameterList& parameters);
  /// Calls use(norm(x)), which must not save: the argument may be a temporary.
  template <class Use>
  void forward(Ctx& ctx, Tensor const& x, Saved& saved, Use&& use) const {
    save(ctx, x, saved);
    ScopedMark const mark(ctx.scratch());
    use(made(ctx, saved));
  }
  /// Calls use(norm(x)) with the x of forward.
  template <class Use>
  void again(Ctx& ctx, Saved const& saved, Use&& use) const {
    ScopedMark const mark(ctx.scratch());
    use(saved.y.defined() ? saved.y : made(ctx, saved));
  }
  /// dx = gradient by x, plus `residual` (undefined: none); the weight's and bias's gradients are added in the same
  /// pass.
  void backward(Ctx& ctx, Tensor const& dy, Tensor const& residual, Tensor const& dx, Saved const& saved) const;

 private:
  void save(Ctx& ctx, Tensor const& x, Saved& saved) const;
  Tensor made(Ctx& ctx, Saved const& saved) const;

  Parameter weight_, bias_;
  bool has_bias_ = false, subtract_mean_ = true, keeps_output_ = true;
  double eps_ = 1e-5;
};

}  // namespace selenite
