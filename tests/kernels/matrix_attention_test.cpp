#define BOOST_TEST_MODULE matrix_attention
#include "kernels/matrix_attention/matrix_attention.hpp"

#include <cmath>

#include "cases.hpp"
#include "core/element.hpp"
#include "kernels/attention/attention.hpp"

namespace selenite::test {
namespace {

AttentionShape shape_of(std::int64_t samples, std::int64_t queries, std::int64_t keys, std::int64_t heads,
                        std::int64_t kv_heads, std::int64_t head_dim, bool causal) {
  return {.samples = samples,
          .queries = queries,
          .keys = keys,
          .heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .causal = causal,
          .scale = 1 / std::sqrt(static_cast<double>(head_dim))};
}
Shape query_rows(AttentionShape const& s) { return {s.samples * s.queries, s.heads * s.head_dim}; }
Shape key_rows(AttentionShape const& s) { return {s.samples * s.keys, s.kv_heads * s.head_dim}; }
Shape matrix(AttentionShape const& s) { return {s.samples * s.heads, s.queries, s.keys}; }

/// Documents of 7 tokens; positions that a context chunk could have.
AttentionPlaces places(Tensors& t, std::int64_t samples, std::int64_t length, std::int64_t first_position) {
  auto position = [=](std::int64_t i) { return i % length + first_position; };
  return {
      t.in(DType::int32, {samples, length}, Values([=](std::int64_t i) { return static_cast<double>(position(i)); })),
      t.in(DType::int32, {samples, length},
           Values([=](std::int64_t i) { return static_cast<double>(position(i) / 7 * 7); }))};
}

struct Named {
  char const* name;
  AttentionShape shape;
  Options options;
};
std::vector<Named> shapes() {
  Options const large{.speed = true, .dtypes = {DType::fp32, DType::bf16}};
  return {{"causal", shape_of(2, 37, 37, 3, 3, 20, true), {.sum_length = 37}},
          {"bidirectional, more keys", shape_of(1, 19, 45, 4, 4, 8, false), {.sum_length = 45}},
          {"grouped query", shape_of(2, 21, 21, 6, 2, 16, true), {.sum_length = 63}},
          {"whole 16-byte packs", shape_of(1, 9, 48, 2, 2, 8, false), {.sum_length = 48}},
          {"124M, s 1024", shape_of(4, 1024, 1024, 12, 12, 64, true), large}};
}

std::vector<Case<AttentionScores>> scores_cases() {
  std::vector<Case<AttentionScores>> cases;
  for (auto const& [name, s, options] : shapes())
    cases.push_back({concat("scores, ", name),
                     [s = s](Tensors& t, DType type) {
                       return AttentionScores{s, t.in(type, query_rows(s), strided), t.in(type, key_rows(s), strided),
                                              t.out(type, matrix(s))};
                     },
                     options});
  return cases;
}

std::vector<Case<AttentionValues>> values_cases() {
  std::vector<Case<AttentionValues>> cases;
  for (auto const& [name, s, options] : shapes())
    cases.push_back({concat("values, ", name),
                     [s = s](Tensors& t, DType type) {
                       return AttentionValues{s, t.in(type, matrix(s)), t.in(type, key_rows(s), strided),
                                              t.out(type, query_rows(s), strided)};
                     },
                     options});
  return cases;
}

enum Extra { nothing, documents, dropout };

MaskedSoftmax softmax(Tensors& t, DType type, AttentionShape s, Extra extra) {
  s.dropout = {.probability = extra == dropout ? 0.3 : 0.0, .seed = 5, .layer = 2};
  s.first_head = 3;
  MaskedSoftmax op{s, t.in(type, matrix(s), {-4, 4}), t.out(type, matrix(s))};
  if (extra == documents)
    op.query_places = places(t, s.samples, s.queries, 9), op.key_places = places(t, s.samples, s.keys, 3);
  if (extra == dropout) {
    op.dropped = t.out(type, matrix(s));
    op.sample_ids = t.integers(DType::int64, {s.samples}, 0, std::int64_t{1} << 38);
  }
  return op;
}

std::vector<Case<MaskedSoftmax>> softmax_cases() {
  std::vector<Case<MaskedSoftmax>> cases;
  for (auto const& [name, s, options] : shapes()) {
    for (Extra const extra : {nothing, documents, dropout}) {
      char const* const suffix = extra == documents ? ", documents" : extra == dropout ? ", dropout" : "";
      cases.push_back({concat("softmax, ", name, suffix),
                       [s = s, extra](Tensors& t, DType type) { return softmax(t, type, s, extra); }, options});
    }
    cases.push_back({concat("softmax, ", name, ", in place"),
                     [s = s](Tensors& t, DType type) {
                       Tensor const x = t.inout(type, matrix(s), {-4, 4});
                       return MaskedSoftmax{s, x, x};
                     },
                     options});
  }
  return cases;
}

MatrixAttentionBackward backward(Tensors& t, DType type, AttentionShape s, bool drop) {
  s.dropout = {.probability = drop ? 0.25 : 0.0, .seed = 5};
  Shape const rows = query_rows(s), kv_rows = key_rows(s), square = matrix(s);
  double const p = 1 / static_cast<double>(s.keys);
  MatrixAttentionBackward op{s, t.in(type, rows, strided), t.in(type, kv_rows, strided), t.in(type, kv_rows, strided),
                             t.in(type, square, {0, 2 * p})};
  if (drop) op.dropped = t.in(type, square, {0, 2 * p});
  op.dout = t.in(type, rows, strided);
  op.dscores = t.scratch(type, square);
  op.dq = t.out(type, rows, strided), op.dk = t.out(type, kv_rows, strided), op.dv = t.out(type, kv_rows, strided);
  return op;
}

std::vector<Case<MatrixAttentionBackward>> backward_cases() {
  std::vector<Case<MatrixAttentionBackward>> cases;
  for (auto [name, s, options] : shapes()) {
    options.roundings_inside = 4;  // dscores has the inputs' dtype
    for (bool const drop : {false, true})
      cases.push_back({concat("backward, ", name, drop ? ", dropout" : ""),
                       [s = s, drop](Tensors& t, DType type) { return backward(t, type, s, drop); }, options});
  }
  return cases;
}

}  // namespace

BOOST_AUTO_TEST_CASE(scores_cases_on_cpu) { check(scores_cases()); }
BOOST_AUTO_TEST_CASE(softmax_cases_on_cpu) { check(softmax_cases()); }
BOOST_AUTO_TEST_CASE(values_cases_on_cpu) { check(values_cases()); }
BOOST_AUTO_TEST_CASE(backward_cases_on_cpu) { check(backward_cases()); }

// The three forward operations in a row against MatrixAttentionBackward; and they are what Attention computes.
BOOST_AUTO_TEST_CASE(gradient_and_agreement_with_attention) {
  for (bool const drop : {false, true}) {
    AttentionShape s = shape_of(2, 5, 5, 4, 2, 3, true);
    s.dropout = {.probability = drop ? 0.4 : 0.0, .seed = 11};
    Tensors t(Tensors::doubles);
    constexpr DType type = DType::fp32;
    Tensor const q = t.in(type, query_rows(s)), k = t.in(type, key_rows(s)), v = t.in(type, key_rows(s)),
                 dout = t.in(type, query_rows(s));
    Tensor const scores = t.out(type, matrix(s)), probabilities = t.out(type, matrix(s)),
                 out = t.out(type, query_rows(s));
    Tensor const dropped = drop ? t.out(type, matrix(s)) : Tensor(),
                 ids = t.integers(DType::int64, {s.samples}, 0, 1 << 30);
    Tensor const dq = t.out(type, query_rows(s)), dk = t.out(type, key_rows(s)), dv = t.out(type, key_rows(s)),
                 dscores = t.out(type, matrix(s));
    auto const forward = [&] {
      reference(AttentionScores{s, q, k, scores});
      reference(MaskedSoftmax{
          .shape = s, .scores = scores, .probabilities = probabilities, .dropped = dropped, .sample_ids = ids});
      reference(AttentionValues{s, drop ? dropped : probabilities, v, out});
    };
    check_gradient(forward,
                   [&] {
                     reference(MatrixAttentionBackward{s, q, k, v, probabilities, dropped, dout, dscores, dq, dk, dv});
                   },
                   {{out, dout}}, {{q, dq}, {k, dk}, {v, dv}});
    Tensor const same = t.out(type, query_rows(s)), logsumexp = t.out(type, {s.samples, s.heads, s.queries});
    reference(Attention{.shape = s, .q = q, .k = k, .v = v, .out = same, .logsumexp = logsumexp, .sample_ids = ids});
    for (std::int64_t i = 0; i < out.count(); ++i) BOOST_CHECK_SMALL(load(out, i) - load(same, i), 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(matrix_attention_speed, *boost::unit_test::label("speed") * boost::unit_test::disabled()) {
  measure(scores_cases());
  measure(softmax_cases());
  measure(values_cases());
  measure(backward_cases());
}

}  // namespace selenite::test
