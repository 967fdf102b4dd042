// What a checkpoint must have in common with the model that takes it up, on every rank of every layout.
#include "run/checkpoints.hpp"

#include <boost/test/unit_test.hpp>

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

BOOST_AUTO_TEST_SUITE_END()
