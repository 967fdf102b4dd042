#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/config.hpp"
#include "data/corpora.hpp"

namespace selenite {

/// How batches are made; the last three are those of DataConfig.
struct BatchOptions {
  std::int64_t vocab_size = 0;  // ids from here on are an error
  std::int32_t eod = -1;        // id of the end-of-document token; needed by the three options below that look at it
  DocumentMask document_mask = DocumentMask::none;
  bool reset_positions = false;  // positions begin again with each document (by EOD where there is no mask)
  bool eod_mask_loss = false;    // no loss where the input token is EOD
};

/// Buffers of the caller, each [samples, sequence_length].
struct BatchBuffers {
  std::span<std::int32_t> tokens;
  std::span<std::int32_t> labels;          // the token after each token
  std::span<std::uint8_t> loss_mask;       // 1 where the label counts
  std::span<std::int32_t> positions;       // position ids
  std::span<std::int32_t> document_start;  // where the token's document begins: attention goes no further back
};

/// Makes batches out of samples: a pure function of the sample numbers, so that every rank of any layout gets the same.
/// A const call uses the calling thread alone; to hide its time is the caller's business (another thread may call it).
class BatchSource {
 public:
  /// Throws Error if an option needs the EOD token and there is none.
  BatchSource(GptSamples samples, BatchOptions const& options);
  std::int64_t size() const { return samples_.size(); }
  std::int32_t sequence_length() const { return samples_.sequence_length(); }
  GptSamples const& samples() const { return samples_; }

  /// Fills one sample's row of each buffer for each of `count` samples from `first` on. Throws Error naming file,
  /// document and position if a token id is beyond the vocabulary.
  void fill(std::int64_t first, std::int64_t count, BatchBuffers const& buffers) const;
  /// The same for any samples, one row each: a rank's micro-batches need not be adjacent.
  void fill(std::span<std::int64_t const> numbers, BatchBuffers const& buffers) const;

 private:
  void fill_row(std::int64_t number, BatchBuffers const& row, std::vector<std::int32_t>& tokens,
                std::vector<std::int32_t>& parts) const;
  void check_ids(std::int64_t number, std::span<std::int32_t const> tokens) const;
  void find_eod_starts(std::span<std::int32_t const> tokens, std::vector<std::int32_t>& starts) const;
  GptSamples samples_;
  BatchOptions options_;
};

}  // namespace selenite
