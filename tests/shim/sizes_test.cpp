// Launches of models as large as they are trained: whether a device takes them. Nothing is computed.
#define BOOST_TEST_MODULE sizes_shim
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "core/text.hpp"
#include "tests/shim/block.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// Hidden, heads, micro-batch, sequence; two layers, as more launch nothing else.
std::vector<std::string> model(int hidden, int heads, int samples, int sequence) {
  auto const set = [](char const* key, int value) { return concat(key, "=", value); };
  return {"model.layers=2",
          set("model.hidden", hidden),
          set("model.heads", heads),
          set("model.sequence_length", sequence),
          "model.vocab_size=51200",
          set("train.micro_batch", samples),
          set("train.global_batch", samples),
          "train.steps=2",
          "run.backend=cuda"};
}
std::vector<std::vector<std::string>> const models{model(2048, 16, 16, 2048),                               // 1.3B
                                                   model(2048, 16, 8, 4096),   model(2560, 32, 16, 2048),   // 2.7B
                                                   model(4096, 32, 8, 2048),                                // 6.7B
                                                   model(4096, 32, 1, 131072), model(25600, 160, 1, 2048),  // 1T
                                                   model(12288, 96, 64, 2048),                              // 175B
                                                   model(768, 12, 512, 1024)};
std::vector<std::string> const ways[] = {
    {"train.precision=bf16"},
    {"train.precision=bf16", "run.attention_library=own"},
    {"train.precision=bf16", "run.attention_library=own_sm80"},
    {"train.precision=bf16", "model.hidden_dropout=0.1", "model.attention_dropout=0.1"},
    {"train.precision=bf16", "model.norm=rmsnorm", "model.positions=rotary", "model.activation=swiglu",
     "model.bias=false", "model.tied_embeddings=false"},
    {"train.precision=bf16", "train.recompute=full", "train.optimizer=sgd"},
    {"train.precision=fp8", "model.activation=gelu"},
    {"train.precision=fp16", "run.fused_epilogues=all"},
    {"train.precision=fp32"}};

/// What a step of it is refused for.
std::string refusal(std::vector<std::string> settings, std::vector<std::string> const& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  Config const config = config_of(settings);
  try {
    OneRank rank(config);
    rank.step(1, toy_loader(config, 1));
    return "";
  } catch (Error const& e) {
    return concat(join(settings, " "), ": ", e.what());
  }
}

}  // namespace

BOOST_DATA_TEST_CASE(launches_are_within_a_devices_limits, boost::unit_test::data::xrange(std::size(ways)), way) {
  shim::SkippedWork const skipped;
  for (auto const& settings : models) BOOST_TEST(refusal(settings, ways[way]) == "");
}
