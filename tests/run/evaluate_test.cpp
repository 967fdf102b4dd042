// Evaluation of a checkpoint: every token scored once, a baseline that can be recomputed, and text that depends on its
// seed alone.
#include "run/evaluate.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/text.hpp"
#include "data/indexed.hpp"
#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

struct Trained {
  Workplace work;
  std::unique_ptr<Comm> comm = make_self_comm();
  Trained() {
    auto const run = work.pretrain("run", {"train.steps=60", "train.lr=1e-2", "train.warmup=40", "checkpoint.every=0",
                                           "data.tokenizer=bytes", "data.split=90,10,0"});
    BOOST_TEST_REQUIRE(run.code == 0, run.output);
  }
  Evaluator evaluator(std::vector<std::string> const& settings = {}) {
    return Evaluator(work / "run", settings, *comm);
  }
};

/// Mean of -log of smoothed frequencies over all tokens of the corpus.
double unigram_entropy(std::filesystem::path const& prefix, std::size_t vocab) {
  IndexedDataset const corpus(prefix);
  std::vector<double> counts(vocab, 0);
  for (std::int64_t i = 0; i < corpus.sequences(); ++i) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(corpus.length(i)));
    corpus.read(i, 0, tokens);
    for (std::int32_t t : tokens) counts[static_cast<std::size_t>(t)] += 1;
  }
  double const n = static_cast<double>(corpus.tokens());
  double sum = 0;
  for (double c : counts) sum -= c / n * std::log((c + 1) / (n + static_cast<double>(vocab)));
  return sum;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(evaluate)

BOOST_AUTO_TEST_CASE(a_checkpoint_is_scored_beside_its_baseline_and_writes_text) {
  Trained trained;
  Evaluator evaluator = trained.evaluator();
  BOOST_TEST(evaluator.step() == 60);

  Evaluation const train = evaluator.split("train", 0);
  BOOST_TEST(train.tokens > 4000);
  BOOST_TEST(train.loss < train.unigram_loss - 0.5,
             train.loss << " and " << train.unigram_loss);  // it has learned the corpus
  BOOST_TEST(std::abs(train.unigram_loss / unigram_entropy(trained.work / "corpus", 300) - 1) < 0.02);
  BOOST_TEST(train.perplexity() == std::exp(train.loss));
  BOOST_TEST(evaluator.split("train", 0).loss == train.loss);  // no dropout, same bits
  BOOST_TEST(evaluator.split("valid", 2).tokens == 64);
  BOOST_CHECK_EXCEPTION(evaluator.split("test", 0), Error,
                        [](Error const& e) { return contains(e.what(), "split is empty"); });

  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>('a' + i * i % 17);
  for (std::int64_t stride : {0, 1, 7, 32}) {
    Evaluation const e = evaluator.text(text, stride);
    BOOST_TEST(e.tokens == 199);  // every token but the first, once
    BOOST_TEST(e.bytes == 200);
    BOOST_TEST(std::abs(e.bits_per_byte() - e.loss * 199 / 200 / std::log(2.0)) < 1e-12);
  }
  BOOST_TEST(evaluator.text(text, 0).loss == evaluator.text(text, 32).loss);  // 0 is a whole sequence
  BOOST_CHECK_THROW(evaluator.text(text, 33), Error);
  BOOST_CHECK_THROW(evaluator.text("a", 0), Error);

  auto sample = [&](std::int64_t seed, double temperature) {
    std::string out;
    evaluator.sample("hello", {.tokens = 40, .top_k = 20, .seed = seed, .temperature = temperature},
                     [&](std::string const& piece) { out += piece; });
    return out;
  };
  BOOST_TEST(sample(1, 1.0).starts_with("hello"));
  BOOST_TEST(sample(1, 1.0) == sample(1, 1.0));
  BOOST_TEST(sample(1, 1.0) != sample(2, 1.0));
  BOOST_TEST(sample(1, 0) == sample(2, 0));  // the likeliest, whatever the seed
}

BOOST_AUTO_TEST_CASE(every_layout_finds_the_same_loss) {
  Trained trained;
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>('a' + i * i % 17);
  struct Found {
    Evaluation train, some, text;
  };
  auto const find = [&](std::vector<std::string> const& settings, Comm& comm) {
    Evaluator evaluator(trained.work / "run", settings, comm);
    return Found{evaluator.split("train", 0), evaluator.split("valid", 5), evaluator.text(text, 7)};
  };
  Found const one = find({}, *trained.comm);
  BOOST_TEST(one.some.tokens == 5 * 32);
  BOOST_TEST(one.text.tokens == 299);
  std::vector<std::pair<std::int64_t, std::vector<std::string>>> const layouts{
      {3, {}},
      {2, {"layout.tensor=2"}},
      {4, {"layout.tensor=2", "layout.sequence_parallel=true"}},
      {2, {"layout.context=2"}},
      {2, {"layout.pipe=2"}},
      {8, {"layout.tensor=2", "layout.context=2", "layout.pipe=2"}},
      {6, {"layout.pipe=2", "layout.data=3"}}};
  for (auto const& [ranks, settings] : layouts) {
    std::vector<Found> found(static_cast<std::size_t>(ranks));
    run_threads(ranks, [&](Comm& comm) { found[static_cast<std::size_t>(*comm.rank())] = find(settings, comm); });
    for (Found const& f : found)
      for (Evaluation Found::*what : {&Found::train, &Found::some, &Found::text})
        BOOST_TEST_CONTEXT(ranks << " ranks, " << join(settings, " ")) {
          BOOST_TEST((f.*what).tokens == (one.*what).tokens);
          BOOST_TEST(std::abs((f.*what).loss / (one.*what).loss - 1) < 1e-6);
          BOOST_TEST(std::abs((f.*what).unigram_loss / (one.*what).unigram_loss - 1) < 1e-12);
        }
  }
}

BOOST_AUTO_TEST_CASE(the_program_evaluates_on_any_layout_and_draws_text_on_one_rank) {
  Trained trained;
  auto const evaluate = [&](std::vector<std::string> const& launcher, std::vector<std::string> const& settings) {
    std::vector<std::string> command = launcher;
    command.insert(command.end(), {SELENITE_EVALUATE, (trained.work / "run").string(), "--json"});
    for (std::string const& s : settings) command.insert(command.end(), {"--set", s});
    return command;
  };
  auto const loss = [&](std::vector<std::string> const& command) {
    Program program(command, trained.work / "evaluate.out", {.errors = trained.work / "evaluate.err"});
    BOOST_TEST(program.wait() == 0, program.output() << read_file(trained.work / "evaluate.err"));
    std::string const output = program.output();
    auto const at = output.find("\"loss\":");
    BOOST_TEST_REQUIRE(at != output.npos, output);
    return std::stod(output.substr(at + 7));
  };
  double const one = loss(evaluate({}, {}));
  std::vector<std::string> const four{SELENITE_MPIRUN, "-n", "4", "--oversubscribe", "--allow-run-as-root"};
  BOOST_TEST(std::abs(loss(evaluate(four, {"layout.tensor=2", "layout.pipe=2"})) / one - 1) < 1e-6);
  BOOST_TEST(std::abs(loss(evaluate(four, {"layout.context=2"})) / one - 1) < 1e-6);
  BOOST_TEST(std::abs(loss(evaluate({}, {"run.comm=threads", "layout.data=2", "layout.pipe=2"})) / one - 1) < 1e-6);
  auto drawn = evaluate({}, {});
  drawn.insert(drawn.end(), {"--prompt", "abc", "--tokens", "5"});
  Program draw(drawn, trained.work / "evaluate.out", {.errors = trained.work / "evaluate.err"});
  BOOST_TEST(draw.wait() == 0, draw.output());
  auto const json = nlohmann::json::parse(draw.output());  // the text is in it, not behind it
  BOOST_TEST(json.at("sample").get<std::string>().starts_with("abc"));
  auto draws = evaluate({}, {"run.comm=threads", "layout.tensor=2"});
  draws.insert(draws.end(), {"--prompt", "a"});
  Program refused(draws, trained.work / "evaluate.out");
  BOOST_TEST(refused.wait() == 1);
  BOOST_TEST(contains(refused.output(), "A text can't be drawn with layout.tensor = 2"), refused.output());
  // a product of sizes that is 0 in 64 bits
  for (std::vector<std::string> const& layout :
       {std::vector<std::string>{"layout.tensor=1048576", "layout.context=1048576", "layout.pipe=1048576",
                                 "layout.expert=16"},
        {"layout.data=16777216", "layout.pipe=1048576", "train.micro_batch=1048576"}})
    BOOST_CHECK_EXCEPTION(trained.evaluator(layout), Error,
                          [](Error const& e) { return contains(e.what(), "layout"); });
}

BOOST_AUTO_TEST_CASE(lists_of_corpora_are_evaluated_with_and_without_weights) {
  Workplace const work;
  auto const comm = make_self_comm();
  std::string const corpus = (work / "corpus").string();
  // Without weights training goes on where the list ends: about 240 samples of 520.
  auto const evaluator = [&](std::string const& name, std::string const& list) {
    auto const run =
        work.pretrain(name, {"train.steps=65", "checkpoint.every=0", "data.split=50,50,0", "data.train=" + list});
    BOOST_TEST_REQUIRE(run.code == 0, run.output);
    return Evaluator(work / name, {}, *comm);
  };
  Evaluator plain = evaluator("plain", corpus + "," + corpus);
  BOOST_TEST(plain.split("valid", 5).tokens == 5 * 32);
  BOOST_TEST(plain.split("valid", 0).tokens > 5 * 32);
  BOOST_TEST(plain.split("valid", 1'000'000).tokens == plain.split("valid", 0).tokens);  // an epoch at most
  Evaluator weighted = evaluator("weighted", "0.7," + corpus + ",0.3," + corpus);
  for (std::string const split : {"train", "valid"}) {
    BOOST_TEST(weighted.split(split, 5).tokens == 5 * 32);
    BOOST_CHECK_EXCEPTION(weighted.split(split, 0), Error,
                          [](Error const& e) { return contains(e.what(), "--samples"); });
  }
}

// Weights that are finite, and so large that what they compute is not.
BOOST_AUTO_TEST_CASE(a_loss_that_is_not_finite_is_an_error) {
  Workplace const work;
  std::vector<std::string> settings{
      "train.optimizer=sgd",    "train.lr=1e6",  "train.min_lr=1e6",   "train.warmup=0",
      "train.weight_decay=1e6", "train.steps=2", "checkpoint.every=1", "checkpoint.asynchronous=false"};
  BOOST_TEST(work.pretrain("run", settings).code == 1);
  BOOST_TEST_REQUIRE(std::filesystem::exists(work.checkpoint("run", 1)));
  auto const comm = make_self_comm();
  Evaluator evaluator(work / "run", {}, *comm);
  BOOST_CHECK_EXCEPTION(evaluator.split("train", 0), Error, [&](Error const& e) {
    return contains(e.what(), "The loss of " + work.checkpoint("run", 1).string() + " is not finite");
  });
  settings.insert(settings.end(), {"train.valid_every=1", "data.split=80,20,0"});
  auto const validated = work.pretrain("validated", settings);
  BOOST_TEST(validated.code == 1, validated.output);
  BOOST_TEST(contains(validated.output, "The validation loss after step 1 is not finite"), validated.output);
  BOOST_TEST(!std::filesystem::exists(work.checkpoint("validated", 1)));
}

BOOST_AUTO_TEST_CASE(what_is_no_checkpoint_is_refused) {
  Workplace const work;
  auto const comm = make_self_comm();
  std::filesystem::create_directories(work / "empty");
  for (char const* name : {"empty", "nowhere"})
    BOOST_CHECK_EXCEPTION(Evaluator(work / name, {}, *comm), Error,
                          [](Error const& e) { return contains(e.what(), "Name a run folder"); });
}

BOOST_AUTO_TEST_SUITE_END()
