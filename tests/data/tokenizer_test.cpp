// Tokenizers against ids that Hugging Face tokenizers, tiktoken and sentencepiece gave for hard and random Unicode
// text.
#define BOOST_TEST_MODULE tokenizer
#include "data/tokenizer.hpp"

#include <boost/test/unit_test.hpp>
#include <thread>

#include "core/error.hpp"
#include "data/bpe.hpp"
#include "data/tokenizer_bpe.hpp"
#include "data/unicode.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace {

std::string const folder = "tests/data/fixtures/tokenizer/";

struct Cases {
  std::vector<std::string> texts;
  nlohmann::json ids;
};
Cases const& cases() {
  static Cases const loaded = [] {
    auto const file = nlohmann::json::parse(read_file(folder + "cases.json"));
    return Cases{file["texts"].get<std::vector<std::string>>(), file["ids"]};
  }();
  return loaded;
}

std::vector<std::int32_t> encode(Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> ids;
  tokenizer.encode(text, ids);
  return ids;
}

/// Every case gives the expected ids; the first text that does not is shown.
void check_ids(std::string const& spec, std::string const& name) {
  auto const tokenizer = load_tokenizer(spec);
  auto const expected = cases().ids[name].get<std::vector<std::vector<std::int32_t>>>();
  BOOST_REQUIRE(expected.size() == cases().texts.size());
  BOOST_REQUIRE(expected.size() > 200u);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    auto const ids = encode(*tokenizer, cases().texts[i]);
    BOOST_TEST((ids == expected[i]), spec << " differs at text " << i << ": " << cases().texts[i]);
  }
}

void expect_error(std::string const& spec, std::string const& part) {
  BOOST_CHECK_EXCEPTION(load_tokenizer(spec), Error, [&](Error const& error) {
    bool const named = std::string(error.what()).find(part) != std::string::npos;
    if (!named) BOOST_TEST_MESSAGE(error.what());
    return named;
  });
}

/// A tokenizer.json made from a good one by a change.
template <class Change>
std::string changed(ScratchFolder const& scratch, Change&& change) {
  auto content = nlohmann::json::parse(read_file(folder + "gpt2.json"));
  change(content);
  write_file(scratch / "tokenizer.json", content.dump());
  return (scratch / "tokenizer.json").string();
}

}  // namespace

BOOST_AUTO_TEST_CASE(ids_equal_those_of_hugging_face) {
  for (char const* name : {"gpt2", "prefix_space", "llama3", "qwen2", "o200k", "deepseek", "digits", "added",
                           "normalize", "words", "llama2", "metaspace"}) {
    check_ids(folder + name + ".json", name);
  }
}

BOOST_AUTO_TEST_CASE(vocab_and_merges_give_the_ids_of_their_tokenizer_json) {
  check_ids(folder + "vocab.json", "gpt2");
  check_ids(folder, "gpt2");  // the folder has no tokenizer.json
}

BOOST_AUTO_TEST_CASE(decoding_gives_the_text_back) {
  for (char const* name : {"gpt2.json", "llama3.json", "o200k.json", "deepseek.json", "llama2.json"}) {
    auto const tokenizer = load_tokenizer(folder + name);
    for (std::string const& text : cases().texts) {
      // Character BPE reads a mark as a space, and the tokens <0x..> as bytes.
      bool const ambiguous = name[3] != '2' && name[5] == '2' &&
                             (text.find("▁") != text.npos || text.find("<0x") != text.npos ||
                              text.find("<s>") != text.npos || text.find("</s>") != text.npos);
      if (!ambiguous) BOOST_TEST((tokenizer->decode(encode(*tokenizer, text)) == text), name << ": " << text);
    }
  }
  auto const bytes = load_tokenizer("bytes");
  for (std::string const& text : cases().texts) BOOST_TEST((bytes->decode(encode(*bytes, text)) == text));
}

BOOST_AUTO_TEST_CASE(facts_of_a_tokenizer) {
  auto const gpt2 = load_tokenizer(folder + "gpt2.json");
  BOOST_TEST(gpt2->vocab_size() == 1000);
  BOOST_TEST(gpt2->eod() == 0);
  BOOST_TEST(gpt2->pad() == -1);
  BOOST_TEST(gpt2->special_tokens().size() == 1u);
  BOOST_TEST(load_tokenizer(folder + "llama2.json")->eod() == 2);  // </s>
  BOOST_TEST(load_tokenizer("bytes")->vocab_size() == 257);
  BOOST_TEST(load_tokenizer("bytes")->eod() == 256);
  BOOST_CHECK_THROW(gpt2->decode(std::vector<std::int32_t>{1000}), Error);
  BOOST_CHECK_THROW(gpt2->decode(std::vector<std::int32_t>{-1}), Error);
}

BOOST_AUTO_TEST_CASE(clones_work_at_the_same_time) {
  auto const original = load_tokenizer(folder + "deepseek.json");
  auto const expected = cases().ids["deepseek"].get<std::vector<std::vector<std::int32_t>>>();
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t, mine = std::shared_ptr<Tokenizer>(original->clone())] {
        for (std::size_t i = 0; i < expected.size(); ++i) wrong[t] += encode(*mine, cases().texts[i]) != expected[i];
      });
    }
  }
  for (int const count : wrong) BOOST_TEST(count == 0);
}

BOOST_AUTO_TEST_CASE(ill_formed_utf8_is_read_as_replacement_characters) {
  // Replacements as Python's bytes.decode(errors="replace") makes them.
  std::vector<std::pair<std::string, int>> const inputs = {{"\x80", 1},
                                                           {"\xff\xfe", 2},
                                                           {"a\xc3", 1},
                                                           {"\xe2\x82", 1},
                                                           {"\xe2\x82z", 1},
                                                           {"\xf0\x9f\x98", 1},
                                                           {"\xed\xa0\x80", 3},
                                                           {"\xc0\xaf", 2},
                                                           {"\xf4\x90\x80\x80", 4},
                                                           {"\xf0\x80\x80\x80", 4},
                                                           {"\xe0\x80\x80", 3},
                                                           {"\xf8\x88\x80\x80\x80", 5},
                                                           {"ok", 0},
                                                           {"\xf0\x9f\x98\x80", 0},
                                                           {"\xe2\x28\xa1", 2}};
  auto const tokenizer = load_tokenizer(folder + "gpt2.json");
  for (auto const& [bytes, count] : inputs) {
    std::string repaired;
    BOOST_TEST(repair_utf8(bytes, repaired) == count);
    BOOST_TEST(valid_utf8_prefix(repaired) == repaired.size());
    BOOST_TEST((encode(*tokenizer, bytes) == encode(*tokenizer, repaired)));
  }
  auto const raw = load_tokenizer("bytes");
  BOOST_TEST((encode(*raw, "\xff\x80") == std::vector<std::int32_t>{255, 128}));
}

BOOST_AUTO_TEST_CASE(random_bytes_never_crash) {
  std::mt19937 random(7);
  for (char const* name :
       {"gpt2.json", "llama3.json", "qwen2.json", "o200k.json", "llama2.json", "added.json", "digits.json"}) {
    auto const tokenizer = load_tokenizer(folder + name);
    for (int i = 0; i < 300; ++i) {
      std::string text(random() % 200, '\0');
      for (char& c : text) c = static_cast<char>(random());
      std::string repaired;
      repair_utf8(text, repaired);
      auto const ids = encode(*tokenizer, text);
      BOOST_TEST((ids == encode(*tokenizer, repaired)));
      for (std::int32_t const id : ids) BOOST_REQUIRE((id >= 0 && id < tokenizer->vocab_size()));
    }
  }
}

BOOST_AUTO_TEST_CASE(long_words_and_short_ones_merge_alike) {
  // BpeModel merges words of up to 48 symbols by another algorithm than longer ones. No merge has an x, so a word's
  // tokens must be the same alone and with x in front and behind, however long that makes it.
  BpeTables tables;
  for (char const c : {'a', 'b', 'c', 'd', 'x'}) {
    tables.vocabulary.emplace_back(std::string(1, c), static_cast<std::int32_t>(tables.vocabulary.size()));
  }
  using Merge = std::pair<std::string, std::string>;
  for (auto const& [left, right] : {Merge{"a", "b"},
                                    {"ab", "c"},
                                    {"b", "c"},
                                    {"abc", "abc"},
                                    {"c", "a"},
                                    {"d", "d"},
                                    {"dd", "ab"},
                                    {"dd", "dd"},
                                    {"ca", "dd"}}) {
    tables.vocabulary.emplace_back(left + right, static_cast<std::int32_t>(tables.vocabulary.size()));
    tables.merges.emplace_back(left, right);
  }
  BpeModel const model(tables);
  BpeScratch scratch;
  std::mt19937 random(11);
  for (int i = 0; i < 500; ++i) {
    std::string word(20 + random() % 28, 'a');
    for (char& c : word) c = "abcd"[random() % 4];
    std::vector<std::int32_t> expected(30, 4), ids;
    model.encode(word, scratch, expected);
    expected.insert(expected.end(), 30, 4);
    model.encode(std::string(30, 'x') + word + std::string(30, 'x'), scratch, ids);
    BOOST_TEST((ids == expected), word);
  }
}

BOOST_AUTO_TEST_CASE(what_is_not_supported_is_named) {
  ScratchFolder const scratch;
  using nlohmann::json;
  auto const refuses = [&](std::string const& part, auto&& change) { expect_error(changed(scratch, change), part); };
  refuses("'WordPiece'", [](json& j) { j["model"]["type"] = "WordPiece"; });
  refuses("dropout", [](json& j) { j["model"]["dropout"] = 0.1; });
  refuses("end_of_word_suffix", [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; });
  refuses("'BertNormalizer'", [](json& j) { j["normalizer"] = {{"type", "BertNormalizer"}}; });
  refuses("'Whitespace'", [](json& j) { j["pre_tokenizer"] = {{"type", "Whitespace"}}; });
  refuses("'CTC'", [](json& j) { j["decoder"] = {{"type", "CTC"}}; });
  auto const pattern = [](char const* text) {
    return [text](json& j) {
      j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", text}}}, {"behavior", "Isolated"}};
    };
  };
  refuses("\\w", pattern("\\w+"));
  refuses("\\p{Han}", pattern("\\p{Han}+"));
  refuses("&&", pattern("[a&&b]"));
  refuses("missing", pattern("(a"));
}

BOOST_AUTO_TEST_CASE(missing_files_are_named) {
  ScratchFolder const scratch;
  expect_error("/no/such/file.json", "'/no/such/file.json' not found");
  expect_error(scratch.path().string(), "there is no tokenizer.json");
  write_file(scratch / "vocab.json", "{}");
  expect_error((scratch / "vocab.json").string(), "merges.txt");
  write_file(scratch / "x.txt", "");
  expect_error((scratch / "x.txt").string(), "of no known kind");
  write_file(scratch / "x.json", "");
  expect_error((scratch / "x.json").string(), "x.json");
}

BOOST_AUTO_TEST_CASE(eod_of_tokenizer_config_is_used) {
  ScratchFolder const scratch;
  std::filesystem::copy(folder + "gpt2.json", scratch / "tokenizer.json");
  write_file(scratch / "tokenizer_config.json", R"({"eos_token": {"content": "x"}, "pad_token": "y"})");
  auto const tokenizer = load_tokenizer(scratch.path().string());
  BOOST_TEST((encode(*tokenizer, "x") == std::vector<std::int32_t>{tokenizer->eod()}));
  BOOST_TEST((encode(*tokenizer, "y") == std::vector<std::int32_t>{tokenizer->pad()}));
  write_file(scratch / "tokenizer_config.json", R"({"eos_token": "nowhere"})");
  expect_error(scratch.path().string(), "'nowhere'");
}

BOOST_AUTO_TEST_CASE(damaged_files_load_or_say_what_is_wrong) {
  ScratchFolder const scratch;
  std::mt19937 random(5);
  int loaded = 0, refused = 0;
  auto const damage = [&](std::string const& source, std::string const& target) {
    std::string bytes = read_file(folder + source);
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    for (unsigned flips = random() % 3; flips > 0 && !bytes.empty(); --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    }
    write_file(scratch / target, bytes);
  };
  auto const try_one = [&](std::string const& name) {
    try {
      auto const tokenizer = load_tokenizer((scratch / name).string());
      for (std::size_t i = 0; i < 40; ++i) encode(*tokenizer, cases().texts[i * 5]);
      ++loaded;
    } catch (Error const& error) {
      BOOST_TEST(std::string(error.what()).size() > 20u);
      ++refused;
    }
  };
  for (int draw = 0; draw < 150; ++draw) {
    damage(std::vector<std::string>{"gpt2.json", "llama2.json", "deepseek.json"}[random() % 3], "tokenizer.json");
    try_one("tokenizer.json");
    damage("vocab.json", "vocab.json");
    damage("merges.txt", "merges.txt");
    try_one("vocab.json");
  }
  BOOST_TEST(loaded > 0);
  BOOST_TEST(refused > 100);
}
