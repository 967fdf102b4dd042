#include "plan/machine_files.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {
namespace fs = std::filesystem;

bool is_path(std::string const& name) {
  return name.find('/') != std::string::npos || name.ends_with(".toml") || name.empty();
}

}  // namespace

std::optional<fs::path> scaling_folder(std::string const& name) {
  fs::path const inside = fs::path("scaling") / name;
  std::error_code error;
  fs::path at = fs::read_symlink("/proc/self/exe", error).parent_path();
  fs::path const installed = at.parent_path() / "share" / "selenite" / inside;
  if (fs::is_directory(installed, error)) return installed;
  for (; at.has_relative_path(); at = at.parent_path())
    if (fs::is_directory(at / inside, error)) return at / inside;
  if (fs::is_directory(inside, error)) return inside;
  return std::nullopt;
}

std::vector<std::string> machine_names() {
  std::vector<std::string> names;
  std::error_code error;
  if (auto const folder = scaling_folder("machines"))
    for (auto const& entry : fs::directory_iterator(*folder, error))
      if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  std::ranges::sort(names);
  return names;
}

Machine named_machine(std::string const& name) {
  if (is_path(name)) return load_machine(name);
  auto const names = machine_names();
  if (std::ranges::count(names, name)) return load_machine((*scaling_folder("machines") / (name + ".toml")).string());
  std::error_code error;
  if (fs::is_regular_file(name, error)) return load_machine(name);
  std::vector<std::string_view> const views(names.begin(), names.end());
  std::string_view const near = nearest_name(name, views);
  throw Error(concat(
      "There is no machine \"", name, "\" (",
      names.empty() ? "no machine files came with this program" : concat("scaling/machines has ", join(names, ", ")),
      "). ", near.empty() ? "Use one of these," : concat("Did you mean \"", near, "\"? Or give"),
      " the path of a machine file, as selenite-sweep calibrate writes it."));
}

}  // namespace selenite
