#include "io/seal.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>
#include <xxhash.h>

#include "core/error.hpp"
#include "core/files.hpp"

namespace selenite {
namespace {

constexpr std::string_view mark = "selenite";
constexpr std::int64_t seal_bytes = 16, block = 4 << 20;

std::string seal_of(OpenFile const& file, std::int64_t bytes) {
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> const state(XXH3_createState(), XXH3_freeState);
  validate(state && XXH3_64bits_reset(state.get()) == XXH_OK, "There is no memory for a checksum.");
  std::vector<char> buffer(static_cast<std::size_t>(std::min(bytes, block)));
  for (std::int64_t at = 0; at < bytes;) {
    std::int64_t const n = file.read(at, {buffer.data(), static_cast<std::size_t>(std::min(block, bytes - at))});
    validate(n > 0, "The file became shorter while it was read.");
    XXH3_64bits_update(state.get(), buffer.data(), static_cast<std::size_t>(n));
    at += n;
  }
  std::uint64_t const hash = XXH3_64bits_digest(state.get());
  std::string seal(mark);
  for (int i = 0; i < 8; ++i) seal += static_cast<char>(hash >> (8 * i) & 0xff);
  return seal;
}

}  // namespace

void seal_file(std::filesystem::path const& path) {
  OpenFile file(path, OpenFile::Mode::append);
  file.write(seal_of(file, file.size()));
}

void check_seal(std::filesystem::path const& path) {
  OpenFile const file(path, OpenFile::Mode::read);
  std::int64_t const bytes = file.size() - seal_bytes;
  std::string seal(seal_bytes, '\0');
  validate(bytes >= 0 && file.read(bytes, seal) == seal_bytes && std::string_view(seal).starts_with(mark),
           path.filename().string(), " has no checksum at its end: it was cut or changed");
  validate(seal == seal_of(file, bytes), path.filename().string(),
           " does not match the checksum at its end: it was changed");
}

}  // namespace selenite
