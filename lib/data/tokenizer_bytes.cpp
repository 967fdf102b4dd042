#include "core/error.hpp"
#include "data/tokenizer_bpe.hpp"

namespace selenite {
namespace {

/// Every byte is its own id, well-formed UTF-8 or not; 256 ends a document.
class ByteTokenizer : public Tokenizer {
 public:
  void encode(std::string_view text, std::vector<std::int32_t>& out) override {
    for (char const c : text) out.push_back(static_cast<unsigned char>(c));
  }
  std::string decode(std::span<std::int32_t const> ids) const override {
    std::string text;
    for (std::int32_t const id : ids) {
      validate(id >= 0 && id < vocab_size(), "Token ", id, " cannot be decoded (the byte tokenizer has ids 0 to 256).",
               " Use the tokenizer that made the corpus.");
      if (id < 256) text.push_back(static_cast<char>(id));
    }
    return text;
  }
  std::int32_t vocab_size() const override { return 257; }
  std::int32_t eod() const override { return 256; }
  std::int32_t pad() const override { return -1; }
  std::vector<std::pair<std::string, std::int32_t>> special_tokens() const override { return {{"<eod>", 256}}; }
  std::string name() const override { return "bytes"; }
  std::uint64_t checksum() const override { return 0; }
  std::unique_ptr<Tokenizer> clone() const override { return std::make_unique<ByteTokenizer>(); }
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

}  // namespace selenite
