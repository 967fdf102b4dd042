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

/// A run of consecutive layers of a GPT: what one (stage, chunk) of the pipeline computes.
class GptChunk {
 public:
  struct Saved {
    std::vector<Tensor> x;  ///< input of each block, then of the head
    std::vector<Block::Saved> blocks;
    Head::Saved head;
  };
  GptChunk(ModelConfig const& model, ProcessGrid const& grid, Rank rank, ChunkSpec spec, DType dtype,
           std::uint64_t seed);
  GptChunk(GptChunk const&) = delete;
  GptChunk& operator=(GptChunk const&) = delete;

  /// In the order in which forward uses them.
  ParameterList parameters();
  ChunkSpec const& spec() const { return spec_; }
  /// Of weights and activations.
  DType dtype() const { return dtype_; }

  /// `input` comes from the stage before (undefined with the embedding), `output` goes to the next (undefined with the
  /// head). totals: fp64 [2], see Head::forward.
  void forward(Ctx& ctx, Batch const& batch, Tensor const& input, Tensor const& output, Tensor const& totals,
               Saved& saved) const;
  /// d_output comes from the next stage (undefined with the head), d_input goes to the one before (undefined with the
  /// embedding).
  void backward(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed,
                Saved& saved) const;

 private:
  ModelConfig model_;
  ChunkSpec spec_;
  EmbeddingLayer embedding_;
  std::vector<Block> blocks_;
  Head head_;
  DType dtype_;
};

}  // namespace selenite
