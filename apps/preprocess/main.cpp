// selenite-preprocess: from text to the corpora that training reads.
#include "apps/preprocess/commands.hpp"

int main(int argc, char** argv) {
  using namespace selenite::app;
  return guarded("selenite-preprocess", argv, [&] {
    CommandLine line("selenite-preprocess", "Trains tokenizers, and turns text into tokenized corpora.");
    add_tokenize(line);
    add_train_tokenizer(line);
    add_merge(line);
    add_inspect(line);
    int const code = line.parse(argc, argv);
    return code < 0 ? 0 : code;
  });
}
