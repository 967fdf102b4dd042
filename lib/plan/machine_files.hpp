#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/machine.hpp"

namespace selenite {

/// A folder of scaling/ that came with this program: an installed one has it in <prefix>/share/selenite, one in a build
/// folder in a folder above, or it is here. None: nowhere.
std::optional<std::filesystem::path> scaling_folder(std::string const& name);

/// Names of the machine files that came with this program: scaling/machines of the tree that it was built in, or of the
/// package.
std::vector<std::string> machine_names();
/// The machine of one of these names, or of the file at a path (with "/" or ".toml" in it). Throws Error with the
/// nearest names if there is none.
Machine named_machine(std::string const& name);

}  // namespace selenite
