#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace selenite {

/// A config key, or "ranks", with its value as --set takes it; where the key takes a number, the text may be an
/// Expression of other keys.
struct Setting {
  std::string key, text;
  bool operator==(Setting const&) const = default;
};

/// Values that are gone through together: one key, or the several keys of a [[zip]].
struct StudyAxis {
  std::vector<std::string> keys;
  std::vector<std::vector<std::string>> rows;  ///< [value][key]
};

/// Points that are left out: those that come to have, for every key, one of its values, and for which `where` is true.
struct Exclusion {
  std::vector<std::string> keys;
  std::vector<std::vector<std::string>> values;  ///< [key][alternatives]
  std::string where;                             ///< an Expression, or empty
};

enum class Launcher : std::uint8_t { local, slurm };

/// How `submit` asks Slurm for nodes.
struct SlurmSettings {
  std::string site;                  ///< slurm/sites/<site>.sh; empty: what SELENITE_SITE says, else generic
  std::int64_t ranks_per_node = 1;   ///< ranks that a node takes
  std::int64_t gpus_per_node = 0;    ///< 0: what the site says
  std::string time = "01:00:00";     ///< limit of one repeat of one point, as sbatch takes it
  std::int64_t throttle = 0;         ///< repeats that run at once, of those with equally many nodes; 0: no limit
  std::vector<std::string> options;  ///< further options of sbatch
};

/// A study as its file says it (scaling/studies/README.md tells the format).
struct Study {
  std::string name, description, file;
  std::string base;  ///< path of the base config, already relative to the working folder; empty: the defaults
  Launcher launcher = Launcher::local;
  SlurmSettings slurm;
  std::int64_t repeats = 1;
  std::int64_t drop_steps = 0;  ///< first steps that no figure counts
  double timeout_minutes = 0;   ///< of one repeat of one point; 0: none
  std::string published;        ///< a set of scaling/published that the report holds the figures against; or empty
  double train_tokens = 0;      ///< days to train so many are reported; 0: not asked for
  std::vector<Setting> set;
  std::vector<StudyAxis> axes;
  std::vector<Exclusion> exclude;
};

/// Reads a study. Throws Error with file and line: unknown keys (with the nearest name), lists of unequal length in a
/// [[zip]], an axis without values, a key given twice, a base config that is not there, an expression that names what
/// is no number, an [[exclude]] with a value that its key can't have.
Study load_study(std::string const& file);

/// The keys that the axes vary, in the order of the file.
std::vector<std::string> varied_keys(Study const& study);

/// Whether the text is an expression of other keys: the key takes a number, and the text is none.
bool is_computed(Setting const& setting);

/// One text for each value of a key, however it is written (get_field's). Throws Error if the key can't have it.
std::string value_text(std::string const& key, std::string const& text);

}  // namespace selenite
