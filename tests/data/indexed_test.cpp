#define BOOST_TEST_MODULE indexed
#include "data/indexed.hpp"

#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <fstream>

#include "core/error.hpp"

using namespace selenite;

BOOST_AUTO_TEST_CASE(one_document_by_hand) {
  auto const folder = std::filesystem::temp_directory_path() / ("selenite-indexed-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  IndexedWriter writer(folder / "a.b", TokenType::uint16);
  std::vector<std::int32_t> const tokens = {7, 300, 65535}, lengths = {1, 2};
  writer.add_document(tokens, lengths);
  writer.add_document({}, {});
  writer.finish();
  std::ifstream file(folder / "a.b.idx", std::ios::binary);
  std::string const bytes{std::istreambuf_iterator<char>(file), {}};
  using namespace std::string_literals;
  BOOST_TEST(bytes == "MMIDIDX\0\0" "\1\0\0\0\0\0\0\0" "\10" "\2\0\0\0\0\0\0\0" "\3\0\0\0\0\0\0\0"
                      "\1\0\0\0\2\0\0\0" "\0\0\0\0\0\0\0\0" "\2\0\0\0\0\0\0\0"
                      "\0\0\0\0\0\0\0\0" "\2\0\0\0\0\0\0\0" "\2\0\0\0\0\0\0\0"s);
  IndexedDataset const dataset(folder / "a.b");
  BOOST_TEST(dataset.documents() == 2);
  std::vector<std::int32_t> read(2);
  dataset.read(1, 0, read);
  BOOST_TEST(read == (std::vector<std::int32_t>{300, 65535}), boost::test_tools::per_element());
  std::filesystem::remove_all(folder);
}
