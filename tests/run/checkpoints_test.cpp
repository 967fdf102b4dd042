// What a checkpoint must have in common with the model that takes it up, on every rank of every layout.
#include "run/checkpoints.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// What restore() says to a rank of the model that these settings make; empty where it takes the checkpoint.
std::string refusal(std::filesystem::path const& checkpoint, std::vector<std::string> const& settings,
                    std::int64_t world, std::int64_t rank) {
  Config const config = resolve(parse_config("", settings, "test"), world);
  StageState stage(config, make_grid(config.layout), Rank(rank));
  stage.take_memory();
  IoThread io;
  CheckpointReader reader(io, checkpoint);
  try {
    restore(stage, reader, true);
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}

std::vector<std::string> const small{"model.layers=2",       "model.hidden=32",          "model.heads=2",
                                     "model.vocab_size=300", "model.bias=false",         "train.precision=fp32",
                                     "train.steps=1",        "model.sequence_length=32", "model.positions=rotary"};

}  // namespace

BOOST_AUTO_TEST_SUITE(checkpoints)

BOOST_AUTO_TEST_CASE(what_a_checkpoint_has_beyond_the_model_is_refused_by_every_layout) {
  Workplace const work;
  for (char const* larger : {"model.layers=3", "model.tied_embeddings=false", "model.bias=true",
                             "model.positions=learned", "model.layers=2"}) {
    std::filesystem::remove_all(work / "run");
    auto const run = work.pretrain("run", with(small, {larger}));
    BOOST_TEST_REQUIRE(run.code == 0, run.output);
    bool const same = std::string(larger) == "model.layers=2";
    for (auto const& [layout, world] : {std::pair{"layout.data=1", 1}, {"layout.pipe=2", 2}, {"layout.tensor=2", 2}})
      for (int rank = 0; rank < world; ++rank) {
        std::string const said = refusal(work.checkpoint("run", 1), with(small, {layout}), world, rank);
        BOOST_TEST(contains(said, "which this model lacks") != same, larger << ", " << layout << ": " << said);
        BOOST_TEST(said.empty() == same, said);
      }
  }
}

// Rows of padding take no part: with more or less of them a run goes on as if they were the same.
BOOST_AUTO_TEST_CASE(the_vocabulary_may_be_padded_otherwise) {
  Workplace const work;
  for (char const* tied : {"model.tied_embeddings=true", "model.tied_embeddings=false"}) {
    std::vector<std::string> const six{"model.heads=6", "model.hidden=96", "model.vocab_multiple=512", "train.steps=8",
                                       tied};
    for (char const* run : {"whole", "more", "less", "tensor"}) std::filesystem::remove_all(work / run);
    BOOST_TEST_REQUIRE(work.pretrain("whole", six).code == 0);
    std::vector<std::string> const cut{"run.comm=threads", "layout.tensor=3"};
    auto const refused = work.pretrain("tensor", with(six, cut));
    BOOST_TEST(contains(refused.output, "3 does not divide the padded vocabulary = 512"), refused.output);
    BOOST_TEST(contains(refused.output, "Set model.vocab_multiple = 1536"), refused.output);
    for (auto const& [run, settings] : std::vector<std::pair<std::string, std::vector<std::string>>>{
             {"more", {"model.vocab_multiple=768"}},
             {"less", {"model.vocab_multiple=10"}},
             {"tensor",
              {"model.vocab_multiple=768", "run.comm=threads", "layout.tensor=3", "layout.data=2",
               "train.optimizer_sharding=1"}}}) {
      work.start_from("whole", 4, run);
      auto const result = work.pretrain(run, with(six, settings));
      BOOST_TEST_REQUIRE(result.code == 0, result.output);
      auto const expected = work.losses("whole"), got = work.losses(run);
      BOOST_TEST(got.size() == 4u);
      for (auto const& [step, loss] : got)
        BOOST_TEST(std::abs(loss / expected.at(step) - 1) < 1e-5, run << " " << step);
    }
  }
}

BOOST_AUTO_TEST_CASE(of_longer_histories_of_8_bits_the_newest_are_taken) {
  Workplace const work;
  std::vector<std::string> const settings{"train.precision=fp8", "train.steps=8"};
  BOOST_TEST_REQUIRE(work.pretrain("whole", with(settings, {"train.fp8_history=6"})).code == 0);
  auto const before = values_of(work.checkpoint("whole", 8), "amax");
  for (std::int64_t const length : {2, 9}) {
    std::string const run = concat("run-", length);
    work.start_from("whole", 8, run);
    auto const result =
        work.pretrain(run, {"train.precision=fp8", "train.steps=9", concat("train.fp8_history=", length)});
    BOOST_TEST_REQUIRE(result.code == 0, result.output);
    for (auto const& [name, history] : values_of(work.checkpoint(run, 9), "amax")) {
      BOOST_TEST_REQUIRE(history.size() == static_cast<std::size_t>(length));
      auto const& old = before.at(name);
      for (std::size_t s = 1; s < history.size(); ++s)  // that of step 9 came before them
        BOOST_TEST(history[s] == (s <= old.size() ? old[s - 1] : 0), name << " " << s);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
