#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.hpp"

namespace selenite {

/// CRC-32C (Castagnoli), as in RFC 3720.
std::uint32_t crc32c(std::string_view bytes);

struct Scalar {
  std::string tag;
  double value = 0;
};

/// A TensorBoard event file of scalars: TFRecord frames around hand-encoded protocol buffers.
class EventFile {
 public:
  /// Makes events.out.tfevents.<time>.<host>.<process> in `folder`. `resumed_step` >= 0 tells TensorBoard to drop what
  /// an earlier file has for later steps.
  EventFile(std::filesystem::path const& folder, std::int64_t resumed_step);
  /// Writes the values of one step in one call. Throws Error.
  void append(std::int64_t step, std::span<Scalar const> scalars);
  std::filesystem::path const& path() const { return path_; }

 private:
  std::filesystem::path path_;
  OpenFile file_;
};

}  // namespace selenite
