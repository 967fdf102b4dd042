#pragma once
#include "core/config.hpp"
#include "core/param.hpp"
#include "exec/ctx.hpp"
#include "model/batch.hpp"
#include "model/tensor_parallel.hpp"

namespace selenite {

/// The token table's name, under which a tied head finds it on the last stage too.
inline constexpr char const* tied_name = "embedding.tokens.weight";

/// x = dropout(token table [+ position table]); cut by vocabulary rows on the tensor axis.
class EmbeddingLayer {
 public:
  EmbeddingLayer() = default;
  EmbeddingLayer(ModelConfig const& model, TensorParallel const& tensor, std::uint64_t seed);

  void list(ParameterList& parameters);
  /// x [rows of this rank, hidden]: the tensor ranks' rows of the table are summed.
  void forward(Ctx& ctx, Batch const& batch, Tensor const& x) const;
  /// Adds to the tables' gradients; dx [rows of this rank] is used up (dropout's gradient is taken in place).
  void backward(Ctx& ctx, Batch const& batch, Tensor const& dx) const;
  Parameter const& tokens() const { return tokens_; }

 private:
  TensorParallel tensor_;
  Parameter tokens_, positions_;
  bool learned_ = false;
  std::int64_t first_row_ = 0;
  DropoutSite dropout_;
};

}  // namespace selenite
