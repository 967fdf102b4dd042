// Fields from and to text.
#include <cmath>
#include <cstdio>

#include "core/fields.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {
/// TOML takes control characters as escapes only.
std::string control(char c) {
  char text[8];
  std::snprintf(text, sizeof text, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
  return text;
}
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += control(c);
    else
      out += c;
  }
  return out + "\"";
}
}  // namespace

void set_from_text(Field const& field, std::string const& name, std::string_view text) {
  validate(is_utf8(text), name, " was given bytes that are no UTF-8 (a config is a TOML file, and those are UTF-8). ",
           "Rename what is meant, or link to it under another name.");
  if (auto* const* i = std::get_if<std::int64_t*>(&field.value))
    **i = parse_integer(text, name);
  else if (auto* const* x = std::get_if<double*>(&field.value))
    **x = parse_double(text, name);
  else if (auto* const* b = std::get_if<bool*>(&field.value)) {
    validate(text == "true" || text == "false", name, " takes true or false (it was given \"", text,
             "\"). Correct the value.");
    **b = text == "true";
  } else if (auto* const* s = std::get_if<std::string*>(&field.value))
    **s = std::string(text);
  else if (auto* const* list = std::get_if<std::vector<std::string>*>(&field.value)) {
    (*list)->clear();
    if (!text.empty())
      for (std::string const& part : split(text, ',')) (*list)->emplace_back(trim(part));
  } else {
    auto const& e = std::get<EnumRef>(field.value);
    for (std::size_t k = 0; k < e.names.size(); ++k)
      if (e.names[k] == text) return e.set(static_cast<std::uint8_t>(k));
    std::string_view const near = nearest_name(text, e.names);
    throw Error(concat(name, " = \"", text, "\" is not known (it takes ", join(e.names, ", "), "). ",
                       near.empty() ? "Use one of these." : concat("Did you mean \"", near, "\"?")));
  }
}

std::string to_text(Field const& field) {
  if (auto* const* i = std::get_if<std::int64_t*>(&field.value)) return std::to_string(**i);
  if (auto* const* x = std::get_if<double*>(&field.value)) return format_double(**x);
  if (auto* const* b = std::get_if<bool*>(&field.value)) return **b ? "true" : "false";
  if (auto* const* s = std::get_if<std::string*>(&field.value)) return quoted(**s);
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&field.value)) {
    std::vector<std::string> parts;
    for (std::string const& item : **list) parts.push_back(quoted(item));
    return "[" + join(parts, ", ") + "]";
  }
  auto const& e = std::get<EnumRef>(field.value);
  return quoted(e.names[e.get()]);
}

void check_range(Field const& field, std::string const& name) {
  double value = 0;
  if (auto* const* i = std::get_if<std::int64_t*>(&field.value))
    value = static_cast<double>(**i);
  else if (auto* const* x = std::get_if<double*>(&field.value))
    value = **x;
  else
    return;
  validate(value >= field.minimum && value <= field.maximum, name, " = ", value, " is out of range (it must be ",
           field.minimum > -1e299 ? concat("at least ", field.minimum) : "any number",
           field.maximum < 1e17 ? concat(" and at most ", field.maximum) : "", "). Correct the value.");
}

}  // namespace selenite
