#include "study/study.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <string_view>

#include "core/error.hpp"
#include "core/fields.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"
#include "study/expression.hpp"

namespace selenite {
namespace {

/// Where a message points: "file line 7: ".
struct Place {
  std::string const& file;
  std::int64_t line;
};
std::ostream& operator<<(std::ostream& out, Place const& p) { return out << p.file << " line " << p.line << ": "; }

template <class T>
T const& exact(TomlNode const& node, std::string_view name, std::string_view wanted, std::string const& file) {
  auto const* value = node.get_if<T>();
  validate(value, Place{file, node.line}, name, " takes ", wanted,
           " (it was given something else). Correct the value.");
  return *value;
}

std::vector<std::string> config_keys(bool numbers_only) {
  Config config;
  std::vector<std::string> keys{"ranks"};
  for (Section const& s : sections(config))
    for (Field const& f : s.fields)
      if (!numbers_only || std::holds_alternative<std::int64_t*>(f.value) || std::holds_alternative<double*>(f.value))
        keys.push_back(concat(s.name, ".", f.name));
  return keys;
}
bool is_among(std::string const& key, std::vector<std::string> const& keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}
std::string did_you_mean(std::string const& name, std::vector<std::string> const& known, std::string const& otherwise) {
  std::vector<std::string_view> const views(known.begin(), known.end());
  std::string_view const near = nearest_name(name, views);
  return near.empty() ? otherwise : concat("Did you mean ", near, "?");
}

/// What a study may set: every field of the config but those that the study itself gives to each point.
void check_key(std::string const& key, TomlNode const& node, std::string const& file) {
  for (std::string_view own : {"run.folder", "checkpoint.folder"})
    validate(key != own, Place{file, node.line}, key,
             " can't be set (a study gives every point a folder of its own). Remove it.");
  validate(key != "log.metrics", Place{file, node.line}, key,
           " can't be set (a study takes its figures from the metrics). Remove it.");
  static auto const known = config_keys(false);
  validate(is_among(key, known), Place{file, node.line}, "there is no config key ", key,
           " (axes are keys as section.key, or ranks). ",
           did_you_mean(key, known, "selenite-pretrain --help lists the keys."));
}

/// Expressions are of numbers: other keys would have to be compared as texts.
void check_expression(std::string const& text, TomlNode const& node, std::string const& file) {
  static auto const known = config_keys(true), all = config_keys(false);
  try {
    for (std::string const& name : Expression(text).names()) {
      validate(is_among(name, all), "there is no config key ", name, " (\"", text, "\" names it). ",
               did_you_mean(name, known, "selenite-pretrain --help lists the keys."));
      validate(is_among(name, known), name, " is no number (\"", text,
               "\" works with it). Use keys that take numbers; [[exclude]] compares others.");
    }
  } catch (Error const& e) {
    throw Error(concat(Place{file, node.line}, e.what()));
  }
}

/// A value as --set takes it: strings bare, lists joined by commas.
std::string setting_text(TomlNode const& node, std::string const& key, std::string const& file) {
  if (auto const* text = node.get_if<std::string>()) {
    if (is_computed({key, *text})) check_expression(*text, node, file);
    return *text;
  }
  if (auto const* whole = node.get_if<std::int64_t>()) return std::to_string(*whole);
  if (auto const* real = node.get_if<double>()) return format_double(*real);
  if (auto const* truth = node.get_if<bool>()) return *truth ? "true" : "false";
  validate(node.array(), Place{file, node.line}, key, " was given a table (it takes a value). Correct the value.");
  std::vector<std::string> parts;
  for (TomlNode const& item : *node.array()) parts.push_back(setting_text(item, key, file));
  return join(parts, ",");
}

/// Leaves of a table by their full key: "a.b" = x, a.b = x and [a] b = x are the same.
void flatten(TomlNode const& table, std::string const& prefix,
             std::vector<std::pair<std::string, TomlNode const*>>& out) {
  for (auto const& [key, node] : *table.table()) {
    std::string const full = prefix.empty() ? key : concat(prefix, ".", key);
    if (node.table())
      flatten(node, full, out);
    else
      out.emplace_back(full, &node);
  }
}
std::vector<std::pair<std::string, TomlNode const*>> settings_of(TomlNode const& node, std::string_view what,
                                                                 std::string const& file,
                                                                 std::string_view extra_key = {}) {
  validate(node.table(), Place{file, node.line}, what, " is a section (it holds section.key = ...). Write [", what,
           "] and its keys below.");
  std::vector<std::pair<std::string, TomlNode const*>> out;
  flatten(node, "", out);
  for (auto const& [key, value] : out)
    if (key != extra_key) check_key(key, *value, file);
  return out;
}

std::vector<std::string> list_of(TomlNode const& node, std::string const& key, std::string const& file) {
  std::vector<std::string> texts;
  for (TomlNode const& item : exact<TomlNode::Array>(node, key, "a list of values here", file))
    texts.push_back(setting_text(item, key, file));
  validate(!texts.empty(), Place{file, node.line}, "the axis ", key,
           " has no values (the study would have no points). Give it values, or remove it.");
  return texts;
}

void read_axes(Study& study, TomlNode const& node) {
  for (auto const& [key, value] : settings_of(node, "axes", study.file)) {
    StudyAxis axis{{key}, {}};
    for (std::string& text : list_of(*value, key, study.file)) axis.rows.push_back({std::move(text)});
    study.axes.push_back(std::move(axis));
  }
}

void read_zip(Study& study, TomlNode const& node) {
  for (TomlNode const& block : exact<TomlNode::Array>(node, "zip", "blocks, each written [[zip]]", study.file)) {
    StudyAxis axis;
    for (auto const& [key, value] : settings_of(block, "zip", study.file)) {
      auto const texts = list_of(*value, key, study.file);
      if (axis.keys.empty()) axis.rows.resize(texts.size());
      validate(texts.size() == axis.rows.size(), Place{study.file, value->line}, key, " has ", texts.size(),
               " values but ", axis.keys.empty() ? "" : axis.keys.front(), " has ", axis.rows.size(),
               " (the lists of one [[zip]] go together, value by value). Make them equally long.");
      for (std::size_t i = 0; i < texts.size(); ++i) axis.rows[i].push_back(texts[i]);
      axis.keys.push_back(key);
    }
    validate(!axis.keys.empty(), Place{study.file, block.line},
             "a [[zip]] is empty (it crosses nothing). Give it lists, or remove it.");
    study.axes.push_back(std::move(axis));
  }
}

/// A value that no point can have would leave out none, and nobody would see it.
void check_possible(std::string const& key, std::string const& value, TomlNode const& node, std::string const& file) {
  try {
    validate(!is_computed({key, value}), "[[exclude]] compares ", key, " with values (\"", value,
             "\" is an expression). Write where = \"", key, " == ", value, "\".");
    value_text(key, value);
  } catch (Error const& e) {
    throw Error(concat(Place{file, node.line}, e.what()));
  }
}

void read_exclude(Study& study, TomlNode const& node) {
  for (TomlNode const& block :
       exact<TomlNode::Array>(node, "exclude", "blocks, each written [[exclude]]", study.file)) {
    Exclusion exclusion;
    for (auto const& [key, value] : settings_of(block, "exclude", study.file, "where")) {
      if (key == "where") {
        exclusion.where = exact<std::string>(*value, "where", "a condition in quotes", study.file);
        check_expression(exclusion.where, *value, study.file);
        continue;
      }
      exclusion.keys.push_back(key);
      exclusion.values.push_back(value->array() ? list_of(*value, key, study.file)
                                                : std::vector{setting_text(*value, key, study.file)});
      for (std::string const& text : exclusion.values.back()) check_possible(key, text, *value, study.file);
    }
    study.exclude.push_back(std::move(exclusion));
  }
}

std::int64_t whole_at_least(TomlNode const& node, std::string const& key, std::int64_t least, std::string const& file) {
  auto const value = exact<std::int64_t>(node, key, "a whole number", file);
  validate(value >= least, Place{file, node.line}, key, " = ", value, " is too small (", least,
           " is the least). Correct the value.");
  return value;
}

double number_at_least_0(TomlNode const& node, std::string const& key, std::string const& file) {
  auto const* whole = node.get_if<std::int64_t>();
  double const value = whole ? static_cast<double>(*whole) : exact<double>(node, key, "a number", file);
  validate(value >= 0 && std::isfinite(value), Place{file, node.line}, key, " = ", value,
           " makes no sense (0 is none). Correct the value.");
  return value;
}

template <std::size_t N>
[[noreturn]] void unknown_key(std::string const& section, std::string const& key, TomlNode const& node,
                              std::array<std::string_view, N> const& known, std::string const& file) {
  auto const near = nearest_name(key, known);
  throw Error(concat(Place{file, node.line}, "there is no key ", section, ".", key, " (known are ", join(known, ", "),
                     "). ", near.empty() ? "Remove it." : concat("Did you mean ", near, "?")));
}

void read_base(Study& study, TomlNode const& node) {
  std::filesystem::path const base(exact<std::string>(node, "study.base", "a path in quotes", study.file));
  study.base = base.is_absolute()
                   ? base.string()
                   : (std::filesystem::path(study.file).parent_path() / base).lexically_normal().string();
  std::error_code error;
  validate(std::filesystem::is_regular_file(study.base, error), Place{study.file, node.line}, "the base config ",
           study.base, " can't be read (study.base is relative to the folder of the study file). Correct the path.");
}

void read_ranks(Study& study, TomlNode const& node) {
  if (node.array()) {
    StudyAxis axis{{"ranks"}, {}};
    for (std::string& text : list_of(node, "ranks", study.file)) axis.rows.push_back({std::move(text)});
    study.axes.push_back(std::move(axis));
  } else if (node.get_if<std::string>()) {
    study.set.push_back({"ranks", setting_text(node, "ranks", study.file)});
  } else {
    study.set.push_back({"ranks", std::to_string(whole_at_least(node, "study.ranks", 1, study.file))});
  }
}

/// One key, or a list, which is then an axis.
void read_machine(Study& study, TomlNode const& node) {
  if (node.array()) {
    StudyAxis axis{{"machine.name"}, {}};
    for (std::string& text : list_of(node, "study.machine", study.file)) axis.rows.push_back({std::move(text)});
    study.axes.push_back(std::move(axis));
  } else {
    study.set.push_back(
        {"machine.name", exact<std::string>(node, "study.machine", "a machine's name in quotes", study.file)});
  }
}

Launcher launcher_of(TomlNode const& node, std::string const& file) {
  auto const& name = exact<std::string>(node, "study.launcher", "a string in quotes", file);
  validate(name == "local" || name == "slurm", Place{file, node.line}, "study.launcher = \"", name,
           "\" is unknown (points are started here or by Slurm). Use \"local\" or \"slurm\".");
  return name == "slurm" ? Launcher::slurm : Launcher::local;
}

void read_head(Study& study, TomlNode const& node) {
  std::string const& file = study.file;
  validate(node.table(), Place{file, node.line}, "study is a section. Write [study] and its keys below.");
  static constexpr std::array<std::string_view, 11> known{"name",      "description",  "base",           "repeats",
                                                          "ranks",     "drop_steps",   "machine",        "launcher",
                                                          "published", "train_tokens", "timeout_minutes"};
  for (auto const& [key, value] : *node.table()) {
    std::string const full = "study." + key;
    if (key == "name")
      study.name = exact<std::string>(value, full, "a string in quotes", file);
    else if (key == "description")
      study.description = exact<std::string>(value, full, "a string in quotes", file);
    else if (key == "base")
      read_base(study, value);
    else if (key == "repeats")
      study.repeats = whole_at_least(value, full, 1, file);
    else if (key == "ranks")
      read_ranks(study, value);
    else if (key == "drop_steps")
      study.drop_steps = whole_at_least(value, full, 0, file);
    else if (key == "machine")
      read_machine(study, value);
    else if (key == "launcher")
      study.launcher = launcher_of(value, file);
    else if (key == "published")
      study.published = exact<std::string>(value, full, "the name of a set in quotes", file);
    else if (key == "train_tokens")
      study.train_tokens = number_at_least_0(value, full, file);
    else if (key == "timeout_minutes")
      study.timeout_minutes = number_at_least_0(value, full, file);
    else
      unknown_key("study", key, value, known, file);
  }
  auto const bad = [](char c) {
    return !(std::isalnum(static_cast<unsigned char>(c)) || std::string_view("._+-").find(c) != std::string_view::npos);
  };
  validate(!study.name.empty() && std::none_of(study.name.begin(), study.name.end(), bad), Place{file, node.line},
           "study.name = \"", study.name,
           "\" can't be a folder's name (letters, digits and . _ + - are). Give the study such a name.");
}

void read_slurm(Study& study, TomlNode const& node) {
  std::string const& file = study.file;
  validate(node.table(), Place{file, node.line}, "slurm is a section. Write [slurm] and its keys below.");
  static constexpr std::array<std::string_view, 6> known{"site", "ranks_per_node", "gpus_per_node",
                                                         "time", "throttle",       "options"};
  SlurmSettings& s = study.slurm;
  for (auto const& [key, value] : *node.table()) {
    std::string const full = "slurm." + key;
    if (key == "site")
      s.site = exact<std::string>(value, full, "a string in quotes", file);
    else if (key == "ranks_per_node")
      s.ranks_per_node = whole_at_least(value, full, 1, file);
    else if (key == "gpus_per_node")
      s.gpus_per_node = whole_at_least(value, full, 0, file);
    else if (key == "time")
      s.time = exact<std::string>(value, full, "a time as sbatch takes it, in quotes (\"00:30:00\")", file);
    else if (key == "throttle")
      s.throttle = whole_at_least(value, full, 0, file);
    else if (key == "options")
      s.options = list_of(value, full, file);
    else
      unknown_key("slurm", key, value, known, file);
  }
}

void check_no_key_twice(Study const& study) {
  std::vector<std::string> seen;
  auto const add = [&](std::string const& key) {
    validate(std::find(seen.begin(), seen.end(), key) == seen.end(), study.file, ": ", key,
             " is given twice (among study.ranks, study.machine, [set], [axes] and [[zip]] a key has one home). Remove "
             "one.");
    seen.push_back(key);
  };
  for (Setting const& s : study.set) add(s.key);
  for (std::string const& key : varied_keys(study)) add(key);
}

}  // namespace

Study load_study(std::string const& file) {
  TomlNode const root = read_toml(file, "study");
  static constexpr std::array<std::string_view, 6> known{"study", "slurm", "set", "axes", "zip", "exclude"};
  Study study;
  study.file = file;
  TomlNode const* head = root.find("study");
  validate(head, file,
           ": there is no section [study] (a study needs a name and a base config). scaling/studies/README.md tells "
           "the format.");
  read_head(study, *head);
  for (auto const& [key, node] : *root.table()) {
    if (key == "set")
      for (auto const& [name, value] : settings_of(node, "set", file))
        study.set.push_back({name, setting_text(*value, name, file)});
    else if (key == "axes")
      read_axes(study, node);
    else if (key == "zip")
      read_zip(study, node);
    else if (key == "exclude")
      read_exclude(study, node);
    else if (key == "slurm")
      read_slurm(study, node);
    else if (key != "study") {
      auto const near = nearest_name(key, known);
      throw Error(concat(Place{file, node.line}, "there is no section ", key, " (known are ", join(known, ", "), "). ",
                         near.empty() ? "Remove it." : concat("Did you mean ", near, "?")));
    }
  }
  check_no_key_twice(study);
  return study;
}

bool is_computed(Setting const& setting) {
  static auto const numbers = config_keys(true);
  if (!is_among(setting.key, numbers)) return false;
  double ignored = 0;
  char const* const end = setting.text.data() + setting.text.size();
  auto const [last, error] = std::from_chars(setting.text.data(), end, ignored);
  return error != std::errc() || last != end;
}

std::string value_text(std::string const& key, std::string const& text) {
  if (key == "ranks") return std::to_string(parse_integer(text, key));
  return get_field(parse_config("", {concat(key, "=", text)}, key), key);
}

std::vector<std::string> varied_keys(Study const& study) {
  std::vector<std::string> keys;
  for (StudyAxis const& axis : study.axes) keys.insert(keys.end(), axis.keys.begin(), axis.keys.end());
  return keys;
}

}  // namespace selenite
