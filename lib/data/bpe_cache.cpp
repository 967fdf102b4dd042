#include <algorithm>
#include <cstring>

#include "data/bpe.hpp"

namespace selenite {

void BpeCache::encode(BpeModel const& model, std::string_view word, std::vector<std::int32_t>& out) {
  if (word.size() > longest_key || word.empty()) return model.encode(word, scratch_, out);
  std::uint64_t key[3] = {};
  std::memcpy(key, word.data(), word.size());
  std::uint64_t hash = (key[0] ^ word.size()) * 0x9e3779b97f4a7c15u;
  hash = (hash ^ hash >> 29 ^ key[1]) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ hash >> 32 ^ key[2]) * 0x94d049bb133111ebu;
  std::size_t const at = static_cast<std::size_t>(hash >> 40) & (lines_.size() - 1);
  // Two ways: a word's own line and its neighbour, where the last but one that wanted the line has gone.
  for (std::size_t const slot : {at, at ^ 1}) {
    Line const& line = lines_[slot];
    if (line.length == word.size() && line.key[0] == key[0] && line.key[1] == key[1] && line.key[2] == key[2]) {
      std::size_t const count = line.count;
      std::size_t const size = out.size();
      out.resize(size + count);
      std::memcpy(out.data() + size, line.ids, count * sizeof(std::int32_t));
      return;
    }
  }
  std::size_t const before = out.size();
  model.encode(word, scratch_, out);
  std::size_t const count = out.size() - before;
  if (count > most_ids) return;
  lines_[at ^ 1] = lines_[at];
  Line& line = lines_[at];
  std::copy(std::begin(key), std::end(key), std::begin(line.key));
  line.length = static_cast<std::uint8_t>(word.size());
  line.count = static_cast<std::uint8_t>(count);
  std::copy(out.end() - static_cast<std::ptrdiff_t>(count), out.end(), std::begin(line.ids));
}

}  // namespace selenite
