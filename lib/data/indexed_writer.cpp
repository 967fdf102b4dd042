#include <algorithm>
#include <cerrno>
#include <numeric>
#include <utility>

#include "core/error.hpp"
#include "data/indexed.hpp"
#include "data/indexed_format.hpp"

namespace selenite {

using namespace indexed_format;

namespace {

std::filesystem::path partial(std::filesystem::path const& prefix, char const* kind) {
  return prefix.string() + "." + kind + ".partial";
}

/// A run killed inside finish() may have given the .bin its final name already: takes that back, to finish again.
std::filesystem::path partial_tokens(std::filesystem::path const& prefix) {
  auto const path = partial(prefix, "bin");
  if (!std::filesystem::exists(path) && std::filesystem::exists(tokens_path(prefix))) {
    rename_durably(tokens_path(prefix), path);
  }
  return path;
}

}  // namespace

CorpusLock::CorpusLock(std::filesystem::path const& prefix) : file_(prefix.string() + ".lock") {
  if (file_.take() != EWOULDBLOCK) return;
  throw Error(concat("Another run writes the output '", prefix.string(), "' (process ", file_.holder(),
                     "; two would mix what they write). Wait for it, or choose another output."));
}

IndexedWriter::IndexedWriter(std::filesystem::path const& prefix, TokenType type)
    : prefix_(prefix),
      type_(type),
      bin_(partial(prefix, "bin")),
      lengths_(partial(prefix, "lengths")),
      documents_(partial(prefix, "documents")) {
  with_token_type(type, [](auto) {});
  documents_.write_value(std::int64_t{0});
}

IndexedWriter::IndexedWriter(std::filesystem::path const& prefix, TokenType type, WriterState const& state)
    : prefix_(prefix),
      type_(type),
      state_(state),
      bin_(partial_tokens(prefix), state.tokens * size_of(type)),
      lengths_(partial(prefix, "lengths"), 4 * state.sequences),
      documents_(partial(prefix, "documents"), 8 * (state.documents + 1)) {
  with_token_type(type, [](auto) {});
}

void IndexedWriter::add_document(std::span<std::int32_t const> tokens, std::span<std::int32_t const> lengths) {
  std::int64_t sum = 0;
  for (std::int32_t const length : lengths) {
    validate(length >= 0, "A sequence of ", length, " tokens cannot be written (lengths are not negative).");
    sum += length;
  }
  validate(sum == static_cast<std::int64_t>(tokens.size()), "Cannot write a document of ", tokens.size(),
           " tokens (its sequence lengths add up to ", sum, "). Give lengths that add up.");
  with_token_type(type_, [&](auto zero) {
    using Token = decltype(zero);
    encoded_.resize(tokens.size() * sizeof(Token));
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      auto const token = static_cast<Token>(tokens[i]);
      validate(std::cmp_equal(token, tokens[i]), "Token id ", tokens[i], " does not fit ", name(type_),
               " (the type that was chosen for the corpus). Choose a wider type.");
      std::memcpy(encoded_.data() + i * sizeof(Token), &token, sizeof(Token));
    }
  });
  bin_.write(encoded_);
  lengths_.write(std::as_bytes(lengths));
  state_.tokens += sum;
  state_.sequences += static_cast<std::int64_t>(lengths.size());
  state_.documents += 1;
  documents_.write_value(state_.sequences);
}

void IndexedWriter::merge(std::filesystem::path const& prefix) {
  IndexedDataset const other(prefix);
  validate(other.type() == type_, "Cannot append '", prefix.string(), "' (its tokens are ", name(other.type()),
           " and those of '", prefix_.string(), "' are ", name(type_), "). Tokenize one of them again.");
  bin_.write(other.raw());
  for (std::int64_t i = 0; i < other.sequences(); ++i) lengths_.write_value(other.length(i));
  for (std::int64_t d = 1; d <= other.documents(); ++d) {
    documents_.write_value(state_.sequences + other.first_sequence(d));
  }
  state_.tokens += other.tokens();
  state_.sequences += other.sequences();
  state_.documents += other.documents();
}

WriterState IndexedWriter::checkpoint() {
  for (OutputFile* file : {&bin_, &lengths_, &documents_}) file->sync();
  return state_;
}

void IndexedWriter::write_index() const {
  MappedFile const lengths(lengths_.path());
  MappedFile const documents(documents_.path());
  OutputFile index(partial(prefix_, "idx"));
  index.write_value(magic);
  index.write_value(version);
  index.write_value(type_);
  index.write_value(static_cast<std::uint64_t>(state_.sequences));
  index.write_value(static_cast<std::uint64_t>(state_.documents + 1));
  index.write(lengths.bytes());
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < state_.sequences; ++i) {
    index.write_value(offset);
    offset += load_unaligned<std::int32_t>(lengths.bytes().data() + 4 * i) * size_of(type_);
  }
  index.write(documents.bytes());
  index.sync();
}

void IndexedWriter::finish() {
  checkpoint();
  write_index();
  // Between the two renames the new .bin has no .idx, rather than another corpus's.
  std::filesystem::remove(index_path(prefix_));
  rename_durably(bin_.path(), tokens_path(prefix_));
  rename_durably(partial(prefix_, "idx"), index_path(prefix_));
  std::filesystem::remove(lengths_.path());
  std::filesystem::remove(documents_.path());
}

}  // namespace selenite
