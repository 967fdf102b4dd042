#pragma once
#include <string>

namespace selenite {

/// What tests ask of a message.
inline bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace selenite
