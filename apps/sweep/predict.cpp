#include "apps/sweep/predict.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "plan/fit.hpp"
#include "plan/machine_files.hpp"
#include "run/trace.hpp"

namespace selenite::app {
namespace {

struct PredictOptions {
  std::string config, machine, trace;
  std::vector<std::string> settings;
  std::int64_t gpus = 0;
  bool json = false;
};

/// Ranks that the layout says; data = 0 leaves one.
std::int64_t ranks_of(LayoutConfig const& l) {
  double const ranks = static_cast<double>(l.tensor) * static_cast<double>(l.context) * static_cast<double>(l.expert) *
                       static_cast<double>(l.pipe) * static_cast<double>(std::max<std::int64_t>(1, l.data));
  return ranks < 1e12 ? static_cast<std::int64_t>(ranks) : 1;  // resolve refuses such a layout, and says why
}

/// What to change where a rank needs more than it has; empty where it has enough.
std::string advice(Prediction const& p, Config const& config) {
  if (p.fits) return "";
  auto const fit = nearest_fit(config, p.memory_limit);
  if (!fit) return "No change of sharding, recomputation, micro-batch or layout that was tried fits.\n";
  return concat("Nearest that fits: --set ", join(fit->settings, " --set "), " (",
                format_bytes(static_cast<double>(fit->bytes)), " a rank).\n");
}

int predict_command(PredictOptions const& o) {
  Config const given = config_or_preset(o.config, o.settings);
  std::string const& name = o.machine.empty() ? given.machine.name : o.machine;
  validate(name != "auto",
           "A prediction needs a machine (neither --machine nor machine.name says which). Give --machine ",
           machine_names().empty() ? "FILE.toml" : join(machine_names(), ", "),
           ", or measure this one: selenite-sweep calibrate FILE.toml.");
  Machine const machine = named_machine(name);
  Config const config = resolve(given, o.gpus > 0 ? o.gpus : ranks_of(given.layout));
  Prediction const p = predict(config, machine);
  if (!o.trace.empty()) write_file_atomically(o.trace, trace_text(planned_schedule(p.plan, machine)));
  if (o.json)
    std::cout << to_json(p, config, machine).text(2) << "\n";
  else
    std::cout << describe(p, config, machine) << advice(p, config);
  return 0;
}

}  // namespace

void add_predict(CommandLine& line) {
  auto const o = std::make_shared<PredictOptions>();
  auto sub = line.subcommand("predict", "Predict a step's time, what takes it, and memory, on any machine",
                             [o] { return predict_command(*o); });
  sub.option("config", o->config, "A config of selenite-pretrain (TOML), or the name of a preset", true);
  sub.option("--machine", o->machine, "A file of scaling/machines by its name, or a path; default: machine.name");
  sub.option("--gpus,--world", o->gpus, "Ranks; default: what the layout says, with layout.data = 0 as one");
  sub.repeated("--set", o->settings, "Change a field: --set section.key=value; may be given several times");
  sub.flag("--json", o->json, "Print JSON");
  sub.option("--trace", o->trace, "Write every stage's timeline to this file, for Chrome's viewer or Perfetto");
}

Config config_or_preset(std::string const& name, std::vector<std::string> const& settings) {
  auto const presets = preset_names();
  std::error_code ignored;
  if (!std::filesystem::exists(name, ignored) && !name.ends_with(".toml") && name.find('/') == std::string::npos) {
    std::vector<std::string> all{"model.preset=" + name};
    all.insert(all.end(), settings.begin(), settings.end());
    return load_config("", all);
  }
  return load_config(name, settings);
}

JsonObject to_json(Prediction const& p, Config const& config, Machine const& machine) {
  JsonObject memory, exposed;
  for (auto const& [label, bytes] : p.memory.rows()) memory.set(label, bytes);
  for (auto const& [cause, seconds] : p.exposed) exposed.set(cause, seconds);
  JsonObject out{{"machine", machine.name}, {"gpus", make_grid(config.layout).world()}};
  out.set("parameters", p.plan.parameters)
      .set("iteration_seconds", p.iteration_seconds)
      .set("tokens_per_second", p.tokens_per_second)
      .set("model_tflops_per_gpu", p.model_tflops_per_gpu)
      .set("hardware_tflops_per_gpu", p.hardware_tflops_per_gpu)
      .set("mfu", p.mfu)
      .set("hfu", p.hfu)
      .set("peak_tflops", p.peak / 1e12)
      .set("flops_convention", std::string(flops_convention))
      .set("exposed_seconds", exposed)
      .set("exposed_stage", static_cast<std::int64_t>(p.stage))
      .set("memory_bytes", memory)
      .set("memory_stage", static_cast<std::int64_t>(p.plan.fullest()))
      .set("memory_total_bytes", p.memory.total());
  if (p.memory_limit > 0) out.set("memory_limit_bytes", p.memory_limit);
  return out.set("fits", p.fits).set("config", to_json(config));
}

}  // namespace selenite::app
