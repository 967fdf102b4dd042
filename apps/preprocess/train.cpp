#include <iostream>
#include <memory>

#include "apps/preprocess/commands.hpp"
#include "apps/preprocess/input_options.hpp"
#include "apps/preprocess/progress.hpp"
#include "core/error.hpp"
#include "data/train_bpe.hpp"

namespace selenite::app {
namespace {

struct Options {
  InputOptions input;
  std::string output;
  std::int64_t vocab_size = 8192;
  std::int64_t min_frequency = 2;
  std::vector<std::string> special = {"<|endoftext|>"};
  bool overwrite = false;
};

int run(Options const& options) {
  auto const least = static_cast<std::int64_t>(options.special.size()) + 256;
  validate(options.vocab_size >= least && options.vocab_size <= 1 << 24, "--vocab-size ", options.vocab_size,
           " cannot be used (the special tokens and the 256 bytes make ", least, "). Give that to ", 1 << 24, ".");
  check_tokenizer_folder(options.output, options.overwrite);
  ProgressLine line;
  TokenizeOptions const input = options.input.resolve();
  WordCounts const words = count_words(input, [&](TokenizeProgress const& now) { line.show(now); });
  line.finish();
  double const counted = line.seconds();
  std::cout << grouped(static_cast<std::int64_t>(words.size())) << " different words counted in " << duration(counted)
            << "\n";
  TrainedBpe const bpe =
      train_bpe(words, {static_cast<std::int32_t>(options.vocab_size), options.min_frequency, options.special},
                [](std::int64_t) {});
  write_tokenizer(bpe, options.output, options.overwrite);
  std::cout << grouped(static_cast<std::int64_t>(bpe.tokens.size())) << " tokens learnt in "
            << duration(line.seconds() - counted) << "\n";
  if (static_cast<std::int64_t>(bpe.tokens.size()) < options.vocab_size) {
    std::cout << "fewer than " << grouped(options.vocab_size) << ": no pair is left that occurs "
              << options.min_frequency << " times\n";
  }
  std::cout << "wrote vocab.json, merges.txt and tokenizer.json in " << options.output << "\n";
  return 0;
}

}  // namespace

void add_train_tokenizer(CommandLine& line) {
  auto const options = std::make_shared<Options>();
  CommandLine sub = line.subcommand("train-tokenizer", "Learns a byte-level BPE vocabulary from text",
                                    [options] { return run(*options); });
  options->input.add_to(sub);
  sub.option("-o,--output", options->output, "Folder for vocab.json, merges.txt and tokenizer.json", true);
  sub.option("--vocab-size", options->vocab_size, "Tokens, special ones and the 256 bytes included");
  sub.option("--min-frequency", options->min_frequency, "Pairs that occur less often are not merged");
  sub.repeated("--special", options->special, "A special token, of the first ids; may be repeated");
  sub.flag("--overwrite", options->overwrite, "Replace files that exist");
}

}  // namespace selenite::app
