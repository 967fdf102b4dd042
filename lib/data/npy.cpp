#include "data/npy.hpp"

#include <charconv>
#include <optional>
#include <xxhash.h>

#include "core/parallel_for.hpp"
#include "data/output_file.hpp"

namespace selenite {
namespace {

constexpr std::string_view npy_magic{"\x93NUMPY\x01\x00", 8};
constexpr std::string_view trailer_mark = "xxh3 of the data";
constexpr std::int64_t trailer_bytes = std::int64_t{trailer_mark.size()} + 8;
constexpr std::int64_t alignment = 64;
constexpr std::int64_t preamble_bytes = 10;  // magic, version, uint16 size of the header

std::span<std::byte const> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The text between `key` and the next `end`.
std::optional<std::string_view> between(std::string_view text, std::string_view key, char end) {
  auto const at = text.find(key);
  if (at == text.npos) return {};
  text.remove_prefix(at + key.size());
  auto const stop = text.find(end);
  return stop == text.npos ? std::nullopt : std::optional(text.substr(0, stop));
}

/// "(3, 2)" without its parentheses. Nothing if it is no list of sizes.
std::optional<std::vector<std::int64_t>> parse_shape(std::string_view text) {
  std::vector<std::int64_t> shape;
  while (true) {
    while (!text.empty() && (text.front() == ' ' || text.front() == ',')) text.remove_prefix(1);
    if (text.empty()) return shape;
    std::int64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || value < 0) return {};
    shape.push_back(value);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  }
}

}  // namespace

std::uint64_t hash_bytes(std::span<std::byte const> bytes) {
  constexpr std::size_t piece = std::size_t{4} << 20;
  std::vector<XXH64_hash_t> hashes((bytes.size() + piece - 1) / piece);
  parallel_for(static_cast<std::int64_t>(bytes.size()), piece, [&](std::int64_t first, std::int64_t last) {
    hashes[static_cast<std::size_t>(first) / piece] =
        XXH3_64bits(bytes.data() + first, static_cast<std::size_t>(last - first));
  });
  return XXH3_64bits(hashes.data(), hashes.size() * sizeof(XXH64_hash_t));
}

void write_npy(std::filesystem::path const& path, std::string_view type, std::span<std::int64_t const> shape,
               std::span<std::byte const> data) {
  std::string header = concat("{'descr': '", type, "', 'fortran_order': False, 'shape': (");
  for (std::int64_t const size : shape) header += std::to_string(size) + ", ";
  header += "), }";
  while ((preamble_bytes + std::ssize(header) + 1) % alignment != 0) header += ' ';  // the data begins aligned
  header += '\n';
  replace_file(path, [&](OutputFile& file) {
    file.write(bytes_of(npy_magic));
    file.write_value(static_cast<std::uint16_t>(header.size()));
    file.write(bytes_of(header));
    file.write(data);
    file.write(bytes_of(trailer_mark));
    file.write_value(hash_bytes(data));
  });
}

NpyFile::NpyFile(std::filesystem::path const& path) : file_(path) {
  auto const name = path.string();
  auto const again = "Delete it; it is made again.";
  auto const bytes = file_.bytes();
  auto const text = std::string_view(reinterpret_cast<char const*>(bytes.data()), bytes.size());
  validate(text.starts_with(npy_magic) && text.size() >= preamble_bytes, "'", name, "' is no .npy file. ", again);
  std::int64_t const header_end = preamble_bytes + load_unaligned<std::uint16_t>(bytes.data() + 8);
  validate(header_end % alignment == 0 && header_end + trailer_bytes <= file_.size(), "'", name, "' is truncated. ",
           again);
  parse_header(text.substr(preamble_bytes, static_cast<std::size_t>(header_end - preamble_bytes)));
  data_ = bytes.subspan(static_cast<std::size_t>(header_end),
                        static_cast<std::size_t>(file_.size() - header_end - trailer_bytes));
  std::uint64_t expected = type_ == "<i2" ? 2 : type_ == "<i4" || type_ == "<u4" ? 4 : 8;
  bool fits = true;
  for (std::int64_t const size : shape_)
    fits = fits && !__builtin_mul_overflow(expected, static_cast<std::uint64_t>(size), &expected);
  validate(fits && expected == data_.size(), "'", name, "' has ", data_.size(), " bytes of data (its header says ",
           expected, "; it is truncated or damaged). ", again);
  auto const trailer = text.substr(text.size() - static_cast<std::size_t>(trailer_bytes));
  auto const checksum = load_unaligned<std::uint64_t>(bytes.data() + file_.size() - 8);
  validate(trailer.starts_with(trailer_mark) && checksum == hash_bytes(data_), "'", name,
           "' does not have the contents that were written (its checksum differs). ", again);
}

void NpyFile::parse_header(std::string_view header) {
  auto const type = between(header, "'descr': '", '\'');
  auto const order = between(header, "'fortran_order': ", ',');
  auto const shape_text = between(header, "'shape': (", ')');
  auto const shape = shape_text ? parse_shape(*shape_text) : std::nullopt;
  bool const known = type && (*type == "<i2" || *type == "<i4" || *type == "<i8" || *type == "<u4");
  validate(known && order == "False" && shape && !shape->empty(), "'", file_.path().string(),
           "' has a header that cannot be read. Delete it; it is made again.");
  type_ = *type;
  shape_ = *shape;
}

}  // namespace selenite
