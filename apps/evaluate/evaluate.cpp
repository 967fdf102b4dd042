#include <cmath>
#include <cstdio>
#include <iostream>

#include "apps/evaluate/options.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"
#include "io/json.hpp"
#include "plan/plan.hpp"

namespace selenite::app {

void EvaluateOptions::add_to(CommandLine& command) {
  command.option("checkpoint", path, "Run folder, folder of checkpoints, or one checkpoint", true);
  command.choice("--split", split, {"train", "valid", "test"},
                 "Evaluate this split of the checkpoint's corpora (valid, if nothing else is asked for)");
  command.option("--samples", samples,
                 "At most this many samples of the split; 0: all (a weighted blend has no end, and needs a number)");
  command.option("--text", text, "Evaluate this text file");
  command.option("--stride", stride,
                 "With --text: tokens scored by each window; smaller is slower and fairer; 0: a whole sequence");
  command.option("--prompt", prompt, "Write a text that goes on from here");
  command.option("--tokens", sampling.tokens, "Length of the text");
  command.option("--temperature", sampling.temperature,
                 "Flattens (above 1) or sharpens (below 1) the choice; 0: the likeliest");
  command.option("--top-k", sampling.top_k, "Choose among this many tokens; 0: all");
  command.option("--seed", sampling.seed, "Of the choice");
  command.repeated("--set", settings, "Change a field of the checkpoint's config: --set section.key=value");
  command.flag("--json", json, "Print figures, and the text, as JSON");
  command.option("--output", output, "Write the figures as JSON to this file, too");
  command.flag("--print-config", print_config, "Print the config that is used and end");
  command.flag("--dry-run", dry_run, "Print the memory that is needed and end");
}

void EvaluateOptions::check(CommandLine const& command) const {
  validate(std::isfinite(sampling.temperature) && sampling.temperature >= 0, "--temperature = ", sampling.temperature,
           " is out of range (it must be finite and at least 0). Correct the value.");
  for (auto const& [name, value] : {std::pair{"--text", &text}, {"--prompt", &prompt}, {"--output", &output}})
    validate(!command.given(name) || !value->empty(), name, " is empty (there is nothing to go by). Give it a value.");
}

namespace {

JsonObject to_json(Evaluation const& e, std::string const& what) {
  JsonObject out{{"on", what}, {"loss", e.loss}, {"perplexity", e.perplexity()}, {"tokens", e.tokens}};
  if (e.unigram_loss >= 0) out.set("unigram_loss", e.unigram_loss).set("unigram_perplexity", e.unigram_perplexity());
  if (e.bytes > 0)
    out.set("bits_per_byte", e.bits_per_byte())
        .set("word_perplexity", e.word_perplexity())
        .set("bytes", e.bytes)
        .set("words", e.words);
  return out;
}

void print(Evaluation const& e, std::string const& what) {
  std::printf("%s: loss %.4f nats a token, perplexity %.2f over %.0f tokens\n", what.c_str(), e.loss, e.perplexity(),
              e.tokens);
  if (e.unigram_loss >= 0)
    std::printf(
        "  baseline: token frequencies of the training data alone give loss %.4f, perplexity %.2f (the model's is %.1f "
        "times lower)\n",
        e.unigram_loss, e.unigram_perplexity(), e.unigram_perplexity() / e.perplexity());
  if (e.bytes > 0)
    std::printf("  %.3f bits a byte; perplexity a word %.2f (words: parts between blanks)\n", e.bits_per_byte(),
                e.word_perplexity());
  std::fflush(stdout);
}

}  // namespace

int evaluate(EvaluateOptions const& o, Comm& comm) {
  bool const first = *comm.rank() == 0;
  Evaluator evaluator(o.path, o.settings, comm);
  if (o.print_config || o.dry_run) {
    if (first && o.print_config) std::cout << to_toml(evaluator.config());
    if (first && o.dry_run) std::cout << evaluator.describe_memory();
    return 0;
  }
  if (!o.prompt.empty()) evaluator.require_sampling();
  if (first && !o.json)
    std::printf("%s (step %lld)\n", evaluator.checkpoint().c_str(), static_cast<long long>(evaluator.step()));
  JsonObject figures{{"checkpoint", evaluator.checkpoint().string()}, {"step", evaluator.step()}};
  auto show = [&](Evaluation const& e, std::string const& key, std::string const& what) {
    figures.set(key, to_json(e, what));
    if (first && !o.json) print(e, what);
  };
  if (!o.text.empty()) show(evaluator.text(read_text_file(o.text, "text"), o.stride), "text", o.text);
  if (!o.split.empty() || (o.text.empty() && o.prompt.empty())) {
    std::string const split = o.split.empty() ? "valid" : o.split;
    show(evaluator.split(split, o.samples), "split", split + " split");
  }
  if (first && !o.prompt.empty()) {
    std::string sample;
    evaluator.sample(o.prompt, o.sampling, [&](std::string const& piece) {
      sample += piece;
      if (!o.json) std::cout << piece << std::flush;
    });
    if (!o.json) std::cout << std::endl;
    figures.set("sample", sample);
  }
  if (first && o.json) std::cout << figures.text(2) << std::endl;
  if (first && !o.output.empty()) write_file_atomically(o.output, figures.text(2) + "\n");
  comm.barrier();
  return 0;
}

}  // namespace selenite::app
