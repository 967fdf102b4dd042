#include "io/tensorboard.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <fstream>
#include <sstream>

#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// CRC-32C by the book: polynomial division bit by bit.
std::uint32_t slow_crc32c(std::string const& bytes) {
  std::uint32_t crc = ~0u;
  for (char const c : bytes)
    for (int bit = 0; bit < 8; ++bit) {
      bool const odd = (crc ^ static_cast<std::uint32_t>(static_cast<unsigned char>(c) >> bit)) & 1u;
      crc = (crc >> 1) ^ (odd ? 0x82f63b78u : 0u);
    }
  return ~crc;
}

struct Field {
  std::uint64_t number = 0, integer = 0;
  std::string bytes;
};

/// Takes a protocol buffer apart without knowing what it says.
std::vector<Field> fields_of(std::string const& message) {
  std::vector<Field> fields;
  std::size_t at = 0;
  auto const varint = [&] {
    std::uint64_t value = 0;
    for (int bits = 0;; bits += 7) {
      auto const byte = static_cast<unsigned char>(message.at(at++));
      value |= std::uint64_t{byte & 0x7fu} << bits;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.size()) {
    std::uint64_t const key = varint();
    Field field{key >> 3, 0, {}};
    std::size_t const fixed = (key & 7) == 1 ? 8 : 4;
    if ((key & 7) == 0) {
      field.integer = varint();
    } else {
      std::size_t const n = (key & 7) == 2 ? varint() : fixed;
      field.bytes = message.substr(at, n);
      BOOST_REQUIRE(field.bytes.size() == n);
      at += n;
    }
    fields.push_back(field);
  }
  return fields;
}

template <class T>
T number(std::string const& bytes) {
  T value;
  BOOST_REQUIRE(bytes.size() == sizeof value);
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

/// The records of a TFRecord file, their checksums checked.
std::vector<std::string> records_of(std::filesystem::path const& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  std::string const bytes = all.str();
  auto const masked = [](std::string const& text) {
    std::uint32_t const crc = slow_crc32c(text);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  };
  std::vector<std::string> records;
  for (std::size_t at = 0; at < bytes.size();) {
    std::string const length = bytes.substr(at, 8);
    BOOST_TEST(number<std::uint32_t>(bytes.substr(at + 8, 4)) == masked(length));
    records.push_back(bytes.substr(at + 12, number<std::uint64_t>(length)));
    at += 12 + records.back().size();
    BOOST_TEST(number<std::uint32_t>(bytes.substr(at, 4)) == masked(records.back()));
    at += 4;
  }
  return records;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tensorboard)

BOOST_AUTO_TEST_CASE(crc32c_known_answers) {  // RFC 3720, appendix B.4
  BOOST_TEST(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  BOOST_TEST(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i), falling += static_cast<char>(31 - i);
  BOOST_TEST(crc32c(rising) == 0x46dd794eu);
  BOOST_TEST(crc32c(falling) == 0x113fdb5cu);
  BOOST_TEST(crc32c("123456789") == 0xe3069283u);
}

BOOST_AUTO_TEST_CASE(events_decode_to_what_was_written) {
  TemporaryFolder const folder;
  EventFile file(folder / "tb", 4);
  std::vector<Scalar> const scalars{{"loss", 2.5}, {"learning rate", 1e-4}};
  file.append(300, scalars);
  auto const records = records_of(file.path());
  BOOST_REQUIRE(records.size() == 3u);
  auto const version = fields_of(records[0]);
  BOOST_TEST(version[2].number == 3u);
  BOOST_TEST(version[2].bytes == "brain.Event:2");
  auto const session = fields_of(records[1]);
  BOOST_TEST(session[1].integer == 5u);
  BOOST_TEST(session[2].number == 7u);
  auto const event = fields_of(records[2]);
  BOOST_REQUIRE(event.size() == 3u);
  BOOST_TEST(number<double>(event[0].bytes) > 1.6e9);
  BOOST_TEST(event[1].number == 2u);
  BOOST_TEST(event[1].integer == 300u);
  auto const values = fields_of(event[2].bytes);
  BOOST_REQUIRE(values.size() == 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    auto const value = fields_of(values[i].bytes);
    BOOST_TEST(value[0].bytes == scalars[i].tag);
    BOOST_TEST(number<float>(value[1].bytes) == static_cast<float>(scalars[i].value));
  }
}

BOOST_AUTO_TEST_SUITE_END()
