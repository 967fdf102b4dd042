#include "io/json.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/fields.hpp"

namespace selenite {
namespace {

using Json = nlohmann::ordered_json;

Json convert(JsonObject const& object);

Json convert_value(JsonValue const& value) {
  return std::visit(
      [](auto const& v) -> Json {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, JsonObject>)
          return convert(v);
        else if constexpr (std::is_same_v<T, double>)
          return std::isfinite(v) ? Json(v) : Json(nullptr);
        else
          return Json(v);
      },
      value);
}

Json convert(JsonObject const& object) {
  Json json = Json::object();
  for (JsonMember const& m : object.members()) json[m.key] = convert_value(m.value);
  return json;
}

JsonValue value_of(FieldValue const& field) {
  return std::visit(
      [](auto const& v) -> JsonValue {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, EnumRef>)
          return std::string(v.names[v.get()]);
        else
          return *v;
      },
      field);
}

}  // namespace

JsonObject::JsonObject(std::initializer_list<JsonMember> members) : members_(members) {}

JsonMember& JsonObject::member(std::string const& key) {
  auto const found = std::find_if(members_.begin(), members_.end(), [&](JsonMember const& m) { return m.key == key; });
  if (found != members_.end()) return *found;
  members_.push_back({key, nullptr});
  return members_.back();
}

std::string JsonObject::text(int indent) const {
  return convert(*this).dump(indent, ' ', false, Json::error_handler_t::replace);
}

JsonObject to_json(Config const& config) {
  Config copy = config;  // the field lists point to what may be changed
  JsonObject json;
  for (Section const& section : sections(copy)) {
    JsonObject part;
    for (Field const& field : section.fields) part.set(std::string(field.name), value_of(field.value));
    json.set(std::string(section.name), part);
  }
  return json;
}

std::int64_t integer_member(std::string const& line, std::string const& key, std::int64_t otherwise) {
  auto const json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) return otherwise;
  return json[key].get<std::int64_t>();
}

}  // namespace selenite
