// From text to corpora on the command line of selenite-preprocess.
#include <zlib.h>
#include <zstd.h>

#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

void write_gzip(std::string const& path, std::string const& text) {
  gzFile const file = gzopen(path.c_str(), "wb");
  BOOST_TEST_REQUIRE(gzwrite(file, text.data(), static_cast<unsigned>(text.size())) == static_cast<int>(text.size()));
  gzclose(file);
}

void write_zstd(std::string const& path, std::string const& text) {
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  bytes.resize(ZSTD_compress(bytes.data(), bytes.size(), text.data(), text.size(), 3));
  write_file(path, bytes);
}

std::vector<std::string> documents(int first, int last) {
  std::vector<std::string> all;
  for (int i = first; i < last; ++i)
    all.push_back(concat("Document ", i, " tells of ", i * i % 97, " moons, été and ", i % 5, " seas."));
  return all;
}

std::string json_lines(std::vector<std::string> const& all, std::string const& key = "text") {
  std::string lines;
  for (std::string const& d : all) lines += concat("{\"id\": 1, \"", key, "\": \"", d, "\"}\n");
  return lines;
}

/// A .bin of uint16, as the tokenizer "bytes" makes it: every byte its own id, 256 at the end of a document.
std::string tokens_of(std::vector<std::string> const& all, bool eod) {
  std::string bin;
  for (std::string const& d : all) {
    for (char const c : d) bin += c, bin += '\0';
    if (eod) bin += std::string("\0\1", 2);
  }
  return bin;
}

std::vector<std::string> tokenize(std::vector<std::string> const& more) {
  std::vector<std::string> command{"tokenize", "--tokenizer", "bytes"};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(corpus)

BOOST_AUTO_TEST_CASE(every_kind_of_input_gives_the_same_corpus) {
  Desk const desk;
  auto const all = documents(0, 200);
  std::string const json = json_lines(all), lines = join(all, "\n") + "\n", blocks = join(all, "\n\n") + "\n";
  write_file("a.jsonl", json), write_file("b.txt", blocks), write_file("c.txt", lines);
  write_file("key.jsonl", json_lines(all, "content"));
  write_gzip("a.jsonl.gz", json), write_gzip("A.JSONL.GZ", json), write_gzip("b.txt.gz", blocks);
  write_zstd("a.jsonl.zst", json), write_zstd("b.txt.zst", blocks);
  std::filesystem::create_directory("apart");
  for (int i = 0; i < 200; ++i)
    write_file(concat("apart/", i < 10 ? "00" : i < 100 ? "0" : "", i, ".txt"), all[static_cast<std::size_t>(i)]);
  std::vector<std::vector<std::string>> const inputs{{"a.jsonl"},
                                                     {"b.txt"},
                                                     {"a.jsonl.gz"},
                                                     {"A.JSONL.GZ"},
                                                     {"b.txt.gz"},
                                                     {"a.jsonl.zst"},
                                                     {"b.txt.zst"},
                                                     {"--document-per", "line", "c.txt"},
                                                     {"--document-per", "file", "apart/*.txt"},
                                                     {"--key", "content", "key.jsonl"}};
  std::string index;
  for (auto const& input : inputs) {
    auto command = tokenize({"--output", "out", "--overwrite", "--append-eod"});
    command.insert(command.end(), input.begin(), input.end());
    std::string const text = desk.succeeds("preprocess", command);
    BOOST_TEST_CONTEXT(join(input, " ")) {
      BOOST_TEST(contains(text, "200 documents"), text);
      BOOST_CHECK(read_file("out.bin") == tokens_of(all, true));
      if (index.empty()) index = read_file("out.idx");
      BOOST_CHECK(read_file("out.idx") == index);
    }
  }
  desk.succeeds("preprocess", tokenize({"--output", "plain", "a.jsonl"}));
  BOOST_CHECK(read_file("plain.bin") == tokens_of(all, false));
}

BOOST_AUTO_TEST_CASE(bad_input_is_refused_with_its_place) {
  Desk const desk;
  auto const output = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--output", "out"});
    return tokenize(more);
  };
  desk.fails("preprocess", output({"none.txt"}), {"none.txt", "no such file"});
  write_file("bad.jsonl", json_lines(documents(0, 2)) + "{\"text\": \n" + json_lines(documents(2, 3)));
  desk.fails("preprocess", output({"bad.jsonl"}), {"bad.jsonl", "3"});
  std::string const skipped = desk.succeeds("preprocess", output({"bad.jsonl", "--skip-bad-lines", "--restart"}));
  BOOST_TEST(contains(skipped, "3 documents"), skipped);
  BOOST_TEST(contains(skipped, "bad lines skipped: 1"), skipped);
  desk.fails("preprocess", output({"bad.jsonl", "--skip-bad-lines"}), {"out", "exist", "--overwrite"});
  write_file("cut.jsonl", json_lines(documents(0, 300)));
  write_gzip("cut.jsonl.gz", json_lines(documents(0, 300)));
  std::filesystem::resize_file("cut.jsonl.gz", std::filesystem::file_size("cut.jsonl.gz") / 2);
  desk.fails("preprocess", tokenize({"--output", "cut", "cut.jsonl.gz"}), {"cut.jsonl.gz"});
  desk.fails("preprocess", tokenize({"--output", "nowhere/cut", "cut.jsonl"}), {"nowhere"});
  write_file("no.txt", "text");
  desk.fails("preprocess", output({"no.txt", "cut.jsonl"}), {"mixed"});
  desk.fails("preprocess", output({"no.txt", "--threads", "-1"}), {"--threads", "-1 is negative"}, 2);
  desk.fails("preprocess", output({"no.txt", "--threads", "5000"}), {"--threads 5000"});
  desk.fails("preprocess", tokenize({"--output", "x", "cut.jsonl", "--key", "body"}), {"body", "cut.jsonl"});
  desk.fails("preprocess", {"tokenize", "--tokenizer", "nothing", "--output", "x", "no.txt"}, {"nothing"});
  write_file("tokenizer.json", "{}");
  desk.fails("preprocess", {"tokenize", "--tokenizer", "tokenizer.json", "--output", "x", "no.txt"},
             {"tokenizer.json"});
  BOOST_TEST(!std::filesystem::exists("x.idx"));
}

BOOST_AUTO_TEST_CASE(a_tokenizer_is_trained_and_its_corpus_is_read_back) {
  Desk const desk;
  write_file("a.jsonl", json_lines(documents(0, 200)));
  std::vector<std::string> const train{"train-tokenizer", "--vocab-size", "320", "--output", "tok", "a.jsonl"};
  BOOST_TEST(contains(desk.succeeds("preprocess", train), "320 tokens learnt"));
  for (char const* file : {"tok/vocab.json", "tok/merges.txt", "tok/tokenizer.json"})
    BOOST_TEST(std::filesystem::exists(file), file);
  desk.fails("preprocess", train, {"tok", "--overwrite"});
  std::string const before = read_file("tok/vocab.json");
  auto again = train;
  again.emplace_back("--overwrite");
  desk.succeeds("preprocess", again);
  BOOST_TEST(read_file("tok/vocab.json") == before);
  desk.fails("preprocess", {"train-tokenizer", "--vocab-size", "100", "--output", "t", "a.jsonl"}, {"100"});

  desk.succeeds("preprocess", {"tokenize", "--tokenizer", "tok", "--append-eod", "--output", "out", "a.jsonl"});
  BOOST_TEST(std::filesystem::file_size("out.bin") < tokens_of(documents(0, 200), true).size() / 2);
  std::string const text = desk.succeeds("preprocess", {"inspect", "out", "--tokenizer", "tok", "--document", "7"});
  BOOST_TEST(contains(text, documents(7, 8)[0]), text);
  BOOST_TEST(contains(text, "200 documents"), text);
  desk.fails("preprocess", {"inspect", "out", "--tokenizer", "none"}, {"none"});
}

BOOST_AUTO_TEST_CASE(corpora_are_merged_and_inspected) {
  Desk const desk;
  auto const a = documents(0, 30), b = documents(30, 100);
  write_file("a.jsonl", json_lines(a)), write_file("b.jsonl", json_lines(b));
  for (char const* name : {"a", "b"}) desk.succeeds("preprocess", tokenize({"--output", name, concat(name, ".jsonl")}));
  desk.succeeds("preprocess", {"merge", "--output", "all", "b.idx", "a"});
  BOOST_CHECK(read_file("all.bin") == read_file("a.bin") + read_file("b.bin"));
  std::string const text = desk.succeeds("preprocess", {"inspect", "all.bin"});
  BOOST_TEST(contains(text, "100 documents"), text);
  BOOST_TEST(contains(text, "the index is sound"), text);
  desk.fails("preprocess", {"merge", "--output", "all", "b", "a"}, {"all", "--overwrite"});
  desk.succeeds("preprocess", {"merge", "--output", "all", "--overwrite", "--keep-order", "b", "a"});
  BOOST_CHECK(read_file("all.bin") == read_file("b.bin") + read_file("a.bin"));
  desk.fails("preprocess", {"merge", "--output", "a", "--overwrite", "b", "a"}, {"is an input and the output"});
  BOOST_CHECK(read_file("a.bin") == tokens_of(a, false));

  desk.fails("preprocess", {"merge", "--output", "new", "none", "a"}, {"none.idx"});
  desk.fails("preprocess", {"inspect", "none"}, {"none.idx"});
  desk.fails("preprocess", {"inspect", "all", "--tokenizer", "bytes", "--document", "100"}, {"no document 100"});
  write_file("longer.idx", read_file("a.idx")), write_file("longer.bin", read_file("a.bin") + "ab");
  desk.fails("preprocess", {"inspect", "longer"}, {"longer.bin", "its index tells of"});
  std::filesystem::resize_file("a.bin", std::filesystem::file_size("a.bin") - 2);
  desk.fails("preprocess", {"inspect", "a"}, {"a.bin"});
  write_file("b.idx", "no index");
  desk.fails("preprocess", {"inspect", "b"}, {"b.idx"});
  std::filesystem::create_directory("empty");
  desk.fails("preprocess", {"merge", "--output", "new", "empty"}, {"empty", "no .idx file"});
  BOOST_TEST(!std::filesystem::exists("new.bin"));
}

BOOST_AUTO_TEST_SUITE_END()
