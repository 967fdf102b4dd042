// SentencePiece models against ids that the sentencepiece package gave.
#define BOOST_TEST_MODULE sentencepiece
#include <boost/test/unit_test.hpp>

#include "core/error.hpp"
#include "data/tokenizer.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace {
std::string const folder = "tests/data/fixtures/tokenizer/";
}

BOOST_AUTO_TEST_CASE(ids_equal_those_of_sentencepiece) {
  auto const file = nlohmann::json::parse(read_file(folder + "cases.json"));
  auto const texts = file["texts"].get<std::vector<std::string>>();
  auto const expected = file["ids"]["sentencepiece"].get<std::vector<std::vector<std::int32_t>>>();
  auto const tokenizer = load_tokenizer(folder + "sentencepiece.model");
  BOOST_REQUIRE(texts.size() > 200u);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<std::int32_t> ids;
    tokenizer->encode(texts[i], ids);
    BOOST_TEST((ids == expected[i]), "text " << i << ": " << texts[i]);
  }
  BOOST_TEST(tokenizer->eod() == 2);
  BOOST_TEST(tokenizer->checksum() == load_tokenizer(folder + "sentencepiece.model")->checksum());
  BOOST_TEST(tokenizer->checksum() != 0u);
  std::vector<std::int32_t> ids;
  tokenizer->encode("The moon rises late", ids);
  BOOST_TEST(tokenizer->decode(ids) == "The moon rises late");
  BOOST_CHECK_THROW(tokenizer->decode(std::vector<std::int32_t>{tokenizer->vocab_size()}), Error);
}

BOOST_AUTO_TEST_CASE(damaged_models_load_or_say_what_is_wrong) {
  ScratchFolder const scratch;
  std::mt19937 random(3);
  int refused = 0;
  for (int draw = 0; draw < 60; ++draw) {
    std::string bytes = read_file(folder + "sentencepiece.model");
    bytes.resize(random() % bytes.size());
    write_file(scratch / "x.model", bytes);
    try {
      std::vector<std::int32_t> ids;
      load_tokenizer((scratch / "x.model").string())->encode("moon", ids);
    } catch (Error const&) {
      ++refused;
    }
  }
  BOOST_TEST(refused > 30);
}
