#define BOOST_TEST_MODULE cross_entropy
#include "kernels/cross_entropy/cross_entropy.hpp"

#include <cmath>

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

struct Sizes {
  std::int64_t tokens, columns, first_column, vocabulary;
};

CrossEntropyStatistics make_statistics(Tensors& t, DType type, Sizes s, double range) {
  return {.logits = t.in(type, {s.tokens, s.columns}, Uniform{-range, range}, strided),
          .labels = t.integers(DType::int32, {s.tokens}, -1, s.vocabulary),
          .maximum = t.out(DType::fp32, {s.tokens}),
          .sum = t.out(DType::fp32, {s.tokens}),
          .target = t.out(DType::fp32, {s.tokens}),
          .first_column = s.first_column,
          .vocab_size = s.vocabulary};
}
CrossEntropyLoss make_loss(Tensors& t, DType, std::int64_t tokens) {
  return {.maximum = t.in(DType::fp32, {tokens}, Uniform{-3, 8}),
          .sum = t.in(DType::fp32, {tokens}, Uniform{1, 50000}),
          .target = t.in(DType::fp32, {tokens}, Uniform{-3, 3}),
          .weights = t.integers(DType::uint8, {tokens}, 0, 2),
          .logsumexp = t.out(DType::fp32, {tokens}),
          .losses = t.out(DType::fp32, {tokens}),
          .totals = t.inout(DType::fp64, {2})};
}
CrossEntropyBackward make_backward(Tensors& t, DType type, Sizes s) {
  return {.logits = t.in(type, {s.tokens, s.columns}, Uniform{-4, 4}, strided),
          .dlogits = t.out(type, {s.tokens, s.columns}, strided),
          .labels = t.integers(DType::int32, {s.tokens}, 0, s.vocabulary),
          .weights = t.integers(DType::uint8, {s.tokens}, 0, 2),
          .logsumexp = t.in(DType::fp32, {s.tokens}, Uniform{4, 9}),
          .first_column = s.first_column,
          .vocab_size = s.vocabulary,
          .scale = 0.125};
}

std::vector<Case<CrossEntropyStatistics>> statistics() {
  auto c = [](std::string name, Sizes s, double range, bool speed = false) {
    return Case<CrossEntropyStatistics>{name,
                                        [=](Tensors& t, DType type) { return make_statistics(t, type, s, range); },
                                        {.sum_length = 64, .speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("five words", {4, 5, 0, 5}, 3),
          c("ragged, padded", {41, 10007, 0, 9001}, 5),
          c("a shard in the middle", {41, 1000, 3000, 9001}, 5),
          c("a shard that ends in padding", {41, 1003, 9000, 9501}, 5),
          c("a shard of padding alone", {4, 100, 9600, 9501}, 5),
          c("whole 16-byte packs, padded", {41, 1008, 0, 1001}, 5),
          c("wide range", {17, 5003, 0, 5003}, 200),
          c("cross entropy statistics", {Backend::speed_wide_tokens / 4, 50304, 0, 50257}, 3, true)};
}
std::vector<Case<CrossEntropyRescale>> rescales() {
  return {{"ragged",
           [](Tensors& t, DType) {
             Tensor const sum = t.inout(DType::fp32, {1003}, Uniform{0, 9});
             return CrossEntropyRescale{t.in(DType::fp32, {1003}, Uniform{-9, 0}), sum,
                                        t.in(DType::fp32, {1003}, Uniform{0, 9})};
           },
           {.dtypes = {DType::fp32}}},
          {"a shard of padding alone",
           [](Tensors& t, DType) {
             Tensor const sum = t.inout(DType::fp32, {3}, Uniform{0, 0});
             return CrossEntropyRescale{t.in(DType::fp32, {3}, Values([](std::int64_t) { return -INFINITY; })), sum,
                                        t.in(DType::fp32, {3})};
           },
           {.dtypes = {DType::fp32}}}};
}
std::vector<Case<CrossEntropyLoss>> losses() {
  return {{"ragged", [](Tensors& t, DType type) { return make_loss(t, type, 1003); }, {.dtypes = {DType::fp32}}}};
}
std::vector<Case<CrossEntropyBackward>> backwards() {
  auto c = [](std::string name, Sizes s, bool speed = false) {
    return Case<CrossEntropyBackward>{name,
                                      [=](Tensors& t, DType type) { return make_backward(t, type, s); },
                                      {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("five words", {4, 5, 0, 5}),
          c("ragged, padded", {41, 10007, 0, 9001}),
          c("a shard in the middle", {41, 1000, 3000, 9001}),
          c("whole 16-byte packs, padded", {41, 1008, 0, 1001}),
          c("a shard of padding alone", {4, 100, 9600, 9501}),
          c("cross entropy backward", {Backend::speed_wide_tokens / 4, 50304, 0, 50257}, true)};
}

/// Losses and the gradient of the logits over `shards` equal shards, combined as ranks would.
struct Answer {
  std::vector<float> losses, gradient;
  std::vector<double> totals{0, 0};
};
Answer solve(std::vector<float> logits, std::int64_t tokens, std::int64_t columns, std::int64_t vocabulary,
             std::vector<std::int32_t> labels, std::int64_t shards) {
  std::vector<float> maximum(static_cast<std::size_t>(tokens), -INFINITY), sum(maximum.size()), target(maximum.size()),
      logsumexp(maximum.size());
  std::vector<std::vector<float>> m(static_cast<std::size_t>(shards), maximum), s(m), x(m);
  Tensor const whole = Tensor::of(logits.data(), {tokens, columns}), label = Tensor::of(labels.data(), {tokens});
  std::int64_t const width = columns / shards;
  for (std::int64_t r = 0; r < shards; ++r) {
    auto of = [&](auto& v) { return Tensor::of(v[static_cast<std::size_t>(r)].data(), {tokens}); };
    run(CrossEntropyStatistics{whole.columns(r * width, width), label, of(m), of(s), of(x), r * width, vocabulary});
    for (std::size_t t = 0; t < maximum.size(); ++t)
      maximum[t] = std::max(maximum[t], m[static_cast<std::size_t>(r)][t]);
  }
  for (std::size_t r = 0; r < m.size(); ++r)
    for (std::size_t t = 0; t < maximum.size(); ++t)
      sum[t] += s[r][t] * std::exp(m[r][t] - maximum[t]), target[t] += x[r][t];
  Answer answer;
  answer.losses.resize(maximum.size());
  std::vector<std::uint8_t> weights(maximum.size(), 1);
  auto of = [&](auto& v) { return Tensor::of(v.data(), {tokens}); };
  run(CrossEntropyLoss{of(maximum), of(sum), of(target), of(weights), of(logsumexp), of(answer.losses),
                       Tensor::of(answer.totals.data(), {2})});
  for (std::int64_t r = 0; r < shards; ++r) {
    Tensor const shard = whole.columns(r * width, width);
    run(CrossEntropyBackward{shard, shard, label, of(weights), of(logsumexp), r * width, vocabulary, 1});
  }
  answer.gradient = std::move(logits);
  return answer;
}

}  // namespace

BOOST_AUTO_TEST_CASE(statistics_of_shards) { check_all(statistics()); }
BOOST_AUTO_TEST_CASE(rescale) { check_all(rescales()); }
BOOST_AUTO_TEST_CASE(loss) { check_all(losses()); }
BOOST_AUTO_TEST_CASE(backward) { check_all(backwards()); }
SELENITE_SPEED_TEST(statistics)
SELENITE_SPEED_TEST(backwards)

BOOST_AUTO_TEST_CASE(by_hand) {  // logits ln 1, ln 2, ln 5: probabilities 1/8, 2/8, 5/8
  Answer const a = solve({0, std::log(2.0f), std::log(5.0f), 100}, 1, 4, 3, {1}, 1);
  BOOST_TEST(a.losses[0] == std::log(4.0f), boost::test_tools::tolerance(1e-6f));
  BOOST_TEST(a.totals[1] == 1.0);
  float const expected[] = {0.125f, -0.75f, 0.625f, 0};
  for (std::size_t i = 0; i < 4; ++i) BOOST_TEST(std::abs(a.gradient[i] - expected[i]) < 1e-6f);
}

BOOST_AUTO_TEST_CASE(sharded_is_whole) {
  std::int64_t const tokens = 20, columns = 1024, vocabulary = 1000;
  std::vector<float> logits(static_cast<std::size_t>(tokens * columns));
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = 6 * std::sin(0.37f * static_cast<float>(i * i % 1009));
  std::vector<std::int32_t> labels(20);
  for (std::size_t t = 0; t < 20; ++t) labels[t] = static_cast<std::int32_t>(t * 52 % 1000);
  Answer const whole = solve(logits, tokens, columns, vocabulary, labels, 1);
  for (std::int64_t const shards : {2, 4, 64}) {  // with 64 the last shard is padding alone
    Answer const cut = solve(logits, tokens, columns, vocabulary, labels, shards);
    for (std::size_t t = 0; t < 20; ++t) BOOST_TEST(std::abs(cut.losses[t] - whole.losses[t]) < 2e-6f);
    for (std::size_t i = 0; i < logits.size(); ++i)
      BOOST_REQUIRE(std::abs(cut.gradient[i] - whole.gradient[i]) < 1e-6f);
  }
}

BOOST_AUTO_TEST_CASE(padding_counts_for_nothing) {  // whatever lies there, NaN too
  std::vector<float> logits(50), dirty(50);
  for (std::size_t i = 0; i < 50; ++i) logits[i] = dirty[i] = std::cos(static_cast<float>(i));
  for (std::size_t i = 37; i < 50; ++i) dirty[i] = i % 2 ? std::numeric_limits<float>::quiet_NaN() : 1e30f;
  Answer const a = solve(logits, 1, 50, 37, {3}, 1), b = solve(dirty, 1, 50, 37, {3}, 1);
  BOOST_TEST(a.losses[0] == b.losses[0]);
  for (std::size_t i = 0; i < 50; ++i) BOOST_TEST(a.gradient[i] == b.gradient[i]);
  for (std::size_t i = 37; i < 50; ++i) BOOST_TEST(a.gradient[i] == 0.0f);
}

BOOST_AUTO_TEST_CASE(nan_reaches_the_loss) {
  std::vector<float> logits(5000, 1.0f);
  logits[1234] = std::numeric_limits<float>::quiet_NaN();
  BOOST_TEST(std::isnan(solve(logits, 1, 5000, 5000, {3}, 1).losses[0]));
}

BOOST_AUTO_TEST_CASE(gradient) {  // of the loss by the logits, through all three references
  Tensors t(Tensors::doubles);
  std::int64_t const tokens = 3, columns = 9;
  Sizes const sizes{tokens, columns, 0, 7};
  CrossEntropyStatistics const s = make_statistics(t, DType::fp64, sizes, 2);
  Tensor const labels = t.integers(DType::int32, {tokens}, 0, 7),
               weights = t.in(DType::uint8, {tokens}, Values([](std::int64_t i) { return i != 1; }));
  CrossEntropyLoss const l{s.maximum,
                           s.sum,
                           s.target,
                           weights,
                           t.out(DType::fp64, {tokens}),
                           t.out(DType::fp64, {tokens}),
                           t.inout(DType::fp64, {2})};
  Tensor const seed = t.in(DType::fp64, {tokens}, Values([](std::int64_t) { return 0.25; }));
  CrossEntropyBackward const b{s.logits, t.out(DType::fp64, {tokens, columns}), labels, weights, l.logsumexp, 0, 7,
                               0.25};
  CrossEntropyStatistics with_labels = s;
  with_labels.labels = labels;
  check_gradient([&] { reference(with_labels), reference(l); }, [&] { reference(b); }, {{l.losses, seed}},
                 {{s.logits, b.dlogits}});
}
