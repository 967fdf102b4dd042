#include "apps/sweep/validate.hpp"

#include <iostream>
#include <memory>

#include "core/text.hpp"
#include "study/validate.hpp"

namespace selenite::app {
namespace {

struct ValidateOptions {
  std::vector<std::string> sets;
  std::string folder;
  bool json = false;
};

int validate_command(ValidateOptions const& o) {
  std::string const folder = o.folder.empty() ? published_folder() : o.folder;
  std::vector<std::string> objects;
  for (std::string const& name : o.sets.empty() ? published_names(folder) : o.sets) {
    PublishedSet const set = load_published(folder, name);
    auto const rows = validate_set(set);
    if (o.json)
      objects.push_back(to_json(set, rows));
    else
      std::cout << describe(set, rows) << "\n" << std::flush;
  }
  if (o.json) std::cout << "[\n" << join(objects, ",\n") << "]\n";
  return 0;
}

}  // namespace

void add_validate(CommandLine& line) {
  auto const o = std::make_shared<ValidateOptions>();
  auto sub = line.subcommand("validate", "Predict published measurements and print both with the errors",
                             [o] { return validate_command(*o); });
  sub.repeated("--set", o->sets, "Only this set of scaling/published (may be repeated)");
  sub.option("--folder", o->folder, "Where the sets are; default: scaling/published of this program");
  sub.flag("--json", o->json, "Print JSON: an array with an object a set");
}

}  // namespace selenite::app
