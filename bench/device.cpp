// Motive: what does a device reach, and what is missing to its ceiling? One question a call, one line of JSON an
// answer, appended to a file, for tests/gpu/check.sh to hold against the goals. Runs on the CPU too, with
// run.backend=cpu.
//   bench_device ceilings [options] [section.key=value ...]   GEMM of random numbers (dense ones pull more power than
//                                                             zeros), for a moment and held; copy bandwidth
//   bench_device step     [options] [section.key=value ...]   training steps: MFU, seconds by cause, idle share, start
//   bench_device kernels  [options] [section.key=value ...]   one step inside cudaProfilerStart and -Stop, for ncu or
//   nsys bench_device layer    [options] [section.key=value ...]   forward and backward of one layer of a tensor shard
// Options: --json FILE; --peak FLOP/s (the data sheet's, the denominator of MFU); --ceiling FLOP/s (of GEMM, measured);
// --seconds S (how long it measures).
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <unistd.h>

#include "bench/support.hpp"
#include "core/cuda_profiler.hpp"
#include "core/error.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "io/json.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"
#include "plan/plan.hpp"
#include "train/step.hpp"

using namespace selenite;

namespace {

struct Options {
  std::string question, json;
  double peak = 0, ceiling = 0, seconds = 3;
  std::vector<std::string> settings;
};

Options parse(std::vector<std::string> const& words) {
  Options o;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string const& w = words[i];
    bool const option = w.starts_with("--");
    validate(!option || i + 1 < words.size(), w, " has no value (the command ends there). Give one.");
    if (w == "--json")
      o.json = words[++i];
    else if (w == "--peak")
      o.peak = parse_double(words[++i], w);
    else if (w == "--ceiling")
      o.ceiling = parse_double(words[++i], w);
    else if (w == "--seconds")
      o.seconds = parse_double(words[++i], w);
    else if (option)
      throw Error(w + " is no option (see the head of bench/device.cpp). Use --json, --peak, --ceiling or --seconds.");
    else if (o.question.empty())
      o.question = w;
    else
      o.settings.push_back(w);
  }
  return o;
}

void answer(Options const& o, JsonObject const& object) {
  std::string const line = object.text();
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
  if (!o.json.empty()) std::ofstream(o.json, std::ios::app) << line << '\n';
}

/// Seconds since this process was started, which is before main.
double since_start() {
  std::ifstream stat("/proc/self/stat"), uptime("/proc/uptime");
  std::string text;
  std::getline(stat, text);
  auto const words = split(text.substr(text.rfind(')') + 2), ' ');
  double up = 0;
  uptime >> up;
  constexpr std::size_t starttime = 22 - 3;  // fields count from 1, and two stand before the ')'
  return up - parse_double(words.at(starttime), "starttime") / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

/// The ranks that this one would have beside it, who neither come nor are waited for: times of what this one computes.
class Alone final : public Comm {
 public:
  explicit Alone(std::int64_t world) : world_(world) {}
  Rank rank() const override { return Rank(0); }
  std::int64_t world() const override { return world_; }
  void set_grid(ProcessGrid const&) override {}
  void do_use(Cuda&) override {}
  void give_up() override {}
  [[noreturn]] void abort(int code) override { std::_Exit(code); }
  void post_note(Rank, std::string const&) override {}
  std::optional<std::string> take_note() override { return std::nullopt; }

 private:
  void do_launch(AllReduce const&) override {}
  void do_launch(AllGather const&) override {}
  void do_launch(ReduceScatter const&) override {}
  void do_launch(Broadcast const&) override {}
  void do_launch(RingShift const&) override {}
  void do_launch(Send const&) override {}
  void do_launch(Recv const&) override {}
  void do_finish(Channel, Tensor const&) override {}
  void do_all_reduce(std::span<double>, Reduction) override {}
  void do_broadcast(std::vector<std::byte>&, Rank) override {}
  std::vector<std::string> do_all_gather(std::string const& text) override { return {text}; }
  void do_barrier() override {}

  std::int64_t world_;
};

/// One rank with its memory, and steps that need no corpus.
class Job {
 public:
  Job(Config const& config, ProcessGrid const& grid)
      : config_(config),
        grid_(grid),
        comm_(grid.world()),
        executor_(config.run.backend, 0),
        stage_(config, grid, Rank(0)) {
    if (config.run.threads > 0) set_threads(static_cast<int>(config.run.threads));
    stage_.take_memory();
    ctx_.emplace(stage_.place(), executor_, &comm_);
    stage_.initialize(*ctx_);
  }
  void step() {
    train_step(*ctx_, stage_, at_, [this](Micro, Batch& b) { fill(b, config_.model.vocab_size); });
  }
  void passes() {
    load_batch(*ctx_, stage_.chunk(), Micro(0), [this](Micro, Batch& b) { fill(b, config_.model.vocab_size); });
    forward_pass(*ctx_, stage_, Chunk(0), Micro(0));
    backward_pass(*ctx_, stage_, Chunk(0), Micro(0));
  }
  Ctx& ctx() { return *ctx_; }
  StageState& stage() { return stage_; }
  std::int64_t steps() const { return at_.step; }

 private:
  Config const& config_;
  ProcessGrid grid_;
  Alone comm_;
  Executor executor_;
  StageState stage_;
  std::optional<Ctx> ctx_;
  Progress at_ = Progress::initial(config_.train);
};

/// Seconds of each of several runs of `body`, which returns when its work is done.
template <class Body>
std::vector<double> timed(double seconds, int least, Body&& body) {
  std::vector<double> all;
  double total = 0;
  while (std::ssize(all) < least || total < seconds) {
    double const start = now();
    body();
    all.push_back(now() - start);
    total += all.back();
  }
  return all;
}

// --- ceilings

void ceilings(Options const& o) {
  Config const config = resolve(load_config("", o.settings), 1);
  Executor executor(config.run.backend, 0);
  bool const device = executor.cuda != nullptr;
  std::int64_t const side = device ? 8192 : 1024, copied = device ? std::int64_t{1} << 30 : 1 << 24;
  std::int64_t const bytes = 3 * side * side * 2 + 2 * copied * 4 + (64 << 20);
  Memory memory(bytes, device ? Memory::Kind::cuda : Memory::Kind::host);
  Arena arena("ceilings", memory.base(), bytes, device ? Device::cuda : Device::cpu);
  Ctx ctx({.grid = ProcessGrid(), .scratch = &arena, .workspace_budget = 32 << 20}, executor, nullptr);
  auto const random = [&](std::uint64_t name) {
    Tensor const t = arena.allocate(DType::bf16, {side, side});
    ctx(InitNormal{.x = t, .name_hash = name, .logical_cols = side, .std = 1});
    return t;
  };
  Gemm const gemm{
      .a = random(1), .b = random(2), .out = arena.allocate(DType::bf16, {side, side}), .transpose_b = true};
  Cast const copy{.x = arena.allocate(DType::fp32, {copied}), .y = arena.allocate(DType::fp32, {copied})};
  auto const run = [&](auto const& op, int times) {
    for (int i = 0; i < times; ++i) ctx(op);
    ctx.synchronize();
  };
  run(gemm, 1), run(copy, 1);
  double const flops = cost(gemm).flops;
  constexpr int burst = 8;
  usleep(200000);  // a device that has rested has its full clock for a moment
  double const moment = burst * flops / median(timed(0, 1, [&] { run(gemm, burst); }));
  auto const held = timed(o.seconds, 8, [&] { run(gemm, burst); });
  double const last = burst * flops / median({held.begin() + std::ssize(held) / 2, held.end()});
  double const rate = cost(copy).bytes / median(timed(0.5, 5, [&] { run(copy, 1); }));
  answer(o, {{"question", "ceilings"},
             {"gemm_moment_flops", moment},
             {"gemm_held_flops", last},
             {"gemm_side", side},
             {"copy_bytes_per_second", rate}});
}

// --- steps

/// Of a step's time on the device, from its first operation to its last: the part in which no lane works.
double idle_share(Timeline const& timeline) {
  std::vector<std::pair<double, double>> spans;
  for (TimelineSpan const& s : timeline.spans())
    if (s.name != "wait") spans.emplace_back(s.start, s.end);
  if (spans.empty()) return 0;
  std::sort(spans.begin(), spans.end());
  double busy = 0, reached = spans.front().first;
  for (auto const& [start, end] : spans) {
    busy += std::max(0.0, end - std::max(start, reached));
    reached = std::max(reached, end);
  }
  return 1 - busy / (reached - spans.front().first);
}

void step(Options const& o) {
  Config const config = resolve(load_config("", o.settings), 1);
  ProcessGrid const grid = make_grid(config.layout);
  Plan const plan = make_plan(config, grid, Rank(0), nullptr);
  Job job(config, grid);
  double const ready = since_start();
  job.step();
  job.ctx().synchronize();
  double const first = since_start();
  job.step();
  auto const seconds = timed(o.seconds, 3, [&] { job.step(); });  // the optimizer asks the device for the loss
  double const s = median(seconds);
  job.ctx().synchronize();
  Timeline timeline;
  job.ctx().set_timeline(&timeline);
  job.ctx().start_timing();
  job.step();
  job.ctx().stop_timing();
  job.ctx().set_timeline(nullptr);
  job.ctx().synchronize();
  CauseSeconds const causes = job.ctx().take_times().value_or(CauseSeconds{});
  double const tokens = static_cast<double>(config.train.global_batch * config.model.sequence_length);
  JsonObject by_cause;
  for (std::size_t i = 0; i < cause_count; ++i) by_cause.set(std::string(name(static_cast<Cause>(i))), causes[i]);
  JsonObject object{{"question", "step"},
                    {"parameters", plan.parameters},
                    {"layers", config.model.layers},
                    {"hidden", config.model.hidden},
                    {"heads", config.model.heads},
                    {"vocabulary", config.model.vocab_size},
                    {"sequence", config.model.sequence_length},
                    {"micro_batch", config.train.micro_batch},
                    {"global_batch", config.train.global_batch},
                    {"settings", join(o.settings, " ")}};
  object.set("step_seconds", s)
      .set("step_seconds_min", *std::ranges::min_element(seconds))
      .set("steps", static_cast<std::int64_t>(seconds.size()))
      .set("tokens_per_second", tokens / s)
      .set("model_flops_per_second", plan.model_flops / s)
      .set("memory_bytes", job.stage().footprint().total())
      .set("ready_seconds", ready)
      .set("first_step_seconds", first)
      .set("time_seconds", by_cause)
      .set("flops_convention", std::string(flops_convention));
  if (DeviceGraphs* const graphs = job.ctx().graphs())  // not in the step that the timeline is of
    object.set("graph_launches", graphs->replays).set("graphs_note", graphs->take_note().value_or(""));
  else
    object.set("idle_share", idle_share(timeline));
  if (o.peak > 0) object.set("mfu", plan.model_flops / s / o.peak);
  if (o.ceiling > 0) object.set("of_ceiling", plan.model_flops / s / o.ceiling);
  answer(o, object);
}

/// The third step, for a profiler to record.
void kernels(Options const& o) {
  Config const config = resolve(load_config("", o.settings), 1);
  Job job(config, make_grid(config.layout));
  job.step(), job.step();
  job.ctx().synchronize();
  CudaProfilerRange const range;
  job.step();
}

// --- a layer

struct Passes {
  double seconds = 0, flops = 0;
};
Passes passes_of(Options const& o, std::int64_t layers) {
  std::vector<std::string> settings = o.settings;
  settings.push_back(concat("model.layers=", layers));
  Config const given = load_config("", settings), config = resolve(given, given.layout.tensor);
  Job job(config, make_grid(config.layout));
  auto const run = [&] {
    job.passes();
    job.ctx().synchronize();
  };
  run(), run();
  job.ctx().tally() = {};
  auto const seconds = timed(o.seconds / 2, 5, run);
  return {median(seconds), job.ctx().tally().flops / static_cast<double>(seconds.size())};
}

/// What a second layer adds: embedding, head and loss are in both.
void layer(Options const& o) {
  Passes const one = passes_of(o, 1), two = passes_of(o, 2);
  double const seconds = two.seconds - one.seconds, rate = (two.flops - one.flops) / seconds;
  JsonObject object{{"question", "layer"}, {"layer_seconds", seconds}, {"flops_per_second", rate}};
  if (o.ceiling > 0) object.set("of_ceiling", rate / o.ceiling);
  answer(o, object);
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, void (*)(Options const&)> const questions{
      {"ceilings", ceilings}, {"step", step}, {"kernels", kernels}, {"layer", layer}};
  try {
    Options const options = parse({argv + 1, argv + argc});
    auto const found = questions.find(options.question);
    validate(found != questions.end(), "\"", options.question,
             "\" is no question. Ask for ceilings, step, kernels or layer.");
    found->second(options);
    return 0;
  } catch (std::exception const& e) {
    std::cerr << "bench_device: " << e.what() << std::endl;
    return 1;
  }
}
