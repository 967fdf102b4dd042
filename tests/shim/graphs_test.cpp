// Passes captured as CUDA graphs: the same training bit for bit as launched one by one, and the same counts.
#define BOOST_TEST_MODULE graphs_shim
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "core/text.hpp"
#include "data/indexed.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"
#include "run/loop.hpp"
#include "tests/contains.hpp"
#include "tests/fuzz/job.hpp"
#include "tests/shim/borrowed_comm.hpp"
#include "tests/shim/cublaslt.hpp"
#include "tests/shim/cudnn.hpp"
#include "tests/shim/streams.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

using Settings = std::vector<std::string>;
Settings operator+(Settings one, Settings const& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}
Settings const graphs{"run.cuda_graphs=true"};
/// Four micro-batches a step.
Settings const small{"model.layers=2",          "model.hidden=16",     "model.heads=2",        "model.vocab_size=32",
                     "model.sequence_length=8", "train.micro_batch=1", "train.global_batch=4", "train.steps=10",
                     "train.precision=fp32",    "run.backend=cuda"};

/// What a training on one rank leaves, of losses those of evaluations too.
struct Left {
  std::vector<double> losses, norms;
  std::vector<float> weights;
  Tally tally;
  double device_flops = 0;
  std::int64_t captures = 0, replays = 0;
  std::optional<std::string> note;
};

/// `steps` steps, an evaluation after the second and the fourth.
Left train(Settings const& settings, std::int64_t steps = 6, std::function<void(OneRank&, std::int64_t)> before = {}) {
  Config const config = config_of(small + settings);
  OneRank rank(config);
  rank.ctx().tally() = {};
  Progress at = Progress::initial(config.train);
  auto const load = [&](Micro micro, Batch& batch) {
    toy_batch(first_sample(config, ProcessGrid(), Rank(0), at.consumed, micro), config.model.vocab_size, batch);
  };
  Left left;
  while (at.step < steps) {
    if (before) before(rank, at.step + 1);
    StepResult const result = train_step(rank.ctx(), rank.stage(), at, load);
    left.losses.push_back(result.loss), left.norms.push_back(result.grad_norm);
    if (at.step == 2 || at.step == 4) left.losses.push_back(evaluate_batches(rank.ctx(), rank.stage(), 3, load).loss);
  }
  rank.ctx().stop_timing();
  rank.ctx().synchronize();
  left.weights = on_host(rank.stage().exact_weights());
  left.tally = rank.ctx().tally(), left.device_flops = rank.device_flops();
  if (DeviceGraphs* const g = rank.ctx().graphs())
    left.captures = g->captures, left.replays = g->replays, left.note = g->take_note();
  BOOST_TEST((rank.stage().measured() == rank.planned()));
  return left;
}

/// NaN equals nothing.
std::vector<double> known(std::vector<double> values) {
  for (double& x : values)
    if (!std::isfinite(x)) x = -1;
  return values;
}
void expect_same(Left const& one, Left const& other) {
  BOOST_TEST(one.losses == other.losses, boost::test_tools::per_element());
  BOOST_TEST(known(one.norms) == known(other.norms), boost::test_tools::per_element());
  BOOST_TEST((one.weights == other.weights));
  BOOST_TEST(one.tally.launches == other.tally.launches);
  BOOST_TEST(one.tally.flops == other.tally.flops);
  BOOST_TEST(one.tally.model_flops == other.tally.model_flops);
  BOOST_TEST(one.tally.hardware_flops == other.tally.hardware_flops);
  BOOST_TEST(one.tally.bytes == other.tally.bytes);
  BOOST_TEST((one.tally.sent == other.tally.sent));
  BOOST_TEST(one.device_flops == other.device_flops);
}

/// The same without and with graphs; gives back the latter.
Left train_both(Settings const& settings) {
  Left const plain = train(settings), captured = train(settings + graphs);
  expect_same(plain, captured);
  BOOST_TEST(plain.captures == 0);
  BOOST_TEST(captured.captures > 0);
  BOOST_TEST(captured.replays > captured.captures);
  BOOST_TEST(!captured.note.has_value());
  return captured;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_training_is_the_same_with_graphs) {
  int const alive = shim::graphs_alive();
  std::int64_t const launches = shim::graph_launches();
  Left const captured = train_both({});
  // one slot: forward, backward, and the forward pass of evaluations, each captured when it comes the second time
  BOOST_TEST(captured.captures == 3);
  BOOST_TEST(captured.replays == 2 * (6 * 4 - 1) + 2 * 3 - 1);
  BOOST_TEST(shim::graph_launches() - launches == captured.replays);
  BOOST_TEST(shim::graphs_alive() == alive);
}

BOOST_AUTO_TEST_CASE(with_every_kind_of_pass) {
  Settings const dropout{"model.hidden_dropout=0.1", "model.attention_dropout=0.1"};
  for (Settings const& settings :
       {dropout, dropout + Settings{"train.recompute=full"},
        dropout + Settings{"train.recompute=full", "train.recompute_layers=2"},
        dropout + Settings{"train.recompute=selective", "model.activation=swiglu", "model.norm=rmsnorm"},
        Settings{"model.attention=matrix", "model.attention_dropout=0.1", "train.recompute=selective"},
        Settings{"data.document_mask=parts", "model.positions=rotary", "model.tied_embeddings=true"},
        Settings{"train.precision=bf16", "layout.overlap=gradients,parameters"}})
    BOOST_TEST_CONTEXT(join(settings, " ")) { train_both(settings); }
}

BOOST_AUTO_TEST_CASE(in_8_bits) {
  Settings const fp8{"train.precision=fp8", "train.fp8_history=2", "model.hidden=32", "model.sequence_length=16"};
  train_both(fp8);
  train_both(fp8 + Settings{"layout.overlap=parameters"});  // weights are rounded when a pass waits for them
}

BOOST_AUTO_TEST_CASE(with_the_librarys_attention) {
  std::int64_t const before = shim::dnn_runs_of_all_threads();
  train_both({"train.precision=bf16", "run.attention_library=cudnn", "model.head_dim=16", "model.sequence_length=16"});
  BOOST_TEST(shim::dnn_runs_of_all_threads() > before);
}

BOOST_AUTO_TEST_CASE(a_changed_seed_of_backward_makes_its_graph_anew) {
  Left const ramp = train_both({"train.batch_ramp=0:1,1:2,3:4"});
  BOOST_TEST(ramp.captures > 3);
  // 2^2, 2^3, ...: each holds for a step
  Left const growing = train_both({"train.precision=fp16", "train.loss_scale_initial=4", "train.loss_scale_window=1"});
  BOOST_TEST(growing.captures == 2 + 6);
  // halved until nothing overflows
  Left const falling =
      train_both({"train.precision=fp16", "train.loss_scale_initial=8388608", "train.loss_scale_hysteresis=1"});
  auto const skipped = std::ranges::count(known(falling.norms), -1);
  BOOST_TEST((skipped > 0 && skipped < 6));
}

BOOST_AUTO_TEST_CASE(steps_whose_time_is_taken_are_launched_one_by_one) {
  Left const plain = train({});
  std::int64_t replays = 0;
  Left const timed = train(graphs, 6, [&](OneRank& rank, std::int64_t step) {
    rank.ctx().stop_timing();
    if (step == 5) rank.ctx().start_timing(), replays = rank.ctx().graphs()->replays;
    if (step == 6) BOOST_TEST(rank.ctx().graphs()->replays == replays);
  });
  expect_same(plain, timed);
  BOOST_TEST(replays > 0);
  BOOST_TEST(timed.replays > replays);
}

// --- what can't be captured

namespace {

/// Of the products that come only so many can be captured, while this is there.
struct NoneCaptured {
  explicit NoneCaptured(std::int64_t but = 0) { shim::lt_record().capturable = but; }
  ~NoneCaptured() { shim::lt_record().capturable = INT64_MAX; }
  NoneCaptured(NoneCaptured const&) = delete;
  NoneCaptured& operator=(NoneCaptured const&) = delete;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_library_that_cant_be_captured_is_launched_one_by_one_for_good) {
  Left const plain = train({});
  NoneCaptured const plant;
  Left const captured = train(graphs);
  expect_same(plain, captured);
  BOOST_TEST(captured.captures == 0);
  BOOST_TEST(captured.replays == 0);
  BOOST_TEST_REQUIRE(captured.note.has_value());
  BOOST_TEST(contains(*captured.note, "run.cuda_graphs is not followed from here on: A call of cuBLASLt failed"),
             *captured.note);
}

BOOST_AUTO_TEST_CASE(nothing_is_left_of_a_capture_that_fails_on_its_way) {
  Settings const settings{"model.layers=3", "train.recompute=full", "train.global_batch=2"};
  Left const plain = train(settings, 3);
  for (std::int64_t products = 0; products < 60; products += 7) {
    NoneCaptured const plant(products);
    Left const captured = train(settings + graphs, 3);
    expect_same(plain, captured);
    BOOST_TEST(captured.note.has_value());
  }
}

BOOST_AUTO_TEST_CASE(after_graphs_were_used_too) {
  Left const plain = train({"train.batch_ramp=0:4,8:8", "train.global_batch=8"});
  std::optional<NoneCaptured> plant;
  Left const captured =
      train(graphs + Settings{"train.batch_ramp=0:4,8:8", "train.global_batch=8"}, 6, [&](OneRank&, std::int64_t step) {
        if (step == 3) plant.emplace();
      });
  expect_same(plain, captured);
  BOOST_TEST(captured.replays > 0);
  BOOST_TEST(captured.note.has_value());
}

namespace {

/// Work on a device, of which some is repeated.
struct OnDevice {
  Memory memory{1 << 20, Memory::Kind::cuda};
  Arena save{"slot", memory.base(), 1 << 19, Device::cuda},
      scratch{"scratch", memory.base() + (1 << 19), 1 << 19, Device::cuda};
  CudaLanes lanes{0};
  std::unique_ptr<Comm> comm = make_self_comm();
  Ctx ctx{{.grid = ProcessGrid(), .save = &save, .scratch = &scratch, .workspace_budget = 1 << 16, .cuda_graphs = true},
          lanes,
          comm.get()};
  std::vector<float> values = std::vector<float>(8, 0);
  int state = 0;
  Tensor x() { return Tensor::of(values.data(), {8}); }
  Fill fill(double value) { return {.x = x(), .value = value}; }
  void repeat(std::uint64_t key, std::function<void()> const& body) { ctx.repeated({.place = {key}}, state, body); }
};

}  // namespace

BOOST_AUTO_TEST_CASE(what_a_host_or_another_lane_must_do_is_not_captured) {
  std::vector<std::pair<std::string, std::function<void(OnDevice&)>>> const planted{
      {"operation not permitted", [](OnDevice& d) { d.ctx.synchronize(); }},
      {"operation not permitted", [](OnDevice& d) { static_cast<void>(d.ctx.fetch(d.x(), 0)); }},
      {"operation not permitted", [](OnDevice&) { Memory const memory(256, Memory::Kind::cuda); }},
      {"other lanes", [](OnDevice& d) { d.ctx.wait(d.ctx.on(Lane::comm, [&] { d.ctx(d.fill(1)); })); }},
      {"other lanes", [](OnDevice& d) { d.ctx.wait({}); }},
      {"other lanes", [](OnDevice& d) { d.ctx.now_on_lane(); }}};
  for (auto const& [why, illegal] : planted) {
    OnDevice d;
    for (int run = 1; run <= 4; ++run) {
      std::int64_t const before = d.ctx.tally().launches;
      d.repeat(1, [&] {
        Tensor const kept = d.ctx.save(DType::fp32, {8});
        d.ctx(Add{.x = d.x(), .y = d.x()});
        illegal(d);
        d.ctx(d.fill(run));
        d.state = static_cast<int>(kept.raw() - d.memory.base()) + run;
      });
      BOOST_TEST(d.values[0] == run);
      BOOST_TEST(d.state == run);
      BOOST_TEST(d.ctx.tally().launches - before >= 2);
      BOOST_TEST(d.save.mark() == 256);
      d.save.release(0);
    }
    auto const note = d.ctx.graphs()->take_note();
    BOOST_TEST_REQUIRE(note.has_value());
    BOOST_TEST(contains(*note, why), *note);
    BOOST_TEST(!d.ctx.graphs()->take_note());
    BOOST_TEST(d.ctx.graphs()->replays == 0);
  }
}

BOOST_AUTO_TEST_CASE(a_replay_leaves_on_the_host_what_the_captured_run_did) {
  OnDevice d;
  int runs = 0;
  for (int i = 0; i < 5; ++i) {
    d.state = 0;
    d.repeat(1, [&] {
      ++runs;
      static_cast<void>(d.ctx.save(DType::fp32, {100}));
      d.ctx(d.fill(3)), d.ctx(Add{.x = d.x(), .y = d.x()});
      d.state = 7;
    });
    BOOST_TEST(d.state == 7);
    BOOST_TEST(d.values[5] == 6);
    BOOST_TEST(d.save.mark() == 512);
    BOOST_TEST(d.ctx.tally().launches == 2 * (i + 1));
    d.values[5] = 0;
    d.save.release(0);
  }
  BOOST_TEST(runs == 2);
  // elsewhere in the slot the same is something else
  static_cast<void>(d.save.allocate(DType::fp32, {1}));
  d.repeat(1, [&] { ++runs; });
  BOOST_TEST(runs == 3);
}

BOOST_AUTO_TEST_CASE(graphs_are_bounded) {
  OnDevice d;
  int const alive = shim::graphs_alive();
  for (int i = 0; i < 3; ++i)
    for (std::uint64_t key = 0; key < DeviceGraphs::most + 10; ++key) {
      d.repeat(key, [&] { d.ctx(d.fill(static_cast<double>(key))); });
      BOOST_TEST(d.values[0] == static_cast<float>(key));
    }
  BOOST_TEST(d.ctx.graphs()->captures == static_cast<std::int64_t>(DeviceGraphs::most));
  BOOST_TEST(shim::graphs_alive() - alive == static_cast<int>(DeviceGraphs::most));
}

BOOST_AUTO_TEST_CASE(a_graph_is_launched_behind_what_its_stream_has) {
  OnDevice d;
  auto const stream = d.lanes.stream(Lane::compute);
  std::vector<float> from(8, 1), to(8, 0);
  auto const copy = [&] { d.ctx.upload(Tensor::of(from.data(), {8}), Tensor::of(to.data(), {8})); };
  for (int i = 0; i < 2; ++i) d.repeat(1, copy);
  BOOST_TEST(to[7] == 1);
  from[7] = 2;
  shim::hold(stream);
  d.repeat(1, copy);
  Event const done = d.ctx.now_on_lane();
  BOOST_TEST(to[7] == 1);
  shim::release(stream);
  d.ctx.wait_on_host(done);
  BOOST_TEST(to[7] == 2);
  BOOST_TEST(d.ctx.graphs()->replays == 2);
}

// --- several ranks

namespace {

/// Thread ranks train without and with graphs; how many were launched.
std::int64_t train_ranks(Settings const& settings, std::int64_t ranks, Wrap const& wrap = {}) {
  auto const run = [&](Settings const& all) {
    Config const config = resolve(parse_config("", small + all, "test"), ranks);
    return train_as_threads(config, {.until = 4}, wrap);
  };
  Trained const plain = run(settings);
  std::int64_t const before = shim::graph_launches();
  Trained const captured = run(settings + graphs);
  for (std::string const& problem : captured.wrong) BOOST_ERROR(problem);  // FLOPs and bytes as planned
  BOOST_TEST(captured.losses == plain.losses, boost::test_tools::per_element());
  BOOST_TEST(captured.norms == plain.norms, boost::test_tools::per_element());
  for (auto const& [name, whole] : plain.weights) BOOST_TEST((whole.values == captured.weights.at(name).values), name);
  for (auto const& [name, whole] : plain.gradients)
    BOOST_TEST((whole.values == captured.gradients.at(name).values), name);
  BOOST_TEST(shim::graphs_alive() == 0);
  return shim::graph_launches() - before;
}

std::unique_ptr<Comm> nccl(Comm& threads) { return make_nccl_comm(std::make_unique<BorrowedComm>(threads)); }

}  // namespace

BOOST_AUTO_TEST_CASE(pipelines_are_the_same_with_graphs) {
  for (Settings const& settings :
       {Settings{"layout.pipe=2", "model.layers=4", "layout.interleave=2", "train.recompute=selective"},
        Settings{"layout.pipe=2", "train.recompute=full", "train.batch_ramp=0:4,8:8", "train.global_batch=8"},
        Settings{"layout.pipe=2", "model.layers=4", "layout.interleave=2", "layout.interleave_group=4",
                 "train.global_batch=8"},  // three send buffers
        Settings{"layout.pipe=2", "layout.schedule=zero_bubble"},
        Settings{"layout.pipe=2", "layout.schedule=zero_bubble_h2", "model.tied_embeddings=true"}})
    for (Wrap const& wrap : {Wrap(), Wrap(nccl)}) BOOST_TEST_CONTEXT(join(settings, " ")) {
        BOOST_TEST(train_ranks(settings + Settings{"model.hidden_dropout=0.1"}, 2, wrap) > 0);
      }
}

BOOST_AUTO_TEST_CASE(passes_with_collectives_are_not_captured) {
  Settings const data{"layout.data=2", "train.global_batch=8", "train.bucket_bytes=20000"};
  // 4 steps, 2 ranks, 4 micro-batches: each pass but the first; where they overlap, not the last backward passes of a
  // step, nor the first forward passes
  BOOST_TEST(train_ranks(data, 2, nccl) == 2 * (2 * (4 * 4 - 1)));
  BOOST_TEST(train_ranks(data + Settings{"layout.overlap=gradients"}, 2, nccl) == 2 * (4 * 4 - 1 + 4 * 3 - 1));
  BOOST_TEST(train_ranks(data + Settings{"layout.overlap=parameters", "train.optimizer_sharding=1"}, 2, nccl) ==
             2 * (4 * 3 - 1 + 4 * 4 - 1));
  // sharded gradients leave in every backward pass
  BOOST_TEST(train_ranks(data + Settings{"train.optimizer_sharding=2"}, 2, nccl) == 2 * (4 * 4 - 1));
  // exchanges within the passes, which the log says at the start
  Config const tensor = resolve(parse_config("", small + graphs + Settings{"layout.tensor=2"}, "test"), 2);
  CudaLanes lanes(0);
  StageState(tensor, make_grid(tensor.layout), Rank(0)).prepare(lanes.cuda());
  BOOST_TEST(lanes.cuda().notes.contains(
      "run.cuda_graphs captures nothing here (tensor or context ranks exchange within every pass)"));
  for (std::string const axis : {"layout.tensor=2", "layout.context=2"}) BOOST_TEST(train_ranks({axis}, 2, nccl) == 0);
}

// --- whole runs

namespace {

/// A folder with a corpus, and runs in folders of it.
class Runs {
 public:
  Runs() {
    std::string pattern = (std::filesystem::temp_directory_path() / "selenite-graphs-XXXXXX").string();
    BOOST_TEST_REQUIRE(mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
    IndexedWriter writer(folder_ / "corpus", TokenType::uint16);
    for (int document = 0; document < 40; ++document) {
      std::vector<std::int32_t> tokens(30);
      for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = static_cast<std::int32_t>((i * i + static_cast<std::size_t>(document)) % 32);
      auto const length = static_cast<std::int32_t>(tokens.size());
      writer.add_document(tokens, {&length, 1});
    }
    writer.finish();
  }
  ~Runs() { std::filesystem::remove_all(folder_); }
  Runs(Runs const&) = delete;
  Runs& operator=(Runs const&) = delete;

  /// Losses, norms and validation losses as text, to the last bit; what is logged goes to lines().
  std::vector<std::string> run(std::string const& name, Settings const& more) {
    std::filesystem::path const folder = folder_ / name;
    std::filesystem::create_directories(folder);
    Config const config =
        config_of(small +
                  Settings{"data.train=" + (folder_ / "corpus").string(), "data.cache=" + (folder_ / "cache").string(),
                           "data.split=8,2,0", "run.folder=" + folder.string(), "machine.name=dgx-h100",
                           "log.tensorboard=false", "log.every=3", "train.valid_every=4", "train.valid_batches=1"} +
                  more);
    lines_.clear();
    RunLog log(
        folder / "log.txt", [&](RunLog::Kind, std::string const& text) { lines_ += text + "\n"; }, true);
    RunRecord record;
    auto const comm = make_self_comm();
    BOOST_TEST((pretrain(config, *comm, record, log) == Ending::finished));
    std::vector<std::string> figures;
    std::ifstream metrics(folder / "metrics.jsonl");
    for (std::string line; std::getline(metrics, line);)
      for (std::string const what : {"\"step\"", "\"loss\"", "\"grad_norm\"", "\"valid_loss\""})
        if (auto const at = line.find(what); at != std::string::npos)
          figures.push_back(line.substr(at, line.find_first_of(",}", at) - at));
    return figures;
  }
  std::string const& lines() const { return lines_; }

 private:
  std::filesystem::path folder_;
  std::string lines_;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_run_that_is_resumed_is_the_same_with_graphs) {
  Runs runs;
  Settings const first{"train.steps=8"};
  runs.run("plain", first);
  auto const plain = runs.run("plain", {});
  BOOST_TEST(plain.size() >= 3u * 10);
  std::int64_t const before = shim::graph_launches();
  BOOST_TEST(runs.run("captured", graphs + first).size() < plain.size());
  BOOST_TEST(runs.run("captured", graphs) == plain, boost::test_tools::per_element());
  BOOST_TEST(shim::graph_launches() > before + 20);
  BOOST_TEST(!contains(runs.lines(), "run.cuda_graphs"), runs.lines());
}

BOOST_AUTO_TEST_CASE(a_run_says_that_its_graphs_cant_be_made) {
  Runs runs;
  NoneCaptured const plant;
  static_cast<void>(runs.run("run", graphs));
  std::string const note = "Rank 0: run.cuda_graphs is not followed from here on: A call of cuBLASLt failed";
  auto const at = runs.lines().find(note);
  BOOST_TEST((at != std::string::npos && runs.lines().find(note, at + 1) == std::string::npos), runs.lines());
}
