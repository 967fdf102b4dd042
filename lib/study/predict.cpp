#include "study/predict.hpp"

#include <algorithm>
#include <filesystem>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "io/record.hpp"
#include "plan/machine_files.hpp"
#include "plan/predict.hpp"
#include "study/driver.hpp"

namespace selenite {
namespace {

std::string shortage(Footprint const& needed, Machine const& machine) {
  if (machine.memory_bytes == 0 || needed.total() <= machine.memory_bytes) return "";
  auto rows = needed.rows();
  std::ranges::stable_sort(rows, std::greater<>(), [](auto const& row) { return row.second; });
  std::string parts;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, rows.size()); ++i)
    parts += concat(i ? ", " : "", rows[i].first, " ", format_bytes(static_cast<double>(rows[i].second)));
  return concat("Its fullest rank needs ", format_bytes(static_cast<double>(needed.total())), " but ", machine.name,
                " has ", format_bytes(static_cast<double>(machine.memory_bytes)), " a rank (", parts,
                "). Use more tensor or pipeline ranks, recomputation or a smaller micro-batch.");
}

Machine machine_of(Point const& point, std::string const& study_folder) {
  std::string const& name = point.config.machine.name;
  if (name != "auto") return named_machine(name);
  std::string const measured = machine_file(study_folder, point.ranks);
  validate(std::filesystem::exists(measured), "Nothing is known of the machine that ", point.name,
           " is to be predicted for (the study names none). Give study.machine, or run the study first: that measures "
           "this machine into ",
           measured, ".");
  return load_machine(measured);
}

JsonObject summary_of(Prediction const& p, Machine const& machine) {
  JsonObject out{{"machine", machine.name}, {"steps", std::int64_t{1}}, {"step_seconds", p.iteration_seconds}};
  out.set("tokens_per_second", p.tokens_per_second)
      .set("model_tflops_per_rank", p.model_tflops_per_gpu)
      .set("hardware_tflops_per_rank", p.hardware_tflops_per_gpu)
      .set("mfu", p.mfu)
      .set("hfu", p.hfu)
      .set("peak_tflops", p.peak / 1e12)
      .set("flops_convention", std::string(flops_convention))
      .set("predicted_step_seconds", p.iteration_seconds)
      .set("parameters", p.plan.parameters);
  JsonObject memory, time;
  for (auto const& [label, bytes] : p.memory.rows()) memory.set(label, bytes);
  for (auto const& [cause, seconds] : p.exposed) time.set(cause, seconds);
  out.set("memory_bytes", memory).set("time_seconds", time);
  if (p.memory_limit > 0) out.set("memory_limit", p.memory_limit);
  if (!p.fits) out.set("does_not_fit", shortage(p.memory, machine));
  return out;
}

}  // namespace

std::string prediction_file(std::string const& study_folder, Point const& point) {
  return concat(study_folder, "/", point.folder_name(), "/predicted.json");
}

std::string memory_shortage(Point const& point, Machine const& machine) {
  if (machine.memory_bytes == 0) return "";
  Plan const plan = make_plan(point.config, make_grid(point.config.layout), Rank(0), nullptr);
  return shortage(plan.stages[plan.fullest()].footprint, machine);
}

RunResult predict_point(Point const& point, std::string const& study_folder) {
  Machine const machine = machine_of(point, study_folder);
  RunRecord record{.program = "selenite-sweep",
                   .config = point.config,
                   .ranks = point.ranks,
                   .started = timestamp(),
                   .result = "predicted"};
  record.summary = summary_of(predict(point.config, machine), machine);
  record.ended = timestamp();
  std::string const file = prediction_file(study_folder, point);
  make_folder(std::filesystem::path(file).parent_path());
  write_record(file, record);
  return read_run(file);
}

}  // namespace selenite
