#pragma once
#include "model/attention.hpp"
#include "model/mlp.hpp"

namespace selenite {

/// A transformer block: attention, then MLP, each with its norm before and its residual around it.
class Block {
 public:
  struct Saved {
    AttentionLayer::Saved attention;
    MlpLayer::Saved mlp;
    Tensor middle;    ///< between the two, [rows of this rank, hidden]
    Tensor d_middle;  ///< its gradient, kept for backward_weight
  };
  Block() = default;
  Block(LayerId layer, ModelConfig const& model, ProcessGrid const& grid, TensorParallel const& tensor,
        LayerOptions const& options, std::uint64_t seed);

  void list(ParameterList& parameters);
  void forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& y, Saved& saved) const;
  /// dx from dy; both weight gradients are accumulated as soon as their layer's inputs gradient is known, so that what
  /// they need is soon given back.
  void backward(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const;
  /// The same in two halves: what the second needs stays where Ctx::keep takes it from; dy must stay too.
  void backward_input(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const;
  void backward_weight(Ctx& ctx, Saved const& saved) const;

 private:
  AttentionLayer attention_;
  MlpLayer mlp_;
};

}  // namespace selenite
