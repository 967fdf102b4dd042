#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace selenite {

/// A config key, or "ranks", with its value as --set takes it.
struct Setting {
  std::string key, text;
  bool operator==(Setting const&) const = default;
};

/// Values that are gone through together: one key, or the several keys of a [[zip]].
struct StudyAxis {
  std::vector<std::string> keys;
  std::vector<std::vector<std::string>> rows;  ///< [value][key]
};

/// Points that are left out: those that have, for every key, one of its values.
struct Exclusion {
  std::vector<std::string> keys;
  std::vector<std::vector<std::string>> values;  ///< [key][alternatives]
};

/// A study as its file says it (scaling/studies/README.md tells the format).
struct Study {
  std::string name, description, file;
  std::string base;  ///< path of the base config, already relative to the working folder; empty: the defaults
  std::string launcher = "local";
  std::int64_t repeats = 1;
  std::int64_t drop_steps = 0;  ///< first steps that no figure counts
  double timeout_minutes = 0;   ///< of one repeat of one point; 0: none
  std::vector<Setting> set;
  std::vector<StudyAxis> axes;
  std::vector<Exclusion> exclude;
};

/// Reads a study. Throws Error with file and line: unknown keys (with the nearest name), lists of unequal length in a
/// [[zip]], an axis without values, a key given twice, a base config that is not there.
Study load_study(std::string const& file);

/// The keys that the axes vary, in the order of the file.
std::vector<std::string> varied_keys(Study const& study);

}  // namespace selenite
