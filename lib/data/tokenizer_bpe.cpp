#include "data/tokenizer_bpe.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "core/error.hpp"
#include "data/pretokenize_scan.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

/// The names under which tokenizers know the end of a document, likelier first.
constexpr std::array<std::string_view, 7> eod_names = {
    "<|endoftext|>", "<|end_of_text|>", "<|end▁of▁sentence|>", "</s>", "<eos>", "<|eod|>", "<eod>"};
constexpr std::array<std::string_view, 4> pad_names = {"<|padding|>", "<pad>", "<|finetune_right_pad_id|>", "[PAD]"};

/// What threads share.
struct Shared {
  std::string name;
  BpeModel model;
  std::vector<DecodeStep> decode;
  std::vector<AddedToken> added;
  std::unordered_map<std::int32_t, std::size_t> added_by_id;
  AddedTokenMatcher before_normalizing;
  AddedTokenMatcher after_normalizing;
  std::int32_t vocab_size = 0;
  std::int32_t eod = -1;
  std::int32_t pad = -1;
  std::uint64_t checksum = 0;

  std::int32_t find(std::string const& text) const {
    for (AddedToken const& token : added) {
      if (token.content == text) return token.id;
    }
    return model.id(text);
  }
};

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(std::shared_ptr<Shared const> shared, Normalizer normalizer, Pretokenizer pretokenizer)
      : shared_(std::move(shared)), normalizer_(std::move(normalizer)), pretokenizer_(std::move(pretokenizer)) {}

  void encode(std::string_view text, std::vector<std::int32_t>& out) override;
  std::string decode(std::span<std::int32_t const> ids) const override;
  std::int32_t vocab_size() const override { return shared_->vocab_size; }
  std::int32_t eod() const override { return shared_->eod; }
  std::int32_t pad() const override { return shared_->pad; }
  std::vector<std::pair<std::string, std::int32_t>> special_tokens() const override;
  std::string name() const override { return shared_->name; }
  std::uint64_t checksum() const override { return shared_->checksum; }
  std::unique_ptr<Tokenizer> clone() const override {
    return std::make_unique<BpeTokenizer>(shared_, normalizer_, pretokenizer_);
  }

 private:
  void encode_segment(std::string_view text, bool at_start, std::vector<std::int32_t>& out);
  void encode_words(std::string_view text, bool at_start, std::vector<std::int32_t>& out);

  std::shared_ptr<Shared const> shared_;
  Normalizer normalizer_;
  Pretokenizer pretokenizer_;
  Scanner scanner_;
  BpeCache cache_;
  std::string repaired_;
  std::vector<Segment> outer_;
  std::vector<Segment> inner_;
};

void BpeTokenizer::encode(std::string_view text, std::vector<std::int32_t>& out) {
  if (valid_utf8_prefix(text) != text.size()) {
    repair_utf8(text, repaired_);
    text = repaired_;
  }
  outer_.clear();
  if (shared_->before_normalizing.empty()) {
    if (!text.empty()) outer_.push_back({text, -1});
  } else {
    shared_->before_normalizing.split(text, outer_);
  }
  for (Segment const& segment : outer_) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
    } else {
      encode_segment(segment.text, segment.text.data() == text.data(), out);
    }
  }
}

void BpeTokenizer::encode_segment(std::string_view text, bool at_start, std::vector<std::int32_t>& out) {
  if (!normalizer_.empty()) text = normalizer_.run(text);
  if (shared_->after_normalizing.empty()) return encode_words(text, at_start, out);
  inner_.clear();
  shared_->after_normalizing.split(text, inner_);
  for (Segment const& segment : inner_) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
    } else {
      encode_words(segment.text, at_start && segment.text.data() == text.data(), out);
    }
  }
}

void BpeTokenizer::encode_words(std::string_view text, bool at_start, std::vector<std::int32_t>& out) {
  char const* p = text.data();
  char const* const end = p + text.size();
  auto const word = [&](char const* next) {
    cache_.encode(shared_->model, std::string_view(p, static_cast<std::size_t>(next - p)), out);
    p = next;
  };
  switch (pretokenizer_.fast()) {
    case Pretokenizer::Fast::gpt2:
      while (p < end) word(scanner_.next_gpt2(p, end));
      return;
    case Pretokenizer::Fast::cl100k:
      while (p < end) word(scanner_.next_cl100k(p, end, pretokenizer_.max_digits()));
      return;
    case Pretokenizer::Fast::general:
      break;
  }
  PieceList const& list = pretokenizer_.run(text, at_start);
  for (Piece const& piece : list.pieces) {
    cache_.encode(shared_->model, std::string_view(list.text).substr(piece.begin, piece.end - piece.begin), out);
  }
}

std::string BpeTokenizer::decode(std::span<std::int32_t const> ids) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (std::int32_t const id : ids) {
    validate(id >= 0 && id < shared_->vocab_size, "Token ", id, " cannot be decoded (", shared_->name,
             " has ids up to ", shared_->vocab_size - 1, "). Use the tokenizer that made the corpus.");
    auto const added = shared_->added_by_id.find(id);
    if (added != shared_->added_by_id.end()) {
      tokens.push_back(shared_->added[added->second].content);
    } else if (id < shared_->model.vocab_size()) {
      // Byte-level tokens are kept as the bytes that they stand for, so that ByteLevelDecode has nothing left to do.
      tokens.push_back(shared_->model.bytes(id));
    }
  }
  return decode_tokens(shared_->decode, std::move(tokens));
}

std::vector<std::pair<std::string, std::int32_t>> BpeTokenizer::special_tokens() const {
  std::vector<std::pair<std::string, std::int32_t>> tokens;
  for (AddedToken const& token : shared_->added) {
    if (token.special) tokens.emplace_back(token.content, token.id);
  }
  return tokens;
}

template <class Names>
std::int32_t choose(Shared const& shared, std::string const& named, Names const& usual, char const* what) {
  if (!named.empty()) {
    std::int32_t const id = shared.find(named);
    validate(id >= 0, "The ", what, " token '", named, "' is not in the vocabulary of ", shared.name, ". Add it.");
    return id;
  }
  for (std::string_view const name : usual) {
    if (std::int32_t const id = shared.find(std::string(name)); id >= 0) return id;
  }
  return -1;
}

void add_matchers(Shared& shared, Normalizer& normalizer) {
  std::array<std::vector<AddedToken>, 2> tokens;
  std::array<std::vector<std::string>, 2> spelled;
  for (AddedToken const& token : shared.added) {
    tokens[token.normalized].push_back(token);
    spelled[token.normalized].push_back(token.normalized ? normalizer.run(token.content) : token.content);
  }
  shared.before_normalizing = AddedTokenMatcher(std::move(tokens[0]), std::move(spelled[0]));
  shared.after_normalizing = AddedTokenMatcher(std::move(tokens[1]), std::move(spelled[1]));
}

}  // namespace

std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeTokenizerParts parts) {
  std::string const name = parts.name;
  auto shared = std::make_shared<Shared>(
      Shared{name, BpeModel(std::move(parts.tables)), std::move(parts.decode), std::move(parts.added), {}, {}, {}});
  shared->vocab_size = shared->model.vocab_size();
  for (std::size_t i = 0; i < shared->added.size(); ++i) {
    AddedToken const& token = shared->added[i];
    validate(token.id >= 0 && token.id < 1 << 24, name, ": the added token '", token.content, "' has the id ", token.id,
             ", which is no id.");
    shared->added_by_id[token.id] = i;
    shared->vocab_size = std::max(shared->vocab_size, token.id + 1);
  }
  validate(shared->vocab_size > 0, name, " cannot be used (its vocabulary is empty).");
  Normalizer normalizer(std::move(parts.normalize));
  add_matchers(*shared, normalizer);
  shared->eod = choose(*shared, parts.eod, eod_names, "end-of-document");
  shared->pad = choose(*shared, parts.pad, pad_names, "padding");
  shared->checksum = parts.checksum;
  return std::make_unique<BpeTokenizer>(std::move(shared), std::move(normalizer),
                                        Pretokenizer(std::move(parts.pretokenize)));
}

}  // namespace selenite
