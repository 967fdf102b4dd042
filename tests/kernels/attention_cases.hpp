#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "any_team.hpp"
#include "core/element.hpp"
#include "kernels/attention/attention.hpp"

/// The problems that both passes of flash attention are tested with.
namespace selenite::test {

struct Problem {
  std::string name;
  AttentionShape shape;
  std::int64_t document = 0;   ///< documents of that many tokens; 0: one a sample
  std::int64_t key_first = 0;  ///< position of the first key
  std::int64_t zigzag = 0;     ///< the second half of queries lies so much later
  double slope = 0;            ///< keys grow by so much from one to the next, and scores with them
  bool speed = false;
  PositionRuns query_runs, key_runs;  ///< positions that the host knows, instead of those above
  std::vector<DType> dtypes;          ///< if empty, all
};

inline AttentionShape sizes(std::int64_t samples, std::int64_t queries, std::int64_t keys, std::int64_t heads,
                            std::int64_t kv_heads, std::int64_t head_dim, bool causal = true, double dropout = 0) {
  return {.samples = samples,
          .queries = queries,
          .keys = keys,
          .heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .causal = causal,
          .scale = 1 / std::sqrt(static_cast<double>(head_dim)),
          .dropout = {.probability = dropout, .seed = 7, .layer = 2, .site = 1},
          .first_head = 2};
}

/// A zig-zag ring's queries of rank `rank` of two and keys of rank `from`, in chunks of 48.
inline Problem ring_step(std::string name, std::int64_t rank, std::int64_t from, std::int64_t head_dim) {
  auto const runs = [](std::int64_t r) { return PositionRuns{2, {r * 48, (3 - r) * 48}}; };
  return {.name = std::move(name),
          .shape = sizes(2, 96, 96, 4, 2, head_dim),
          .query_runs = runs(rank),
          .key_runs = runs(from)};
}

inline std::vector<Problem> problems_of(AttentionLibrary library) {
  std::vector<Problem> p{
      {.name = "one query", .shape = sizes(1, 1, 3, 1, 1, 8, false)},
      {.name = "17", .shape = sizes(2, 17, 17, 2, 1, 16)},
      {.name = "63 x 129, all", .shape = sizes(1, 63, 129, 2, 2, 7, false)},
      {.name = "129, grouped", .shape = sizes(1, 129, 129, 4, 2, 64)},
      {.name = "65, size 96", .shape = sizes(1, 65, 65, 1, 1, 96)},
      {.name = "130 x 70, size 128", .shape = sizes(1, 130, 70, 1, 1, 128)},
      {.name = "70 x 400, size 128, all", .shape = sizes(1, 70, 400, 1, 1, 128, false)},
      {.name = "300, splits", .shape = sizes(1, 300, 300, 6, 2, 8)},
      {.name = "documents", .shape = sizes(2, 200, 200, 2, 1, 80), .document = 37},
      {.name = "documents of whole samples",
       .shape = sizes(2, 128, 128, 4, 2, 16),
       .document = 37,
       .query_runs = {1, {0}},
       .key_runs = {1, {0}}},
      {.name = "documents, all", .shape = sizes(1, 200, 150, 2, 1, 32, false), .document = 64},
      {.name = "later keys", .shape = sizes(1, 140, 140, 1, 1, 33), .key_first = 70},
      {.name = "zig-zag", .shape = sizes(1, 140, 140, 1, 1, 32), .key_first = 50, .zigzag = 100},
      {.name = "dropout", .shape = sizes(2, 90, 100, 2, 1, 24, true, 0.2), .key_first = 3},
      {.name = "40 x 70, size 200", .shape = sizes(1, 40, 70, 2, 1, 200)},
      {.name = "growing scores", .shape = sizes(1, 70, 150, 2, 1, 16, false), .slope = 0.1},
      {.name = "dropout, documents, all", .shape = sizes(1, 100, 90, 2, 2, 24, false, 0.4), .document = 30},
      {.name = "dropout, size 128", .shape = sizes(1, 150, 150, 2, 1, 128, true, 0.1)},
      {.name = "dropout, size 200", .shape = sizes(1, 70, 90, 2, 1, 200, false, 0.3)},
      {.name = "dropout, size 96", .shape = sizes(1, 70, 200, 1, 1, 96, false, 0.1)},
      {.name = "dropout, grouped, size 80", .shape = sizes(1, 100, 130, 4, 2, 80, false, 0.1)},
      ring_step("ring, own keys", 1, 1, 16),
      ring_step("ring, an earlier rank's keys", 1, 0, 32),
      ring_step("ring, a later rank's keys", 0, 1, 8),
  };
  for (std::int64_t const d : {64, 128})
    for (std::int64_t const s : {512, 1024, 2048, 4096})
      p.push_back({.name = concat("causal s ", s, " d ", d),
                   .shape = sizes(4096 / s, s, s, 768 / d, 768 / d, d),
                   .speed = true});
  p.push_back(
      {.name = "causal s 1024 d 64 dropout 0.1", .shape = sizes(4, 1024, 1024, 12, 12, 64, true, 0.1), .speed = true});
  p.push_back({.name = "causal s 2048 d 80", .shape = sizes(2, 2048, 2048, 32, 32, 80), .speed = true});
  p.push_back(
      {.name = "causal s 2048 d 128 dropout 0.1", .shape = sizes(2, 2048, 2048, 6, 6, 128, true, 0.1), .speed = true});
  p.push_back({.name = "causal s 4096 d 128 documents of 512",
               .shape = sizes(1, 4096, 4096, 6, 6, 128),
               .document = 512,
               .speed = true,
               .query_runs = {1, {0}},
               .key_runs = {1, {0}}});
  p.push_back({.name = "all s 1024 d 64", .shape = sizes(4, 1024, 1024, 12, 12, 64, false), .speed = true});
  p.push_back({.name = "causal s 4096 d 64, 4 kv heads", .shape = sizes(1, 4096, 4096, 12, 4, 64), .speed = true});
  for (Problem& one : p) {  // automatic takes our kernel for documents
    bool const only_asked = library == AttentionLibrary::automatic && one.document && one.query_runs.count == 1;
    one.shape.library = only_asked ? AttentionLibrary::cudnn : library;
    if (library == AttentionLibrary::automatic) one.name += ", cuDNN";
  }
  bool const sm80 = library == AttentionLibrary::own_sm80;
  if (sm80) std::erase_if(p, [](Problem const& one) { return one.speed; });
  for (std::size_t i = 0; i < p.size(); ++i) {
    Problem& one = p[i];
    if (sm80) one.name += ", sm_80";
    if (one.speed || !(sm80 || Backend::one_16_bit_type)) continue;
    one.dtypes = {i % 2 == 0 ? DType::fp16 : DType::bf16};
    if (!sm80) one.dtypes = {DType::fp32, i % 2 == 0 ? DType::bf16 : DType::fp16};  // fp32 is one kernel's
  }
  return p;
}

/// By all ways that the backend has; where one does not take a problem, it is our kernel's again.
inline std::vector<Problem> problems() {
  std::vector<Problem> all;
  for (AttentionLibrary const library : Backend::attention_libraries)
    for (Problem const& p : problems_of(library)) all.push_back(p);
  return all;
}

/// Errors of scores grow in the exponent, and dP - delta cancels: as if of 64 more terms. Where bf16 values are
/// multiplied by pairs, probabilities and dS enter the products in bf16, and those near 1 stand beside a smaller mean
/// of the output: up to 4.2 roundings of it were seen, twice that many are let pass.
inline Options options(Problem const& p) {
  return {.sum_length = static_cast<double>(std::max(p.shape.queries, p.shape.keys) + p.shape.head_dim + 64),
          .roundings_inside = 8,
          .speed = p.speed,
          .dtypes = p.dtypes.empty() ? dtypes(p.speed) : p.dtypes};
}

inline AttentionPlaces places(Tensors& t, Problem const& p, std::int64_t length, std::int64_t first, std::int64_t jump,
                              PositionRuns const& runs) {
  if (runs.count == 0 && !p.document && !p.key_first && !p.zigzag) return {};
  auto const position = [=](std::int64_t token) {
    std::int64_t const i = token % length, part = length / std::max(runs.count, 1);
    if (runs.count > 0) return runs.first[static_cast<std::size_t>(i / part)] + i % part;
    return first + i + (i >= length / 2 ? jump : 0);
  };
  auto const each = [&](auto value) {
    return t.in(DType::int32, {p.shape.samples, length},
                Values([=](std::int64_t i) { return static_cast<double>(value(position(i))); }));
  };
  AttentionPlaces places{.positions = each([](std::int64_t at) { return at; }), .runs = runs};
  if (std::int64_t const document = p.document)
    places.document_starts = each([=](std::int64_t at) { return at / document * document; });
  return places;
}

inline Attention forward(Tensors& t, DType type, Problem const& p) {
  AttentionShape const& s = p.shape;
  Attention op{.shape = s};
  op.q = t.in(type, {s.samples * s.queries, s.heads * s.head_dim}, {-2, 2}, strided);
  Shape const keys{s.samples * s.keys, s.kv_heads * s.head_dim};
  auto const grown = [slope = p.slope, cols = keys[-1]](std::int64_t i) {
    return slope * static_cast<double>(i / cols);
  };
  op.k = p.slope > 0 ? t.in(type, keys, Values(grown), strided) : t.in(type, keys, strided);
  op.v = t.in(type, {s.samples * s.keys, s.kv_heads * s.head_dim}, strided);
  op.query_places = places(t, p, s.queries, 0, p.zigzag, p.query_runs);
  op.key_places = places(t, p, s.keys, p.key_first, 0, p.key_runs);
  if (s.dropout.probability > 0) op.sample_ids = t.integers(DType::int64, {s.samples}, 0, 1'000'000'000'000);
  op.out = t.out(type, {s.samples * s.queries, s.heads * s.head_dim}, strided);
  op.logsumexp = t.out(DType::fp32, {s.samples, s.heads, s.queries});
  return op;
}

inline Attention merged(Tensors& t, DType type, Problem const& p) {
  AttentionShape const& s = p.shape;
  Attention op = forward(t, type, p);
  op.merge = true;
  op.out = t.inout(DType::fp32, {s.samples * s.queries, s.heads * s.head_dim}, {}, strided);
  op.logsumexp = t.inout(DType::fp32, {s.samples, s.heads, s.queries}, {-2, 4});
  return op;
}

/// out and logsumexp of a problem's reference; the tables ask for the last one's many times.
struct ReferenceResult {
  std::vector<double> out, logsumexp;
};
inline ReferenceResult const& reference_result(DType type, Problem const& p) {
  static std::string last;
  static ReferenceResult result;
  AttentionShape const& s = p.shape;
  std::string const asked =
      concat(p.name, " ", name(type), " ", s.samples, " ", s.queries, " ", s.keys, " ", s.head_dim);
  if (last == asked) return result;
  Tensors exact(Tensors::doubles);
  Attention const f = forward(exact, type, p);
  reference(f);
  auto const values = [](Tensor const& x) {
    std::vector<double> copy(static_cast<std::size_t>(x.count()));
    for (std::int64_t i = 0; i < x.count(); ++i) copy[static_cast<std::size_t>(i)] = load(x, i);
    return copy;
  };
  result = {values(f.out), values(f.logsumexp)}, last = asked;
  return result;
}

/// With out and logsumexp of the same problem's reference. `added`: a further ring step, gradients are there and, for
/// our kernels, delta.
inline AttentionBackward backward(Tensors& t, DType type, Problem const& p, bool added) {
  AttentionShape const& s = p.shape;
  ReferenceResult const known = p.speed ? ReferenceResult{} : reference_result(type, p);
  auto const copy = [&](std::vector<double> const& x, double otherwise) {
    return Values([&x, otherwise](std::int64_t i) { return x.empty() ? otherwise : x[static_cast<std::size_t>(i)]; });
  };
  Attention const g = forward(t, type, p);  // draws the same
  AttentionBackward op{.shape = s,
                       .q = g.q,
                       .k = g.k,
                       .v = g.v,
                       .query_places = g.query_places,
                       .key_places = g.key_places,
                       .sample_ids = g.sample_ids,
                       .accumulate = added};
  Shape const queries{s.samples * s.queries, s.heads * s.head_dim}, keys{s.samples * s.keys, s.kv_heads * s.head_dim};
  Shape const stats{s.samples, s.heads, s.queries};
  op.dout = t.in(type, queries, strided);
  op.logsumexp = t.in(DType::fp32, stats, copy(known.logsumexp, 8));
  bool const has_delta = added && !asks_library(s.library);
  if (!has_delta) op.out = t.in(type, queries, copy(known.out, 0.1), strided);
  op.delta = has_delta ? t.in(DType::fp32, stats) : t.out(DType::fp32, stats);
  auto const gradient = [&](Shape shape) {
    return added ? t.inout(DType::fp32, shape, {}, strided) : t.out(type, shape, strided);
  };
  op.dq = gradient(queries), op.dk = gradient(keys), op.dv = gradient(keys);
  return op;
}

}  // namespace selenite::test
