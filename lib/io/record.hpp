#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/json.hpp"

namespace selenite {

/// The machine that a process runs on.
struct MachineInfo {
  std::string host, cpu;
  std::int64_t cores = 0;         ///< that this process may use
  std::int64_t memory_bytes = 0;  ///< of the machine
};
MachineInfo machine_info();

/// Now, as "2026-11-23T09:44:10Z".
std::string timestamp();

/// What a run was and how it ended: one config in, one record out.
struct RunRecord {
  std::string program;
  std::vector<std::string> command_line;
  Config config;  ///< resolved
  std::int64_t ranks = 1;
  std::string started, ended;      ///< timestamp()
  std::string result = "running";  ///< running, finished, stopped (by a signal or limit), failed
  std::string error;               ///< of a failed run
  JsonObject summary;              ///< figures of the run; the caller's
};
/// The record with build and machine, as JSON.
std::string to_text(RunRecord const& record);
/// Replaces the file in one step. Throws Error.
void write_record(std::filesystem::path const& path, RunRecord const& record);

}  // namespace selenite
