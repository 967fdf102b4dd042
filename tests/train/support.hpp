#pragma once
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "plan/plan.hpp"
#include "train/step.hpp"

namespace selenite::test {

/// A resolved config of one rank from `--set` texts.
inline Config config_of(std::vector<std::string> const& settings) {
  return resolve(parse_config("", settings, "test"), 1);
}

/// One rank with its memory: what the loop of a run holds, without files. A layout of ones asks for no communicator;
/// one that is given counts.
class OneRank {
 public:
  explicit OneRank(Config const& config, Comm* comm = nullptr)
      : grid_(make_grid(config.layout)), stage_(config, grid_, Rank(0)), planned_(stage_.footprint()) {
    stage_.take_memory();
    ctx_ = std::make_unique<Ctx>(stage_.place(), executor_, comm);
    stage_.initialize(*ctx_);
  }
  StepResult step(std::int64_t number, LoadBatch const& load) {
    Progress at = Progress::initial(stage_.config().train);
    at.step = number - 1, at.consumed = (number - 1) * stage_.config().train.global_batch;
    return train_step(*ctx_, stage_, at, load);
  }
  /// Passes of all micro-batches of a step, without the optimizer: gradients stay, times backward_seed().
  void accumulate(LoadBatch const& load) {
    for (std::int64_t micro = 0; micro < stage_.schedule().micros; ++micro) {
      // slot 0 holds every one of them
      load_batch(*ctx_, stage_.chunk(), Micro(0), [&](Micro, Batch& b) { load(Micro(micro), b); });
      forward_pass(*ctx_, stage_, Chunk(0), Micro(0));
      backward_pass(*ctx_, stage_, Chunk(0), Micro(0));
      ctx_->synchronize();  // before the slot is loaded again
    }
  }
  StageState& stage() { return stage_; }
  Ctx& ctx() { return *ctx_; }
  Cpu& cpu() { return executor_.cpu; }
  /// From the sizes handed to the libraries of the device.
  double device_flops() const { return executor_.cuda->cuda().flops; }
  Footprint const& planned() const { return planned_; }

 private:
  ProcessGrid grid_;
  StageState stage_;
  Footprint planned_;
  Executor executor_{stage_.config().run.backend, 0};
  std::unique_ptr<Ctx> ctx_;
};

/// The elements of a contiguous fp32 tensor, wherever it lies; what was to be done on it must be done.
inline std::vector<float> on_host(Tensor const& x) {
  std::vector<float> values(static_cast<std::size_t>(x.count()));
  copy_to_host(values.data(), x.raw(), x.bytes(), x.device());
  return values;
}

/// The word behind "--<name>" on the test's command line, after "--".
inline std::string option(std::string const& name, std::string const& otherwise) {
  auto const& suite = boost::unit_test::framework::master_test_suite();
  for (int i = 1; i + 1 < suite.argc; ++i)
    if (suite.argv[i] == "--" + name) return suite.argv[i + 1];
  return otherwise;
}
/// The setting that chooses what the test runs on: "--backend cuda" on the command line, else the CPU.
/// Without a device the test ends, skipped, and says so.
inline std::string backend() {
  std::string const name = option("backend", "cpu");
  if (name == "cuda" && cuda_devices() == 0) {
    std::puts("Skipped: there is no CUDA device here.");
    std::fflush(stdout);
    constexpr int skipped = 77;  // CTest's SKIP_RETURN_CODE
    std::_Exit(skipped);
  }
  return "run.backend=" + name;
}

inline void fill_row(Batch& batch, std::int64_t row, std::int64_t place, std::int64_t sample, std::int64_t token,
                     std::int64_t label, std::int64_t start, bool counted) {
  batch.tokens.data<std::int32_t>()[row] = static_cast<std::int32_t>(token);
  batch.labels.data<std::int32_t>()[row] = static_cast<std::int32_t>(label);
  batch.weights.data<std::uint8_t>()[row] = counted;
  batch.positions.data<std::int32_t>()[row] = static_cast<std::int32_t>(place - start);
  batch.places.data<std::int32_t>()[row] = static_cast<std::int32_t>(place);
  if (batch.document_starts.defined())
    batch.document_starts.data<std::int32_t>()[row] = static_cast<std::int32_t>(start);
  batch.token_samples.data<std::int64_t>()[row] = sample;
}

/// A batch of a language that can be learned: token = a fixed function of the one before, now and then any. Pure in the
/// sample number, so that the same samples come whatever the micro-batch.
inline void toy_batch(std::int64_t first, std::int64_t vocab, Batch& batch) {
  for (std::int64_t s = 0; s < batch.samples; ++s) {
    std::int64_t const sample = first + s;
    auto draw = [&](std::int64_t i) {
      return philox({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(sample), 7, 7}, 99)[0];
    };
    std::int64_t token = draw(-1) % vocab, start = 0;
    batch.sample_ids.data<std::int64_t>()[s] = sample;
    std::vector<std::int64_t> row_of(static_cast<std::size_t>(batch.sequence * batch.context_ranks), -1);
    for (std::int64_t i = 0; i < batch.sequence; ++i)
      row_of[static_cast<std::size_t>(batch.place(i))] = s * batch.sequence + i;
    for (std::int64_t i = 0; i < std::ssize(row_of); ++i) {
      std::int64_t const row = row_of[static_cast<std::size_t>(i)];
      bool const jump = draw(i) % 16 == 0;
      std::int64_t const next = jump ? draw(i + 100000) % vocab : (token * 5 + 3) % vocab;
      if (row >= 0) fill_row(batch, row, i, sample, token, next, start, draw(i + 200000) % 8 != 0);
      if (jump && batch.document_starts.defined()) start = i + 1;
      token = next;
    }
  }
}

inline LoadBatch toy_loader(Config const& config, std::int64_t step) {
  return [&config, step](Micro micro, Batch& batch) {
    toy_batch((step - 1) * config.train.global_batch + *micro * config.train.micro_batch, config.model.vocab_size,
              batch);
  };
}

/// The losses of `steps` steps on the toy language.
inline std::vector<double> toy_losses(OneRank& rank, std::int64_t steps) {
  std::vector<double> losses;
  for (std::int64_t i = 1; i <= steps; ++i) losses.push_back(rank.step(i, toy_loader(rank.stage().config(), i)).loss);
  return losses;
}

}  // namespace selenite::test
