#pragma once
#include "core/config.hpp"
#include "core/param.hpp"
#include "exec/ctx.hpp"
#include "model/batch.hpp"

namespace selenite {

/// x = dropout(token table [+ position table]); cut by vocabulary rows on the tensor axis.
class EmbeddingLayer {
 public:
  EmbeddingLayer() = default;
  EmbeddingLayer(ModelConfig const& model, ProcessGrid const& grid, Rank rank, std::uint64_t seed);

  void list(ParameterList& parameters);
  void forward(Ctx& ctx, Batch const& batch, Tensor const& x) const;
  /// Adds to the tables' gradients; dx is used up (dropout's gradient is taken in place).
  void backward(Ctx& ctx, Batch const& batch, Tensor const& dx) const;
  Parameter const& tokens() const { return tokens_; }

 private:
  Parameter tokens_, positions_;
  bool learned_ = false;
  std::int64_t first_row_ = 0;
  DropoutSite dropout_;
};

}  // namespace selenite
