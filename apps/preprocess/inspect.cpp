#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>

#include "apps/preprocess/commands.hpp"
#include "apps/preprocess/progress.hpp"
#include "core/error.hpp"
#include "data/indexed.hpp"
#include "data/tokenizer.hpp"

namespace selenite::app {
namespace {

struct Options {
  std::string input;
  std::string tokenizer;
  std::int64_t document = 0;
  std::int64_t characters = 2000;
};

/// Tokens of every document.
std::vector<std::int64_t> document_lengths(IndexedDataset const& corpus) {
  std::vector<std::int64_t> lengths;
  lengths.reserve(static_cast<std::size_t>(corpus.documents()));
  auto const first_token = [&](std::int64_t document) {
    std::int64_t const sequence = corpus.first_sequence(document);
    return sequence < corpus.sequences() ? corpus.first_token(sequence) : corpus.tokens();
  };
  for (std::int64_t d = 0; d < corpus.documents(); ++d) lengths.push_back(first_token(d + 1) - first_token(d));
  return lengths;
}

void print_lengths(std::vector<std::int64_t> lengths, std::int64_t tokens) {
  if (lengths.empty()) return;
  std::sort(lengths.begin(), lengths.end());
  auto const at = [&](double part) {
    return grouped(lengths[static_cast<std::size_t>(part * static_cast<double>(lengths.size() - 1))]);
  };
  std::cout << "tokens a document: least " << at(0) << ", 10 % " << at(0.1) << ", half " << at(0.5) << ", 90 % "
            << at(0.9) << ", 99 % " << at(0.99) << ", most " << at(1) << ", mean "
            << tokens / static_cast<std::int64_t>(lengths.size()) << "\n";
  auto from = lengths.begin();
  auto const empty = std::upper_bound(from, lengths.end(), 0);
  std::cout << "empty documents: " << grouped(empty - from) << "\n";
  from = empty;
  for (std::int64_t low = 1; from != lengths.end(); low *= 4) {
    auto const to = std::lower_bound(from, lengths.end(), low * 4);
    double const share = static_cast<double>(to - from) / static_cast<double>(lengths.size());
    std::printf("%12s to %12s %14s  %s\n", grouped(low).c_str(), grouped(low * 4 - 1).c_str(),
                grouped(to - from).c_str(), std::string(static_cast<std::size_t>(share * 50 + 0.5), '#').c_str());
    from = to;
  }
  std::fflush(stdout);
}

/// Reads every token of the corpus and returns the largest.
std::int32_t largest_token(IndexedDataset const& corpus) {
  std::int32_t largest = -1;
  std::vector<std::int32_t> tokens;
  for (std::int64_t s = 0; s < corpus.sequences(); ++s) {
    tokens.resize(static_cast<std::size_t>(corpus.length(s)));
    corpus.read(s, 0, tokens);
    for (std::int32_t const token : tokens) {
      validate(token >= 0, "Sequence ", s, " of '", corpus.prefix().string(), "' holds the token ", token,
               " (ids are not negative). Tokenize the text again.");
      largest = std::max(largest, token);
    }
  }
  return largest;
}

void print_document(IndexedDataset const& corpus, Tokenizer const& tokenizer, Options const& options) {
  std::string text;
  for (auto s = corpus.first_sequence(options.document); s < corpus.first_sequence(options.document + 1); ++s) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(corpus.length(s)));
    corpus.read(s, 0, tokens);
    text += tokenizer.decode(tokens) + "\n";
  }
  bool const cut = text.size() > static_cast<std::size_t>(std::max<std::int64_t>(options.characters, 0));
  std::cout << "--- document " << options.document << " by " << tokenizer.name() << "\n"
            << (cut ? text.substr(0, static_cast<std::size_t>(options.characters)) + " ...\n" : text) << "---\n";
}

int run(Options const& options) {
  std::string prefix = options.input;
  if (prefix.ends_with(".idx") || prefix.ends_with(".bin")) prefix.resize(prefix.size() - 4);
  IndexedDataset const corpus(prefix);
  auto const bytes = static_cast<std::int64_t>(std::filesystem::file_size(tokens_path(prefix)));
  std::int64_t const told = corpus.tokens() * size_of(corpus.type());
  validate(bytes == told, "'", tokens_path(prefix).string(), "' has ", bytes, " bytes where its index tells of ", told,
           " (the rest is never read; the two files are not of one corpus, or one of them was not finished). Copy both"
           " again or tokenize the corpus again.");
  auto const tokenizer = options.tokenizer.empty() ? nullptr : load_tokenizer(options.tokenizer);
  validate(options.document < std::max<std::int64_t>(corpus.documents(), 1), "There is no document ", options.document,
           " (the corpus has ", corpus.documents(), "). Give a smaller number.");
  std::cout << prefix << ": tokens of type " << name(corpus.type()) << "\n"
            << grouped(corpus.documents()) << " documents, " << grouped(corpus.sequences()) << " sequences, "
            << grouped(corpus.tokens()) << " tokens\n";
  print_lengths(document_lengths(corpus), corpus.tokens());
  std::int32_t const largest = largest_token(corpus);
  std::cout << "largest token id: " << largest << "\n";
  if (tokenizer) {
    validate(largest < tokenizer->vocab_size(), "'", prefix, "' was not made by ", tokenizer->name(),
             " (it holds the id ", largest, ", and the vocabulary has ", tokenizer->vocab_size(),
             "). Name the right tokenizer.");
    if (corpus.documents() > 0) print_document(corpus, *tokenizer, options);
  }
  std::cout << "the index is sound and every token was read\n";
  return 0;
}

}  // namespace

void add_inspect(CommandLine& line) {
  auto const options = std::make_shared<Options>();
  CommandLine sub =
      line.subcommand("inspect", "Checks a whole corpus and tells what is in it", [options] { return run(*options); });
  sub.option("corpus", options->input, "Prefix, .idx or .bin", true);
  sub.option("-t,--tokenizer", options->tokenizer, "Shows a document as text");
  sub.option("--document", options->document, "Which one");
  sub.option("--bytes", options->characters, "How much of it, at most");
}

}  // namespace selenite::app
