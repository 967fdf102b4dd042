// Which fields make another model, and which another training.
#include "run/continuation.hpp"

#include <boost/test/unit_test.hpp>
#include <set>

#include "core/fields.hpp"
#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// Another value than it has.
void change(Field const& f) {
  if (auto* const* i = std::get_if<std::int64_t*>(&f.value)) **i += 1;
  if (auto* const* x = std::get_if<double*>(&f.value)) **x += 0.25;
  if (auto* const* b = std::get_if<bool*>(&f.value)) **b = !**b;
  if (auto* const* s = std::get_if<std::string*>(&f.value)) **s = "other";
  if (auto* const* l = std::get_if<std::vector<std::string>*>(&f.value)) **l = {"other"};
  if (auto const* e = std::get_if<EnumRef>(&f.value))
    e->set(static_cast<std::uint8_t>((e->get() + 1) % e->names.size()));
}

/// The fields whose change `differs` sees.
template <class Differs>
std::string seen(Differs const& differs) {
  std::string names;
  Config list;
  auto const all = sections(list);
  for (std::size_t s = 0; s < all.size(); ++s)
    for (std::size_t f = 0; f < all[s].fields.size(); ++f) {
      Config now;
      change(sections(now)[s].fields[f]);
      if (differs(Config{}, now)) names += concat(names.empty() ? "" : " ", all[s].name, ".", all[s].fields[f].name);
    }
  return names;
}

bool other_model(Config const& was, Config const& now, TakenUp taken) {
  try {
    require_same_model(was, now, taken, "c");
  } catch (Error const& e) {
    return contains(e.what(), "The checkpoint c was made with model.");
  }
  return false;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(continuation)

BOOST_AUTO_TEST_CASE(what_changes_function_or_shapes_is_another_model) {
  BOOST_TEST(seen([](Config const& was, Config const& now) { return other_model(was, now, TakenUp::training); }) ==
             "model.layers model.hidden model.heads model.kv_heads model.head_dim model.ffn_hidden model.vocab_size "
             "model.sequence_length model.positions model.rotary_base model.norm model.norm_eps model.activation "
             "model.bias model.tied_embeddings");  // family has one value yet
  Config learned, rotary;
  rotary.model.positions = Positions::rotary;
  for (Config const& was : {learned, rotary}) {
    Config now = was;
    now.model.sequence_length *= 2;
    BOOST_TEST(other_model(was, now, TakenUp::training));
    BOOST_TEST(other_model(was, now, TakenUp::weights) == (was.model.positions == Positions::learned));
  }
}

BOOST_AUTO_TEST_CASE(what_changes_the_training_is_told) {
  BOOST_TEST(
      seen([](Config const& was, Config const& now) { return !changes_of_training(was, now).empty(); }) ==
      "model.hidden_dropout model.attention_dropout train.global_batch train.batch_ramp train.precision "
      "train.fp8_history train.fp8_margin train.fp8_bf16_layers train.gradient_reduce train.loss_scale "
      "train.loss_scale_initial train.loss_scale_window train.loss_scale_hysteresis train.optimizer train.lr "
      "train.min_lr train.lr_schedule train.warmup train.lr_decay train.weight_decay train.weight_decay_end "
      "train.weight_decay_schedule train.beta1 train.beta2 train.eps train.clip train.seed data.train data.split "
      "data.tokenizer data.document_mask data.reset_positions data.eod_mask_loss");
}

BOOST_AUTO_TEST_CASE(a_resumed_run_tells_what_is_another) {
  Workplace const work;
  BOOST_TEST_REQUIRE(work.pretrain("run", {"train.steps=4"}).code == 0);
  auto const more = work.pretrain("run", {"train.steps=8", "train.seed=77", "train.micro_batch=4", "log.every=1",
                                          "model.attention=matrix", "run.comm=threads", "layout.data=2"});
  BOOST_TEST(more.code == 0, more.output);
  BOOST_TEST(contains(more.output, "\nResumed with another train.seed (77, was 1234)."), more.output);
  BOOST_TEST(contains(more.output, "\nResumed with another train.lr_decay (64, was 32)."), more.output);
  std::size_t lines = 0;
  for (std::size_t at = 0; (at = more.output.find("Resumed with another", at)) != std::string::npos; ++at) ++lines;
  BOOST_TEST(lines == 2u, more.output);
  BOOST_TEST(work.steps("run").size() == 8u);
}

BOOST_AUTO_TEST_SUITE_END()
