#include <sentencepiece_processor.h>

#include "core/error.hpp"
#include "data/npy.hpp"
#include "data/tokenizer_bpe.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string path, std::shared_ptr<sentencepiece::SentencePieceProcessor const> model)
      : path_(std::move(path)), model_(std::move(model)) {}

  void encode(std::string_view text, std::vector<std::int32_t>& out) override {
    if (valid_utf8_prefix(text) != text.size()) {
      repair_utf8(text, repaired_);
      text = repaired_;
    }
    ids_.clear();
    auto const status = model_->Encode({text.data(), text.size()}, &ids_);  // 0.1.91 has a string_view of its own
    validate(status.ok(), path_, ": a text of ", text.size(), " bytes cannot be encoded (", status.ToString(), ").");
    out.insert(out.end(), ids_.begin(), ids_.end());
  }
  std::string decode(std::span<std::int32_t const> ids) const override {
    for (std::int32_t const id : ids) {
      validate(id >= 0 && id < vocab_size(), "Token ", id, " cannot be decoded (", path_, " has ids up to ",
               vocab_size() - 1, "). Use the tokenizer that made the corpus.");
    }
    std::string text;
    auto const status = model_->Decode(std::vector<int>(ids.begin(), ids.end()), &text);
    validate(status.ok(), path_, ": ", ids.size(), " ids cannot be decoded (", status.ToString(), ").");
    return text;
  }
  std::int32_t vocab_size() const override { return model_->GetPieceSize(); }
  std::int32_t eod() const override { return model_->eos_id(); }
  std::int32_t pad() const override { return model_->pad_id(); }
  std::vector<std::pair<std::string, std::int32_t>> special_tokens() const override {
    std::vector<std::pair<std::string, std::int32_t>> tokens;
    for (int id = 0; id < model_->GetPieceSize(); ++id) {
      if (model_->IsControl(id) || model_->IsUnknown(id)) tokens.emplace_back(model_->IdToPiece(id), id);
    }
    return tokens;
  }
  std::string name() const override { return "SentencePiece " + path_; }
  std::uint64_t checksum() const override {
    std::string const model = model_->serialized_model_proto();
    return hash_bytes(std::as_bytes(std::span(model)));
  }
  std::unique_ptr<Tokenizer> clone() const override { return std::make_unique<SentencePieceTokenizer>(path_, model_); }

 private:
  std::string path_;
  std::shared_ptr<sentencepiece::SentencePieceProcessor const> model_;  // its const calls may come from many threads
  std::vector<int> ids_;
  std::string repaired_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(std::string const& path) {
  auto model = std::make_shared<sentencepiece::SentencePieceProcessor>();
  auto const status = model->Load(path);
  validate(status.ok(), "SentencePiece model '", path, "' cannot be read (", status.ToString(),
           "). Give a model that sentencepiece has trained.");
  validate(model->GetPieceSize() > 0, "SentencePiece model '", path, "' has no pieces. Give another.");
  return std::make_unique<SentencePieceTokenizer>(path, std::move(model));
}

}  // namespace selenite
