// A search finds what trying everything finds.
#include "plan/search.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "core/text.hpp"
#include "plan/bounds.hpp"
#include "plan/predict.hpp"
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

constexpr std::int64_t gpus = 8;

Config config() {
  return parse_config("",
                      {"model.layers=4", "model.hidden=64", "model.heads=4", "model.vocab_size=500",
                       "model.sequence_length=32", "train.global_batch=8", "train.bucket_bytes=20000"},
                      "test");
}

/// Everything, by loops that know nothing of the search's.
std::vector<Found> everything(Machine const& machine) {
  std::vector<Found> all;
  auto attempt = [&](Choice const& c) {
    try {
      Config const resolved = resolve(c.apply(config()), gpus);
      Prediction const p = predict(resolved, machine);
      if (p.fits) all.push_back({c, p.iteration_seconds, p.mfu, p.memory.total()});
      Bounds bounds(config(), machine);
      auto const layers = chunk_layers(resolved, c.pipe * c.interleave);
      BOOST_TEST(bounds.seconds(c, layers) <= p.iteration_seconds);
      BOOST_TEST(bounds.bytes(c, layers) <= static_cast<double>(p.memory.total()));
    } catch (Error const&) {
    }
  };
  for (std::int64_t t = 1; t <= gpus; ++t)
    for (std::int64_t c = 1; t * c <= gpus; ++c)
      for (std::int64_t p = 1; t * c * p <= gpus; ++p) {
        if (gpus % (t * c * p)) continue;
        for (std::int64_t b = 1; b <= 8; ++b)
          for (std::int64_t v = 1; v <= 4; ++v)
            for (ScheduleKind kind : {ScheduleKind::one_f_one_b, ScheduleKind::interleaved, ScheduleKind::zero_bubble,
                                      ScheduleKind::zero_bubble_h2})
              for (Recompute recompute : {Recompute::none, Recompute::selective, Recompute::full})
                for (std::int64_t k = 1; k <= (recompute == Recompute::full ? (4 + p * v - 1) / (p * v) : 1); ++k)
                  for (std::int64_t sharding = 0; sharding < (gpus / t / p > 1 ? 3 : 1); ++sharding)
                    for (bool sequence : {false, true}) {
                      bool const chunks = kind == ScheduleKind::interleaved;
                      if ((p == 1 && kind != ScheduleKind::one_f_one_b) || (v > 1) != chunks || (t == 1 && sequence))
                        continue;
                      attempt({t, c, gpus / (t * c * p), p, v, b, k, sharding, kind, recompute, sequence});
                    }
      }
  return all;
}

std::vector<std::pair<double, std::int64_t>> figures(std::vector<Found> const& list) {
  std::vector<std::pair<double, std::int64_t>> all;
  for (Found const& f : list) all.emplace_back(f.seconds, f.bytes);
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(search_)

BOOST_AUTO_TEST_CASE(the_best_are_those_of_everything) {
  Machine machine = small_machine();
  auto all = everything(machine);
  BOOST_TEST_REQUIRE(all.size() > 300u);
  std::ranges::sort(all, {}, &Found::bytes);
  machine.memory_bytes = all[all.size() / 2].bytes;  // half of them do not fit
  std::erase_if(all, [&](Found const& f) { return f.bytes > machine.memory_bytes; });
  std::ranges::sort(all, {}, [](Found const& f) { return std::pair(f.seconds, f.bytes); });
  auto ten = figures(all);
  ten.resize(10);
  for (bool const prune : {true, false}) {
    SearchResult const r = search({config(), gpus, {}, 2, prune}, machine);
    BOOST_TEST((figures(r.best) == ten));
    std::int64_t infeasible = 0;
    for (auto const& [reason, count] : r.infeasible) {
      BOOST_TEST(count > 0, reason);
      BOOST_TEST(reason.find_first_of("0123456789") == std::string::npos, reason);
      infeasible += count;
    }
    BOOST_TEST(r.candidates == infeasible + r.pruned + r.predicted);
    BOOST_TEST(r.infeasible.contains("a rank needs more memory than the machine has"));
    if (prune)
      BOOST_TEST(r.pruned > 0);
    else
      BOOST_TEST(r.predicted == static_cast<std::int64_t>(all.size()));
    // the front: each is the fastest of those that are no larger
    double slower = std::numeric_limits<double>::infinity();
    std::vector<std::pair<double, std::int64_t>> front;
    std::ranges::sort(all, {}, [](Found const& f) { return std::pair(f.bytes, f.seconds); });
    for (Found const& f : all)
      if (f.seconds < slower) slower = f.seconds, front.emplace_back(f.seconds, f.bytes);
    BOOST_TEST((figures(r.front) == front));
    std::ranges::sort(all, {}, [](Found const& f) { return std::pair(f.seconds, f.bytes); });
  }
}

BOOST_AUTO_TEST_CASE(pinned_fields_stay) {
  Config c = config();
  c.layout.tensor = 2, c.train.recompute = Recompute::full, c.layout.schedule = ScheduleKind::zero_bubble;
  SearchResult const r = search({c, gpus, {"layout.tensor", "train.recompute"}, 1}, small_machine());
  BOOST_TEST_REQUIRE(r.best.size() == 10u);
  for (Found const& f : r.best) {
    BOOST_TEST(f.choice.tensor == 2);
    BOOST_CHECK(f.choice.recompute == Recompute::full);
  }
}

// Bounds hold where blocks are of any kind, in layouts with every axis.
BOOST_AUTO_TEST_CASE(bounds_are_bounds_in_drawn_layouts) {
  Machine const machine = small_machine();
  for (std::uint64_t seed = 1; seed <= 60; ++seed) BOOST_TEST_CONTEXT(draw(seed, 24).text()) {
      Config const c = drawn(seed, 24);
      LayoutConfig const& l = c.layout;
      TrainConfig const& t = c.train;
      bool const chunks = l.interleave > 1;
      Choice const choice{l.tensor,
                          l.context,
                          l.data,
                          l.pipe,
                          l.interleave,
                          t.micro_batch,
                          t.recompute_layers,
                          t.optimizer_sharding,
                          chunks ? ScheduleKind::interleaved : l.schedule,
                          t.recompute,
                          l.sequence_parallel};
      Prediction const p = predict(c, machine);
      Bounds bounds(c, machine);
      auto const layers = chunk_layers(c, l.pipe * l.interleave);
      BOOST_TEST(bounds.seconds(choice, layers) <= p.iteration_seconds);
      BOOST_TEST(bounds.bytes(choice, layers) <= static_cast<double>(p.memory.total()));
      BOOST_TEST(bounds.seconds(choice, layers) > 0.2 * p.iteration_seconds);
    }
}

BOOST_AUTO_TEST_SUITE_END()
