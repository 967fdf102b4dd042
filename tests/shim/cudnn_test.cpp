#define BOOST_TEST_MODULE cudnn
#include "tests/shim/cudnn.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <memory>
#include <string>

#include "attention_cases.hpp"
#include "core/cuda.hpp"
#include "core/grid.hpp"
#include "kernels/attention/library.hpp"
#include "tests/contains.hpp"
#include "tests/fuzz/compare.hpp"
#include "tests/fuzz/job.hpp"

using namespace selenite;
using namespace selenite::test;
using shim::dnn_record;

namespace {

constexpr DType type = DType::bf16;
constexpr std::int64_t budget = 64 << 20;

struct Fixture {
  Fixture() { dnn_record() = {}; }
  ~Fixture() { BOOST_CHECK_EQUAL(dnn_record().descriptors, 0); }
};

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (Error const& error) {
    return error.what();
  }
  return "";
}

/// With its scratch.
template <class Op>
void run_on(Cuda& cuda, Op const& op, std::int64_t bytes = budget) {
  GuardedWorkspace scratch(workspace(op, bytes));
  cuda.workspace = scratch.span();
  launch(cuda, op);
  cuda.workspace = {};
}

Problem problem(std::string const& name) {
  for (Problem const& p : problems_of(AttentionLibrary::cudnn))
    if (p.name == name) return p;
  throw Error(concat("There is no problem ", name, "."));
}

/// q, k and v side by side in one matrix, as a layer has them: [tokens, (heads + 2 kv_heads) * head_dim].
struct Layer {
  Tensors t{Tensors::rounded};
  AttentionShape s = sizes(2, 24, 24, 4, 2, 16);
  std::int64_t tokens = 48, q_width = 64, kv_width = 32;
  Tensor qkv = t.in(type, {tokens, q_width + 2 * kv_width}), out = t.out(type, {tokens, q_width}),
         lse = t.out(DType::fp32, {2, 4, 24}), delta = t.out(DType::fp32, {2, 4, 24}),
         dout = t.in(type, {tokens, q_width}), dqkv = t.out(type, qkv.shape());
  Layer() { s.library = AttentionLibrary::cudnn; }
  Attention forward() const {
    return {.shape = s,
            .q = qkv.columns(0, q_width),
            .k = qkv.columns(q_width, kv_width),
            .v = qkv.columns(q_width + kv_width, kv_width),
            .out = out,
            .logsumexp = lse};
  }
  AttentionBackward backward() const {
    Attention const f = forward();
    return {.shape = s,
            .q = f.q,
            .k = f.k,
            .v = f.v,
            .out = out,
            .dout = dout,
            .logsumexp = lse,
            .delta = delta,
            .dq = dqkv.columns(0, q_width),
            .dk = dqkv.columns(q_width, kv_width),
            .dv = dqkv.columns(q_width + kv_width, kv_width)};
  }
};

using Four = std::array<std::int64_t, 4>;
void check_tensor(shim::DnnRun const& run, std::int64_t number, cudnnDataType_t dtype, Four const& extents,
                  Four const& strides, void const* place) {
  BOOST_TEST_CONTEXT("tensor " << number) {
    shim::DnnTensor const& x = run.graph.tensors.at(number);
    BOOST_CHECK(x.type == dtype && x.alignment == 16 && !x.is_virtual && !x.by_value);
    BOOST_CHECK(x.extents == extents);
    BOOST_CHECK(x.strides == strides);
    BOOST_CHECK(run.places.at(number) == place);
  }
}
std::int64_t count(shim::DnnRun const& run, shim::DnnOperation::Kind kind) {
  return std::ranges::count_if(run.graph.operations, [&](auto const& op) { return op.kind == kind; });
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(cudnn, Fixture)

BOOST_AUTO_TEST_CASE(graphs_of_a_layer) {
  Layer const layer;
  Cuda cuda;
  cuda.stream = reinterpret_cast<CUstream_st*>(0x40);
  run_on(cuda, layer.forward());
  BOOST_REQUIRE_EQUAL(dnn_record().runs.size(), 1u);
  shim::DnnRun const& forward = dnn_record().runs[0];
  auto const* const q = layer.qkv.raw();
  Four const query{2, 4, 24, 16}, wide{24 * 128, 16, 128, 1}, packed{24 * 64, 16, 64, 1}, statistics{2, 4, 24, 1};
  check_tensor(forward, 1, CUDNN_DATA_BFLOAT16, query, wide, q);
  check_tensor(forward, 2, CUDNN_DATA_BFLOAT16, {2, 2, 16, 24}, {24 * 128, 16, 1, 128}, q + 64 * 2);  // k^T
  check_tensor(forward, 3, CUDNN_DATA_BFLOAT16, {2, 2, 24, 16}, wide, q + 96 * 2);
  check_tensor(forward, 4, CUDNN_DATA_BFLOAT16, query, packed, layer.out.raw());
  check_tensor(forward, 5, CUDNN_DATA_FLOAT, statistics, {96, 24, 1, 1}, layer.lse.raw());
  BOOST_CHECK(forward.stream == cuda.stream);
  BOOST_CHECK_EQUAL(forward.workspace, 256);
  BOOST_CHECK_EQUAL(count(forward, shim::DnnOperation::Kind::matmul), 2);
  BOOST_CHECK_EQUAL(count(forward, shim::DnnOperation::Kind::reduce), 2);
  BOOST_CHECK_EQUAL(cuda.flops, cost(layer.forward()).flops);

  cuda.flops = 0;
  run_on(cuda, layer.backward());
  BOOST_REQUIRE_EQUAL(dnn_record().runs.size(), 2u);
  shim::DnnRun const& backward = dnn_record().runs[1];
  auto const* const dq = layer.dqkv.raw();
  check_tensor(backward, 3, CUDNN_DATA_BFLOAT16, {2, 2, 16, 24}, {24 * 128, 16, 1, 128}, q + 96 * 2);  // v^T
  check_tensor(backward, 5, CUDNN_DATA_FLOAT, statistics, {96, 24, 1, 1}, layer.lse.raw());
  check_tensor(backward, 9, CUDNN_DATA_BFLOAT16, query, packed, layer.dout.raw());
  check_tensor(backward, 10, CUDNN_DATA_FLOAT, statistics, {96, 24, 1, 1}, layer.delta.raw());
  check_tensor(backward, 12, CUDNN_DATA_BFLOAT16, query, wide, dq);
  check_tensor(backward, 13, CUDNN_DATA_BFLOAT16, {2, 2, 24, 16}, wide, dq + 64 * 2);
  check_tensor(backward, 14, CUDNN_DATA_BFLOAT16, {2, 2, 24, 16}, wide, dq + 96 * 2);
  BOOST_CHECK(!backward.graph.tensors.contains(11));  // sums of dq that are added to in any order
  BOOST_CHECK_EQUAL(backward.workspace, 256 + 2 * (2 * 4 * 24 * 16 * 2) + 2 * 4 * 128 * 128 * 2);
  BOOST_CHECK_EQUAL(cuda.flops, cost(layer.backward()).flops);

  AttentionBackward in_any_order = layer.backward();
  in_any_order.shape.deterministic = false;
  run_on(cuda, in_any_order);
  shim::DnnRun const& quick = dnn_record().runs[2];
  BOOST_CHECK(quick.graph.tensors.at(11).type == CUDNN_DATA_FLOAT && !quick.graph.tensors.at(11).is_virtual);
  BOOST_CHECK_EQUAL(quick.workspace, 256 + 2 * (2 * 4 * 24 * 16 * 2));
}

BOOST_AUTO_TEST_CASE(a_plan_is_made_once_a_problem) {
  Layer const layer, elsewhere;
  {
    Cuda cuda;
    auto const plans = [&](auto const& op) {
      int const before = dnn_record().plans;
      run_on(cuda, op);
      return dnn_record().plans - before;
    };
    // beforehand, without memory
    Attention sizes_only = layer.forward();
    for (Tensor* x : {&sizes_only.q, &sizes_only.k, &sizes_only.v}) {
      Tensor const wide(nullptr, type, layer.qkv.shape());
      *x = x == &sizes_only.q ? wide.columns(0, 64) : wide.columns(64, 32);
    }
    sizes_only.out = Tensor(nullptr, type, layer.out.shape());
    cuda.workspace = {static_cast<std::byte*>(nullptr), static_cast<std::size_t>(workspace(sizes_only, budget))};
    prepare(cuda, sizes_only);
    BOOST_CHECK_EQUAL(dnn_record().plans, 1);
    BOOST_REQUIRE_EQUAL(cuda.notes.size(), 1u);
    BOOST_CHECK_EQUAL(*cuda.notes.begin(), "Flash attention, forward: cuDNN 9.19.0.");
    BOOST_CHECK_EQUAL(plans(layer.forward()), 0);
    BOOST_CHECK_EQUAL(plans(elsewhere.forward()), 0);
    BOOST_CHECK_EQUAL(plans(layer.backward()), 1);
    BOOST_CHECK_EQUAL(plans(layer.backward()), 0);
    Attention other = layer.forward();
    other.shape.scale = 1;  // a number that is given with the tensors
    BOOST_CHECK_EQUAL(plans(other), 0);
    other.shape.causal = false;
    BOOST_CHECK_EQUAL(plans(other), 1);
    other = layer.forward();
    Tensors t(Tensors::rounded);
    other.q = t.in(type, {48, 64});
    BOOST_CHECK_EQUAL(plans(other), 1);  // other strides
    cuda.prepared = true;                // from now on other shapes are our kernel's
    other.shape.library = AttentionLibrary::automatic, other.q = t.in(type, {48, 72}).columns(0, 64);
    std::size_t const runs = dnn_record().runs.size();
    BOOST_CHECK_EQUAL(plans(other), 0);
    BOOST_CHECK_EQUAL(dnn_record().runs.size(), runs);
    BOOST_CHECK_EQUAL(dnn_record().handles, 1);
    BOOST_CHECK_EQUAL(dnn_record().destroyed, 0);
  }
  BOOST_CHECK_EQUAL(dnn_record().destroyed, 1);
}

/// The case as the tables run it, by the library if the one pure function says so, and else not at all. Whether it was.
template <class Op>
bool check_case(std::string const& name, std::function<Op(Tensors&, DType)> const& make, Problem const& p, DType dtype,
                Rows rows) {
  Tensors probe(Tensors::rounded, rows);
  Op const op = make(probe, dtype);
  std::size_t const before = dnn_record().runs.size();
  if (library_refusal(op, budget).empty()) {
    BOOST_TEST_CONTEXT(name << ", " << selenite::name(dtype) << (rows == strided ? ", strided" : "")) {
      check_launch(Case<Op>{name, make, options(p)}, dtype, rows, budget);
      BOOST_CHECK_EQUAL(dnn_record().runs.size() - before, 2u);  // each case is launched twice
    }
    return true;
  }
  return false;
}

// attention_shim_test has our kernel's results on the same problems.
BOOST_AUTO_TEST_CASE(the_tables_problems) {
  int forward_cases = 0, backward_cases = 0;
  for (Problem const& p : problems_of(AttentionLibrary::automatic))
    for (DType const dtype : {DType::bf16, DType::fp16})
      for (Rows const rows : {test::packed, strided}) {
        if (p.speed) continue;
        auto const of = [&](auto make) { return [=](Tensors& t, DType as) { return make(t, as, p); }; };
        forward_cases += check_case<Attention>(p.name, of(forward), p, dtype, rows);
        forward_cases += check_case<Attention>(p.name + ", merged", of(merged), p, dtype, rows);
        if (p.slope > 0) continue;  // as in the tables
        for (bool const added : {false, true})
          backward_cases += check_case<AttentionBackward>(
              p.name + (added ? ", added" : ""), [=](Tensors& t, DType as) { return backward(t, as, p, added); }, p,
              dtype, rows);
      }
  BOOST_CHECK_GE(forward_cases, 44);
  BOOST_CHECK_GE(backward_cases, 40);
}

// dP of all heads does not fit: by samples, then by the heads of kv heads, to the same bits.
BOOST_AUTO_TEST_CASE(a_backward_pass_in_parts) {
  auto const bytes = [](std::int64_t samples, std::int64_t kv_heads) {  // as graphs_of_a_layer has them
    return 256 + samples * 2 * kv_heads * (2 * 24 * 16 * 2 + 128 * 128 * 2);
  };
  struct Parts {
    std::int64_t budget, count, samples, heads;
  };
  std::vector<std::unique_ptr<Layer>> layers;
  for (Parts const p : {Parts{bytes(2, 2), 1, 2, 4}, {bytes(2, 2) - 1, 2, 1, 4}, {bytes(1, 2) - 1, 4, 1, 2}}) {
    dnn_record() = {};
    Layer const& layer = *layers.emplace_back(std::make_unique<Layer>());
    Cuda cuda;
    run_on(cuda, layer.forward());
    run_on(cuda, layer.backward(), p.budget);
    BOOST_CHECK_EQUAL(cuda.flops, cost(layer.forward()).flops + cost(layer.backward()).flops);
    BOOST_REQUIRE_EQUAL(static_cast<std::int64_t>(dnn_record().runs.size()), 1 + p.count);
    BOOST_CHECK_EQUAL(dnn_record().plans, 2);
    for (std::size_t i = 1; i < dnn_record().runs.size(); ++i)
      BOOST_CHECK((dnn_record().runs[i].graph.tensors.at(1).extents == Four{p.samples, p.heads, 24, 16}));
    layer.t.check_same_bits(layers.front()->t);
    std::string const said = [&] {
      cuda.workspace = {static_cast<std::byte*>(nullptr), static_cast<std::size_t>(p.budget)};
      return prepare_library(cuda, layer.backward());
    }();
    BOOST_CHECK_EQUAL(said, p.count == 1 ? "cuDNN 9.19.0" : concat("cuDNN 9.19.0, in ", p.count, " parts"));
  }
  std::int64_t const least = bytes(1, 1);
  BOOST_CHECK_EQUAL(library_refusal(layers[0]->backward(), least), "");
  BOOST_CHECK(contains(library_refusal(layers[0]->backward(), least - 1), concat("raise run.workspace to ", least)));
  AttentionBackward odd = layers[0]->backward();
  odd.shape.queries = 23;  // a head's statistics begin at no multiple of 16 bytes
  BOOST_CHECK_EQUAL(part_count(odd.shape, library_parts(odd, bytes(1, 2) - 1)), 1);
}

BOOST_AUTO_TEST_CASE(sums_in_any_order) {
  for (char const* const name : {"129, grouped", "40 x 70, size 200", "ring, own keys", "ring, a later rank's keys"}) {
    Problem p = problem(name);
    p.shape.deterministic = false;
    for (bool const added : {false, true}) {
      BOOST_TEST_CONTEXT(name << (added ? ", added" : "")) {
        Tensors want(Tensors::doubles), got(Tensors::rounded);
        reference(backward(want, type, p, added));
        Cuda cuda;
        run_on(cuda, backward(got, type, p, added));
        got.check_close(want, options(p).sum_length, options(p).roundings_inside, type);
      }
    }
  }
}

// --- what is not taken (what is seen: cudnn_seen_test.cpp)

BOOST_AUTO_TEST_CASE(what_is_not_taken_is_said) {
  Layer const layer;
  Attention const good = layer.forward();
  BOOST_CHECK_EQUAL(library_refusal(good, budget), "");
  auto const refusal = [&](auto change) {
    Attention op = good;
    change(op);
    return library_refusal(op, budget);
  };
  BOOST_CHECK(contains(refusal([](Attention& op) { op.shape.library = AttentionLibrary::own; }), "own"));
  BOOST_CHECK(contains(refusal([](Attention& op) { op.shape.dropout.probability = 0.1; }), "dropout"));
  auto const documents = [&](AttentionLibrary library, bool causal) {
    return refusal([&](Attention& op) {
      op.query_places.document_starts = layer.lse;
      op.shape.library = library, op.shape.causal = causal;
    });
  };
  BOOST_CHECK(contains(documents(AttentionLibrary::automatic, true), "our kernel skips"));
  BOOST_CHECK(contains(documents(AttentionLibrary::cudnn, false), "causal ones"));
  BOOST_CHECK_EQUAL(documents(AttentionLibrary::cudnn, true), "");
  BOOST_CHECK(contains(refusal([&](Attention& op) { op.query_places.positions = layer.lse; }), "positions"));
  BOOST_CHECK(contains(refusal([](Attention& op) { op.shape.head_dim = 12; }), "steps of 8"));
  BOOST_CHECK(contains(refusal([](Attention& op) { op.shape.queries = 1; }), "single"));
  BOOST_CHECK(contains(refusal([&](Attention& op) { op.k = layer.qkv.columns(65, 32); }), "multiples of 16"));
  BOOST_CHECK(contains(refusal([](Attention& op) { op.q = Tensor(nullptr, DType::fp32, op.q.shape()); }), "fp32"));
  AttentionBackward without = layer.backward();
  without.out = {};
  BOOST_CHECK(contains(library_refusal(without, budget), "delta"));
  BOOST_CHECK(contains(library_refusal(layer.backward(), 4096), "run.workspace"));
  BOOST_CHECK_EQUAL(workspace(layer.backward(), 4096), 0);
}

BOOST_AUTO_TEST_CASE(an_engine_that_fits) {
  Layer const layer;
  auto const engine_of = [&](std::vector<shim::DnnEngine> engines, bool deterministic = true) {
    dnn_record() = {};
    dnn_record().engines = std::move(engines);
    AttentionBackward op = layer.backward();
    op.shape.library = AttentionLibrary::automatic, op.shape.deterministic = deterministic;
    Cuda cuda;
    run_on(cuda, op);
    return dnn_record().runs.empty() ? -1 : static_cast<int>(dnn_record().runs.back().engine);
  };
  BOOST_CHECK_EQUAL(engine_of({{}, {}}), 0);
  BOOST_CHECK_EQUAL(engine_of({{.more_workspace = 1}, {}}), 1);
  BOOST_CHECK_EQUAL(engine_of({{.supported = false}, {}}), 1);
  BOOST_CHECK_EQUAL(engine_of({{.deterministic = false}, {}}), 1);
  BOOST_CHECK_EQUAL(engine_of({{.deterministic = false}, {}}, false), 0);
  BOOST_CHECK_EQUAL(engine_of({{.more_workspace = 1}}), -1);  // our kernel
  BOOST_CHECK_EQUAL(engine_of({}), -1);

  dnn_record() = {};
  dnn_record().engines = {{.more_workspace = 1}};
  Cuda cuda;
  std::string const why = message_of([&] { run_on(cuda, layer.forward()); });
  BOOST_CHECK_MESSAGE(contains(why, "run.attention_library = \"cudnn\" can't be followed (its engine needs 257 bytes"),
                      why);
}

BOOST_AUTO_TEST_CASE(old_versions) {
  Layer const layer;
  auto const runs = [&](std::size_t version, auto op) {
    dnn_record() = {};
    dnn_record().version = version;
    op.shape.library = AttentionLibrary::automatic;
    Cuda cuda;
    run_on(cuda, op);
    return dnn_record().runs.size();
  };
  BOOST_CHECK_EQUAL(runs(91001, layer.forward()), 0u);
  BOOST_CHECK_EQUAL(runs(91002, layer.forward()), 1u);
  BOOST_CHECK_EQUAL(runs(91500, layer.backward()), 0u);  // 24 keys
  BOOST_CHECK_EQUAL(runs(91501, layer.backward()), 1u);
  dnn_record().version = 90800;
  Cuda cuda;
  std::string const why = message_of([&] { run_on(cuda, layer.forward()); });
  BOOST_CHECK_MESSAGE(contains(why, "it is cuDNN 9.8.0; 9.10.2 is the oldest used"), why);
}

// --- a ring and a training

// Ranks of a ring, each with its chunks: results over all keys, merged, and gradients, added up, against one rank's.
BOOST_AUTO_TEST_CASE(a_ring_of_three) {
  constexpr std::int64_t ranks = 3, part = 16, n = 2 * ranks * part, half = 2 * part;
  Problem whole{.name = "whole", .shape = sizes(1, n, n, 4, 2, 16)}, chunk = whole;
  chunk.shape.queries = chunk.shape.keys = half, chunk.shape.library = AttentionLibrary::cudnn;
  Tensors w(Tensors::doubles), t(Tensors::rounded);
  AttentionBackward const want = backward(w, type, whole, false);
  reference(want);
  auto const rows = [&](Tensor const& x, std::int64_t rank, DType dtype) {
    return t.in(dtype, {half, x.cols()}, Values([=](std::int64_t i) {
                  return load(x, zigzag_place(i / x.cols(), half, ranks, rank), i % x.cols());
                }));
  };
  auto const zeros = [&](Shape shape) { return t.in(DType::fp32, shape, Values([](std::int64_t) { return 0.0; })); };
  auto const places = [&](std::int64_t rank) {
    auto const place = [=](std::int64_t i) { return static_cast<double>(zigzag_place(i, half, ranks, rank)); };
    return AttentionPlaces{.positions = t.in(DType::int32, {1, half}, Values(place)),
                           .runs = {2, {zigzag_place(0, half, ranks, rank), zigzag_place(part, half, ranks, rank)}}};
  };
  std::vector<AttentionBackward> ring;
  std::vector<Tensor> merged;
  for (std::int64_t r = 0; r < ranks; ++r) {
    AttentionBackward b{.shape = chunk.shape, .accumulate = true};
    b.q = rows(want.q, r, type), b.k = rows(want.k, r, type), b.v = rows(want.v, r, type);
    b.dout = rows(want.dout, r, type), b.out = rows(want.out, r, type);
    b.logsumexp = t.out(DType::fp32, {1, 4, half}), b.delta = t.out(DType::fp32, {1, 4, half});
    b.dq = zeros(b.q.shape()), b.dk = zeros(b.k.shape()), b.dv = zeros(b.v.shape());
    b.query_places = b.key_places = places(r);
    ring.push_back(b), merged.push_back(t.out(DType::fp32, b.q.shape()));
  }
  Cuda cuda;
  for (std::size_t pass = 0; pass < 2; ++pass)
    for (std::size_t r = 0; r < ranks; ++r)
      for (std::size_t step = 0; step < ranks; ++step) {
        AttentionBackward b = ring[r];
        AttentionBackward const& other = ring[(r + ranks - step) % ranks];
        b.k = other.k, b.v = other.v, b.dk = other.dk, b.dv = other.dv, b.key_places = other.key_places;
        if (pass == 0)
          run_on(cuda, Attention{.shape = b.shape,
                                 .q = b.q,
                                 .k = b.k,
                                 .v = b.v,
                                 .out = merged[r],
                                 .logsumexp = b.logsumexp,
                                 .query_places = b.query_places,
                                 .key_places = b.key_places,
                                 .merge = step > 0});
        else
          run_on(cuda, b);
      }
  BOOST_CHECK_EQUAL(dnn_record().runs.size(), 2u * ranks * ranks);
  BOOST_CHECK_EQUAL(dnn_record().plans, 2 * 3);  // own keys, earlier ones, later ones
  double worst = 0, largest = 0;
  for (std::size_t r = 0; r < ranks; ++r)
    for (auto const& [got, exact] : {std::pair{merged[r], want.out}, std::pair{ring[r].dq, want.dq},
                                     std::pair{ring[r].dk, want.dk}, std::pair{ring[r].dv, want.dv}})
      for (std::int64_t i = 0; i < half; ++i)
        for (std::int64_t c = 0; c < got.cols(); ++c) {
          double const x = load(exact, zigzag_place(i, half, ranks, static_cast<std::int64_t>(r)), c);
          double const apart = std::abs(load(got, i, c) - x);
          worst = std::max(worst, std::isnan(apart) ? 1e30 : apart), largest = std::max(largest, std::abs(x));
        }
  BOOST_CHECK_LT(worst, 3 * std::ldexp(1.0, -9) * largest);
  BOOST_CHECK_GT(worst, 0);
}

// Four ranks (two chunks of the sequence, two of the heads) train in bf16 by cuDNN as they do by our kernels: as near
// to fp32 on one rank.
BOOST_AUTO_TEST_CASE(a_training) {
  Draw const d{.training = {"model.layers=2", "model.hidden=48", "model.heads=4", "model.kv_heads=2",
                            "model.head_dim=16", "model.ffn_hidden=64", "model.vocab_size=40", "model.vocab_multiple=8",
                            "model.sequence_length=32", "model.positions=rotary", "train.global_batch=4",
                            "train.lr=1e-3", "train.eps=1e-3", "train.steps=10", "train.seed=5"},
               .layout = {"layout.tensor=2", "layout.context=2", "train.micro_batch=2"},
               .world = 4};
  auto const train = [&](bool laid_out, Settings const& settings) {
    return train_as_threads(config_of(d, laid_out, settings), {.until = 2});
  };
  Trained const exact = train(false, {"train.precision=fp32"});
  std::int64_t const before = shim::dnn_runs_of_all_threads();
  Trained const own = train(true, {"run.backend=cuda", "train.precision=bf16", "run.attention_library=own"});
  BOOST_CHECK_EQUAL(shim::dnn_runs_of_all_threads(), before);
  Trained const library = train(true, {"run.backend=cuda", "train.precision=bf16", "run.attention_library=cudnn"});
  // ranks, layers, micro-batches, ring steps, both passes, steps
  BOOST_CHECK_EQUAL(shim::dnn_runs_of_all_threads() - before, 4 * 2 * 2 * 2 * 2 * 2);
  for (std::string const& problem : library.wrong) BOOST_ERROR(problem);
  auto const error = [&](Trained const& x) {
    double sum = 0;
    for (auto const& [name, whole] : exact.gradients)
      for (std::size_t i = 0; i < whole.values.size(); ++i)
        sum = std::hypot(sum, whole.values[i] - x.gradients.at(name).values[i]);
    return sum;
  };
  BOOST_CHECK_LT(error(library), 1.25 * error(own));
  BOOST_CHECK_GT(error(library), 0);
  for (std::size_t i = 0; i < 2; ++i)
    BOOST_TEST(library.losses[i] == own.losses[i], boost::test_tools::tolerance(1e-3));
}

BOOST_AUTO_TEST_SUITE_END()
