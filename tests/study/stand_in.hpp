#pragma once
#include <filesystem>
#include <string>

namespace study_test {

namespace fs = std::filesystem;

/// A folder of its own for a test case, removed at its end, with a base config and a stand-in for selenite-pretrain: a
/// script that takes a config file, writes metrics.jsonl and run.json into its run.folder, and misbehaves as train.seed
/// asks: 2 exit code 3 with an error in run.json, 3 hangs, 4 killed by signal 9, 5 half a run.json, 6 out of memory, 7
/// no record, 8 takes a little while, 9 half a second that no SIGTERM shortens; the first time only: 20 is ended by
/// SIGTERM, 21 says that it was stopped.
class Workplace {
 public:
  Workplace();
  ~Workplace();
  Workplace(Workplace const&) = delete;
  Workplace& operator=(Workplace const&) = delete;

  std::string path(std::string const& name) const { return (folder_ / name).string(); }
  std::string program() const { return path("stand-in"); }
  /// Writes a study file with a head (name "s", the base config, and `head`) and `rest`; returns its path.
  std::string study(std::string const& rest, std::string const& head = "") const;

 private:
  fs::path folder_;
};

void write(std::string const& file, std::string const& text);
std::string read(std::string const& file);
/// What an Error says, or "" if none is thrown.
template <class Body>
std::string message_of(Body const& body);

}  // namespace study_test

#include "core/error.hpp"
#include "tests/contains.hpp"

template <class Body>
std::string study_test::message_of(Body const& body) {
  try {
    body();
  } catch (selenite::Error const& e) {
    return e.what();
  }
  return "";
}
