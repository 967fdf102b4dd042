// What goes wrong is said, with the right exit code and record, and nothing that was there is lost.
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// A run that fails: exit code 1 and a message with these parts.
void fails(Workplace const& work, std::vector<std::string> const& settings, std::vector<std::string> const& parts) {
  auto const result = work.pretrain("fails", settings);
  BOOST_TEST(result.code == 1, result.output);
  for (std::string const& part : parts)
    BOOST_TEST(contains(result.output, part), "\"" << part << "\" is not in:\n" << result.output);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(errors)

BOOST_AUTO_TEST_CASE(wrong_configs_and_corpora_are_named) {
  Workplace const work;
  fails(work, {"train.micro_bach=2"}, {"Did you mean train.micro_batch?"});
  fails(work, {"model.heads=5"}, {"model.heads = 5 does not divide model.hidden = 32"});
  fails(work, {"data.train=" + (work / "nothing").string()}, {(work / "nothing").string()});
  fails(work, {"data.train="}, {"data.train is empty"});
  fails(work, {"model.vocab_size=200"}, {"corpus", "vocab"});
  fails(work, {"data.reset_positions=true"}, {"data.tokenizer is empty"});
  fails(work, {"checkpoint.load=" + (work / "nothing").string()}, {(work / "nothing").string()});
  fails(work, {"model.layers=12", "model.hidden=16384"}, {"of memory, but this machine has", "moments"});
  BOOST_TEST(contains(read_file(work / "fails" / "run.json"), "\"result\": \"failed\""));
  Program config({SELENITE_PRETRAIN, (work / "none.toml").string()}, work / "config.out");
  BOOST_TEST(config.wait() == 1);
  BOOST_TEST(contains(config.output(), "none.toml"), config.output());
  Program option({SELENITE_PRETRAIN, "--wrold", "2"}, work / "option.out");
  BOOST_TEST(option.wait() == 2);
}

BOOST_AUTO_TEST_CASE(a_truncated_corpus_is_refused) {
  Workplace const work;
  std::filesystem::resize_file(work / "corpus.bin", std::filesystem::file_size(work / "corpus.bin") - 2);
  fails(work, {}, {"corpus"});
}

BOOST_AUTO_TEST_CASE(divergence_stops_with_the_last_good_checkpoint) {
  Workplace const work;
  std::vector<std::string> const settings{
      "train.optimizer=sgd", "train.lr=1e6",   "train.min_lr=1e6",   "train.warmup=0",
      "train.clip=0",        "train.steps=50", "checkpoint.every=1", "checkpoint.asynchronous=false"};
  auto const result = work.pretrain("diverges", settings);
  BOOST_TEST(result.code == 1, result.output);
  BOOST_TEST(contains(result.output, "is not finite"), result.output);
  std::size_t const steps = work.steps("diverges").size();
  BOOST_TEST_REQUIRE(steps >= 1u);
  // the last step may have made weights that are not saved
  std::string const last =
      work.checkpoint("diverges", static_cast<std::int64_t>(steps) - contains(result.output, "is not saved")).string();
  BOOST_TEST(contains(result.output, "The last good checkpoint is " + last), result.output);
  std::string const record = read_file(work / "diverges" / "run.json");
  BOOST_TEST(contains(record, "\"result\": \"failed\""), record);
  BOOST_TEST(contains(record, "is not finite"), record);
  BOOST_TEST(!values_of(last, "weight").empty());
}

// A learning rate from which no loss comes back, at once.
BOOST_AUTO_TEST_CASE(weights_that_are_not_finite_are_not_saved_over_good_ones) {
  Workplace const work;
  BOOST_TEST_REQUIRE(work.pretrain("run", {"train.steps=4"}).code == 0);
  auto const good = values_of(work.checkpoint("run", 4), "weight");
  for (std::vector<std::string> layout : {std::vector<std::string>{"layout.data=1"},
                                          {"run.comm=threads", "layout.data=2", "train.optimizer_sharding=1"}}) {
    std::vector<std::string> settings{"train.optimizer=sgd", "train.lr=1e6",       "train.min_lr=1e6",
                                      "train.warmup=0",      "train.clip=1e30",    "train.weight_decay=1e6",
                                      "train.steps=40",      "checkpoint.every=1", "checkpoint.keep=1"};
    settings.insert(settings.end(), layout.begin(), layout.end());
    auto const result = work.pretrain("run", settings);
    BOOST_TEST(result.code == 1, result.output);
    BOOST_TEST(contains(result.output, "is not finite"), result.output);
    BOOST_TEST(contains(result.output, "The last good checkpoint is "), result.output);
    for (CheckpointEntry const& entry : list_checkpoints(work / "run" / "checkpoints"))
      for (auto const& [name, values] : values_of(entry.folder, "weight"))
        for (float const x : values) BOOST_TEST_REQUIRE(std::isfinite(x), entry.folder << " " << name);
  }
}

BOOST_AUTO_TEST_CASE(another_models_checkpoint_is_refused_and_kept) {
  Workplace const work;
  BOOST_TEST_REQUIRE(work.pretrain("run", {"train.steps=4"}).code == 0);
  auto const before = values_of(work.checkpoint("run", 4), "weight");
  for (auto const& [setting, part] :
       {std::pair<char const*, char const*>{"model.hidden=64", "model.hidden = 32, not 64"},
        {"model.layers=3", "model.layers = 2, not 3"},
        {"model.heads=4", "model.heads = 2, not 4"},
        {"model.activation=gelu_erf", "model.activation = \"gelu\", not \"gelu_erf\""},
        {"model.vocab_size=310", "model.vocab_size = 300, not 310"},
        {"train.global_batch=4", "another train.global_batch"}}) {
    auto const result = work.pretrain("run", {"train.steps=8", setting});
    BOOST_TEST(result.code == 1, result.output);
    BOOST_TEST(contains(result.output, part), setting << ": " << result.output);
    BOOST_TEST(contains(result.output, work.checkpoint("run", 4).string()), result.output);
  }
  BOOST_CHECK(values_of(work.checkpoint("run", 4), "weight") == before);
  auto const load = work.pretrain(
      "loads", {"model.norm=rmsnorm", "model.bias=false", "checkpoint.load=" + work.checkpoint("run", 4).string()});
  BOOST_TEST(load.code == 1, load.output);
  BOOST_TEST(contains(load.output, "model.norm = \"layernorm\", not \"rmsnorm\""), load.output);
  auto const again = work.pretrain("run", {"train.steps=8"});
  BOOST_TEST(again.code == 0, again.output);
}

BOOST_AUTO_TEST_CASE(ranks_with_different_configs_are_refused) {
  Workplace const work;
  auto command = work.command("run", {"train.lr=1e-3"}, 2);
  auto const other = work.command("run", {"train.lr=2e-3"});
  command.emplace_back(":"), command.insert(command.end(), {"-n", "1"});
  command.insert(command.end(), other.begin(), other.end());
  Program program(command, work / "run.out");
  BOOST_TEST(program.wait() == 1);
  BOOST_TEST(contains(program.output(), "Rank 2 has another config than rank 0 (\"[train] lr = 0.002"),
             program.output());
  BOOST_TEST(contains(program.output(), "where rank 0 has \"[train] lr = 0.001"), program.output());
  BOOST_TEST(!std::filesystem::exists(work / "run"));
}

BOOST_AUTO_TEST_CASE(processes_that_cannot_reach_each_other_are_refused) {
  Workplace const work;
  auto command = work.command("run", {});  // as under an srun that knows another MPI
  command.insert(command.begin(), {"/usr/bin/env", "SLURM_STEP_NUM_TASKS=4"});
  Program program(command, work / "run.out");
  BOOST_TEST(program.wait() == 1);
  BOOST_TEST(contains(program.output(), "started 4 processes, but 1 of them"), program.output());
  BOOST_TEST(!std::filesystem::exists(work / "run"));
}

BOOST_AUTO_TEST_SUITE_END()
