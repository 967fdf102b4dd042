#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/comm.hpp"
#include "data/tokenizer.hpp"
#include "run/checkpoints.hpp"

namespace selenite {

/// A loss in nats a token, and what it means.
struct Evaluation {
  double loss = 0, tokens = 0;
  double unigram_loss = 0;      ///< of the token frequencies of the training data, on the same tokens; < 0: unknown
  double bytes = 0, words = 0;  ///< of the text, where there is one
  std::int64_t ranks = 1;
  double perplexity() const;
  double unigram_perplexity() const;
  double bits_per_byte() const;  ///< 0 without a text
  /// exp(loss * (T-1)/(W-1)) with W blank-separated words: comparable between tokenizers (zero-shot WikiText's figure).
  double word_perplexity() const;
};

struct SamplingOptions {
  std::int64_t tokens = 100, top_k = 40, seed = 1;
  double temperature = 0.8;  ///< 0: always the likeliest token
};

/// A trained model from a checkpoint of any layout, for evaluation: weights only, forward only.
class Evaluator {
 public:
  /// `path`: a run folder, a folder of checkpoints (the newest whole one is taken), or one checkpoint. `settings`
  /// change the checkpoint's own config, but for the layout: that is data parallel over the ranks of `comm`, if the
  /// settings say nothing else.
  Evaluator(std::filesystem::path const& path, std::vector<std::string> const& settings, Comm& comm);

  /// Over one epoch of "train", "valid" or "test"; all ranks call it. At most `samples` of them if above 0. A weighted
  /// blend has no epoch: Error without `samples`.
  Evaluation split(std::string const& split, std::int64_t samples);
  /// Over a text as one stream, in windows that overlap: each but the first scores its last `stride` tokens, so that
  /// every token but the first is scored once with at least sequence_length - stride tokens before it. stride 0: a
  /// whole sequence.
  Evaluation text(std::string const& text, std::int64_t stride);
  /// Throws Error where the layout cuts the model: text is drawn by one rank that holds it whole.
  void require_sampling() const;
  /// Text that follows the prompt, drawn token by token; calls `emit` with each piece. For one rank.
  void sample(std::string const& prompt, SamplingOptions const& options,
              std::function<void(std::string const&)> const& emit);

  /// Bytes by label.
  std::string describe_memory() const;
  Config const& config() const { return config_; }
  std::filesystem::path const& checkpoint() const { return folder_; }
  std::int64_t step() const { return header_.step; }

 private:
  Tokenizer& tokenizer();
  /// Over `rows` samples; fill(first, batch) fills the batch with those from `first` on, and gives labels of others no
  /// weight.
  Evaluation score(std::int64_t rows, std::function<void(std::int64_t first, Batch& batch)> const& fill);
  std::vector<double> const& unigram();

  Comm& comm_;
  std::filesystem::path folder_;
  CheckpointHeader header_;
  Config config_;
  ProcessGrid grid_;
  Executor executor_;
  std::optional<StageState> stage_;
  std::optional<Ctx> ctx_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<double> unigram_;  ///< -log of each token's smoothed frequency; empty: no training data at hand
  bool unigram_known_ = false;
};

}  // namespace selenite
