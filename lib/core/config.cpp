// TOML in and out of the field lists.
#include "core/config.hpp"

#include <algorithm>
#include <charconv>

#include "core/error.hpp"
#include "core/fields.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"

namespace selenite {
namespace {

template <class... F>
struct Overload : F... {
  using F::operator()...;
};

std::vector<std::string_view> names_of(std::vector<Field> const& fields) {
  std::vector<std::string_view> names;
  for (Field const& f : fields) names.push_back(f.name);
  return names;
}

[[noreturn]] void unknown(std::string_view what, std::string const& name, std::vector<std::string_view> const& known,
                          std::string const& origin) {
  std::string const prefix = what == "key" ? name.substr(0, name.find('.') + 1) : "";
  std::string_view const near = nearest_name(std::string_view(name).substr(prefix.size()), known);
  throw Error(
      concat(origin, ": there is no ", what, " ", name, " (it is not in the list that --help prints). ",
             near.empty() ? concat("Known are ", join(known, ", "), ".") : concat("Did you mean ", prefix, near, "?")));
}

[[noreturn]] void wrong_type(std::string const& name, std::string_view wanted, std::string const& origin,
                             TomlNode const& node) {
  throw Error(concat(origin, " line ", node.line, ": ", name, " takes ", wanted,
                     " (it was given something else). Correct the value."));
}

template <class T>
T const& exact(std::string const& name, std::string_view wanted, std::string const& origin, TomlNode const& node) {
  auto const* value = node.get_if<T>();
  if (!value) wrong_type(name, wanted, origin, node);
  return *value;
}

double number(std::string const& name, std::string_view wanted, std::string const& origin, TomlNode const& node) {
  if (auto const* whole = node.get_if<std::int64_t>()) return static_cast<double>(*whole);
  return exact<double>(name, wanted, origin, node);
}

void set_list(std::vector<std::string>& list, std::string const& name, std::string const& origin,
              TomlNode const& node) {
  list.clear();
  for (TomlNode const& item : exact<TomlNode::Array>(name, "a list of strings", origin, node)) {
    if (auto const* text = item.get_if<std::string>())
      list.push_back(*text);
    else
      list.push_back(format_double(number(name, "a list of strings", origin, item)));
  }
}

void set_from_node(Field const& field, std::string const& name, std::string const& origin, TomlNode const& node) {
  std::visit(Overload{[&](std::int64_t* p) { *p = exact<std::int64_t>(name, "a whole number", origin, node); },
                      [&](double* p) { *p = number(name, "a number", origin, node); },
                      [&](bool* p) { *p = exact<bool>(name, "true or false", origin, node); },
                      [&](std::string* p) { *p = exact<std::string>(name, "a string in quotes", origin, node); },
                      [&](std::vector<std::string>* p) { set_list(*p, name, origin, node); },
                      [&](EnumRef const&) {
                        set_from_text(field, name, exact<std::string>(name, "a string in quotes", origin, node));
                      }},
             field.value);
  check_range(field, name);
}

Field const* find(std::vector<Section> const& all, std::string_view full) {
  for (Section const& s : all)
    for (Field const& f : s.fields)
      if (full.size() == s.name.size() + 1 + f.name.size() && full.substr(0, s.name.size()) == s.name &&
          full[s.name.size()] == '.' && full.substr(s.name.size() + 1) == f.name)
        return &f;
  return nullptr;
}

void apply_table(Config& config, TomlNode const& root, std::string const& origin) {
  auto const all = sections(config);
  for (auto const& [section_name, node] : *root.table()) {
    auto const section = std::find_if(all.begin(), all.end(),
                                      [&, &wanted = section_name](Section const& s) { return s.name == wanted; });
    if (section == all.end()) {
      std::vector<std::string_view> known;
      for (Section const& s : all) known.push_back(s.name);
      unknown("section", section_name, known, origin);
    }
    validate(node.table(), origin, " line ", node.line, ": ", section_name, " is a section (it holds keys). Write [",
             section_name, "] and its keys below.");
    for (auto const& [key, value] : *node.table()) {
      std::string const full = concat(section_name, ".", key);
      auto const field = std::find_if(section->fields.begin(), section->fields.end(),
                                      [&, &wanted = key](Field const& f) { return f.name == wanted; });
      if (field == section->fields.end()) unknown("key", full, names_of(section->fields), origin);
      set_from_node(*field, full, origin, value);
    }
  }
}

std::string preset_in(TomlNode const& root, std::vector<std::string> const& settings) {
  std::string name;
  if (auto const* model = root.find("model"))
    if (auto const* preset_node = model->find("preset"))
      if (auto const* text = preset_node->get_if<std::string>()) name = *text;
  for (std::string const& s : settings)
    if (s.starts_with("model.preset=")) name = s.substr(13);
  return name;
}

}  // namespace

void set_field(Config& config, std::string const& setting) {
  auto const equals = setting.find('=');
  validate(equals != std::string::npos, "--set ", setting,
           " has no value (it takes section.key=value). Write for example --set layout.tensor=8.");
  std::string const name(trim(std::string_view(setting).substr(0, equals)));
  auto const all = sections(config);
  Field const* field = find(all, name);
  if (!field) {
    std::vector<std::string> full;
    for (Section const& s : all)
      for (Field const& f : s.fields) full.push_back(concat(s.name, ".", f.name));
    std::vector<std::string_view> const views(full.begin(), full.end());
    std::string_view const near = nearest_name(name, views);
    throw Error(concat("--set ", setting, ": there is no key ", name, " (it is not in the list that --help prints). ",
                       near.empty() ? "Write section.key=value." : concat("Did you mean ", near, "?")));
  }
  set_from_text(*field, name, trim(std::string_view(setting).substr(equals + 1)));
  check_range(*field, name);
}

Config parse_config(std::string const& text, std::vector<std::string> const& settings, std::string const& origin) {
  TomlNode const root = parse_toml(text, origin);
  Config config;
  if (std::string const name = preset_in(root, settings); !name.empty()) config.model = preset(name);
  apply_table(config, root, origin);
  for (std::string const& s : settings) set_field(config, s);
  return config;
}

Config load_config(std::string const& file, std::vector<std::string> const& settings) {
  if (file.empty()) return parse_config("", settings, "defaults");
  return parse_config(read_text_file(file, "config"), settings, file);
}

std::string to_toml(Config const& config) {
  Config copy = config;
  std::string text;
  for (Section const& s : sections(copy)) {
    text += concat(text.empty() ? "" : "\n", "[", s.name, "]\n");
    for (Field const& f : s.fields)
      text += concat(f.name, " = ", to_text(f), f.unit.empty() ? "" : concat("  # ", f.unit), "\n");
  }
  return text;
}

std::string describe_fields() {
  Config config;
  std::string text;
  for (Section const& s : sections(config)) {
    text += concat("\n[", s.name, "]\n");
    for (Field const& f : s.fields) {
      std::string line = concat("  ", f.name, " = ", to_text(f));
      line.resize(std::max<std::size_t>(line.size() + 2, 40), ' ');
      text += line + std::string(f.meaning);
      if (auto const* e = std::get_if<EnumRef>(&f.value)) text += concat(" (", join(e->names, "|"), ")");
      if (!f.unit.empty()) text += concat(" [", f.unit, "]");
      text += "\n";
    }
  }
  return text;
}

std::string get_field(Config const& config, std::string const& name) {
  Config copy = config;
  auto const all = sections(copy);
  Field const* field = find(all, name);
  validate(field, "There is no config key ", name, " (it is not in the list that --help prints). Check its spelling.");
  if (auto const* s = std::get_if<std::string*>(&field->value)) return **s;
  if (auto const* e = std::get_if<EnumRef>(&field->value)) return std::string(e->names[e->get()]);
  return to_text(*field);
}

}  // namespace selenite
