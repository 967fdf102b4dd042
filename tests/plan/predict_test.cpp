// A prediction's causes add up to its time, and each is what it says.
#include "plan/predict.hpp"

#include <boost/test/unit_test.hpp>
#include <map>

#include "core/text.hpp"
#include "plan/machine_files.hpp"
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::map<std::string, double> causes(Prediction const& p) { return {p.exposed.begin(), p.exposed.end()}; }

void check_sum(Config const& config) {
  Prediction const p = predict(config, small_machine());
  double sum = 0;
  for (auto const& [cause, seconds] : p.exposed) {
    BOOST_TEST(seconds >= -1e-12 * p.iteration_seconds, cause << ": " << seconds);
    sum += seconds;
  }
  BOOST_TEST(std::abs(sum / p.iteration_seconds - 1) < 1e-9, sum << " of " << p.iteration_seconds);
  for (Axis axis : {Axis::tensor, Axis::context, Axis::data, Axis::pipe})
    if (make_grid(config.layout).size(axis) == 1)
      BOOST_TEST(causes(p).at(concat("communication_", name(axis))) == 0, name(axis));
}

std::vector<std::string> with(std::vector<std::string> settings, std::vector<std::string> const& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}
std::vector<std::string> const small{"model.layers=4",       "model.hidden=64",          "model.heads=4",
                                     "model.vocab_size=500", "model.sequence_length=32", "train.global_batch=8",
                                     "train.steps=1"};

}  // namespace

BOOST_AUTO_TEST_SUITE(predict_)

BOOST_AUTO_TEST_CASE(causes_add_up_to_the_iteration) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) BOOST_TEST_CONTEXT(draw(seed, 24).text()) {
      check_sum(drawn(seed, 24));
    }
  for (auto const& settings : long_pipelines()) BOOST_TEST_CONTEXT(join(settings, " ")) {
      check_sum(resolved(settings, 24));
    }
}

BOOST_AUTO_TEST_CASE(one_rank_waits_for_nobody) {
  Prediction const p = predict(resolved(small, 1), small_machine());
  auto const c = causes(p);
  BOOST_TEST(c.at("bubble") == 0);
  BOOST_TEST(c.at("recompute") == 0);
  for (char const* cause : {"gemm", "attention", "memory_bound", "optimizer"}) BOOST_TEST(c.at(cause) > 0, cause);
  Tally const& step = p.plan.step;
  BOOST_TEST(c.at("gemm") == step.seconds[static_cast<std::size_t>(Cause::gemm)], boost::test_tools::tolerance(1e-9));
  BOOST_TEST(p.mfu == p.plan.model_flops / p.iteration_seconds / 1e12, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(p.hfu == p.mfu);
}

// What is made again is what the forward pass of the blocks takes, and nothing else changes.
BOOST_AUTO_TEST_CASE(recomputation_is_a_cause_of_its_own) {
  auto const none = causes(predict(resolved(small, 1), small_machine())),
             full = causes(predict(resolved(with(small, {"train.recompute=full"}), 1), small_machine()));
  for (char const* cause : {"gemm", "attention", "memory_bound", "optimizer"})
    BOOST_TEST(full.at(cause) == none.at(cause), boost::test_tools::tolerance(1e-9));
  BOOST_TEST(full.at("recompute") > 0.1 * none.at("gemm"));
}

// Two stages and one micro-batch: the activations and their gradient are waited for on their way.
BOOST_AUTO_TEST_CASE(messages_between_stages_take_time) {
  auto const settings = with(small, {"layout.pipe=2", "train.micro_batch=8", "train.precision=fp32"});
  Machine slow = small_machine(), fast = slow;
  slow.link_bandwidth = fast.link_bandwidth / 2;
  Prediction const p = predict(resolved(settings, 2), slow), q = predict(resolved(settings, 2), fast);
  double const bytes = 8 * 32 * 64 * 4;
  BOOST_TEST(p.plan.stages[0].seconds.chunks[0].forward_message ==
                 slow.cluster.collective_seconds + slow.link_latency + bytes / slow.link_bandwidth,
             boost::test_tools::tolerance(1e-12));
  BOOST_TEST(p.plan.stages[1].seconds.chunks[0].backward_message ==
                 slow.cluster.collective_seconds + slow.link_latency + bytes / slow.link_bandwidth,
             boost::test_tools::tolerance(1e-12));
  BOOST_TEST(p.plan.stages[1].seconds.chunks[0].forward_message == 0);
  double const later = bytes / slow.link_bandwidth - bytes / fast.link_bandwidth;
  BOOST_TEST(p.plan.played.spans[1][0].start - q.plan.played.spans[1][0].start == later,
             boost::test_tools::tolerance(1e-9));
  BOOST_TEST(causes(p).at("communication_pipe") >= causes(q).at("communication_pipe") + later);
}

// With gradients hidden behind the backward pass less of them is waited for.
BOOST_AUTO_TEST_CASE(what_goes_beside_work_is_not_exposed) {
  auto const settings = with(small, {"layout.data=4", "train.bucket_bytes=20000"});
  auto const apart = causes(predict(resolved(settings, 4), small_machine())),
             beside = causes(predict(resolved(with(settings, {"layout.overlap=gradients"}), 4), small_machine()));
  BOOST_TEST(beside.at("communication_data") < apart.at("communication_data"));
  BOOST_TEST(beside.at("communication_data") > 0);
  // which slows the work beside it, on a machine that says so
  BOOST_TEST(beside.at("gemm") > apart.at("gemm"));
  BOOST_TEST(beside.at("gemm") < 1.12 * apart.at("gemm"));
}

BOOST_AUTO_TEST_CASE(memory_is_the_fullest_ranks) {
  Config const config = resolved(long_pipelines()[0], 24);
  Machine machine = small_machine();
  Prediction const p = predict(config, machine);
  std::int64_t most = 0;
  for (StagePlan const& s : p.plan.stages) most = std::max(most, s.footprint.total());
  BOOST_TEST(p.memory.total() == most);
  BOOST_TEST(p.fits);
  machine.memory_bytes = most;
  BOOST_TEST(predict(config, machine).fits);
  machine.memory_bytes = most - 1;
  BOOST_TEST(!predict(config, machine).fits);
}

BOOST_AUTO_TEST_CASE(a_machine_that_is_not_there_is_named) {
  auto const message = [](std::string const& name) {
    try {
      named_machine(name);
    } catch (Error const& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  BOOST_TEST(message("no-such-machine").find("There is no machine \"no-such-machine\"") == 0,
             message("no-such-machine"));
  BOOST_TEST(message("none/machine.toml").find("none/machine.toml") != std::string::npos);
  for (std::string const& name : machine_names()) BOOST_TEST(!named_machine(name).name.empty(), name);
}

BOOST_AUTO_TEST_SUITE_END()
