#include "plan/machine_files.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {
namespace fs = std::filesystem;

/// An installed program has it in <prefix>/share/selenite; one in a build folder in a folder above.
std::optional<fs::path> machine_folder() {
  std::error_code error;
  fs::path at = fs::read_symlink("/proc/self/exe", error).parent_path();
  fs::path const installed = at.parent_path() / "share" / "selenite" / "scaling" / "machines";
  if (!error && fs::is_directory(installed, error)) return installed;
  for (; at.has_relative_path(); at = at.parent_path())
    if (fs::is_directory(at / "scaling" / "machines", error)) return at / "scaling" / "machines";
  if (fs::is_directory(fs::path("scaling") / "machines", error)) return fs::path("scaling") / "machines";
  return std::nullopt;
}

bool is_path(std::string const& name) {
  return name.find('/') != std::string::npos || name.ends_with(".toml") || name.empty();
}

}  // namespace

std::vector<std::string> machine_names() {
  std::vector<std::string> names;
  std::error_code error;
  if (auto const folder = machine_folder())
    for (auto const& entry : fs::directory_iterator(*folder, error))
      if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  std::ranges::sort(names);
  return names;
}

Machine named_machine(std::string const& name) {
  if (is_path(name)) return load_machine(name);
  auto const names = machine_names();
  if (std::ranges::count(names, name)) return load_machine((*machine_folder() / (name + ".toml")).string());
  std::error_code error;
  if (fs::is_regular_file(name, error)) return load_machine(name);
  std::vector<std::string_view> const views(names.begin(), names.end());
  std::string_view const near = nearest_name(name, views);
  throw Error(concat(
      "There is no machine \"", name, "\" (",
      names.empty() ? "no machine files came with this program" : concat("scaling/machines has ", join(names, ", ")),
      "). ", near.empty() ? "Use one of these," : concat("Did you mean \"", near, "\"? Or give"),
      " the path of a machine file, as selenite-pretrain --calibrate writes it."));
}

}  // namespace selenite
