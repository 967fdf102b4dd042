#pragma once
#include <string>

#include "kernels/activation/activation.hpp"
#include "model/batch.hpp"
#include "model/linear.hpp"
#include "model/norm.hpp"

namespace selenite {

/// y = x + dropout(down(activation(up(norm(x))))); with swiglu the up projection has gate and up side by side.
class MlpLayer {
 public:
  struct Saved {
    NormLayer::Saved norm;  ///< [rows of this rank, hidden]
    Tensor up;              ///< [tokens, ffn or 2 ffn of this rank]
    Tensor activated;       ///< [tokens, ffn]; undefined where it is made again
    Tensor d_down, d_up;    ///< [tokens, ...]: output gradients that backward_input keeps for backward_weight
  };
  MlpLayer() = default;
  MlpLayer(std::string const& name, LayerId layer, ModelConfig const& model, TensorParallel const& tensor,
           LayerOptions const& options, std::uint64_t seed);

  void list(ParameterList& parameters);
  void forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& y, Saved& saved) const;
  void backward_input(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const;
  void backward_weight(Ctx& ctx, Saved const& saved) const;
  /// Both in turn; or, where tensor ranks overlap, mixed so that there is work beside their sums.
  void backward(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const;

 private:
  void backward_to_up(Ctx& ctx, Batch const& batch, Tensor const& dy, Saved& saved) const;
  void backward_weight_of_down(Ctx& ctx, Saved const& saved) const;
  /// The products make GELU.
  bool fuses() const { return kind_ == ActivationKind::gelu && up_.fuses(); }
  Tensor place_of_activated(Ctx& ctx, Saved const& saved) const;
  Tensor activate(Ctx& ctx, Saved const& saved) const;

  TensorParallel tensor_;
  NormLayer norm_;
  Linear up_, down_;
  ActivationKind kind_ = ActivationKind::gelu;
  bool keeps_activated_ = true;
  std::int64_t ffn_ = 0, up_width_ = 0;  ///< of this rank
  DropoutSite dropout_;
};

}  // namespace selenite
