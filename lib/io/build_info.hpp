#pragma once
#include <map>
#include <string>

namespace selenite {

/// What this program was made of; filled by CMake when it configures.
struct BuildInfo {
  std::string version, commit, build_type, compiler, flags;
  std::map<std::string, std::string> libraries;  ///< name -> version
};
BuildInfo build_info();

}  // namespace selenite
