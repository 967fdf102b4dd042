#define BOOST_TEST_MODULE attention
#include "kernels/attention/attention.hpp"

#include <cmath>
#include <cstdio>

#include "any_team.hpp"
#include "attention_cases.hpp"
#include "core/element.hpp"
#include "kernels/attention/mask.hpp"

namespace selenite::test {
namespace {

std::vector<Case<Attention>> forward_cases() {
  std::vector<Case<Attention>> cases;
  for (Problem const& p : problems()) {
    auto const make = [=](Tensors& t, DType type) { return forward(t, type, p); };
    cases.push_back({p.name, make, options(p)});
    if (p.speed) continue;
    cases.push_back({p.name + ", merged", [=](Tensors& t, DType type) { return merged(t, type, p); }, options(p)});
  }
  return cases;
}

std::vector<Case<AttentionBackward>> backward_cases() {
  std::vector<Case<AttentionBackward>> cases;
  for (Problem const& p : problems()) {
    if (p.slope > 0) continue;  // dq is what remains of much larger terms: no tolerance is known for it
    cases.push_back({p.name, [=](Tensors& t, DType type) { return backward(t, type, p, false); }, options(p)});
    if (p.speed) continue;
    cases.push_back(
        {p.name + ", added", [=](Tensors& t, DType type) { return backward(t, type, p, true); }, options(p)});
  }
  return cases;
}

template <class Position>
Tensor part_of_positions(Tensors& t, std::int64_t length, Position position) {
  return t.in(DType::int32, {1, length}, Values([=](std::int64_t i) { return static_cast<double>(position(i)); }));
}

}  // namespace

// Two queries, three keys, one head of size 1 with k = log 1, log 2, log 4: weights are 1 : 2 : 4.
BOOST_AUTO_TEST_CASE(by_hand) {
  double q[] = {1, 1}, k[] = {0, std::log(2), std::log(4)}, v[] = {7, 14, 21}, out[2], logsumexp[2];
  Attention op{
      .shape = {.queries = 2, .keys = 3, .heads = 1, .kv_heads = 1, .head_dim = 1, .causal = false, .scale = 1},
      .q = Tensor::of(q, {2, 1}),
      .k = Tensor::of(k, {3, 1}),
      .v = Tensor::of(v, {3, 1}),
      .out = Tensor::of(out, {2, 1}),
      .logsumexp = Tensor::of(logsumexp, {1, 1, 2})};
  reference(op);
  BOOST_CHECK_CLOSE(out[0], (7 + 28 + 84) / 7.0, 1e-10);
  BOOST_CHECK_CLOSE(logsumexp[1], std::log(7), 1e-10);
  op.shape.causal = true;
  reference(op);
  BOOST_CHECK_CLOSE(out[0], 7, 1e-10);
  BOOST_CHECK_CLOSE(out[1], (7 + 28) / 3.0, 1e-10);
  std::int32_t starts[] = {0, 1, 1};  // the second query's document starts at itself
  op.query_places.document_starts = Tensor::of(starts, {1, 2}),
  op.key_places.document_starts = Tensor::of(starts, {1, 3});
  reference(op);
  BOOST_CHECK_CLOSE(out[1], 14, 1e-10);
  BOOST_CHECK_CLOSE(logsumexp[1], std::log(2), 1e-10);
}

BOOST_AUTO_TEST_CASE(forward_on_cpu) { check_all(forward_cases()); }
BOOST_AUTO_TEST_CASE(backward_on_cpu) { check_all(backward_cases()); }

/// Prints both passes' times, and how our kernels stand to cuDNN's where the backend has both. Three times as long is
/// the most that they should take.
template <Kernel Op>
void measure_both(std::vector<Case<Op>> const& cases) {
  Speeds const speeds = measure(cases);
  for (auto const& [name, seconds] : speeds) {
    auto const comma = name.rfind(", ");
    auto const other = speeds.find(name.substr(0, comma) + ", cuDNN" + name.substr(comma));
    if (other == speeds.end()) continue;
    std::printf("%-52s %.2f times as long as cuDNN's\n", name.c_str(), seconds / other->second);
    BOOST_WARN_LT(seconds, 3 * other->second);
  }
}
BOOST_AUTO_TEST_CASE(forward_speed, *boost::unit_test::label("speed") * boost::unit_test::disabled()) {
  measure_both(forward_cases());
}
BOOST_AUTO_TEST_CASE(backward_speed, *boost::unit_test::label("speed") * boost::unit_test::disabled()) {
  measure_both(backward_cases());
}

BOOST_AUTO_TEST_CASE(gradient_of_reference) {
  for (Problem p : problems()) {
    if (p.speed || p.shape.library != AttentionLibrary::own) continue;
    BOOST_TEST_CONTEXT(p.name) {
      p.shape.head_dim = 3, p.shape.samples = 1;
      p.shape.queries = std::min<std::int64_t>(p.shape.queries, 7),
      p.shape.keys = std::min<std::int64_t>(p.shape.keys, 9);
      if (p.query_runs.count > 0) p.shape.queries = p.shape.keys = 6;  // two runs
      Tensors t(Tensors::doubles);
      AttentionBackward const b = backward(t, DType::fp32, p, false);
      AttentionShape const& s = b.shape;
      Attention const f{.shape = s,
                        .q = b.q,
                        .k = b.k,
                        .v = b.v,
                        .out = b.out,
                        .logsumexp = b.logsumexp,
                        .query_places = b.query_places,
                        .key_places = b.key_places,
                        .sample_ids = b.sample_ids};
      check_gradient([&] { reference(f); }, [&] { reference(b); }, {{b.out, b.dout}},
                     {{b.q, b.dq}, {b.k, b.dk}, {b.v, b.dv}});
    }
  }
}

// out = the dropped probabilities themselves where v is the identity.
BOOST_AUTO_TEST_CASE(dropout_draws_the_defined_mask) {
  constexpr std::int64_t n = 96, first_head = 3;
  AttentionShape const shape{.queries = n,
                             .keys = n,
                             .heads = 2,
                             .kv_heads = 1,
                             .head_dim = n,
                             .causal = false,
                             .scale = 1,
                             .dropout = {.probability = 0.3, .seed = 9, .layer = 4, .site = 1},
                             .first_head = first_head};
  Tensors t(Tensors::rounded);
  Tensor const q = t.in(DType::fp32, {n, 2 * n}, {-0.1, 0.1}), k = t.in(DType::fp32, {n, n}, {-0.1, 0.1});
  Tensor const v = t.in(DType::fp32, {n, n}, Values([](std::int64_t i) { return i / n == i % n; }));
  Tensor const ids = t.in(DType::int64, {1}, Values([](std::int64_t) { return 123456789012.0; }));
  Attention const op{.shape = shape,
                     .q = q,
                     .k = k,
                     .v = v,
                     .out = t.out(DType::fp32, {n, 2 * n}),
                     .logsumexp = t.out(DType::fp32, {1, 2, n}),
                     .sample_ids = ids};
  run(op);
  AttentionDropout const dropout(shape.dropout);
  int dropped = 0, wrong = 0;
  for (std::int64_t head = 0; head < 2; ++head)
    for (std::int64_t query = 0; query < n; ++query)
      for (std::int64_t key = 0; key < n; ++key) {
        bool const zero = load(op.out, query, head * n + key) == 0;
        // written out once more, apart from AttentionDropout
        Words4 const words = philox(
            pack_counter(Purpose::attention_dropout, 4, 1, 123456789012,
                         attention_detail(static_cast<std::uint64_t>(first_head + head),
                                          static_cast<std::uint64_t>(query), static_cast<std::uint64_t>(key / 8))),
            9);
        std::uint32_t const word = words[static_cast<std::size_t>(key % 8 / 2)];
        std::uint32_t const decision = key % 2 ? word >> 16 : word & 0xffff;
        wrong += zero != (decision < 19661);  // 0.3 * 65536, rounded
        dropped += zero;
      }
  BOOST_CHECK_EQUAL(wrong, 0);
  BOOST_CHECK_CLOSE(dropped / (2.0 * n * n), 0.3, 5);
}

BOOST_AUTO_TEST_CASE(rows_that_see_nothing) {
  Problem const p{.name = "future keys", .shape = sizes(1, 70, 90, 2, 1, 16), .key_first = 40};
  for (DType const type : {DType::fp32, DType::bf16}) {
    Tensors t(Tensors::rounded);
    AttentionBackward const b = backward(t, type, p, false);
    Tensor const logsumexp = t.out(DType::fp32, {1, 2, 70});
    run(Attention{.shape = b.shape,
                  .q = b.q,
                  .k = b.k,
                  .v = b.v,
                  .out = b.out,
                  .logsumexp = logsumexp,
                  .query_places = b.query_places,
                  .key_places = b.key_places});
    run(b);
    for (std::int64_t query = 0; query < 40; ++query) {
      BOOST_CHECK_EQUAL(load(logsumexp, query), -std::numeric_limits<double>::infinity());
      BOOST_CHECK_EQUAL(load(b.out, query, 5), 0);
      BOOST_CHECK_EQUAL(load(b.dq, query, 5), 0);
    }
    BOOST_CHECK(std::isfinite(load(logsumexp, 40)));
    BOOST_CHECK_EQUAL(load(b.dk, 60, 5), 0);  // position 100: seen by no query
  }
}

// Two ranks of a context-parallel ring, each with pieces r and 3 - r of four: merging over key chunks, and adding up
// gradients over them, gives what one rank has on the whole.
BOOST_AUTO_TEST_CASE(ring_of_zigzag_chunks) {
  constexpr std::int64_t piece = 45, n = 4 * piece, half = n / 2;
  Problem const whole{.name = "whole", .shape = sizes(1, n, n, 2, 1, 32), .document = 100};
  Problem const chunk{.name = "chunk", .shape = sizes(1, half, half, 2, 1, 32)};
  auto const position = [](std::int64_t rank, std::int64_t i) {
    return i < piece ? rank * piece + i : (3 - rank) * piece + i - piece;
  };
  Tensors w(Tensors::doubles), t(Tensors::rounded);
  AttentionBackward const want = backward(w, DType::fp32, whole, false);
  reference(want);
  auto const part = [&](Tensor const& x, std::int64_t rank) {
    return t.in(DType::fp32, {half, x.cols()},
                Values([=](std::int64_t i) { return load(x, position(rank, i / x.cols()), i % x.cols()); }));
  };
  auto const zeros = [&](Shape shape) { return t.in(DType::fp32, shape, Values([](std::int64_t) { return 0.0; })); };
  std::vector<AttentionBackward> ranks;
  for (std::int64_t r = 0; r < 2; ++r) {
    AttentionBackward b{.shape = chunk.shape,
                        .q = part(want.q, r),
                        .k = part(want.k, r),
                        .v = part(want.v, r),
                        .dout = part(want.dout, r),
                        .accumulate = true};
    b.query_places =
        b.key_places = {part_of_positions(t, half, [=](std::int64_t i) { return position(r, i); }),
                        part_of_positions(t, half, [=](std::int64_t i) { return position(r, i) / 100 * 100; })};
    b.out = t.out(DType::fp32, b.q.shape()), b.logsumexp = t.out(DType::fp32, {1, 2, half});
    b.delta = t.out(DType::fp32, {1, 2, half});
    b.dq = zeros(b.q.shape()), b.dk = zeros(b.k.shape()), b.dv = zeros(b.v.shape());
    ranks.push_back(b);
  }
  for (std::size_t r = 0; r < 2; ++r)
    for (std::size_t step = 0; step < 2; ++step) {
      AttentionBackward const &mine = ranks[r], &other = ranks[(r + step) % 2];
      run(Attention{.shape = chunk.shape,
                    .q = mine.q,
                    .k = other.k,
                    .v = other.v,
                    .out = mine.out,
                    .logsumexp = mine.logsumexp,
                    .query_places = mine.query_places,
                    .key_places = other.key_places,
                    .merge = step > 0});
    }
  for (std::size_t r = 0; r < 2; ++r)
    for (std::size_t step = 0; step < 2; ++step) {
      AttentionBackward b = ranks[r];
      AttentionBackward const& other = ranks[(r + step) % 2];
      b.k = other.k, b.v = other.v, b.dk = other.dk, b.dv = other.dv, b.key_places = other.key_places;
      if (step > 0) b.out = {};
      run(b);
    }
  double worst = 0;
  for (std::int64_t r = 0; r < 2; ++r)
    for (auto const& [got, exact] : {std::pair{ranks[static_cast<std::size_t>(r)].out, want.out},
                                     std::pair{ranks[static_cast<std::size_t>(r)].dq, want.dq},
                                     std::pair{ranks[static_cast<std::size_t>(r)].dk, want.dk},
                                     std::pair{ranks[static_cast<std::size_t>(r)].dv, want.dv}})
      for (std::int64_t i = 0; i < half; ++i)
        for (std::int64_t c = 0; c < got.cols(); ++c)
          worst = std::max(worst, load(got, i, c) == load(got, i, c)
                                      ? std::abs(load(got, i, c) - load(exact, position(r, i), c))
                                      : 1.0);
  BOOST_CHECK_LT(worst, 5e-6);
  BOOST_CHECK_GT(worst, 0);
}

BOOST_AUTO_TEST_CASE(refuses_what_does_not_fit) {
  Tensors t(Tensors::rounded);
  Attention good = forward(t, DType::fp32, {.name = "", .shape = sizes(1, 5, 5, 2, 1, 8)});
  Cpu cpu;
  auto const refuses = [&](auto change) {
    Attention op = good;
    change(op);
    BOOST_CHECK_THROW(launch(cpu, op), Error);
  };
  refuses([](Attention& op) { op.shape.queries = 6; });
  refuses([](Attention& op) { op.shape.kv_heads = 3; });
  refuses([](Attention& op) { op.shape.head_dim = 0; });
  refuses([](Attention& op) { op.shape.scale = 0; });
  refuses([](Attention& op) { op.shape.dropout.probability = 1; });
  refuses([&](Attention& op) { op.logsumexp = t.out(DType::fp32, {9}); });
  refuses([&](Attention& op) { op.q = t.in(DType::bf16, {5, 16}); });
  refuses([&](Attention& op) { op.merge = true, op.out = t.out(DType::bf16, {5, 16}); });
  AttentionBackward const b = backward(t, DType::fp32, {.name = "", .shape = sizes(1, 5, 5, 2, 1, 8)}, false);
  BOOST_CHECK_THROW(launch(cpu, b), Error);  // without scratch
}

}  // namespace selenite::test
