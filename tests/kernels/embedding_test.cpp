#define BOOST_TEST_MODULE embedding
#include "kernels/embedding/embedding.hpp"

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

struct Sizes {
  std::int64_t tokens, features, rows, vocabulary, first_row;
};

Embedding make_forward(Tensors& t, DType type, Sizes s, bool positions) {
  Embedding op{.ids = t.integers(DType::int32, {s.tokens}, 0, s.vocabulary),
               .table = t.in(type, {s.rows, s.features}),
               .y = t.out(type, {s.tokens, s.features}),
               .positions = {},
               .position_table = {},
               .first_row = s.first_row};
  if (positions)
    op.positions = t.integers(DType::int32, {s.tokens}, 0, 50), op.position_table = t.in(type, {50, s.features});
  return op;
}
EmbeddingBackward make_backward(Tensors& t, DType type, Sizes s, bool table, bool positions) {
  EmbeddingBackward op{.ids = t.integers(DType::int32, {s.tokens}, 0, s.vocabulary),
                       .dy = t.in(type, {s.tokens, s.features}, strided),
                       .dtable = {},
                       .positions = {},
                       .dposition_table = {},
                       .first_row = s.first_row};
  if (table) op.dtable = t.inout(DType::fp32, {s.rows, s.features});
  if (positions)
    op.positions = t.integers(DType::int32, {s.tokens}, 0, 50),
    op.dposition_table = t.inout(DType::fp32, {50, s.features});
  return op;
}

/// Two thirds of the tokens have one id, others have one that no other has.
EmbeddingBackward make_uneven(Tensors& t, DType type) {
  EmbeddingBackward op = make_backward(t, type, {1500, 140, 700, 700, 0}, true, false);
  op.ids =
      t.in(DType::int32, {1500}, Values([](std::int64_t i) { return i % 3 ? 5.0 : static_cast<double>(i * 7 % 900); }));
  return op;
}

std::vector<Case<Embedding>> forwards() {
  auto c = [](std::string name, Sizes s, bool positions, bool speed = false) {
    return Case<Embedding>{name,
                           [=](Tensors& t, DType type) { return make_forward(t, type, s, positions); },
                           {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("small", {5, 3, 4, 4, 0}, false), c("a shard's rows", {130, 517, 30, 90, 30}, true),
          c("a shard's rows without positions", {130, 517, 30, 90, 30}, false),
          c("whole 16-byte packs", {40, 136, 30, 90, 30}, true),
          c("embedding", {Backend::speed_tokens, Backend::speed_hidden, 50304, 50304, 0}, true, true)};
}
std::vector<Case<EmbeddingBackward>> backwards() {
  auto c = [](std::string name, Sizes s, bool table, bool positions, bool speed = false) {
    return Case<EmbeddingBackward>{
        name,
        [=](Tensors& t, DType type) { return make_backward(t, type, s, table, positions); },
        {.sum_length = static_cast<double>(s.tokens) / 4, .speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("small", {5, 3, 4, 4, 0}, true, false),
          c("a shard's rows, repeated tokens", {330, 517, 10, 30, 10}, true, true),
          c("whole 16-byte packs", {70, 136, 10, 30, 10}, true, true),
          c("one token over and over", {1500, 9, 2, 2, 0}, true, false),
          c("many tokens and rows", {8200, 4, 12800, 12800, 0}, true, false),
          {"a token that most are", make_uneven, {.sum_length = 1000}},
          c("positions alone", {130, 517, 30, 90, 30}, false, true),
          c("embedding backward", {Backend::speed_tokens, Backend::speed_hidden, 50304, 50304, 0}, true, true, true)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(forward) { check_all(forwards()); }
BOOST_AUTO_TEST_CASE(backward) { check_all(backwards()); }
SELENITE_SPEED_TEST(forwards)
SELENITE_SPEED_TEST(backwards)

BOOST_AUTO_TEST_CASE(little_workspace_gives_the_same_bits) {
  Tensors want(Tensors::rounded), got(Tensors::rounded);
  for (auto [t, budget] : {std::pair{&want, 1 << 20}, {&got, 8 * 401}}) {
    EmbeddingBackward const op = make_uneven(*t, DType::bf16);
    GuardedWorkspace scratch(workspace(op, budget));
    Backend::run(scratch.span(), op);
  }
  got.check_same_bits(want);
}

BOOST_AUTO_TEST_CASE(reference_by_hand) {
  double table[] = {1, 2, 3, 4}, positions_table[] = {10, 20, 30, 40}, y[6];
  std::int32_t ids[] = {8, 7, 9}, positions[] = {1, 0, 1};
  reference(Embedding{.ids = Tensor::of(ids, {3}),
                      .table = Tensor::of(table, {2, 2}),
                      .y = Tensor::of(y, {3, 2}),
                      .positions = Tensor::of(positions, {3}),
                      .position_table = Tensor::of(positions_table, {2, 2}),
                      .first_row = 7});
  double const expected[] = {33, 44, 11, 22, 30, 40};  // the third token belongs to another shard
  for (int i = 0; i < 6; ++i) BOOST_TEST(y[i] == expected[i]);
}

BOOST_AUTO_TEST_CASE(gradients) {
  Tensors t(Tensors::doubles);
  Embedding const f = make_forward(t, DType::fp64, {9, 3, 4, 6, 1}, true);
  Tensor const dy = t.in(DType::fp64, {9, 3}), dtable = t.out(DType::fp64, {4, 3}),
               dpositions = t.out(DType::fp64, {50, 3});
  auto backward = [&] {
    for (std::int64_t i = 0; i < dtable.count(); ++i) store(dtable, i, 0);
    for (std::int64_t i = 0; i < dpositions.count(); ++i) store(dpositions, i, 0);
    reference(EmbeddingBackward{.ids = f.ids,
                                .dy = dy,
                                .dtable = dtable,
                                .positions = f.positions,
                                .dposition_table = dpositions,
                                .first_row = 1});
  };
  check_gradient([&] { reference(f); }, backward, {{f.y, dy}}, {{f.table, dtable}, {f.position_table, dpositions}});
}

BOOST_AUTO_TEST_CASE(shards_make_the_whole) {  // what vocabulary-parallel embedding sums
  Tensors t(Tensors::rounded);
  Embedding const whole = make_forward(t, DType::fp32, {64, 20, 12, 12, 0}, false);
  run(whole);
  std::vector<float> sum(64 * 20), part(64 * 20);
  for (std::int64_t shard = 0; shard < 4; ++shard) {
    Embedding op = whole;
    op.table = whole.table.row_range(3 * shard, 3), op.first_row = 3 * shard, op.y = Tensor::of(part.data(), {64, 20});
    run(op);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  for (std::size_t i = 0; i < sum.size(); ++i) BOOST_REQUIRE_EQUAL(sum[i], whole.y.data<float>()[i]);
}
