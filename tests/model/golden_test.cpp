// The whole model against PyTorch: loss, every gradient, and twenty steps of AdamW.
#include "tests/model/golden.hpp"

#include <algorithm>
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "kernels/cast/cast.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// What a tensor's values are off by at most, and their largest magnitude.
struct Difference {
  double error = 0, largest = 0, error_norm = 0, norm = 0;
  double relative() const { return error / largest; }
  double relative_norm() const { return std::sqrt(error_norm / norm); }
};

Difference compare(Tensor const& values, double scale, Golden::Values const& golden) {
  BOOST_REQUIRE(values.shape() == golden.shape);
  Difference d;
  std::vector<float> const found = on_host(values);
  for (std::size_t i = 0; i < found.size(); ++i) {
    double const wanted = golden.data[i], off = found[i] * scale - wanted;
    d.error = std::max(d.error, std::isfinite(off) ? std::abs(off) : 1e300),
    d.largest = std::max(d.largest, std::abs(wanted));
    d.error_norm += off * off, d.norm += wanted * wanted;
  }
  return d;
}

class GoldenRank {
 public:
  GoldenRank(std::string const& name, std::vector<std::string> more) : golden(name), rank(config(more)) {
    StageState& stage = rank.stage();
    rank.ctx().synchronize();
    BOOST_REQUIRE_EQUAL(stage.parameters().size(), golden.weights.size());
    for (std::size_t i = 0; i < stage.parameters().size(); ++i) {
      auto const found = golden.weights.find(stage.parameters()[i]->spec.name);
      BOOST_REQUIRE_MESSAGE(found != golden.weights.end(), stage.parameters()[i]->spec.name);
      Tensor const place = stage.view(stage.exact_weights(), i);
      BOOST_REQUIRE(place.shape() == found->second.shape);
      copy_from_host(place.raw(), found->second.data.data(), place.bytes(), place.device());
    }
    if (stage.master.defined()) rank.ctx()(Cast{.x = stage.master, .y = stage.weights});
  }
  LoadBatch load(std::int64_t step) {
    auto const& t = rank.stage().config().train;
    return [this, &t, step](Micro micro, Batch& b) {
      golden.fill((step - 1) * t.global_batch + *micro * t.micro_batch, b);
    };
  }
  Golden golden;
  OneRank rank;

 private:
  Config config(std::vector<std::string> settings) const {
    settings.insert(settings.end(), golden.settings.begin(), golden.settings.end());
    settings.push_back(backend());
    return config_of(settings);
  }
};

/// Loss and gradients of the first step; the largest error of a gradient, relative by `of`.
template <class Of>
void check_gradients(GoldenRank& g, double loss_tolerance, double tolerance, Of of) {
  StageState& stage = g.rank.stage();
  g.rank.accumulate(g.load(1));
  g.rank.ctx().synchronize();
  double const tokens = g.rank.ctx().fetch(stage.totals, 0, 1), loss = g.rank.ctx().fetch(stage.totals, 0, 0) / tokens;
  BOOST_TEST(std::abs(loss / g.golden.losses[0] - 1) < loss_tolerance,
             "loss " << loss << ", PyTorch " << g.golden.losses[0]);
  double const correction = 1 / (backward_seed(stage) * tokens);
  double largest = 0;
  for (auto const& [name, values] : g.golden.gradients)
    for (float x : values.data) largest = std::max(largest, static_cast<double>(std::abs(x)));
  for (Parameter const* p : stage.parameters()) {
    Difference const d = compare(p->gradient, correction, g.golden.gradients.at(p->spec.name));
    if (d.largest < 1e-9)
      BOOST_TEST(d.error < tolerance * largest, p->spec.name << " should be 0 and is " << d.error);
    else
      BOOST_TEST(of(d) < tolerance, p->spec.name << " is off by " << of(d) << " of its largest");
  }
}

char const* const all_cases[] = {"gpt2", "llama", "documents", "gpt2_documents"};
char const* const trained_cases[] = {"gpt2", "llama"};
char const* const paths[] = {"flash", "matrix"};
int const micro_batch_sizes[] = {1, 2, 4};

}  // namespace

BOOST_AUTO_TEST_SUITE(golden)

BOOST_DATA_TEST_CASE(loss_and_gradients_are_pytorchs,
                     boost::unit_test::data::make(all_cases) * boost::unit_test::data::make(paths), name, path) {
  GoldenRank g(name, {"train.precision=fp32", "train.micro_batch=2", std::string("model.attention=") + path});
  check_gradients(g, 1e-6, 1e-5, [](Difference const& d) { return d.relative(); });
}

// bf16 has 8 significant bits, fp16 11: a rounding is 2^-9 or 2^-12 at most, and the loss is an average over many.
BOOST_DATA_TEST_CASE(in_16_bits_they_are_off_by_a_few_roundings,
                     boost::unit_test::data::make(all_cases) * boost::unit_test::data::make(paths), name, path) {
  for (auto const& [precision, rounding] : {std::pair("bf16", std::ldexp(1.0, -9)), {"fp16", std::ldexp(1.0, -12)}}) {
    GoldenRank g(name, {concat("train.precision=", precision), "train.loss_scale=1024", "train.micro_batch=2",
                        std::string("model.attention=") + path});
    check_gradients(g, rounding, 16 * rounding, [](Difference const& d) { return d.relative_norm(); });
  }
}

BOOST_DATA_TEST_CASE(twenty_steps_of_adamw_are_pytorchs,
                     boost::unit_test::data::make(trained_cases) * boost::unit_test::data::make(micro_batch_sizes),
                     name, micro) {
  GoldenRank g(name, {"train.precision=fp32", concat("train.micro_batch=", micro)});
  auto const steps = static_cast<std::int64_t>(g.golden.losses.size());
  for (std::int64_t i = 1; i <= steps; ++i) {
    StepResult const result = g.rank.step(i, g.load(i));
    auto const k = static_cast<std::size_t>(i - 1);
    BOOST_TEST(std::abs(result.loss / g.golden.losses[k] - 1) < 5e-6,
               "step " << i << ": loss " << result.loss << ", PyTorch " << g.golden.losses[k]);
    BOOST_TEST(std::abs(result.grad_norm / g.golden.norms[k] - 1) < 2e-5,
               "step " << i << ": norm " << result.grad_norm << ", PyTorch " << g.golden.norms[k]);
  }
  g.rank.ctx().synchronize();
  StageState& stage = g.rank.stage();
  double const way = stage.config().train.lr * static_cast<double>(steps);  // what a weight can move by at most, about
  for (std::size_t i = 0; i < stage.parameters().size(); ++i) {
    Difference const d =
        compare(stage.view(stage.exact_weights(), i), 1, g.golden.finals.at(stage.parameters()[i]->spec.name));
    BOOST_TEST(d.error / way < 1e-5,
               stage.parameters()[i]->spec.name << " is off by " << d.error / way << " of lr x steps");
  }
}

BOOST_AUTO_TEST_SUITE_END()
