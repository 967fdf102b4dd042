#pragma once
#include <memory>
#include <vector>

#include "model/block.hpp"
#include "model/embedding.hpp"
#include "model/head.hpp"

namespace selenite {

/// The layers [first, first + count) of a GPT as one pipeline chunk; the first chunk has the embedding, the last the
/// head.
struct ChunkSpec {
  std::int64_t first = 0, count = 0;
  bool embedding = true, head = true;
};

/// A run of consecutive layers of a GPT: what one (stage, chunk) of the pipeline computes. Activations between layers
/// are [rows, hidden] with the rows that this rank holds of its batch's tokens.
class GptChunk {
 public:
  struct Saved {
    std::vector<Tensor> x;  ///< input of each block, then of the head; undefined where it is made again for backward
    std::vector<Block::Saved> blocks;
    Head::Saved head;
    std::vector<Tensor> dx;  ///< gradients of x, kept while backward's two halves run apart
  };
  /// `tied`: the embedding of another chunk on the same rank, for the head; null if there is none.
  GptChunk(Config const& config, ProcessGrid const& grid, Rank rank, ChunkSpec spec, DType dtype,
           Parameter const* tied = nullptr);
  GptChunk(GptChunk const&) = delete;
  GptChunk& operator=(GptChunk const&) = delete;

  /// In the order in which forward uses them.
  ParameterList parameters();
  ChunkSpec const& spec() const { return spec_; }
  /// The embedding that a head on the same rank may share; null if this chunk has none.
  Parameter const* embedding() const { return spec_.embedding ? &embedding_.tokens() : nullptr; }
  /// Of weights and activations.
  DType dtype() const { return dtype_; }
  /// Of what travels between chunks, for a micro-batch.
  Shape boundary(Batch const& batch) const { return {tensor_.tokens(batch.count()), model_.hidden}; }

  /// `input` comes from the stage before (undefined with the embedding), `output` goes to the next (undefined with the
  /// head). totals: fp64 [2], see Head::forward.
  void forward(Ctx& ctx, Batch const& batch, Tensor const& input, Tensor const& output, Tensor const& totals,
               Saved& saved) const;
  /// d_output comes from the next stage (undefined with the head), d_input goes to the one before (undefined with the
  /// embedding).
  void backward(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed,
                Saved& saved) const;
  /// The same in two halves, which may run far apart: what the second needs is kept where Ctx::keep takes it from, and
  /// d_output must stay.
  void backward_input(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed,
                      Saved& saved) const;
  void backward_weight(Ctx& ctx, Saved& saved) const;

 private:
  /// Blocks [first, last) whose activations are made again for backward.
  bool recomputes() const { return recompute_ > 0; }
  void forward_blocks(Ctx& ctx, Batch const& batch, std::size_t first, std::size_t last, Tensor const& output,
                      Saved& saved) const;
  void forward_again(Ctx& ctx, Batch const& batch, std::size_t first, std::size_t last, Saved& saved) const;

  ModelConfig model_;
  ChunkSpec spec_;
  TensorParallel tensor_;
  EmbeddingLayer embedding_;
  std::vector<Block> blocks_;
  Head head_;
  DType dtype_;
  std::size_t recompute_ = 0;  ///< blocks made again together; 0: none
};

}  // namespace selenite
