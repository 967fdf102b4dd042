#pragma once
// Shared by the tests of corpora, indices and batches: the committed inputs, a scratch folder, reading and damaging
// files.
#include <boost/crc.hpp>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

namespace selenite::testing {

inline std::filesystem::path fixture(std::string const& file) { return "tests/data/fixtures/dataset/" + file; }

inline nlohmann::json load_json(std::string const& file) {
  std::ifstream stream(fixture(file));
  BOOST_REQUIRE_MESSAGE(stream.good(), "missing fixture " << file << " (tests run in the repository's root)");
  return nlohmann::json::parse(stream);
}

inline std::string read_file(std::filesystem::path const& path) {
  std::ifstream file(path, std::ios::binary);
  BOOST_REQUIRE_MESSAGE(file.good(), "cannot read " << path);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(std::filesystem::path const& path, std::string const& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// A folder of its own, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::random_device random;
    path_ = std::filesystem::temp_directory_path() /
            ("selenite-data-" + std::to_string(random()) + std::to_string(::getpid()));
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(std::string const& name) const { return path_ / name; }
  std::filesystem::path const& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Compares with what make_dataset.py's digest() kept of an array: size, first and last values, CRC-32 of the bytes.
template <class T>
void check_digest(std::span<T const> values, nlohmann::json const& expected, std::string const& what) {
  BOOST_TEST_CONTEXT(what) {
    BOOST_REQUIRE(values.size() == expected["size"].get<std::size_t>());
    std::size_t const head = expected["head"].size(), tail = expected["tail"].size();
    for (std::size_t i = 0; i < head; ++i) BOOST_TEST(values[i] == expected["head"][i].get<T>());
    for (std::size_t i = 0; i < tail; ++i) BOOST_TEST(values[values.size() - tail + i] == expected["tail"][i].get<T>());
    boost::crc_32_type crc;
    crc.process_bytes(values.data(), values.size_bytes());
    BOOST_TEST(crc.checksum() == expected["crc32"].get<std::uint32_t>());
  }
}

inline double hex_double(nlohmann::json const& text) { return std::stod(text.get<std::string>()); }

}  // namespace selenite::testing
