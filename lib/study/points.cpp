#include "study/points.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"

namespace selenite {
namespace {

/// A point is measured from a fresh start and leaves records, not checkpoints; [set] and axes may say otherwise.
constexpr std::array<char const*, 5> study_defaults{"checkpoint.every=0", "checkpoint.save_at_end=false",
                                                    "checkpoint.resume=false", "log.tensorboard=false",
                                                    "log.metrics=true"};

std::string hash_text(std::string const& text) {
  std::array<char, 17> hex;
  std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(name_hash(text)));
  return std::string(hex.data(), 12);
}

bool is_excluded(std::vector<Setting> const& settings, Exclusion const& exclusion) {
  for (std::size_t k = 0; k < exclusion.keys.size(); ++k) {
    auto const setting =
        std::find_if(settings.begin(), settings.end(), [&](Setting const& s) { return s.key == exclusion.keys[k]; });
    if (setting == settings.end()) return false;
    auto const& values = exclusion.values[k];
    if (std::find(values.begin(), values.end(), setting->text) == values.end()) return false;
  }
  return !exclusion.keys.empty();
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

Point make_point(Study const& study, std::string const& base_text, std::vector<Setting> const& settings,
                 std::vector<Setting> varied) {
  Point point;
  point.name = point_name(study, varied);
  point.varied = std::move(varied);
  std::vector<std::string> texts(study_defaults.begin(), study_defaults.end());
  std::string ranks = "1";
  for (Setting const& s : settings) {
    if (s.key == "ranks") ranks = s.text;
    if (s.key != "ranks") texts.push_back(concat(s.key, "=", s.text));
  }
  point.ranks = parse_integer(ranks, concat(study.file, ": ranks"));
  validate(point.ranks >= 1, study.file, ": ranks = ", point.ranks,
           " is too small (1 is the least). Correct the value.");
  try {
    point.config = parse_config(base_text, texts, study.base.empty() ? "defaults" : study.base);
  } catch (Error const& e) {
    throw Error(concat(study.file, ", point ", point.name, ": ", e.what()));
  }
  point.config.run.folder.clear();
  try {
    point.config = resolve(point.config, point.ranks);
    validate(study.drop_steps < point.config.train.steps, "study.drop_steps = ", study.drop_steps,
             " leaves nothing of train.steps = ", point.config.train.steps,
             " (no step would be measured). Train longer, or drop less.");
  } catch (Error const& e) {
    point.infeasible = e.what();
  }
  point.id = hash_text(concat("ranks = ", point.ranks, "\n", to_toml(point.config)));
  return point;
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
    if (std::any_of(study.exclude.begin(), study.exclude.end(),
                    [&](Exclusion const& e) { return is_excluded(settings, e); }))
      continue;
    Point point = make_point(study, base_text, settings, std::move(varied));
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
