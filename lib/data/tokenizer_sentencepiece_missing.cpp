#include "core/error.hpp"
#include "data/tokenizer_bpe.hpp"

namespace selenite {

std::unique_ptr<Tokenizer> load_sentencepiece(std::string const& path) {
  throw Error(concat("Tokenizer '", path, "' cannot be used (this build has no SentencePiece). Build with",
                     " -DSELENITE_SENTENCEPIECE=ON."));
}

}  // namespace selenite
