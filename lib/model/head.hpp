#pragma once
#include "core/config.hpp"
#include "model/batch.hpp"
#include "model/norm.hpp"
#include "model/tensor_parallel.hpp"

namespace selenite {

/// Final norm, language model head and cross entropy: loss = mean over counted tokens of -log softmax(norm(x)
/// W^T)[label]. W is the token embedding itself when tied.
class Head {
 public:
  struct Saved {
    NormLayer::Saved norm;  ///< [rows of this rank, hidden]
    Tensor logits;          ///< [tokens, rows of this vocabulary shard]; backward turns it into its gradient
    Tensor logsumexp;       ///< fp32 [tokens]
    Tensor losses;          ///< fp32 [tokens]
  };
  Head() = default;
  /// `tied`: the embedding's parameter, owned by the caller and outliving this; null for a matrix of its own, which
  /// with tied embeddings is a second copy of the embedding, on the last stage of a pipeline.
  Head(ModelConfig const& model, Recompute recompute, TensorParallel const& tensor, Parameter const* tied);

  void list(ParameterList& parameters);
  /// Adds the sum of losses and the number of counted tokens to totals (fp64 [2]).
  void forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& totals, Saved& saved) const;
  /// dx [rows of this rank, hidden] from the loss; `seed` multiplies every token's gradient.
  void backward_input(Ctx& ctx, Batch const& batch, Tensor const& dx, double seed, Saved& saved) const;
  void backward_weight(Ctx& ctx, Saved const& saved) const;

 private:
  Parameter const& matrix() const { return tied_ ? *tied_ : own_; }

  TensorParallel tensor_;
  NormLayer norm_;
  Parameter own_;
  Parameter const* tied_ = nullptr;
  std::int64_t first_column_ = 0, vocab_size_ = 0;
};

}  // namespace selenite
