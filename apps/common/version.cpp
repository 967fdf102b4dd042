#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <unistd.h>

#include "apps/common/command_line.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "io/build_info.hpp"

namespace selenite::app {

std::string version_text(std::string const& program) {
  BuildInfo const build = build_info();
  std::vector<std::string> libraries;
  for (auto const& [library, version] : build.libraries) libraries.push_back(library + " " + version);
  return concat(program, " ", build.version, " (commit ", build.commit, ", ", build.compiler, ", ",
                join(libraries, ", "), ")");
}

namespace {
void spin_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  std::error_code error;
  auto const self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || setenv("GOMP_SPINCOUNT", "1000", 0) != 0) return;
  execv(self.c_str(), argv);  // returns if it can't: then threads spin as ever
}
}  // namespace

int guarded(std::string const& program, char** argv, std::function<int()> const& body) {
  spin_briefly(argv);
  try {
    return body();
  } catch (std::exception const& e) {
    std::cerr << program << ": " << message_of(e) << std::endl;
    return 1;
  }
}

}  // namespace selenite::app
