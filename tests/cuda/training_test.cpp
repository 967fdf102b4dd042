// Whole trainings on the CUDA backend, run on the host: drawn models and layouts, ranks as threads that share the
// device, against one rank on the CPU backend.
#define BOOST_TEST_MODULE cuda_training
#include <boost/test/unit_test.hpp>

#include "core/error.hpp"
#include "core/text.hpp"
#include "tests/fuzz/compare.hpp"
#include "tests/io/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

constexpr std::int64_t steps = 2;
Settings const fp32{"train.precision=fp32"}, fp32_on_cuda{"train.precision=fp32", "run.backend=cuda"};

void check_same(Draw const& d, Trained const& cpu, Trained const& cuda, double tolerance) {
  BOOST_TEST_CONTEXT(d.text()) {
    for (std::string const& problem : cuda.wrong) BOOST_ERROR(problem);
    for (std::size_t i = 0; i < steps; ++i) {
      BOOST_TEST(cuda.losses[i] == cpu.losses[i], boost::test_tools::tolerance(tolerance));
      BOOST_TEST(cuda.norms[i] == cpu.norms[i], boost::test_tools::tolerance(tolerance));
    }
    BOOST_REQUIRE_EQUAL(compare_names(cpu.gradients, cuda.gradients), "");
    for (Difference const& apart :
         {difference_by_layer(cpu.gradients, cuda.gradients), difference_by_layer(cpu.weights, cuda.weights)})
      BOOST_CHECK_MESSAGE(apart.relative < tolerance, apart.where << " differs by " << apart.relative);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_rank_trains_as_on_the_cpu) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Draw const d = draw(seed, 8);
    Trained const cpu = train_as_threads(config_of(d, false, fp32), {.until = steps}),
                  cuda = train_as_threads(config_of(d, false, fp32_on_cuda), {.until = steps});
    check_same(d, cpu, cuda, 2e-5);
  }
}

BOOST_AUTO_TEST_CASE(every_layout_trains_as_one_rank_on_the_cpu) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Draw const d = draw(seed, 6);
    Trained const cpu = train_as_threads(config_of(d, false, fp32), {.until = steps}),
                  cuda = train_as_threads(config_of(d, true, fp32_on_cuda), {.until = steps});
    check_same(d, cpu, cuda, 2e-5);
  }
}

BOOST_AUTO_TEST_CASE(a_checkpoint_goes_from_one_backend_to_the_other) {
  Draw const d = draw(3, 4);
  for (bool const begins_on_cuda : {true, false}) {
    TemporaryFolder const folder;
    Trained const whole = train_as_threads(config_of(d, true, fp32), {.until = steps}),
                  begun = train_as_threads(config_of(d, true, begins_on_cuda ? fp32_on_cuda : fp32),
                                           {.until = 1, .to = folder.path()}),
                  rest = train_as_threads(config_of(d, true, begins_on_cuda ? fp32 : fp32_on_cuda),
                                          {.until = steps, .from = folder.path()});
    BOOST_TEST(rest.losses.back() == whole.losses.back(), boost::test_tools::tolerance(2e-5));
    BOOST_TEST(difference_by_layer(whole.weights, rest.weights).relative < 2e-5);
  }
}

BOOST_AUTO_TEST_CASE(half_precision_trains) {
  for (std::string const precision : {"bf16", "fp16"}) {
    Draw const d = draw(2, 4);
    Settings const on_cpu{concat("train.precision=", precision), "train.loss_scale=1024"};
    Settings on_cuda = on_cpu;
    on_cuda.push_back("run.backend=cuda");
    Trained const cpu = train_as_threads(config_of(d, false, on_cpu), {.until = steps}),
                  cuda = train_as_threads(config_of(d, true, on_cuda), {.until = steps});
    for (std::string const& problem : cuda.wrong) BOOST_ERROR(problem);
    for (std::size_t i = 0; i < steps; ++i)
      BOOST_TEST(cuda.losses[i] == cpu.losses[i], boost::test_tools::tolerance(2e-2));
  }
}
