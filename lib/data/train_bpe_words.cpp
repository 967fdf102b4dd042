#include <memory>
#include <mutex>

#include "data/preprocess_pipeline.hpp"
#include "data/pretokenize_scan.hpp"
#include "data/train_bpe.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

/// What the counters of all threads add up to.
struct SharedCounts {
  std::mutex mutex;
  WordCounts words;
};

/// Counts words where a tokenizer would give ids, so that the same pipeline reads the text. Adds its counts to the
/// shared ones when it is destroyed.
class WordCounter : public Tokenizer {
 public:
  explicit WordCounter(SharedCounts& shared) : shared_(shared) {}
  ~WordCounter() override {
    std::lock_guard const lock(shared_.mutex);
    for (auto const& [word, count] : words_) shared_.words[word] += count;
  }
  void encode(std::string_view text, std::vector<std::int32_t>&) override {
    if (valid_utf8_prefix(text) != text.size()) {
      repair_utf8(text, repaired_);
      text = repaired_;
    }
    char const* const end = text.data() + text.size();
    for (char const* p = text.data(); p < end;) {
      char const* const next = scanner_.next_gpt2(p, end);
      std::string_view const word(p, static_cast<std::size_t>(next - p));
      auto const found = words_.find(word);
      if (found != words_.end()) {
        ++found->second;
      } else {
        words_.emplace(word, 1);
      }
      p = next;
    }
  }
  std::string decode(std::span<std::int32_t const>) const override { return {}; }
  std::int32_t vocab_size() const override { return 0; }
  std::int32_t eod() const override { return -1; }
  std::int32_t pad() const override { return -1; }
  std::vector<std::pair<std::string, std::int32_t>> special_tokens() const override { return {}; }
  std::string name() const override { return "word counter"; }
  std::uint64_t checksum() const override { return 0; }
  std::unique_ptr<Tokenizer> clone() const override { return std::make_unique<WordCounter>(shared_); }

 private:
  SharedCounts& shared_;
  WordCounts words_;
  Scanner scanner_;
  std::string repaired_;
};

}  // namespace

WordCounts count_words(TokenizeOptions const& options, std::function<void(TokenizeProgress const&)> const& report) {
  SharedCounts shared;
  {
    TokenizeProgress progress;
    for (auto const& input : options.inputs) {
      progress.file_bytes_total += static_cast<std::int64_t>(std::filesystem::file_size(input));
    }
    TokenizePipeline pipeline(options, WordCounter(shared), {});
    while (auto const job = pipeline.take()) {
      progress.file_bytes = job->text.file_bytes;
      progress.counts.text_bytes += static_cast<std::int64_t>(job->text.text.size());
      progress.counts.documents += static_cast<std::int64_t>(job->tokens.document_sequences.size());
      progress.counts.bad_lines += job->tokens.bad_lines;
      report(progress);
    }
  }
  return std::move(shared.words);
}

}  // namespace selenite
