#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/config.hpp"

namespace selenite {

struct JsonMember;

/// A JSON object whose members keep their order; enough for the records that the suite writes.
class JsonObject {
 public:
  JsonObject() = default;
  JsonObject(std::initializer_list<JsonMember> members);
  /// Adds a member, or replaces the one of that name.
  template <class Value>
  JsonObject& set(std::string const& key, Value const& value);
  std::vector<JsonMember> const& members() const { return members_; }
  bool empty() const { return members_.empty(); }
  /// `indent` < 0: on one line. Numbers read back to the same double; infinities and NaN become null; bytes that are no
  /// UTF-8 become U+FFFD.
  std::string text(int indent = -1) const;

 private:
  JsonMember& member(std::string const& key);
  std::vector<JsonMember> members_;
};

using JsonValue = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, JsonObject, std::vector<double>,
                               std::vector<std::string>>;
struct JsonMember {
  std::string key;
  JsonValue value;
};

template <class Value>
JsonObject& JsonObject::set(std::string const& key, Value const& value) {
  if constexpr (std::is_integral_v<Value> && !std::is_same_v<Value, bool>)
    member(key).value = static_cast<std::int64_t>(value);
  else if constexpr (std::is_floating_point_v<Value>)
    member(key).value = static_cast<double>(value);
  else if constexpr (std::is_convertible_v<Value const&, std::string>)
    member(key).value = std::string(value);
  else
    member(key).value = value;
  return *this;
}

/// All fields by section: {"model": {"layers": 12, ...}, ...}
JsonObject to_json(Config const& config);

/// The integer member `key` of one line of JSON, or `otherwise` if the text is no JSON object with such a member.
std::int64_t integer_member(std::string const& line, std::string const& key, std::int64_t otherwise);

}  // namespace selenite
