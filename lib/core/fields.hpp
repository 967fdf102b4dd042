#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/config.hpp"

namespace selenite {

/// An enum seen as one of a list of names.
struct EnumRef {
  void* value;
  std::span<std::string_view const> names;  ///< in the order of the enumerators
  std::uint8_t get() const { return *static_cast<std::uint8_t const*>(value); }
  void set(std::uint8_t v) const { *static_cast<std::uint8_t*>(value) = v; }
};
using FieldValue = std::variant<std::int64_t*, double*, bool*, std::string*, std::vector<std::string>*, EnumRef>;

/// One field of a config: where it is, its name, meaning and unit, and the range it must keep. Everything that names
/// fields (TOML in and out, --set, --help, --print-config, records) is made from these lists.
struct Field {
  std::string_view name;
  FieldValue value;
  std::string_view meaning;
  std::string_view unit = {};
  double minimum = -1e300, maximum = 1e300;
};
struct Section {
  std::string_view name;
  std::vector<Field> fields;
};

std::vector<Field> fields(ModelConfig& c);
std::vector<Field> fields(LayoutConfig& c);
std::vector<Field> fields(TrainConfig& c);
std::vector<Field> fields(DataConfig& c);
std::vector<Field> fields(CheckpointConfig& c);
std::vector<Field> fields(LogConfig& c);
std::vector<Field> fields(RunConfig& c);
std::vector<Field> fields(MachineConfig& c);
std::vector<Section> sections(Config& config);

/// Sets a field from the bare text of --set: strings and names bare, lists separated by commas. Throws Error that says
/// what the field takes; `name` is the full name for the message.
void set_from_text(Field const& field, std::string const& name, std::string_view text);
/// The value as it stands in TOML.
std::string to_text(Field const& field);
/// Throws if the value is outside the field's range.
void check_range(Field const& field, std::string const& name);

}  // namespace selenite
