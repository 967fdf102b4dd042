// The same training whatever the layout: draws models, batches and layouts from a seed, trains each on thread ranks and
// on one rank, and compares. A failure prints the one line that reproduces it:
//   layout_fuzz_test -- --draws 2000 --seed 1 --ranks 16
//   layout_fuzz_test -- --config "model.layers=2 ... | layout.tensor=2 ..."
#define BOOST_TEST_MODULE layout_fuzz
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "core/error.hpp"
#include "core/text.hpp"
#include "tests/fuzz/draw.hpp"
#include "tests/fuzz/job.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

constexpr std::int64_t steps = 3;

Config config_of(Draw const& d, bool laid_out) {
  auto settings = d.training;
  for (std::string const& s : d.layout)
    if (laid_out || s.starts_with("train.micro_batch")) settings.push_back(s);
  return resolve(parse_config("", settings, "draw"), laid_out ? d.world : 1);
}

/// "layers.3" of "layers.3.attention.q.weight".
std::string layer_of(std::string const& name) {
  auto const first = name.find('.');
  return name.substr(0, name.starts_with("layers.") ? name.find('.', first + 1) : first);
}

struct Difference {
  double relative = 0;
  std::string where;
  void see(double value, std::string const& place) {
    if (value > relative || std::isnan(value)) relative = value, where = place;
  }
};

std::string compare_names(Wholes const& one, Wholes const& many) {
  for (auto const& [name, whole] : one) {
    auto const found = many.find(name);
    if (found == many.end()) return name + " is missing";
    for (int n : found->second.written)
      if (n != 1) return concat(name, " has an element written ", n, " times");
  }
  return many.size() == one.size() ? "" : "there are parameters too many";
}

/// Largest difference of gradients relative to the largest gradient of the layer.
Difference gradient_difference(Wholes const& one, Wholes const& many) {
  std::map<std::string, double> largest;
  for (auto const& [name, whole] : one)
    for (double g : whole.values) largest[layer_of(name)] = std::max(largest[layer_of(name)], std::abs(g));
  Difference d;
  for (auto const& [name, whole] : one)
    for (std::size_t i = 0; i < whole.values.size(); ++i)
      d.see(std::abs(whole.values[i] - many.at(name).values[i]) / std::max(largest[layer_of(name)], 1e-30), name);
  return d;
}

Difference weight_difference(Wholes const& one, Wholes const& many, double unit) {
  Difference d;
  for (auto const& [name, whole] : one)
    for (std::size_t i = 0; i < whole.values.size(); ++i)
      d.see(std::abs(whole.values[i] - many.at(name).values[i]) / unit, name);
  return d;
}

/// What is wrong, or nothing.
std::vector<std::string> problems_of(Draw const& d, Difference& gradients, Difference& weights) {
  Config const config = config_of(d, true);
  Trained const many = train_as_threads(config, steps), one = train_as_threads(config_of(d, false), steps);
  std::vector<std::string> problems = many.wrong;
  problems.insert(problems.end(), one.wrong.begin(), one.wrong.end());
  for (auto const& names : {compare_names(one.gradients, many.gradients), compare_names(one.weights, many.weights)})
    if (!names.empty()) return problems.push_back(names), problems;
  Difference const g = gradient_difference(one.gradients, many.gradients),
                   w = weight_difference(one.weights, many.weights, config.train.lr * steps);
  gradients.see(g.relative, g.where), weights.see(w.relative, w.where);
  if (!(g.relative < 1e-5)) problems.push_back(concat("gradient of ", g.where, " differs by ", g.relative));
  if (!(w.relative < 1e-3)) problems.push_back(concat("weight of ", w.where, " differs by ", w.relative));
  for (std::size_t i = 0; i < one.losses.size(); ++i) {
    if (!(std::abs(many.losses[i] / one.losses[i] - 1) < 1e-5))
      problems.push_back(concat("loss of step ", i + 1, " is ", many.losses[i], ", on one rank ", one.losses[i]));
    if (!(std::abs(many.norms[i] / one.norms[i] - 1) < 1e-5))
      problems.push_back(concat("norm of step ", i + 1, " is ", many.norms[i], ", on one rank ", one.norms[i]));
  }
  return problems;
}

std::string option(std::string const& name, std::string const& otherwise) {
  auto const& suite = boost::unit_test::framework::master_test_suite();
  for (int i = 1; i + 1 < suite.argc; ++i)
    if (suite.argv[i] == "--" + name) return suite.argv[i + 1];
  return otherwise;
}

void check(Draw const& d, std::string const& name, Difference& gradients, Difference& weights) {
  std::vector<std::string> problems;
  try {
    problems = problems_of(d, gradients, weights);
  } catch (std::exception const& e) {
    problems.emplace_back(e.what());
  }
  BOOST_TEST(problems.empty(), concat(name, ": ", join(problems, "; "), "\n  --config \"", d.text(), "\""));
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_layout_trains_as_one_rank_does) {
  Difference gradients, weights;
  std::string const config = option("config", "");
  if (!config.empty()) return check(parse_draw(config), "the config", gradients, weights);
  std::int64_t const draws = parse_integer(option("draws", "200"), "draws"),
                     first = parse_integer(option("seed", "1"), "seed"),
                     ranks = parse_integer(option("ranks", "16"), "ranks");
  for (std::int64_t seed = first; seed < first + draws; ++seed)
    check(draw(static_cast<std::uint64_t>(seed), ranks), concat("draw ", seed), gradients, weights);
  BOOST_TEST_MESSAGE(concat(draws, " draws; largest differences: gradient ", gradients.relative, " (", gradients.where,
                            "), weight ", weights.relative, " of lr x steps (", weights.where, ")"));
}
