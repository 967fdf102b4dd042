#pragma once
#include "core/config.hpp"
#include "exec/ctx.hpp"
#include "model/batch.hpp"

namespace selenite {

/// Attention of this rank's queries over the keys of all context ranks (Liu et al. 2023): keys and values travel round
/// the ring while the block that came before is computed, and partial results are merged by their logsumexp. Each rank
/// holds two chunks of every sample, one from the front and one from the back (see zigzag_place), so that causal work
/// is even. Flash attention alone can merge.
class RingAttention {
 public:
  RingAttention() = default;
  RingAttention(std::int64_t ranks, ContextExchange exchange) : ranks_(ranks), exchange_(exchange) {}

  /// qkv [tokens of this rank, q width + 2 kv width], rotated. out [tokens, q width] and logsumexp fp32 [samples,
  /// heads, queries] are those over the whole sequence.
  void forward(Ctx& ctx, Batch const& batch, AttentionShape const& shape, Tensor const& qkv, Tensor const& out,
               Tensor const& logsumexp) const;
  /// dqkv like qkv, from d_out and what forward left.
  void backward(Ctx& ctx, Batch const& batch, AttentionShape const& shape, Tensor const& qkv, Tensor const& out,
                Tensor const& logsumexp, Tensor const& d_out, Tensor const& dqkv) const;

 private:
  std::int64_t ranks_ = 1;
  ContextExchange exchange_ = ContextExchange::ring;
};

}  // namespace selenite
