// Training with 8-bit matrix products: what is rounded, by which scales.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "core/element.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<std::string> const small{
    "model.layers=3",       "model.hidden=32",     "model.heads=2",   "model.vocab_size=61", "model.sequence_length=32",
    "train.global_batch=8", "train.micro_batch=2", "train.steps=100", "train.lr=3e-3",       "train.fp8_history=4"};
Config fp8_config(std::vector<std::string> const& more) {
  auto settings = small;
  settings.insert(settings.end(), more.begin(), more.end());
  return config_of(settings);
}

/// Index of the matrix that begins with this parameter.
std::size_t site_of(StageState const& stage, std::string const& name) {
  for (std::size_t s = 0; s < stage.fp8.sites.size(); ++s)
    if (stage.parameters()[stage.fp8.sites[s].first]->spec.name == name) return s;
  throw Error(name + " is not multiplied in 8 bits.");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(fp8)

BOOST_AUTO_TEST_CASE(the_blocks_matrices_are_multiplied_in_8_bits) {
  auto sites = [](Config const& c) {
    StageState const stage(c, ProcessGrid(), Rank(0));
    std::vector<std::string> names;
    for (Fp8Site const& s : stage.fp8.sites)
      names.push_back(concat(stage.parameters()[s.first]->spec.name, " ", s.last - s.first));
    return names;
  };
  BOOST_TEST(sites(fp8_config({})).empty());
  std::vector<std::string> const middle{"layers.1.attention.q.weight 3", "layers.1.attention.projection.weight 1",
                                        "layers.1.mlp.gate.weight 2", "layers.1.mlp.down.weight 1"};
  BOOST_TEST(sites(fp8_config({"train.precision=fp8", "train.fp8_bf16_layers=1", "model.activation=swiglu"})) == middle,
             boost::test_tools::per_element());
  BOOST_TEST(sites(fp8_config({"train.precision=fp8"})).size() == 12u);
}

// Against the weights themselves: the largest power of two that keeps their maximum within 448, and the copies.
BOOST_AUTO_TEST_CASE(weights_are_rounded_once_a_step_by_their_present_maximum) {
  Config const c = fp8_config({"train.precision=fp8"});
  OneRank rank(c);
  StageState& stage = rank.stage();
  for (std::int64_t step = 1; step <= 3; ++step) {
    rank.step(step, toy_loader(c, step));
    for (Fp8Site const& site : stage.fp8.sites) {
      double largest = 0;
      std::vector<double> weights;
      for (std::size_t i = site.first; i < site.last; ++i) {
        Tensor const& w = stage.parameters()[i]->weight;
        for (std::int64_t k = 0; k < w.count(); ++k) weights.push_back(load(w, k));
      }
      for (double const w : weights) largest = std::max(largest, std::abs(w));
      Fp8Matrix const& m = *site.matrix;
      double const scale = load(m.weight.scale, 0);
      BOOST_TEST((scale * largest <= 448 && 2 * scale * largest > 448));
      BOOST_TEST(load(m.weight.inverse, 0) == 1 / scale);
      std::int64_t const cols = m.rounded.cols();
      for (std::int64_t k = 0; k < m.rounded.count(); ++k) {
        auto const want = static_cast<float>(e4m3(static_cast<float>(weights[static_cast<std::size_t>(k)] * scale)));
        BOOST_REQUIRE_EQUAL(load(m.rounded, k), want);
        BOOST_REQUIRE_EQUAL(load(m.transposed, k % cols, k / cols), want);
      }
    }
  }
}

// Inputs and gradients are scaled by the history; what a step sees is its newest entry, and validation leaves no trace.
BOOST_AUTO_TEST_CASE(scales_follow_the_history) {
  Config const c = fp8_config({"train.precision=fp8", "train.fp8_margin=1"});
  OneRank rank(c);
  StageState& stage = rank.stage();
  Fp8State const& f = stage.fp8;
  auto const sites = std::ssize(f.sites);
  std::vector<float> const first = on_host(f.scale);
  BOOST_TEST(first[0] == 16);
  BOOST_TEST(first[static_cast<std::size_t>(sites)] == 16 * 8 * 32);  // 2^4 over the seed of backward
  std::vector<std::vector<float>> newest;
  for (std::int64_t step = 1; step <= 6; ++step) {
    rank.step(step, toy_loader(c, step));
    std::vector<float> seen;
    for (std::int64_t i = 0; i < 2 * sites; ++i) seen.push_back(static_cast<float>(load(f.history, i, 0)));
    newest.push_back(seen);
    for (std::int64_t i = 0; i < 2 * sites; ++i) {
      auto const n = static_cast<std::size_t>(i);
      BOOST_TEST_REQUIRE(seen[n] > 0);
      float largest = 0;
      for (std::int64_t back = 0; back < std::min<std::int64_t>(step, 4); ++back) {
        float const entry = newest[static_cast<std::size_t>(step - 1 - back)][n];
        BOOST_REQUIRE_EQUAL(load(f.history, i, back), entry);
        largest = std::max(largest, entry);
      }
      float const bound = (i < sites ? e4m3::largest : e5m2::largest) / 2, scaled = largest * on_host(f.scale)[n];
      BOOST_TEST((scaled <= bound && 2 * scaled > bound), "tensor " << i << ": " << scaled);
    }
    auto const before = on_host(f.history);
    evaluate_batches(rank.ctx(), stage, 2, toy_loader(c, 50));
    BOOST_TEST(on_host(f.amax) == std::vector<float>(static_cast<std::size_t>(3 * sites)),
               boost::test_tools::per_element());
    BOOST_TEST((before == on_host(f.history)));
  }
}

// The amax of what attention reads: the norm's output, which the slot keeps.
BOOST_AUTO_TEST_CASE(an_amax_is_the_tensors_over_all_micro_batches) {
  Config const c = fp8_config({"train.precision=fp8"});
  OneRank rank(c);
  StageState& stage = rank.stage();
  double largest = 0;
  for (std::int64_t micro = 0; micro < stage.schedule().micros; ++micro) {
    ChunkState& chunk = stage.chunk();
    load_batch(rank.ctx(), chunk, Micro(0), [&](Micro, Batch& b) { toy_loader(c, 1)(Micro(micro), b); });
    forward_pass(rank.ctx(), stage, Chunk(0), Micro(0));
    Tensor const& activated = chunk.saved[0].blocks[1].mlp.activated;
    for (std::int64_t i = 0; i < activated.count(); ++i) largest = std::max(largest, std::abs(load(activated, i)));
    backward_pass(rank.ctx(), stage, Chunk(0), Micro(0));
  }
  std::size_t const site = site_of(stage, "layers.1.mlp.down.weight");
  BOOST_TEST(load(stage.fp8.sites[site].matrix->input.amax, 0) == largest);
}

BOOST_AUTO_TEST_CASE(fp8_learns_what_bf16_learns) {
  OneRank eight(fp8_config({"train.precision=fp8"})), sixteen(fp8_config({"train.precision=bf16"}));
  auto const a = toy_losses(eight, 60), b = toy_losses(sixteen, 60);
  BOOST_TEST(a.back() < 0.8 * a.front());
  for (std::size_t i = 0; i < a.size(); ++i)
    BOOST_TEST(std::abs(a[i] / b[i] - 1) < 2e-2, i << ": " << a[i] << " " << b[i]);
  bool const same = a == b;
  BOOST_TEST(!same);
}

BOOST_AUTO_TEST_CASE(an_older_device_is_refused) {
  CudaDevice device{.major = 8, .minor = 0};
  BOOST_CHECK_NO_THROW(require_products(Precision::bf16, device));
  BOOST_CHECK_THROW(require_products(Precision::fp8, device), Error);
  device.minor = 9;
  BOOST_CHECK_NO_THROW(require_products(Precision::fp8, device));
}

BOOST_AUTO_TEST_SUITE_END()
