#include <iostream>

#include "apps/common/command_line.hpp"

namespace selenite::app {

std::string version_text(std::string const& program) { return program + " " + SELENITE_VERSION; }

int guarded(std::string const& program, std::function<int()> const& body) {
  try {
    return body();
  } catch (std::exception const& e) {
    std::cerr << program << ": " << e.what() << std::endl;
    return 1;
  }
}

}  // namespace selenite::app
