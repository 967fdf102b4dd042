#include "study/points.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include "core/error.hpp"
#include "core/fields.hpp"
#include "core/rng.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"
#include "study/expression.hpp"

namespace selenite {
namespace {

/// A point is measured from a fresh start and leaves records, not checkpoints; [set] and axes may say otherwise.
constexpr std::array<char const*, 6> study_defaults{"checkpoint.folder=",           "checkpoint.every=0",
                                                    "checkpoint.save_at_end=false", "checkpoint.resume=false",
                                                    "log.tensorboard=false",        "log.metrics=true"};

std::string hash_text(std::string const& text) {
  std::array<char, 17> hex;
  std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(name_hash(text)));
  return std::string(hex.data(), 12);
}

/// The settings of one point with every expression replaced by its number. Throws Error where a number does not come
/// out: the point can't be run.
class Computer {
 public:
  Computer(Config literal, std::vector<Setting> const& settings) : literal_(std::move(literal)), settings_(settings) {}

  std::vector<Setting> settings() {
    std::vector<Setting> out;
    for (Setting const& s : settings_)
      out.push_back({s.key, is_computed(s) ? number_text(s.key, value(s.key)) : s.text});
    return out;
  }

  /// Of a key: its setting, or what the base config says. layout.data = 0 is what the other axes leave of the ranks.
  double value(std::string const& key) {
    auto const setting =
        std::find_if(settings_.begin(), settings_.end(), [&](Setting const& s) { return s.key == key; });
    double x = 0;
    if (setting != settings_.end() && is_computed(*setting)) {
      validate(std::find(open_.begin(), open_.end(), key) == open_.end(), key, " can't be worked out (it depends on ",
               join(open_, ", "), ", which depends on it). Give one of them a number.");
      open_.push_back(key);
      x = Expression(setting->text).value([this](std::string const& name) { return value(name); });
      open_.pop_back();
    } else if (setting != settings_.end()) {
      x = parse_double(setting->text, key);
    } else {
      x = key == "ranks" ? 1 : parse_double(get_field(literal_, key), key);
    }
    return key == "layout.data" && x == 0 ? data_ranks() : x;
  }

 private:
  double data_ranks() {
    double const others =
        value("layout.tensor") * value("layout.context") * value("layout.expert") * value("layout.pipe");
    double const ranks = value("ranks"), data = ranks / others;
    validate(data == std::floor(data), "layout.tensor x context x expert x pipe = ", others,
             " does not divide the number of ranks = ", ranks, " (the rest is data parallel). Use sizes that do.");
    return data;
  }

  std::string number_text(std::string const& key, double x) const {
    Config config = literal_;
    bool whole = key == "ranks";
    for (Section const& section : sections(config))
      for (Field const& field : section.fields)
        if (concat(section.name, ".", field.name) == key) whole = std::holds_alternative<std::int64_t*>(field.value);
    if (!whole) return format_double(x);
    validate(x == std::floor(x) && std::abs(x) < 1e15, key, " = ", x,
             " comes out of its expression (it must be a whole number). Use values that divide.");
    return std::to_string(static_cast<std::int64_t>(x));
  }

  Config literal_;
  std::vector<Setting> const& settings_;
  std::vector<std::string> open_;  ///< keys that are being worked out
};

/// The settings that parse_config takes: without ranks, which are no field, and without expressions.
std::vector<std::string> config_texts(std::vector<Setting> const& settings) {
  std::vector<std::string> texts(study_defaults.begin(), study_defaults.end());
  for (Setting const& s : settings)
    if (s.key != "ranks" && !is_computed(s)) texts.push_back(concat(s.key, "=", s.text));
  return texts;
}

/// The last word of each key, or the whole key where two keys end alike.
std::string short_name(std::string const& key, std::vector<std::string> const& keys) {
  auto const tail = [](std::string const& k) { return k.substr(k.rfind('.') + 1); };
  auto const same = std::count_if(keys.begin(), keys.end(), [&](std::string const& k) { return tail(k) == tail(key); });
  return same > 1 ? key : tail(key);
}

std::string point_name(Study const& study, std::vector<Setting> const& varied) {
  if (varied.empty()) return study.name;
  auto const keys = varied_keys(study);
  std::string name;
  for (Setting const& s : varied) name += concat(name.empty() ? "" : ",", short_name(s.key, keys), "=", s.text);
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && std::string_view("._+-=,").find(c) == std::string_view::npos)
      c = '-';
  if (name.size() > 120) name.resize(120);  // the id that follows keeps folders apart
  return name;
}

Config parse(Study const& study, std::string const& base_text, std::vector<Setting> const& settings) {
  try {
    return parse_config(base_text, config_texts(settings), study.base.empty() ? "defaults" : study.base);
  } catch (Error const& e) {
    throw Error(concat(study.file, ": ", e.what()));
  }
}

/// The number of ranks that the settings give.
std::int64_t ranks_of(std::vector<Setting> const& settings) {
  std::int64_t ranks = 1;
  for (Setting const& s : settings)
    if (s.key == "ranks") ranks = parse_integer(s.text, "ranks");
  validate(ranks >= 1, "ranks = ", ranks, " is too small (1 is the least). Correct the value.");
  return ranks;
}

Point make_point(Study const& study, std::string const& base_text, Config const& literal,
                 std::vector<Setting> const& settings, std::vector<Setting> varied) {
  Point point;
  point.varied = std::move(varied), point.config = literal;
  std::vector<Setting> computed = settings;
  try {
    computed = Computer(literal, settings).settings();
    point.config = parse_config(base_text, config_texts(computed), study.base);
    point.ranks = ranks_of(computed);
    point.config = resolve(point.config, point.ranks);
    validate(study.drop_steps < point.config.train.steps, "study.drop_steps = ", study.drop_steps,
             " leaves nothing of train.steps = ", point.config.train.steps,
             " (no step would be measured). Train longer, or drop less.");
  } catch (Error const& e) {
    point.infeasible = e.what();
  }
  for (Setting& s : point.varied)
    for (Setting const& c : computed)
      if (c.key == s.key) s.text = c.text;
  point.name = point_name(study, point.varied);
  point.config.run.folder.clear();
  point.id = hash_text(concat("ranks = ", point.ranks, "\n", to_toml(point.config)));
  return point;
}

/// Whether a setting of the point says this value, or its config came to it: 1 and 1.0 are one value of a key that
/// takes a real number, and what the base config says or an expression gives is a value as well.
bool has_value(Point const& point, std::vector<Setting> const& settings, std::string const& key,
               std::string const& value) {
  std::string const wanted = value_text(key, value);
  auto const setting = std::ranges::find(settings, key, &Setting::key);
  bool const computed = setting != settings.end() && is_computed(*setting);
  if (setting != settings.end() && !computed && value_text(key, setting->text) == wanted) return true;
  if (computed && !point.infeasible.empty()) return false;  // nothing may have come out of its expression
  return (key == "ranks" ? std::to_string(point.ranks) : get_field(point.config, key)) == wanted;
}

bool is_excluded(Study const& study, Point const& point, std::vector<Setting> const& settings, Config const& literal,
                 Exclusion const& exclusion) {
  for (std::size_t k = 0; k < exclusion.keys.size(); ++k)
    if (std::ranges::none_of(exclusion.values[k], [&](std::string const& value) {
          return has_value(point, settings, exclusion.keys[k], value);
        }))
      return false;
  if (exclusion.where.empty()) return !exclusion.keys.empty();
  try {
    Computer computer(literal, settings);
    return Expression(exclusion.where).value([&](std::string const& key) { return computer.value(key); }) != 0;
  } catch (Error const& e) {
    if (point.infeasible.empty()) throw Error(concat(study.file, ": [[exclude]] at ", point.name, ": ", e.what()));
    return false;  // it stays, and says why it can't be run
  }
}

/// All combinations of the axes' rows, the last axis fastest.
std::vector<std::vector<Setting>> cross(Study const& study) {
  std::vector<std::vector<Setting>> all{{}};
  for (StudyAxis const& axis : study.axes) {
    std::vector<std::vector<Setting>> next;
    validate(all.size() * axis.rows.size() <= 100000, study.file,
             ": the axes cross to more than 100000 points (nobody could run them). Use fewer values, or [[zip]].");
    for (auto const& before : all)
      for (auto const& row : axis.rows) {
        next.push_back(before);
        for (std::size_t k = 0; k < row.size(); ++k) next.back().push_back({axis.keys[k], row[k]});
      }
    all = std::move(next);
  }
  return all;
}

}  // namespace

std::vector<Point> expand(Study const& study) {
  std::string const base_text = study.base.empty() ? "" : read_text_file(study.base, "base config");
  std::vector<Point> points;
  std::map<std::string, std::string> first_with;  // id -> name
  for (auto& varied : cross(study)) {
    auto settings = study.set;
    settings.insert(settings.end(), varied.begin(), varied.end());
    Config const literal = parse(study, base_text, settings);
    Point point = make_point(study, base_text, literal, settings, std::move(varied));
    if (std::ranges::any_of(study.exclude,
                            [&](Exclusion const& e) { return is_excluded(study, point, settings, literal, e); }))
      continue;
    if (point.infeasible.empty()) {
      auto const [first, is_new] = first_with.emplace(point.id, point.name);
      if (!is_new)
        point.infeasible =
            concat("This is the same run as ", first->second, " (their resolved configs are equal). It is run once.");
    }
    points.push_back(std::move(point));
  }
  validate(!points.empty(), study.file,
           ": no point is left (the [[exclude]] blocks leave out all of them). Exclude less.");
  return points;
}

}  // namespace selenite
