#include "io/record.hpp"

#include <array>
#include <ctime>
#include <fstream>
#include <sched.h>
#include <unistd.h>

#include "core/file_lock.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "io/build_info.hpp"

namespace selenite {
namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name") && line.find(':') != std::string::npos)
      return std::string(trim(std::string_view(line).substr(line.find(':') + 1)));
  return "unknown";
}

JsonObject build_json() {
  BuildInfo const build = build_info();
  JsonObject libraries;
  for (auto const& [name, version] : build.libraries) libraries.set(name, version);
  return {{"commit", build.commit},
          {"type", build.build_type},
          {"compiler", build.compiler},
          {"flags", build.flags},
          {"libraries", libraries}};
}

}  // namespace

MachineInfo machine_info() {
  MachineInfo info;
  info.host = host_name();
  info.cpu = cpu_model();
  cpu_set_t mask;
  CPU_ZERO(&mask);
  info.cores = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : sysconf(_SC_NPROCESSORS_ONLN);
  info.memory_bytes = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return info;
}

std::string timestamp() {
  std::time_t const now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

std::string to_text(RunRecord const& record) {
  MachineInfo const machine = machine_info();
  JsonObject json{{"program", record.program}, {"version", build_info().version}, {"result", record.result}};
  if (!record.error.empty()) json.set("error", record.error);
  json.set("started", record.started);
  if (!record.ended.empty()) json.set("ended", record.ended);
  json.set("command_line", record.command_line).set("ranks", record.ranks);
  json.set("summary", record.summary).set("config", to_json(record.config));
  json.set("machine", JsonObject{{"host", machine.host},
                                 {"cpu", machine.cpu},
                                 {"cores", machine.cores},
                                 {"memory_bytes", machine.memory_bytes}});
  json.set("build", build_json());
  return json.text(2) + "\n";
}

void write_record(std::filesystem::path const& path, RunRecord const& record) {
  write_file_atomically(path, to_text(record));
}

}  // namespace selenite
