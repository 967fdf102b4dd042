#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <sstream>

#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

// The index is read by HDF5's own tool, which knows nothing of who wrote it.
BOOST_AUTO_TEST_SUITE(h5dump)

namespace {

std::vector<double> numbers_by_h5dump(std::filesystem::path const& file, std::string const& dataset) {
  std::string const command = concat(SELENITE_H5DUMP, " -y -w 1 -d '", dataset, "' '", file.string(), "' 2>&1");
  std::FILE* const pipe = popen(command.c_str(), "r");
  BOOST_REQUIRE(pipe);
  std::string text;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
  BOOST_REQUIRE_MESSAGE(pclose(pipe) == 0, text);
  auto const begin = text.find("DATA {");
  BOOST_REQUIRE_MESSAGE(begin != std::string::npos, text);
  std::istringstream lines(text.substr(begin + 6));
  std::vector<double> numbers;
  for (std::string word; lines >> word && word != "}";) numbers.push_back(std::stod(word));
  return numbers;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_index_shows_every_tensor_whole) {
  TemporaryFolder const root;
  IoThread io;
  std::vector<Known> const tensors{{"weight", "layers.0.w", DType::fp32, {13, 7}, 1},
                                   {"weight", "layers.0.b", DType::bf16, {9}, 2},
                                   {"m", "layers.0.w", DType::fp16, {13, 7}, 3},
                                   {"v", "layers.0.w", DType::fp64, {13, 7}, 4}};
  auto const index = save_known(io, root.path(), tensors, 100, 4) / "index.h5";
  for (Known const& tensor : tensors) {
    auto const numbers = numbers_by_h5dump(index, concat("/", tensor.kind, "/", tensor.name));
    BOOST_REQUIRE(static_cast<std::int64_t>(numbers.size()) == tensor.shape.count());
    for (std::size_t i = 0; i < numbers.size(); ++i)
      BOOST_TEST(numbers[i] == known_value(tensor, static_cast<std::int64_t>(i)));
  }
}

BOOST_AUTO_TEST_CASE(what_a_missing_shard_held_is_not_a_number) {
  TemporaryFolder const root;
  IoThread io;
  Known const tensor{"weight", "a", DType::bf16, {8, 3}, 1};
  auto const folder = save_known(io, root.path(), {tensor}, 100, 2);
  std::filesystem::remove(folder / "shard-1.h5");
  auto const numbers = numbers_by_h5dump(folder / "index.h5", "/weight/a");
  BOOST_REQUIRE(numbers.size() == 24u);
  BOOST_TEST(numbers[0] == known_value(tensor, 0));
  for (std::size_t i = 12; i < 24; ++i) BOOST_TEST(std::isnan(numbers[i]));
}

BOOST_AUTO_TEST_SUITE_END()
