#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "core/file_lock.hpp"
#include "data/mapped_file.hpp"
#include "data/output_file.hpp"

namespace selenite {

/// Element type of a .bin file, with the code that its .idx holds. Float tokens can be named but not read or written.
enum class TokenType : std::uint8_t {
  uint8 = 1,
  int8 = 2,
  int16 = 3,
  int32 = 4,
  int64 = 5,
  float64 = 6,
  float32 = 7,
  uint16 = 8
};
std::int64_t size_of(TokenType type);
std::string_view name(TokenType type);
/// The type that the format's other writers choose: uint16 for fewer than 65,500 ids, else int32.
TokenType token_type_for(std::int64_t vocab_size);

/// `<prefix>.idx` and `<prefix>.bin`. (A prefix may hold dots, so that replace_extension would be wrong.)
std::filesystem::path index_path(std::filesystem::path const& prefix);
std::filesystem::path tokens_path(std::filesystem::path const& prefix);

/// Keeps other runs from writing the corpus of the same prefix for as long as the object lives, by `<prefix>.lock`:
/// they would write the same partial files. Throws Error if another does. Without effect where the file system has no
/// locks.
class CorpusLock {
 public:
  explicit CorpusLock(std::filesystem::path const& prefix);
  CorpusLock(CorpusLock const&) = delete;
  CorpusLock& operator=(CorpusLock const&) = delete;
  ~CorpusLock() { file_.remove_file(); }

 private:
  FileLock file_;
};

/// How far a writer has come; what a killed run needs, beside its place in the input, to go on.
struct WriterState {
  std::int64_t documents = 0;
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
};

/// Writes a corpus document by document, in constant memory: `<prefix>.bin.partial`, and the index in two spools
/// (`<prefix>.lengths.partial`, `<prefix>.documents.partial`) that finish() puts together. Nothing under the final
/// names changes before finish(). A writer that is destroyed or killed earlier leaves its partial files for resuming.
/// Used by one thread at a time.
class IndexedWriter {
 public:
  /// Starts a new corpus; partial files of an earlier attempt are emptied. Throws Error for a float type.
  IndexedWriter(std::filesystem::path const& prefix, TokenType type);
  /// Goes on from a state that checkpoint() gave: what was written after it is cut off.
  IndexedWriter(std::filesystem::path const& prefix, TokenType type, WriterState const& state);

  /// Appends one document. `sequence_lengths` add up to tokens.size(); both empty is an empty document, which still
  /// gets its boundary. Throws Error, before anything is written, if a token does not fit the type.
  void add_document(std::span<std::int32_t const> tokens, std::span<std::int32_t const> sequence_lengths);
  /// Appends a whole corpus of the same type.
  void merge(std::filesystem::path const& prefix);
  WriterState const& state() const { return state_; }
  /// Puts all that was added on stable storage; the state that is returned survives a kill and a power cut.
  WriterState checkpoint();
  /// Writes the .idx and gives both files their final names (replacing older ones); then removes the spools.
  void finish();

 private:
  void write_index() const;
  std::filesystem::path prefix_;
  TokenType type_;
  WriterState state_;
  OutputFile bin_;
  OutputFile lengths_;    // int32 [sequences]
  OutputFile documents_;  // int64 [documents + 1]
  std::vector<std::byte> encoded_;
};

/// A corpus mapped for reading. Every invariant of the format is checked when it is loaded, on all threads; a file that
/// breaks one gives an Error that says which. Const calls may come from many threads.
class IndexedDataset {
 public:
  explicit IndexedDataset(std::filesystem::path const& prefix);

  std::filesystem::path const& prefix() const { return prefix_; }
  TokenType type() const { return type_; }
  std::int64_t sequences() const { return sequences_; }
  std::int64_t documents() const { return documents_; }
  std::int64_t tokens() const;
  /// Tokens of a sequence.
  std::int32_t length(std::int64_t sequence) const { return load_unaligned<std::int32_t>(lengths_ + 4 * sequence); }
  /// Number of the corpus's tokens before a sequence.
  std::int64_t first_token(std::int64_t sequence) const {
    return load_unaligned<std::int64_t>(offsets_ + 8 * sequence) / size_of(type_);
  }
  /// First sequence of a document; document == documents() gives sequences().
  std::int64_t first_sequence(std::int64_t document) const {
    return load_unaligned<std::int64_t>(boundaries_ + 8 * document);
  }
  /// Copies the tokens of `sequence` from its `first` on into `out`, widened. Throws Error if a token does not fit
  /// int32.
  void read(std::int64_t sequence, std::int64_t first, std::span<std::int32_t> out) const;
  /// The lengths of all sequences as the .idx holds them: int32 [sequences], at an odd address.
  std::span<std::byte const> lengths() const { return {lengths_, static_cast<std::size_t>(4 * sequences_)}; }
  /// The document that a sequence belongs to.
  std::int64_t document_of(std::int64_t sequence) const;
  /// Raw tokens of the whole corpus, size_of(type()) bytes each.
  std::span<std::byte const> raw() const;

 private:
  void check_header();
  void check_sequences() const;
  [[noreturn]] void fail_sequence(std::int64_t sequence, std::uint64_t expected) const;
  void check_documents() const;
  std::filesystem::path prefix_;
  MappedFile index_;
  MappedFile bin_;
  TokenType type_ = TokenType::int32;
  std::int64_t sequences_ = 0;
  std::int64_t documents_ = 0;
  std::byte const* lengths_ = nullptr;     // int32 [sequences]
  std::byte const* offsets_ = nullptr;     // int64 [sequences], bytes
  std::byte const* boundaries_ = nullptr;  // int64 [documents + 1], sequence numbers
};

}  // namespace selenite
