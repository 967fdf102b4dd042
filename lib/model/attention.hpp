#pragma once
#include <string>

#include "model/batch.hpp"
#include "model/linear.hpp"
#include "model/norm.hpp"
#include "model/ring_attention.hpp"

namespace selenite {

/// y = x + dropout(proj(attention(qkv(norm(x))))).
class AttentionLayer {
 public:
  /// What matrix attention finds on its way, [samples * heads, sequence, sequence] each.
  struct Scores {
    Tensor probabilities, dropped;  ///< dropped undefined without dropout
  };
  struct Saved {
    NormLayer::Saved norm;       ///< [rows of this rank, hidden]
    Tensor qkv;                  ///< [tokens, (heads + 2 kv_heads) * head_dim], rotated
    Tensor context, logsumexp;   ///< [tokens, heads * head_dim], fp32 [samples, heads, sequence]
    Scores scores;               ///< attention = matrix, but for selective recomputation
    Tensor d_projection, d_qkv;  ///< output gradients that backward_input keeps for backward_weight
  };
  AttentionLayer() = default;
  AttentionLayer(std::string const& name, LayerId layer, ModelConfig const& model, ProcessGrid const& grid,
                 TensorParallel const& tensor, LayerOptions const& options, std::uint64_t seed);

  void list(ParameterList& parameters);
  void forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& y, Saved& saved) const;
  /// dx [tokens, hidden] from dy; what backward_weight needs is taken from the slot's scratch and kept in `saved`.
  void backward_input(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const;
  void backward_weight(Ctx& ctx, Saved const& saved) const;
  /// Both in turn; or, where tensor ranks overlap, mixed so that there is work beside their sums.
  void backward(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const;

 private:
  void backward_to_qkv(Ctx& ctx, Batch const& batch, Tensor const& dy, Saved& saved) const;
  AttentionShape shape(Batch const& batch) const;
  Tensor q_of(Tensor const& qkv) const { return qkv.columns(0, q_width()); }
  Tensor k_of(Tensor const& qkv) const { return qkv.columns(q_width(), kv_width()); }
  Tensor v_of(Tensor const& qkv) const { return qkv.columns(q_width() + kv_width(), kv_width()); }
  void attend(Ctx& ctx, Batch const& batch, Saved& saved) const;
  /// Memory for scores, taken by allocate(dtype, shape).
  template <class Allocate>
  Scores place_scores(AttentionShape const& s, DType dtype, Allocate&& allocate) const {
    Shape const matrices{s.samples * s.heads, s.queries, s.keys};
    return {allocate(dtype, matrices), s.dropout.probability > 0 ? allocate(dtype, matrices) : Tensor{}};
  }
  void make_scores(Ctx& ctx, Batch const& batch, Tensor const& qkv, Scores const& scores) const;
  void attend_backward(Ctx& ctx, Batch const& batch, Tensor const& d_context, Saved& saved) const;
  void rotate(Ctx& ctx, Batch const& batch, Tensor const& qkv, bool inverse) const;
  std::int64_t q_width() const { return heads_ * head_dim_; }
  std::int64_t kv_width() const { return kv_heads_ * head_dim_; }

  TensorParallel tensor_;
  NormLayer norm_;
  Linear qkv_, projection_;
  std::int64_t heads_ = 0, kv_heads_ = 0, head_dim_ = 0, first_head_ = 0;  ///< of this rank
  bool rotary_ = false;
  double rotary_base_ = 0;
  AttentionPath path_ = AttentionPath::flash;
  bool keeps_scores_ = true;
  std::int64_t context_ranks_ = 1;
  RingAttention ring_;
  LayerOptions options_;
  DropoutSite hidden_dropout_, attention_dropout_;
};

}  // namespace selenite
