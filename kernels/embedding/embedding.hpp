#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// y[t] = table[ids[t] - first_row] (zero where ids[t] is outside this shard's rows) (+ position_table[positions[t]]).
struct Embedding {
  Tensor ids;             ///< int32 [tokens]
  Tensor table;           ///< [rows of this vocabulary shard, features]
  Tensor y;               ///< [tokens, features]
  Tensor positions;       ///< int32 [tokens], with position_table only
  Tensor position_table;  ///< [positions, features] or undefined
  std::int64_t first_row = 0;
};
void reference(Embedding const& op);
void launch(Cpu& cpu, Embedding const& op);
void launch(Cuda& cuda, Embedding const& op);
Cost cost(Embedding const& op);
std::int64_t workspace(Embedding const& op, std::int64_t budget);
static_assert(Kernel<Embedding>);

/// dtable[ids[t] - first_row] += dy[t] and dposition_table[positions[t]] += dy[t], fp32. For each row the tokens are
/// added in token order whatever the number of threads (threads own column ranges or row ranges, never race).
struct EmbeddingBackward {
  Tensor ids, dy;          ///< int32 [tokens], [tokens, features]
  Tensor dtable;           ///< fp32 [rows of this shard, features]; undefined: none
  Tensor positions;        ///< int32 [tokens]
  Tensor dposition_table;  ///< fp32 or undefined
  std::int64_t first_row = 0;
};
void reference(EmbeddingBackward const& op);
void launch(Cpu& cpu, EmbeddingBackward const& op);
void launch(Cuda& cuda, EmbeddingBackward const& op);
Cost cost(EmbeddingBackward const& op);
std::int64_t workspace(EmbeddingBackward const& op, std::int64_t budget);
static_assert(Kernel<EmbeddingBackward>);

}  // namespace selenite
