#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "apps/preprocess/commands.hpp"
#include "apps/preprocess/progress.hpp"
#include "core/error.hpp"
#include "data/indexed.hpp"

namespace selenite::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> inputs;
  std::string output;
  bool keep_order = false;
  bool overwrite = false;
};

/// Prefixes of the corpora that the inputs name: prefixes, .idx or .bin files, or folders with .idx files.
std::vector<std::string> prefixes_of(std::vector<std::string> const& inputs) {
  std::vector<std::string> prefixes;
  for (std::string const& input : inputs) {
    if (!fs::is_directory(input)) {
      bool const file = input.ends_with(".idx") || input.ends_with(".bin");
      prefixes.push_back(file ? input.substr(0, input.size() - 4) : input);
      continue;
    }
    std::size_t const before = prefixes.size();
    for (auto const& entry : fs::directory_iterator(input)) {
      std::string const path = entry.path().string();
      if (path.ends_with(".idx")) prefixes.push_back(path.substr(0, path.size() - 4));
    }
    validate(prefixes.size() > before, "Folder '", input,
             "' holds no .idx file (there is nothing to merge). Name another.");
  }
  return prefixes;
}

int run(Options const& options) {
  auto prefixes = prefixes_of(options.inputs);
  if (!options.keep_order) std::sort(prefixes.begin(), prefixes.end());
  CorpusLock const lock(options.output);
  bool const exists = fs::exists(index_path(options.output)) || fs::exists(tokens_path(options.output));
  validate(!exists || options.overwrite, "Output '", options.output,
           "' exists already (an earlier run wrote it). Choose another, or replace it with --overwrite.");
  std::optional<TokenType> type;
  for (std::string const& prefix : prefixes) {
    IndexedDataset const corpus(prefix);
    validate(fs::weakly_canonical(prefix) != fs::weakly_canonical(options.output), "'", prefix,
             "' is an input and the output (it would be lost while it is read). Choose another output.");
    validate(!type || *type == corpus.type(), "'", prefix, "' cannot be merged (its tokens are ", name(corpus.type()),
             ", those of '", prefixes.front(), "' are ", name(*type), "). Tokenize one of them again.");
    type = corpus.type();
  }
  IndexedWriter writer(options.output, *type);
  for (std::string const& prefix : prefixes) {
    writer.merge(prefix);
    std::cout << prefix << ": " << grouped(writer.state().documents) << " documents and "
              << grouped(writer.state().tokens) << " tokens so far\n";
  }
  writer.finish();
  std::cout << "wrote " << options.output << ".bin and " << options.output << ".idx\n";
  return 0;
}

}  // namespace

void add_merge(CommandLine& line) {
  auto const options = std::make_shared<Options>();
  CommandLine sub = line.subcommand("merge", "Joins corpora of one token type, in the order of their names",
                                    [options] { return run(*options); });
  sub.option("inputs", options->inputs, "Prefixes, .idx files or folders with .idx files", true);
  sub.option("-o,--output", options->output, "Prefix of the two output files", true);
  sub.flag("--keep-order", options->keep_order, "Join in the order given, not in the order of names");
  sub.flag("--overwrite", options->overwrite, "Replace an output that exists");
}

}  // namespace selenite::app
