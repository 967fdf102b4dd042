#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// First half of a vocabulary-parallel cross entropy, over this rank's columns of the logits: for every token the
/// maximum and the sum of exp(logit - maximum) over the real columns, and the logit of the label where it lies in this
/// shard (else 0). Columns at or beyond `vocab_size` (padding) are masked out. With one shard these three are the whole
/// answer: loss = maximum + log(sum) - target.
struct CrossEntropyStatistics {
  Tensor logits;                  ///< [tokens, columns of this shard]
  Tensor labels;                  ///< int32 [tokens]; a negative label is not counted
  Tensor maximum, sum, target;    ///< fp32 [tokens]
  std::int64_t first_column = 0;  ///< global number of column 0
  std::int64_t vocab_size = 0;    ///< real size of the vocabulary
};
void reference(CrossEntropyStatistics const& op);
void launch(Cpu& cpu, CrossEntropyStatistics const& op);
void launch(Cuda& cuda, CrossEntropyStatistics const& op);
Cost cost(CrossEntropyStatistics const& op);
std::int64_t workspace(CrossEntropyStatistics const& op, std::int64_t budget);
static_assert(Kernel<CrossEntropyStatistics>);

/// sum[t] *= exp(maximum[t] - new_maximum[t]): a shard's sum seen against the maximum over all shards, so that the sums
/// can be added. 0 for a shard that saw no real column.
struct CrossEntropyRescale {
  Tensor maximum, sum, new_maximum;  ///< fp32 [tokens]
};
void reference(CrossEntropyRescale const& op);
void launch(Cpu& cpu, CrossEntropyRescale const& op);
void launch(Cuda& cuda, CrossEntropyRescale const& op);
Cost cost(CrossEntropyRescale const& op);
std::int64_t workspace(CrossEntropyRescale const& op, std::int64_t budget);
static_assert(Kernel<CrossEntropyRescale>);

/// losses[t] = weight[t] * (logsumexp[t] - target[t]) from *global* statistics (logsumexp = maximum + log sum), and
/// their sum and the number of counted tokens into totals (fp64 [2], added to what it holds; summed in double in token
/// order).
struct CrossEntropyLoss {
  Tensor maximum, sum, target;  ///< fp32 [tokens], of the whole vocabulary
  Tensor weights;               ///< uint8 [tokens]: 1 counted, 0 not
  Tensor logsumexp;             ///< out: fp32 [tokens]
  Tensor losses;                ///< out: fp32 [tokens]
  Tensor totals;                ///< fp64 [2]: sum of losses, number of counted tokens; accumulated
};
void reference(CrossEntropyLoss const& op);
void launch(Cpu& cpu, CrossEntropyLoss const& op);
void launch(Cuda& cuda, CrossEntropyLoss const& op);
Cost cost(CrossEntropyLoss const& op);
std::int64_t workspace(CrossEntropyLoss const& op, std::int64_t budget);
static_assert(Kernel<CrossEntropyLoss>);

/// dlogits = scale * weight * (softmax - onehot), over this shard's columns, in place over the logits allowed; 0 in
/// padding.
struct CrossEntropyBackward {
  Tensor logits, dlogits;  ///< [tokens, columns of this shard]
  Tensor labels;           ///< int32 [tokens]
  Tensor weights;          ///< uint8 [tokens]
  Tensor logsumexp;        ///< fp32 [tokens], global
  std::int64_t first_column = 0, vocab_size = 0;
  double scale = 1;  ///< seed of the backward pass: loss_scale / (global_batch * sequence_length)
};
void reference(CrossEntropyBackward const& op);
void launch(Cpu& cpu, CrossEntropyBackward const& op);
void launch(Cuda& cuda, CrossEntropyBackward const& op);
Cost cost(CrossEntropyBackward const& op);
std::int64_t workspace(CrossEntropyBackward const& op, std::int64_t budget);
static_assert(Kernel<CrossEntropyBackward>);

}  // namespace selenite
