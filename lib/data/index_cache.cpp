#include "data/index_cache.hpp"

#include <iomanip>
#include <xxhash.h>

namespace selenite {

void IndexCache::create_folder() const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  validate(!error, "Cannot create the cache folder '", folder_.string(), "' (", error.message(),
           "). Correct data.cache.");
}

std::filesystem::path IndexCache::file(char const* what) const {
  XXH128_hash_t const hash = XXH3_128bits(description_.data(), description_.size());
  return folder_ /
         concat(std::hex, std::setfill('0'), std::setw(16), hash.high64, std::setw(16), hash.low64, "-", what);
}

}  // namespace selenite
