#pragma once
#include <functional>
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

/// Tells in a forward pass that parameters before this number (as parameters() lists them) are read next, in a backward
/// pass that the gradients of those from this number on have all their parts.
using ParameterNews = std::function<void(std::size_t)>;

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
  /// Numbers of the first parameters of the blocks and of what follows them: news of parameters come at these.
  std::vector<std::size_t> const& starts() const { return starts_; }
  ChunkSpec const& spec() const { return spec_; }
  /// The embedding that a head on the same rank may share; null if this chunk has none.
  Parameter const* embedding() const { return spec_.embedding ? &embedding_.tokens() : nullptr; }
  /// Of weights and activations.
  DType dtype() const { return dtype_; }
  /// Of what travels between chunks, for a micro-batch.
  Shape boundary(Batch const& batch) const { return {tensor_.tokens(batch.count()), model_.hidden}; }

  /// `input` comes from the stage before (undefined with the embedding), `output` goes to the next (undefined with the
  /// head). totals: fp64 [2], see Head::forward.
  void forward(
      Ctx& ctx, Batch const& batch, Tensor const& input, Tensor const& output, Tensor const& totals, Saved& saved,
      ParameterNews const& about_to_read = [](std::size_t) {}) const;
  /// d_output comes from the next stage (undefined with the head), d_input goes to the one before (undefined with the
  /// embedding).
  void backward(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed, Saved& saved,
                ParameterNews const& done) const;
  /// The same in two halves, which may run far apart: what the second needs is kept where Ctx::keep takes it from, and
  /// d_output must stay.
  void backward_input(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed,
                      Saved& saved) const;
  void backward_weight(Ctx& ctx, Saved& saved, ParameterNews const& done) const;

 private:
  bool recomputes() const { return recompute_ > 0; }
  // Without layers: who gives its output, or its input's gradient.
  bool only_embeds() const { return blocks_.empty() && spec_.embedding && !spec_.head; }
  bool is_only_head() const { return blocks_.empty() && spec_.head && !spec_.embedding; }
  bool passes_on() const { return blocks_.empty() && !spec_.embedding && !spec_.head; }
  /// Blocks [first, last) whose activations are made again for backward.
  void forward_blocks(Ctx& ctx, Batch const& batch, std::size_t first, std::size_t last, Tensor const& output,
                      Saved& saved) const;
  void forward_again(Ctx& ctx, Batch const& batch, std::size_t first, std::size_t last, Saved& saved) const;

  ModelConfig model_;
  ChunkSpec spec_;
  TensorParallel tensor_;
  EmbeddingLayer embedding_;
  std::vector<Block> blocks_;
  Head head_;
  std::vector<std::size_t> starts_;  ///< number of the first parameter of each block, then of the head, then of none
  DType dtype_;
  std::size_t recompute_ = 0;  ///< blocks made again together; 0: none
};

}  // namespace selenite
