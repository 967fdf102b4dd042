#include <iostream>

#include "apps/common/command_line.hpp"
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

int guarded(std::string const& program, std::function<int()> const& body) {
  try {
    return body();
  } catch (std::exception const& e) {
    std::cerr << program << ": " << e.what() << std::endl;
    return 1;
  }
}

}  // namespace selenite::app
