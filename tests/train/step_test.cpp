#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>

#include "core/parallel_for.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<std::string> toy(std::vector<std::string> const& more = {}) {
  std::vector<std::string> all{"model.layers=2",      "model.hidden=64",          "model.heads=4",
                               "model.vocab_size=61", "model.sequence_length=32", "train.global_batch=8",
                               "train.micro_batch=2", "train.steps=100",          "train.lr=3e-3",
                               "train.warmup=40",     "train.precision=fp32",     "train.bucket_bytes=40000"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}
std::vector<std::string> llama() {
  return {"model.positions=rotary",      "model.norm=rmsnorm", "model.activation=swiglu", "model.bias=false",
          "model.tied_embeddings=false", "model.kv_heads=2",   "data.document_mask=parts"};
}
std::vector<std::string> dropout() { return {"model.hidden_dropout=0.1", "model.attention_dropout=0.1"}; }

std::vector<std::byte> bytes(Tensor const& t) { return {t.raw(), t.raw() + t.bytes()}; }

struct Trained {
  std::vector<double> losses;
  std::vector<std::byte> weights, moments;
};
Trained train(std::vector<std::string> const& settings, std::int64_t steps, int thread_count = 0) {
  set_threads(thread_count);
  OneRank rank(config_of(settings));
  Trained t{toy_losses(rank, steps), bytes(rank.stage().exact_weights()), bytes(rank.stage().moment2)};
  set_threads(0);
  return t;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(step)

// No axis of size 1 costs anything, whatever is switched on for it.
BOOST_AUTO_TEST_CASE(a_layout_of_ones_makes_no_call_to_other_ranks) {
  for (auto const& more : std::vector<std::vector<std::string>>{
           {},
           {"train.optimizer_sharding=2", "layout.overlap=gradients,parameters", "train.micro_batch=1"},
           {"layout.sequence_parallel=true", "layout.context_exchange=gather", "train.recompute=full"},
           {"layout.schedule=zero_bubble", "model.attention=matrix", "train.precision=bf16"}}) {
    Config const c = config_of(toy(more));
    auto const comm = make_self_comm();
    OneRank rank(c, comm.get());
    static_cast<void>(toy_losses(rank, 3));
    BOOST_TEST(comm->calls().count() == 0u);
    BOOST_TEST(comm->bytes_sent() == 0);
    BOOST_TEST(rank.ctx().tally().collective_bytes == 0.0);
  }
}

BOOST_AUTO_TEST_CASE(the_loss_falls_towards_what_the_language_allows) {
  for (auto const& style : {std::vector<std::string>{}, llama()}) {
    for (char const* precision : {"train.precision=fp32", "train.precision=bf16"}) {
      auto settings = toy(style);
      settings.emplace_back(precision);
      auto const losses = train(settings, 100).losses;
      // 1 of 16 tokens jumps anywhere: (ln 16 + 15 ln(16/15) + ln 61) / 16 = 0.49 nats at best
      BOOST_TEST(losses.front() > 3.9);
      BOOST_TEST(losses.back() < 1.0);
      BOOST_TEST(losses.back() > 0.3);
    }
  }
}

BOOST_AUTO_TEST_CASE(the_split_into_micro_batches_does_not_matter) {
  for (auto const& style : {dropout(), llama()}) {
    std::vector<std::vector<double>> losses;
    for (char const* micro : {"train.micro_batch=1", "train.micro_batch=2", "train.micro_batch=8"}) {
      auto settings = toy(style);
      settings.emplace_back(micro);
      losses.push_back(train(settings, 10).losses);
    }
    for (std::size_t k = 1; k < losses.size(); ++k)
      for (std::size_t i = 0; i < losses[0].size(); ++i)
        BOOST_TEST(std::abs(losses[k][i] / losses[0][i] - 1) < 1e-6,
                   "step " << i + 1 << ": " << losses[k][i] << " and " << losses[0][i]);
  }
}

BOOST_AUTO_TEST_CASE(flash_and_matrix_attention_train_alike) {
  for (auto style : {dropout(), llama()}) {
    auto const flash = train(toy(style), 10).losses;
    style.emplace_back("model.attention=matrix");
    auto const matrix = train(toy(style), 10).losses;
    for (std::size_t i = 0; i < flash.size(); ++i)
      BOOST_TEST(std::abs(matrix[i] / flash[i] - 1) < 2e-6,
                 "step " << i + 1 << ": " << matrix[i] << " and " << flash[i]);
  }
}

BOOST_AUTO_TEST_CASE(two_runs_give_the_same_bits) {
  for (char const* precision : {"train.precision=fp32", "train.precision=bf16"}) {
    auto settings = toy(dropout());
    settings.emplace_back(precision);
    Trained const one = train(settings, 5), two = train(settings, 5);
    BOOST_TEST(one.losses == two.losses);
    BOOST_CHECK(one.weights == two.weights);
    BOOST_CHECK(one.moments == two.moments);
  }
}

BOOST_AUTO_TEST_CASE(other_thread_counts_give_the_same_training_up_to_rounding) {
  // A GEMM library cuts its sums by thread count, so bits are promised for one count only.
  Trained const one = train(toy(llama()), 5, 1);
  for (int threads : {2, 3}) {
    Trained const more = train(toy(llama()), 5, threads), again = train(toy(llama()), 5, threads);
    BOOST_TEST(more.losses == again.losses);
    for (std::size_t i = 0; i < one.losses.size(); ++i) BOOST_TEST(std::abs(more.losses[i] / one.losses[i] - 1) < 1e-6);
    BOOST_TEST_MESSAGE(threads << " threads: bits " << (more.weights == one.weights ? "equal" : "differ"));
  }
}

BOOST_AUTO_TEST_CASE(a_step_that_diverged_changes_nothing) {
  OneRank rank(config_of(toy()));
  toy_losses(rank, 3);
  StageState& stage = rank.stage();
  stage.exact_weights().data<float>()[stage.layout().offsets[0] + 5 * 64] = INFINITY;
  auto const weights = bytes(stage.exact_weights()), first = bytes(stage.moment1), second = bytes(stage.moment2);
  std::string message;
  auto all_tokens = [&](Micro, Batch& b) {
    toy_batch(0, 61, b);
    for (std::int64_t i = 0; i < b.count(); ++i)
      b.tokens.data<std::int32_t>()[i] = static_cast<std::int32_t>(i % 61), b.weights.data<std::uint8_t>()[i] = 1;
  };
  try {
    rank.step(4, all_tokens);
  } catch (Error const& e) {
    message = e.what();
  }
  BOOST_TEST(message.find("Step 4: the loss is not finite") != std::string::npos, message);
  BOOST_CHECK(weights == bytes(stage.exact_weights()));
  BOOST_CHECK(first == bytes(stage.moment1) && second == bytes(stage.moment2));
}

BOOST_AUTO_TEST_CASE(evaluation_is_the_training_loss_without_dropout) {
  OneRank rank(config_of(toy(dropout()))), plain(config_of(toy()));
  auto const load = toy_loader(rank.stage().config(), 1);
  StepResult const all = evaluate_batches(rank.ctx(), rank.stage(), 4, load);
  StepResult const first = plain.step(1, load);
  BOOST_TEST(std::abs(all.loss / first.loss - 1) < 1e-6);
  BOOST_TEST(all.tokens == first.tokens);
}

BOOST_AUTO_TEST_CASE(clipping_bounds_what_a_step_changes) {
  auto change = [](char const* clip) {
    OneRank rank(config_of(toy({"train.optimizer=sgd", "train.lr=0.5", "train.warmup=0", "train.lr_schedule=constant",
                                "train.weight_decay=0", clip})));
    Tensor const w = rank.stage().exact_weights();
    std::vector<float> const before(w.data<float>(), w.data<float>() + w.count());
    StepResult const result = rank.step(1, toy_loader(rank.stage().config(), 1));
    double sum = 0;
    for (std::int64_t i = 0; i < w.count(); ++i)
      sum += std::pow(static_cast<double>(w.data<float>()[i]) - before[static_cast<std::size_t>(i)], 2);
    return std::pair{std::sqrt(sum), result.grad_norm};
  };
  // SGD moves by lr x gradient: by lr x norm unclipped, by lr x clip at most
  auto const [free_change, free_norm] = change("train.clip=0");
  auto const [bound_change, bound_norm] = change("train.clip=0.01");
  BOOST_TEST(free_norm == bound_norm);
  BOOST_TEST(std::abs(free_change / (0.5 * free_norm) - 1) < 1e-3);
  BOOST_TEST(std::abs(bound_change / 0.005 - 1) < 1e-3);
}

BOOST_AUTO_TEST_SUITE_END()
