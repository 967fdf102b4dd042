#include <iostream>
#include <memory>

#include "apps/preprocess/commands.hpp"
#include "apps/preprocess/input_options.hpp"
#include "apps/preprocess/progress.hpp"
#include "core/error.hpp"
#include "data/preprocess.hpp"
#include "data/tokenizer.hpp"

namespace selenite::app {
namespace {

struct Options {
  InputOptions input;
  std::string tokenizer;
  std::string output;
  bool append_eod = false;
  bool overwrite = false;
  bool restart = false;
  std::int64_t checkpoint_mb = 64;
};

void print_summary(TokenizeProgress const& progress, Tokenizer const& tokenizer, double seconds) {
  TokenizeCounts const& c = progress.counts;
  double const text = static_cast<double>(c.text_bytes - progress.resumed_bytes);
  std::cout << grouped(c.documents) << " documents, " << grouped(c.sequences) << " sequences, " << grouped(c.tokens)
            << " tokens from " << grouped(c.text_bytes) << " bytes of text by " << tokenizer.name() << "\n"
            << "empty documents: " << grouped(c.empty_documents)
            << ", with ill-formed UTF-8: " << grouped(c.repaired_documents)
            << ", bad lines skipped: " << grouped(c.bad_lines) << "\n";
  if (progress.resumed_bytes > 0) {
    std::cout << "went on after " << grouped(progress.resumed_bytes) << " bytes that an earlier run had done\n";
  }
  if (text > 0) std::cout << duration(seconds) << ", " << concat(text / seconds / 1e6).substr(0, 5) << " MB/s\n";
}

int run(Options const& options) {
  validate(options.checkpoint_mb > 0, "--checkpoint-mb ", options.checkpoint_mb,
           " cannot be used (it is the MiB between two points to go on from). Give 1 or more.");
  TokenizeOptions tokenize = options.input.resolve();
  tokenize.output = options.output;
  tokenize.append_eod = options.append_eod;
  tokenize.overwrite = options.overwrite;
  tokenize.restart = options.restart;
  tokenize.checkpoint_bytes = options.checkpoint_mb << 20;
  auto const tokenizer = load_tokenizer(options.tokenizer);
  ProgressLine line;
  auto const progress = tokenize_corpus(tokenize, *tokenizer, [&](TokenizeProgress const& now) { line.show(now); });
  line.finish();
  print_summary(progress, *tokenizer, line.seconds());
  std::cout << "wrote " << options.output << ".bin and " << options.output << ".idx\n";
  return 0;
}

}  // namespace

void add_tokenize(CommandLine& line) {
  auto const options = std::make_shared<Options>();
  CommandLine sub = line.subcommand("tokenize", "Turns text into a corpus of token ids: <output>.bin and <output>.idx",
                                    [options] { return run(*options); });
  options->input.add_to(sub);
  sub.option(
      "-t,--tokenizer", options->tokenizer,
      "tokenizer.json, vocab.json with merges.txt beside it, a SentencePiece .model, a folder with one of them, or"
      " the word bytes",
      true);
  sub.option("-o,--output", options->output, "Prefix of the two output files", true);
  sub.flag("--append-eod", options->append_eod, "End every document that is not empty with the end-of-document id");
  sub.flag("--overwrite", options->overwrite, "Replace an output that exists");
  sub.flag("--restart", options->restart, "Throw away what a killed run left, instead of going on with it");
  sub.option("--checkpoint-mb", options->checkpoint_mb, "MiB of text between two points where a killed run can go on");
  sub.footer("A killed run goes on where it was when the same command is given again; the result is the same.");
}

}  // namespace selenite::app
