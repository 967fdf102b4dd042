#include "data/preprocess_blocks.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "data/preprocess_json.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

/// Whether a line, without its line end, holds nothing.
bool is_blank(std::string_view line) { return line.empty() || line == "\r"; }

/// Takes the next line, without its '\n', off the front of `text`.
std::string_view take_line(std::string_view& text) {
  std::size_t const end = text.find('\n');
  std::string_view const line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view without_return(std::string_view line) {
  return line.ends_with('\r') ? line.substr(0, line.size() - 1) : line;
}

/// Adds documents to a TokenBlock.
class DocumentWriter {
 public:
  DocumentWriter(TokenizeOptions const& options, Tokenizer& tokenizer, TokenBlock& out)
      : options_(options), tokenizer_(tokenizer), out_(out) {}

  void add_text(std::string_view text) {
    if (valid_utf8_prefix(text) != text.size()) ++out_.repaired_documents;
    std::int32_t const sequences = add_sequence(text);
    finish(sequences);
  }
  void add_texts(std::vector<std::string> const& texts, bool repaired) {
    if (repaired) ++out_.repaired_documents;
    std::int32_t sequences = 0;
    for (std::string const& text : texts) sequences += add_sequence(text);
    finish(sequences);
  }

 private:
  std::int32_t add_sequence(std::string_view text) {
    std::size_t const before = out_.tokens.size();
    tokenizer_.encode(text, out_.tokens);
    if (out_.tokens.size() == before) return 0;
    out_.sequence_lengths.push_back(static_cast<std::int32_t>(out_.tokens.size() - before));
    return 1;
  }
  void finish(std::int32_t sequences) {
    if (options_.append_eod && sequences > 0) {
      out_.tokens.push_back(tokenizer_.eod());
      ++out_.sequence_lengths.back();
    }
    out_.document_sequences.push_back(sequences);
  }
  TokenizeOptions const& options_;
  Tokenizer& tokenizer_;
  TokenBlock& out_;
};

void add_json_lines(TokenizeOptions const& options, TextBlock const& block, DocumentWriter& writer, TokenBlock& out) {
  JsonLineReader reader(options.key);
  std::int64_t number = block.begin.line;
  for (std::string_view rest = block.text; !rest.empty();) {
    std::string_view const line = take_line(rest);
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      bool repaired = false;
      auto const& texts = reader.read(line, repaired);
      writer.add_texts(texts, repaired);
    } catch (Error const& error) {
      if (options.skip_bad_lines) {
        ++out.bad_lines;
        continue;
      }
      throw Error(concat("Line ", number, " of '", options.inputs[static_cast<std::size_t>(block.begin.file)].string(),
                         "' cannot be used (", error.what(), "). Correct it, or leave such lines out with",
                         " --skip-bad-lines."));
    }
  }
}

void add_paragraphs(std::string_view rest, DocumentWriter& writer) {
  while (!rest.empty()) {
    std::string_view ahead = rest;
    if (is_blank(take_line(ahead))) {
      rest = ahead;
      continue;
    }
    std::string_view const start = rest;
    std::size_t length = 0;
    while (!rest.empty()) {
      std::string_view const line = take_line(rest);
      if (is_blank(line)) break;
      length = static_cast<std::size_t>(line.data() + line.size() - start.data());
    }
    writer.add_text(without_return(start.substr(0, length)));
  }
}

}  // namespace

BlockReader::BlockReader(TokenizeOptions const& options, InputPosition const& from)
    : options_(options), position_(from) {
  for (std::int64_t i = 0; i < from.file; ++i) {
    earlier_files_bytes_ +=
        static_cast<std::int64_t>(std::filesystem::file_size(options.inputs[static_cast<std::size_t>(i)]));
  }
}

void BlockReader::open() {
  source_ = TextSource::open(options_.inputs[static_cast<std::size_t>(position_.file)]);
  source_->skip(position_.offset);
}

/// Reads on until `bytes` are pending; false at the end of the file.
bool BlockReader::fill(std::size_t bytes) {
  std::size_t const before = pending_.size();
  if (before >= bytes) return true;
  pending_.resize(bytes);
  std::size_t const got = source_->read(std::span(pending_).subspan(before));
  pending_.resize(before + got);
  return pending_.size() == bytes;
}

/// The end of the last whole document in what is pending; 0 if there is none.
std::size_t BlockReader::end_of_documents() const {
  if (options_.document_per == DocumentPer::file) return 0;
  for (std::size_t end = pending_.size(); end > 0;) {
    std::size_t const newline = pending_.rfind('\n', end - 1);
    if (newline == std::string::npos) return 0;
    if (options_.document_per != DocumentPer::blank_line) return newline + 1;
    std::string_view const line(pending_.data(), newline);
    std::size_t const before = line.rfind('\n');
    if (before != std::string_view::npos && is_blank(line.substr(before + 1))) return newline + 1;
    end = newline;
  }
  return 0;
}

bool BlockReader::next(TextBlock& block) {
  while (position_.file < static_cast<std::int64_t>(options_.inputs.size())) {
    if (!source_) open();
    std::size_t want = block_bytes;
    bool more = fill(want);
    std::size_t end = 0;
    while (more && (end = end_of_documents()) == 0) more = fill(want *= 2);
    if (!more) end = pending_.size();
    block.begin = position_;
    block.text.assign(pending_, 0, end);
    pending_.erase(0, end);
    position_.offset += static_cast<std::int64_t>(end);
    position_.line += std::count(block.text.begin(), block.text.end(), '\n');
    block.file_bytes = earlier_files_bytes_ + source_->file_bytes() - static_cast<std::int64_t>(pending_.size());
    if (!more) {
      earlier_files_bytes_ += source_->file_bytes();
      source_.reset();
      position_ = {position_.file + 1, 0, 0};
    }
    block.end = position_;
    // An empty file is no document, unless files are the documents.
    if (!block.text.empty() || options_.document_per == DocumentPer::file) return true;
  }
  return false;
}

TokenBlock tokenize_block(TokenizeOptions const& options, TextBlock const& block, Tokenizer& tokenizer) {
  TokenBlock out;
  out.tokens.reserve(block.text.size() / 3);
  DocumentWriter writer(options, tokenizer, out);
  switch (options.document_per) {
    case DocumentPer::json_line:
      add_json_lines(options, block, writer, out);
      break;
    case DocumentPer::line:
      for (std::string_view rest = block.text; !rest.empty();) writer.add_text(without_return(take_line(rest)));
      break;
    case DocumentPer::blank_line:
      add_paragraphs(block.text, writer);
      break;
    case DocumentPer::file:
      writer.add_text(block.text);
      break;
  }
  return out;
}

}  // namespace selenite
