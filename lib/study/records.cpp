#include "study/records.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"

namespace selenite {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::array<std::string_view, 7> status_names{"pending", "submitted", "running", "done",
                                                       "failed",  "timeout",   "oom"};

Status status_from(std::string const& name, std::string const& file) {
  for (std::size_t i = 0; i < status_names.size(); ++i)
    if (status_names[i] == name) return static_cast<Status>(i);
  throw Error(
      concat("The record ", file, " is corrupt (its status is \"", name, "\"). Run the point again with --retry."));
}

/// Parses a record and hands it to `read`; whatever is wrong with it becomes one kind of error.
template <class Read>
auto read_json(std::string const& file, std::string_view what, Read const& read) {
  std::string const text = read_text_file(file, what);
  try {
    Json const json = Json::parse(text);
    if (!json.is_object()) throw Error("it is no object");
    return read(json);
  } catch (nlohmann::json::exception const& e) {
    throw Error(concat("The ", what, " ", file, " is corrupt (", e.what(), "). Run the point again with --retry."));
  }
}

double number(Json const& json, char const* key) {
  auto const found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : unknown_number;
}

std::string text(Json const& json, char const* key) {
  auto const found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

Json const& object(Json const& json, char const* key) {
  static Json const none = Json::object();
  auto const found = json.find(key);
  return found != json.end() && found->is_object() ? *found : none;
}

Numbers numbers(Json const& json, char const* key) {
  Numbers out;
  for (auto const& [name, value] : object(json, key).items())
    if (value.is_number()) out.emplace_back(name, value.get<double>());
  return out;
}

RunResult run_from(Json const& json) {
  RunResult r;
  Json const& build = object(json, "build");
  Json const& machine = object(json, "machine");
  Json const& summary = object(json, "summary");
  r.program = json.at("program").get<std::string>();
  r.result = json.at("result").get<std::string>();
  r.version = text(json, "version"), r.error = text(json, "error");
  r.started = text(json, "started"), r.ended = text(json, "ended");
  r.commit = text(build, "commit"), r.host = text(machine, "host"), r.processor = text(machine, "cpu");
  for (auto const& [library, number] : object(build, "libraries").items())
    if (number.is_string())
      r.libraries += concat(r.libraries.empty() ? "" : ", ", library, " ", number.get<std::string>());
  r.flops_convention = text(summary, "flops_convention");
  r.machine = text(summary, "machine"), r.does_not_fit = text(summary, "does_not_fit");
  if (json.contains("ranks")) r.ranks = json.at("ranks").get<std::int64_t>();
  for (auto [key, value] : {std::pair{"steps", &r.steps},
                            {"step_seconds", &r.step_seconds},
                            {"step_seconds_min", &r.step_seconds_min},
                            {"step_seconds_max", &r.step_seconds_max},
                            {"tokens_per_second", &r.tokens_per_second},
                            {"model_tflops_per_rank", &r.model_tflops_per_rank},
                            {"hardware_tflops_per_rank", &r.hardware_tflops_per_rank},
                            {"mfu", &r.mfu},
                            {"hfu", &r.hfu},
                            {"peak_tflops", &r.peak_tflops},
                            {"predicted_step_seconds", &r.predicted_step_seconds},
                            {"parameters", &r.parameters},
                            {"resident_bytes", &r.resident_bytes},
                            {"memory_limit", &r.memory_limit},
                            {"loss_first", &r.loss_first},
                            {"loss_last", &r.loss_last},
                            {"valid_loss", &r.valid_loss}})
    *value = number(summary, key);
  r.memory_bytes = numbers(summary, "memory_bytes");
  r.time_seconds = numbers(summary, "time_seconds");
  r.predicted_time_seconds = numbers(summary, "predicted_time_seconds");
  return r;
}

PointRecord point_from(Json const& json, std::string const& file) {
  PointRecord r;
  r.status = status_from(json.at("status").get<std::string>(), file);
  r.study = text(json, "study"), r.id = json.at("id").get<std::string>(), r.name = text(json, "name");
  r.repeat = json.at("repeat").get<std::int64_t>(), r.ranks = json.at("ranks").get<std::int64_t>();
  for (auto const& [key, value] : json.at("varied").items()) r.varied.push_back({key, value.get<std::string>()});
  r.reason = text(json, "reason"), r.started = text(json, "started"), r.ended = text(json, "ended"),
  r.host = text(json, "host"), r.job = text(json, "job"), r.nodes = text(json, "nodes");
  r.command = json.at("command").get<std::vector<std::string>>();
  r.exit_code = json.at("exit_code").get<std::int64_t>();
  for (Json const& a : json.at("attempts"))
    r.attempts.push_back({status_from(a.at("status").get<std::string>(), file), text(a, "reason"), text(a, "started"),
                          text(a, "ended")});
  return r;
}

}  // namespace

std::string_view name_of(Status status) { return status_names[static_cast<std::size_t>(status)]; }

bool is_failure(Status status) {
  return status == Status::failed || status == Status::timeout || status == Status::oom;
}

PointRecord read_point_record(std::string const& file) {
  return read_json(file, "point record", [&](Json const& json) { return point_from(json, file); });
}

RunResult read_run(std::string const& file) { return read_json(file, "run record", run_from); }

std::vector<StepMetrics> read_metrics(std::string const& file) {
  auto const lines = split(read_text_file(file, "metrics"), '\n');
  std::vector<StepMetrics> out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (trim(lines[i]).empty()) continue;
    Json const json = Json::parse(lines[i], nullptr, false);
    bool const whole = json.is_object() && json.contains("step") && json["step"].is_number_integer();
    if (!whole && i + 1 == lines.size()) break;  // no newline after it: a kill cut it
    validate(whole, "The metrics ", file, " are corrupt (line ", i + 1,
             " is no record of a step). Run the point again with --retry.");
    StepMetrics& m = out.emplace_back();
    m.step = m.timed_step = json["step"].get<std::int64_t>();
    m.loss = number(json, "loss"), m.step_seconds = number(json, "step_seconds"),
    m.tokens_per_second = number(json, "tokens_per_second");
    if (double const data = number(json, "data_seconds"); data >= 0) m.data_seconds = data;
    if (double const timed = number(json, "timed_step"); timed >= 0) m.timed_step = static_cast<std::int64_t>(timed);
    m.time_seconds = numbers(json, "time_seconds");
  }
  return out;
}

namespace {

/// Throws Error where a finished run's records are not whole: what a report needs of them.
void require_whole(fs::path const& folder) {
  RunResult const run = read_run((folder / "run.json").string());
  validate(run.result == "finished", "The run record says \"", run.result,
           "\" (the point was done). Run it again with --retry.");
  std::string const file = (folder / "metrics.jsonl").string();
  std::error_code error;
  validate(fs::exists(file, error), "The metrics ", file,
           " are missing (the run has finished, and a report needs the times of its steps). Run the point again with "
           "--retry.");
  auto const steps = read_metrics(file);
  bool const whole = std::ranges::any_of(
      steps, [&](StepMetrics const& m) { return static_cast<double>(m.step) == run.steps && m.step_seconds > 0; });
  validate(whole || std::isnan(run.steps), "The metrics ", file, " are corrupt (there is no time of the last step, ",
           run.steps, "). Run the point again with --retry.");
}

}  // namespace

void write_point_record(std::string const& file, PointRecord const& r) {
  Json varied = Json::object(), attempts = Json::array();
  for (Setting const& s : r.varied) varied[s.key] = s.text;
  for (Attempt const& a : r.attempts)
    attempts.push_back(
        {{"status", name_of(a.status)}, {"reason", a.reason}, {"started", a.started}, {"ended", a.ended}});
  Json const json{{"format", 1},         {"study", r.study},     {"id", r.id},           {"name", r.name},
                  {"repeat", r.repeat},  {"ranks", r.ranks},     {"varied", varied},     {"status", name_of(r.status)},
                  {"reason", r.reason},  {"started", r.started}, {"ended", r.ended},     {"host", r.host},
                  {"job", r.job},        {"nodes", r.nodes},     {"command", r.command}, {"exit_code", r.exit_code},
                  {"attempts", attempts}};
  // what a killed run printed need not be UTF-8
  write_file_atomically(file, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

PointRecord state_of(std::string const& repeat_folder) {
  fs::path const folder(repeat_folder);
  std::error_code error;
  if (!fs::exists(folder / "point.json", error)) return {};
  PointRecord record;
  try {
    record = read_point_record((folder / "point.json").string());
    if (record.status == Status::done) require_whole(folder);
  } catch (Error const& e) {
    record.status = Status::failed;
    record.reason = e.what();
  }
  return record;
}

}  // namespace selenite
