// The same training whatever the layout: draws models, batches and layouts from a seed, trains each on thread ranks and
// on one rank, and compares; saves under one layout and goes on under another. A failure prints the line that
// reproduces it:
//   layout_fuzz_test -- --draws 2000 --seed 1 --ranks 16
//   layout_fuzz_test --run_test=<case> -- --config "model.layers=2 ... | layout.tensor=2 ..."
// With --backend cuda the ranks of the layout share a device, and one rank on the CPU is what they must equal; with
// --graphs on, too, their passes are captured.
#define BOOST_TEST_MODULE layout_fuzz
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <initializer_list>
#include <numeric>

#include "core/arena.hpp"
#include "core/error.hpp"
#include "core/text.hpp"
#include "tests/fuzz/compare.hpp"
#include "tests/fuzz/draw.hpp"
#include "tests/fuzz/job.hpp"
#include "tests/io/support.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

constexpr std::int64_t steps = 3;

/// Euclidean distances by layer, and sizes.
std::map<std::string, double> distances(Wholes const& a, Wholes const& b) {
  std::map<std::string, double> sums;
  for (auto const& [name, whole] : a)
    for (std::size_t i = 0; i < whole.values.size(); ++i)
      sums[layer_of(name)] = std::hypot(sums[layer_of(name)], whole.values[i] - b.at(name).values[i]);
  return sums;
}
std::map<std::string, double> norms(Wholes const& a) {
  Wholes nothing = a;
  for (auto& [name, whole] : nothing) std::ranges::fill(whole.values, 0);
  return distances(a, nothing);
}

/// What a case finds, and the largest differences it saw.
struct Findings {
  std::vector<std::string> problems;
  std::map<std::string, Difference> largest;

  template <class... Parts>
  void problem(Parts const&... parts) {
    problems.push_back(concat(parts...));
  }
  void within(double limit, std::string const& what, Difference const& d) {
    largest[what].see(d.relative, d.where);
    if (!(d.relative < limit)) problem(what, " of ", d.where, " differs by ", d.relative);
  }
  void within(double limit, std::string const& what, std::vector<double> const& one, std::vector<double> const& many) {
    if (one.size() != many.size()) problem("There are ", many.size(), " steps, on one rank ", one.size());
    for (std::size_t i = 0; i < std::min(one.size(), many.size()); ++i) {
      double const relative = one[i] == many[i] ? 0 : std::abs(many[i] / one[i] - 1);
      largest[what].see(relative, concat("step ", i + 1));
      if (!(relative < limit)) problem(what, " of step ", i + 1, " is ", many[i], ", on one rank ", one[i]);
    }
  }
  void plan_of(Trained const& trained) { problems.insert(problems.end(), trained.wrong.begin(), trained.wrong.end()); }
  /// False if there is nothing to compare.
  bool same_names(Wholes const& one, Wholes const& many) {
    std::string const wrong = compare_names(one, many);
    if (!wrong.empty()) problems.push_back(wrong);
    return wrong.empty();
  }
};

/// In fp32: gradients relative to the largest of their layer, weights in units of lr x steps.
void compare(Findings& f, Config const& config, Trained const& one, Trained const& many) {
  f.plan_of(one), f.plan_of(many);
  if (!f.same_names(one.weights, many.weights) || !f.same_names(one.gradients, many.gradients)) return;
  f.within(1e-5, "gradient", difference_by_layer(one.gradients, many.gradients));
  f.within(1e-3, "weight", difference(one.weights, many.weights, [&](auto&) { return config.train.lr * steps; }));
  f.within(1e-5, "loss", one.losses, many.losses);
  f.within(1e-5, "norm", one.norms, many.norms);
}

double rounding(Config const& c) { return std::ldexp(1.0, c.train.precision == Precision::fp16 ? -12 : -9); }

/// In 16 bits a layout may round elsewhere, but not more. One rank's error e against the same training in fp32 is that
/// of the rounded weights, which all layouts share, and of the roundings on the way; another layout has the second part
/// anew, and at most doubles its variance: a sum over tensor or context ranks is rounded before it is added, in parts
/// whose squares add up to no more than the sum's. So two layouts differ by up to sqrt(3) e where there are many
/// roundings; twice that is allowed, because a small layer has few.
constexpr double allowed_errors = 2 * 1.7320508;

/// The distance of the gradients, by layer, in units of e and, where they travelled in 16 bits, of two roundings more:
/// of the parts, and of their sum.
Difference rounded_gradients(Config const& config, Trained const& exact, Trained const& one, Trained const& many) {
  auto const apart = distances(one.gradients, many.gradients), error = distances(exact.gradients, one.gradients),
             size = norms(one.gradients);
  bool const travelled = config.train.gradient_reduce != Precision::fp32;
  Difference d;
  for (auto const& [layer, distance] : apart)
    d.see(distance / (error.at(layer) + (travelled ? 2 * rounding(config) * size.at(layer) : 0) + 1e-30), layer);
  return d;
}

/// Scales come from maxima of the same tensors, whose elements differ by what layouts round differently. But for one:
/// where tensor ranks hold copies of a key-value head, each has the gradient from its own query heads alone, and rounds
/// that part of the sum.
void compare_amaxes(Findings& f, Config const& config, Trained const& one, Trained const& many,
                    std::int64_t other_tensor = 1) {
  if (one.amaxes.size() != many.amaxes.size()) return f.problem("The layout has other 8-bit matrices");
  bool const parts = config.model.kv_heads < std::max(config.layout.tensor, other_tensor);
  Difference d;
  for (auto const& [name, history] : one.amaxes) {
    auto const other = many.amaxes.find(name);
    if (other == many.amaxes.end()) return f.problem(name, " is missing");
    if (parts && name.ends_with("attention.q.weight.gradient")) continue;
    for (std::size_t i = 0; i < history.size(); ++i)
      d.see(history[i] == other->second[i] ? 0 : std::abs(other->second[i] / history[i] - 1), name);
  }
  f.within(0.25, "amax", d);
}

void compare_rounded(Findings& f, Config const& config, Trained const& exact, Trained const& one, Trained const& many) {
  f.plan_of(one), f.plan_of(many);
  if (!f.same_names(one.weights, many.weights) || !f.same_names(one.gradients, many.gradients)) return;
  f.within(allowed_errors, "gradient", rounded_gradients(config, exact, one, many));
  auto const apart = distances(one.weights, many.weights), error = distances(exact.weights, one.weights);
  double all = 0;
  Difference weights;
  for (auto const& [layer, distance] : apart) {
    all = std::hypot(all, distance);
    weights.see(distance / std::max(error.at(layer), 1e-30), layer);
  }
  if (config.train.gradient_reduce == Precision::fp32) f.within(allowed_errors, "weight", weights);
  // With the same weights a token's loss is off by a few roundings of its logits, and the mean over the tokens by less;
  // with weights that are apart, by up to that distance times the gradient's norm as well.
  for (std::size_t i = 0; i < one.losses.size(); ++i) {
    double const allowed = 2 * rounding(config) * one.losses[i] + (i > 0 ? one.norms[i] * all : 0);
    f.within(1, concat("loss of step ", i + 1), {std::abs(many.losses[i] - one.losses[i]) / allowed, "all"});
  }
}

/// Calls body(findings, draw, other draw) for --config, or for as many draws as --draws says, or `usual`.
template <class Other, class Body>
void for_draws(std::int64_t usual, Other&& other_of, Body&& body) {
  std::map<std::string, Difference> largest;
  auto check = [&](std::string const& name, Draw const& d, Draw const& other) {
    Findings f;
    try {
      body(f, d, other);
    } catch (std::exception const& e) {
      f.problem(e.what());
    }
    std::string const text = d.text() + (other.layout.empty() ? "" : " | " + join(other.layout, " "));
    BOOST_TEST(f.problems.empty(), concat(name, ": ", join(f.problems, "; "), "\n  --config \"", text, "\""));
    for (auto const& [what, difference] : f.largest) largest[what].see(difference.relative, difference.where);
  };
  std::string const config = option("config", "");
  std::int64_t const draws = parse_integer(option("draws", concat(usual)), "draws"),
                     first = parse_integer(option("seed", "1"), "seed"),
                     ranks = parse_integer(option("ranks", "16"), "ranks");
  if (!config.empty()) {
    Draw other;
    Draw const d = parse_draw(config, &other);
    check("the config", d, other);
  } else {
    for (std::int64_t seed = first; seed < first + draws; ++seed) {
      auto const number = static_cast<std::uint64_t>(seed);
      Draw const d = draw(number, ranks);
      check(concat("draw ", seed), d, other_of(d, number, ranks));
    }
  }
  std::vector<std::string> texts;
  for (auto const& [what, d] : largest) texts.push_back(concat(what, " ", d.relative, " (", d.where, ")"));
  BOOST_TEST_MESSAGE(concat("largest differences: ", join(texts, ", ")));
}
auto const no_other = [](Draw const&, std::uint64_t, std::int64_t) { return Draw{}; };

}  // namespace

BOOST_AUTO_TEST_CASE(every_layout_trains_as_one_rank_does) {
  for_draws(200, no_other, [](Findings& f, Draw const& d, Draw const&) {
    Settings const fp32{"train.precision=fp32"};
    Config const config = config_of(d, true, fp32);
    Trained const many = train_as_threads(config, {.until = steps}),
                  one = train_as_threads(config_of(d, false, fp32), {.until = steps});
    compare(f, config, one, many);
  });
}

BOOST_AUTO_TEST_CASE(in_16_bits_every_layout_is_as_exact_as_one_rank) {
  for (char const* precision : {"bf16", "fp16"})
    for_draws(50, no_other, [&](Findings& f, Draw const& d, Draw const&) {
      // one rank on the same backend: another rounds in other places
      Settings const rounded{concat("train.precision=", precision), "train.loss_scale=1024", backend()};
      Config const config = config_of(d, true, rounded);
      Config narrow = config;  // and once more with gradients that travel in 16 bits
      narrow.train.gradient_reduce = config.train.precision;
      Trained const many = train_as_threads(config, {.until = steps}),
                    travelled = train_as_threads(narrow, {.until = steps}),
                    one = train_as_threads(config_of(d, false, rounded), {.until = steps}),
                    exact = train_as_threads(config_of(d, false, {"train.precision=fp32"}), {.until = steps});
      compare_rounded(f, config, exact, one, many);
      compare_rounded(f, narrow, exact, one, travelled);
    });
}

/// Drawn sizes as a device takes them in 8 bits, by whole 16 elements, under both layouts.
void take_sixteens(std::initializer_list<Draw*> draws) {
  std::int64_t tokens = 1;  // that many times as many
  auto config = [](Draw const* d) { return config_of(*d, true, {"train.precision=fp32"}); };
  for (Draw const* d : draws)
    tokens =
        std::max(tokens, 16 / std::gcd<std::int64_t>(16, config(d).model.sequence_length / config(d).layout.context));
  for (Draw* d : draws) {
    ModelConfig const m = config(d).model;
    for (std::string const& size :
         {concat("model.hidden=", align_up(m.hidden, 16)), concat("model.ffn_hidden=", 16 * m.ffn_hidden),
          std::string("model.head_dim=16"), concat("model.sequence_length=", tokens * m.sequence_length)})
      d->training.push_back(size);
  }
}
bool on_device() { return option("backend", "cpu") == "cuda"; }

// e is then mostly that of 8-bit roundings, which layouts share but where one of theirs in 16 bits crosses a boundary.
BOOST_AUTO_TEST_CASE(in_8_bits_every_layout_is_as_exact_as_one_rank) {
  for_draws(50, no_other, [](Findings& f, Draw d, Draw const&) {
    if (on_device()) take_sixteens({&d});
    Settings const fp8{"train.precision=fp8", "train.fp8_history=4", backend()};
    Config const config = config_of(d, true, fp8);
    Trained const many = train_as_threads(config, {.until = steps}),
                  one = train_as_threads(config_of(d, false, fp8), {.until = steps}),
                  exact = train_as_threads(config_of(d, false, {"train.precision=fp32"}), {.until = steps});
    compare_rounded(f, config, exact, one, many);
    compare_amaxes(f, config, one, many);
  });
}

BOOST_AUTO_TEST_CASE(in_8_bits_a_checkpoint_goes_on_exactly_and_under_any_layout) {
  auto const other_of = [](Draw const& d, std::uint64_t seed, std::int64_t ranks) {
    return draw_layout(d, seed ^ 0xf8, ranks);
  };
  for_draws(20, other_of, [](Findings& f, Draw d, Draw other) {
    if (on_device()) take_sixteens({&d, &other});
    Settings const fp8{"train.precision=fp8", "train.fp8_history=4", backend()};
    TemporaryFolder const folder;
    Config const config = config_of(d, true, fp8);
    Trained const whole = train_as_threads(config, {.until = steps}),
                  begun = train_as_threads(config, {.until = 1, .to = folder.path()}),
                  again = train_as_threads(config, {.until = steps, .from = folder.path()}),
                  exact = train_as_threads(config_of(d, false, {"train.precision=fp32"}), {.until = steps});
    for (auto const& [name, weight] : whole.weights)
      if (again.weights.at(name).values != weight.values) f.problem(name, " is another after going on");
    if (again.amaxes != whole.amaxes) f.problem("The largest magnitudes are others after going on");
    Trained rest = train_as_threads(config_of(other, true, fp8), {.until = steps, .from = folder.path()});
    rest.gradients = begun.gradients;
    for (auto list : {&Trained::losses, &Trained::norms})
      (rest.*list).insert((rest.*list).begin(), (begun.*list).begin(), (begun.*list).end());
    compare_rounded(f, config, exact, whole, rest);
    compare_amaxes(f, config, whole, rest, config_of(other, true, fp8).layout.tensor);
  });
}

BOOST_AUTO_TEST_CASE(a_checkpoint_of_any_layout_goes_on_under_any) {
  auto const other_of = [](Draw const& d, std::uint64_t seed, std::int64_t ranks) {
    return draw_layout(d, seed ^ 0x5eed, ranks);
  };
  for_draws(60, other_of, [](Findings& f, Draw const& d, Draw const& other) {
    Settings const fp32{"train.precision=fp32"};
    TemporaryFolder const folder;
    Config const config = config_of(d, true, fp32);
    Trained const whole = train_as_threads(config, {.until = steps}),
                  begun = train_as_threads(config, {.until = 1, .to = folder.path()});
    Trained rest = train_as_threads(config_of(other, true, fp32), {.until = steps, .from = folder.path()});
    rest.gradients = begun.gradients;
    for (auto list : {&Trained::losses, &Trained::norms})
      (rest.*list).insert((rest.*list).begin(), (begun.*list).begin(), (begun.*list).end());
    compare(f, config, whole, rest);
  });
}
