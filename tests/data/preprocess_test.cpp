// From text to corpora: byte for byte against files of a plain Python writer, killed and resumed, and damaged input;
// and the trainer against what Hugging Face's learnt from the same text.
#define BOOST_TEST_MODULE preprocess
#include "data/preprocess.hpp"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <map>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <zlib.h>
#include <zstd.h>

#include "core/error.hpp"
#include "data/indexed.hpp"
#include "data/preprocess_json.hpp"
#include "data/text_source.hpp"
#include "data/train_bpe.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace fs = std::filesystem;

namespace {

std::string const folder = "tests/data/fixtures/tokenizer/";

TokenizeProgress tokenize(TokenizeOptions const& options, std::string const& tokenizer) {
  return tokenize_corpus(options, *load_tokenizer(tokenizer), [](TokenizeProgress const&) {});
}

bool same_corpus(fs::path const& a, fs::path const& b) {
  return read_file(index_path(a)) == read_file(index_path(b)) && read_file(tokens_path(a)) == read_file(tokens_path(b));
}

std::string gzip(std::string const& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  BOOST_REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string const& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// Documents of a corpus that the byte tokenizer made.
std::vector<std::string> texts_of(fs::path const& prefix) {
  IndexedDataset const corpus(prefix);
  std::vector<std::string> texts;
  for (std::int64_t d = 0; d < corpus.documents(); ++d) {
    std::string text;
    for (auto s = corpus.first_sequence(d); s < corpus.first_sequence(d + 1); ++s) {
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(corpus.length(s)));
      corpus.read(s, 0, tokens);
      for (std::int32_t const token : tokens) text += static_cast<char>(token);
    }
    texts.push_back(text);
  }
  return texts;
}

template <class Body>
void expect_error(std::string const& part, Body&& body) {
  BOOST_CHECK_EXCEPTION(body(), Error, [&](Error const& error) {
    bool const named = std::string(error.what()).find(part) != std::string::npos;
    if (!named) BOOST_TEST_MESSAGE(error.what());
    return named;
  });
}

/// JSONL of some megabytes, with every kind of line that is allowed.
std::string many_lines(int count) {
  std::mt19937 random(17);
  std::string text;
  for (int i = 0; i < count; ++i) {
    nlohmann::json line = {{"id", i}, {"other", {{"text", "no"}, {"list", {1, 2.5, nullptr, true}}}}};
    std::string words;
    for (unsigned n = random() % 200; n > 0; --n)
      words += (random() % 3 ? " moon" : " été\n") + std::to_string(random() % 99);
    line["text"] = words;
    text += line.dump() + (i % 7 == 0 ? "\r\n" : "\n");
    if (i % 50 == 0) text += "\n";
  }
  return text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_corpus_equals_a_plain_writers_byte_for_byte) {
  ScratchFolder const scratch;
  for (int const threads : {1, 3}) {
    for (bool const eod : {false, true}) {
      TokenizeOptions options{.inputs = {folder + "documents.jsonl"}, .output = scratch / "out", .append_eod = eod};
      options.overwrite = true;
      options.threads = threads;
      auto const progress = tokenize(options, folder + "gpt2.json");
      BOOST_TEST(same_corpus(options.output, folder + (eod ? "documents_eod" : "documents")));
      BOOST_TEST(progress.counts.documents == 103);
      BOOST_TEST(progress.counts.empty_documents == 3);
      BOOST_TEST(progress.file_bytes == progress.file_bytes_total);
      BOOST_TEST(std::distance(fs::directory_iterator(scratch.path()), fs::directory_iterator()) == 2);
    }
  }
}

BOOST_AUTO_TEST_CASE(compressed_inputs_give_the_same_corpus) {
  ScratchFolder const scratch;
  std::string const text = many_lines(20000), half = text.substr(0, text.size() / 2),
                    rest = text.substr(text.size() / 2);
  write_file(scratch / "a.jsonl", text);
  write_file(scratch / "b.jsonl.gz", gzip(half) + gzip(rest));  // two members
  write_file(scratch / "c.jsonl.zst", zstd(half) + zstd(rest));
  for (std::string const name : {"a.jsonl", "b.jsonl.gz", "c.jsonl.zst"}) {
    TokenizeOptions options{.inputs = {scratch / name}, .output = scratch / ("out-" + name), .threads = 2};
    BOOST_TEST(tokenize(options, folder + "gpt2.json").counts.documents == 20000);
    BOOST_TEST(same_corpus(options.output, scratch / "out-a.jsonl"));
  }
}

BOOST_AUTO_TEST_CASE(compression_is_known_by_its_bytes_whatever_the_name) {
  ScratchFolder const scratch;
  std::string const text = many_lines(100);
  write_file(scratch / "a.jsonl", text);
  write_file(scratch / "b.JSONL.GZ", gzip(text));
  write_file(scratch / "c.jsonl", zstd(text));
  for (std::string const name : {"a.jsonl", "b.JSONL.GZ", "c.jsonl"}) {
    TokenizeOptions options{.inputs = {scratch / name}, .output = scratch / ("out-" + name)};
    tokenize(options, "bytes");
    BOOST_TEST(same_corpus(options.output, scratch / "out-a.jsonl"));
  }
  BOOST_TEST(uncompressed_name("b.JSONL.GZ") == "b.JSONL");
  for (auto const& [kind, magic] : std::vector<std::pair<std::string, std::string>>{
           {"xz", "\3757zXZ"}, {"bzip2", "BZh91AY&SY"}, {"zip", "PK\3\4"}, {"lz4", "\x04\x22\x4d\x18"}}) {
    fs::path const path = scratch / "x.jsonl";
    write_file(path, magic + "rest");
    expect_error("compressed by " + kind, [&] { tokenize({.inputs = {path}, .output = scratch / "out"}, "bytes"); });
    expect_error("compressed by " + kind, [&] { expand_inputs({path.string()}); });
  }
  write_file(scratch / "x.txt", "BZh");  // text
  tokenize({.inputs = {scratch / "x.txt"}, .output = scratch / "text", .document_per = DocumentPer::file}, "bytes");
  BOOST_TEST((texts_of(scratch / "text") == std::vector<std::string>{"BZh"}));
}

BOOST_AUTO_TEST_CASE(truncated_and_corrupt_compression_is_an_error) {
  ScratchFolder const scratch;
  std::string const text = many_lines(300);
  for (bool const gz : {true, false}) {
    std::string const good = gz ? gzip(text) : zstd(text);
    fs::path const path = scratch / (gz ? "x.jsonl.gz" : "x.jsonl.zst");
    for (std::size_t const size : {good.size() - 1, good.size() / 2, std::size_t{5}}) {
      write_file(path, good.substr(0, size));
      expect_error(path.string(),
                   [&] { tokenize({.inputs = {path}, .output = scratch / "out", .restart = true}, "bytes"); });
    }
    std::string bad = good;
    bad[good.size() / 2] ^= 0x55;
    write_file(path, bad);
    BOOST_CHECK_THROW(tokenize({.inputs = {path}, .output = scratch / "out", .restart = true}, "bytes"), Error);
  }
  BOOST_TEST(!fs::exists(scratch / "out.bin"));
}

BOOST_AUTO_TEST_CASE(plain_text_is_cut_into_documents) {
  ScratchFolder const scratch;
  using Texts = std::vector<std::string>;
  auto const cut = [&](std::string const& text, DocumentPer per) {
    write_file(scratch / "x.txt", text);
    tokenize({.inputs = {scratch / "x.txt"}, .output = scratch / "out", .document_per = per, .overwrite = true},
             "bytes");
    return texts_of(scratch / "out");
  };
  BOOST_TEST((cut("a\nb\r\n\nc", DocumentPer::line) == Texts{"a", "b", "", "c"}));
  BOOST_TEST((cut("a\nb\n\nc\n", DocumentPer::blank_line) == Texts{"a\nb", "c"}));
  BOOST_TEST((cut("\n\n\na\r\n\r\n\r\n b \r\nc\n\n", DocumentPer::blank_line) == Texts{"a", " b \r\nc"}));
  BOOST_TEST((cut("a\n\nb\n", DocumentPer::file) == Texts{"a\n\nb\n"}));
  BOOST_TEST((cut("", DocumentPer::file) == Texts{""}));
  BOOST_TEST((cut("", DocumentPer::line) == Texts{}));
  BOOST_TEST((cut("\n\n", DocumentPer::blank_line) == Texts{}));
  // Documents longer than a block, and blank lines where blocks meet.
  std::string const big(700000, 'x');
  BOOST_TEST((cut(big + "\n" + big + "\n\n\n" + big, DocumentPer::blank_line) == Texts{big + "\n" + big, big}));
  BOOST_TEST((cut(big + "\n" + big + "\n\n", DocumentPer::line) == Texts{big, big, ""}));
}

BOOST_AUTO_TEST_CASE(bad_lines_are_named_or_counted) {
  ScratchFolder const scratch;
  fs::path const path = scratch / "x.jsonl";
  std::string const good = R"({"text": "one"})";
  for (auto const& [line, part] :
       std::vector<std::pair<std::string, std::string>>{{R"({"text": "x)", "Line 3"},
                                                        {R"({"other": "x"})", "no \"text\""},
                                                        {R"({"text": 5})", "a number"},
                                                        {"[1]", "a list"},
                                                        {R"("text")", "a string"},
                                                        {R"({"text": {"text": "x"}})", "an object"},
                                                        {R"({"text": null})", "null"},
                                                        {"{\"text\": \"a\tb\"}", "Line 3"},
                                                        {R"({"text": "x"} y)", "Line 3"},
                                                        {R"({"text": "x"})" + std::string(1, '\0') + "y", "NUL"},
                                                        {std::string(3, '\0') + R"({"text": "x"})", "NUL"}}) {
    write_file(path, good + "\n\n" + line + "\n" + good + "\n");
    TokenizeOptions options{.inputs = {path}, .output = scratch / "out", .overwrite = true, .restart = true};
    expect_error(part, [&] { tokenize(options, "bytes"); });
    expect_error(path.string(), [&] { tokenize(options, "bytes"); });
    options.skip_bad_lines = true;
    auto const counts = tokenize(options, "bytes").counts;
    BOOST_TEST(counts.bad_lines == 1);
    BOOST_TEST(counts.documents == 2);
  }
}

BOOST_AUTO_TEST_CASE(ill_formed_text_is_replaced_and_counted) {
  ScratchFolder const scratch;
  write_file(
      scratch / "x.jsonl",
      "{\"text\": \"a\xff\x62\"}\n{\"text\": \"\\ud800x\\\\ud800\"}\n{\"text\": \"\\ud83d\\ude00\"}\n{\"text\": \"\"}\n"
      "{\"text\": [\"p\", \"\", \"q\"]}\n{\"text\": \"first\", \"text\": \"last\"}\n");
  auto const counts = tokenize({.inputs = {scratch / "x.jsonl"}, .output = scratch / "out"}, "bytes").counts;
  BOOST_TEST(counts.documents == 6);
  BOOST_TEST(counts.repaired_documents == 2);
  BOOST_TEST(counts.empty_documents == 1);
  BOOST_TEST(counts.sequences == 6);
  BOOST_TEST((texts_of(scratch / "out") ==
              std::vector<std::string>{"a\ufffdb", "\ufffdx\\ud800", "\U0001F600", "", "pq", "last"}));
}

BOOST_AUTO_TEST_CASE(an_output_is_never_lost) {
  ScratchFolder const scratch;
  write_file(scratch / "x.jsonl", "{\"text\": \"one\"}\n");
  TokenizeOptions options{.inputs = {scratch / "x.jsonl"}, .output = scratch / "out"};
  tokenize(options, "bytes");
  std::string const before = read_file(scratch / "out.bin");
  expect_error("exists already", [&] { tokenize(options, "bytes"); });
  write_file(scratch / "x.jsonl", "{\"text\": \"two\"}\n{");
  options.overwrite = true;
  BOOST_CHECK_THROW(tokenize(options, "bytes"), Error);
  BOOST_TEST(read_file(scratch / "out.bin") == before);
  options.output = scratch / "no/such/folder/out";
  expect_error("does not exist", [&] { tokenize(options, "bytes"); });
}

BOOST_AUTO_TEST_CASE(one_run_at_a_time_writes_an_output) {
  ScratchFolder const scratch;
  write_file(scratch / "x.jsonl", many_lines(2000) + "{bad\n");
  TokenizeOptions options{.inputs = {scratch / "x.jsonl"}, .output = scratch / "out", .checkpoint_bytes = 1};
  expect_error("Line", [&] { tokenize(options, "bytes"); });
  std::map<fs::path, std::string> before;
  for (auto const& entry : fs::directory_iterator(scratch.path())) before[entry.path()] = read_file(entry.path());
  BOOST_TEST(before.size() == 5u);  // the input, the state and three partial files
  options.skip_bad_lines = options.overwrite = options.restart = true;
  {
    CorpusLock const other(options.output);
    expect_error("Another run writes the output", [&] { tokenize(options, "bytes"); });
    for (auto const& [path, bytes] : before) BOOST_TEST((read_file(path) == bytes), path);
  }
  tokenize(options, "bytes");
  BOOST_TEST(!fs::exists(scratch / "out.lock"));

  for (std::string const name : {"a", "b"}) {
    write_file(scratch / (name + ".jsonl"), many_lines(name == "a" ? 300 : 400));
    tokenize({.inputs = {scratch / (name + ".jsonl")}, .output = scratch / name}, "bytes");
  }
  for (int round = 0; round < 10; ++round) {
    std::atomic<int> failed = 0;
    {
      std::vector<std::jthread> runs;
      for (std::string const name : {"a", "b", "a", "b"}) {
        runs.emplace_back([&, name] {
          try {
            tokenize({.inputs = {scratch / (name + ".jsonl")}, .output = scratch / "both", .overwrite = true}, "bytes");
          } catch (Error const& error) {
            failed += std::string(error.what()).find("Another run writes the output") == std::string::npos;
          }
        });
      }
    }
    BOOST_TEST(failed == 0);
    BOOST_TEST((same_corpus(scratch / "both", scratch / "a") || same_corpus(scratch / "both", scratch / "b")));
  }
}

BOOST_AUTO_TEST_CASE(a_killed_run_goes_on_to_the_same_bytes) {
  ScratchFolder const scratch;
  write_file(scratch / "a.jsonl", many_lines(3000));
  write_file(scratch / "b.jsonl.gz", gzip(many_lines(3000)));
  TokenizeOptions options{
      .inputs = {scratch / "a.jsonl", scratch / "b.jsonl.gz"}, .output = scratch / "whole", .threads = 2};
  options.append_eod = true;
  options.checkpoint_bytes = 1;  // after every block
  auto const whole = tokenize(options, folder + "gpt2.json").counts;
  std::mt19937 random(23);
  int kills = 0;
  for (int round = 0; round < 3; ++round) {
    options.output = scratch / ("killed" + std::to_string(round));
    for (unsigned patience = 20000;;) {  // microseconds
      pid_t const child = fork();
      if (child == 0) {
        try {
          tokenize(options, folder + "gpt2.json");
        } catch (Error const& error) {
          write_file(scratch / "error", error.what());
          _exit(1);
        }
        _exit(0);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(1000 + random() % patience));
      patience += patience / 5;  // so that a slow machine gets done, too
      kill(child, SIGKILL);
      int status = 0;
      waitpid(child, &status, 0);
      if (WIFEXITED(status)) {
        if (WEXITSTATUS(status) != 0) BOOST_FAIL(read_file(scratch / "error"));
        break;
      }
      ++kills;
      bool const complete =
          fs::exists(index_path(options.output)) && !fs::exists(options.output.string() + ".progress.partial");
      if (complete) break;  // killed on its way out
    }
    BOOST_TEST(same_corpus(options.output, scratch / "whole"));
    BOOST_TEST(!fs::exists(options.output.string() + ".progress.partial"));
  }
  BOOST_TEST(kills > 2);
  BOOST_TEST(whole.documents == 6000);
}

BOOST_AUTO_TEST_CASE(an_unfinished_run_goes_on_only_with_its_own_options) {
  ScratchFolder const scratch;
  std::string const text = many_lines(20000);
  write_file(scratch / "x.jsonl", text + "{bad\n" + text);
  TokenizeOptions options{.inputs = {scratch / "x.jsonl"}, .output = scratch / "out", .checkpoint_bytes = 1};
  expect_error("Line 20401", [&] { tokenize(options, "bytes"); });
  auto other = options;
  other.append_eod = true;
  expect_error("unfinished run", [&] { tokenize(other, "bytes"); });
  other = options;
  other.skip_bad_lines = true;
  auto const resumed = tokenize(other, "bytes");
  BOOST_TEST(resumed.resumed_bytes > 1000000);
  BOOST_TEST(resumed.counts.documents == 40000);
  BOOST_TEST(resumed.counts.bad_lines == 1);
  BOOST_TEST(resumed.counts.text_bytes == static_cast<std::int64_t>(2 * text.size() + 5));
  other.output = scratch / "straight";
  tokenize(other, "bytes");
  BOOST_TEST(same_corpus(scratch / "out", scratch / "straight"));
  write_file(scratch / "out2.progress.partial", "{\"position\": [0");
  options.output = scratch / "out2";
  expect_error("--restart", [&] { tokenize(options, "bytes"); });
}

BOOST_AUTO_TEST_CASE(an_unfinished_run_does_not_go_on_with_changed_contents) {
  ScratchFolder const scratch;
  std::string const text = many_lines(5000);
  write_file(scratch / "x.jsonl", text + "{bad\n" + text);
  TokenizeOptions const options{.inputs = {scratch / "x.jsonl"}, .output = scratch / "out", .checkpoint_bytes = 1};
  for (std::string const name : {"tokenizer.json", "vocab.json"}) {
    fs::path const tokenizer = scratch / name;
    fs::copy_file(folder + (name == "vocab.json" ? name : "gpt2.json"), tokenizer);
    fs::copy_file(folder + "merges.txt", scratch / "merges.txt", fs::copy_options::overwrite_existing);
    fs::remove(scratch / "out.progress.partial");
    expect_error("Line", [&] { tokenize(options, tokenizer.string()); });
    expect_error("Line", [&] { tokenize(options, tokenizer.string()); });  // it goes on
    // The last merge's two tokens stay two: as many ids, other ones.
    fs::path const merges = name == "vocab.json" ? scratch / "merges.txt" : tokenizer;
    std::string contents = read_file(merges);
    if (name == "vocab.json") {
      contents.erase(contents.rfind('\n', contents.size() - 2) + 1);
    } else {
      auto json = nlohmann::json::parse(contents);
      json["model"]["merges"].erase(json["model"]["merges"].size() - 1);
      contents = json.dump();
    }
    write_file(merges, contents);
    expect_error("changed since: tokenizer)", [&] { tokenize(options, tokenizer.string()); });
  }
  fs::remove(scratch / "out.progress.partial");
  expect_error("Line", [&] { tokenize(options, "bytes"); });
  write_file(scratch / "x.jsonl", text + "{bbd\n" + text);  // as many bytes
  fs::last_write_time(scratch / "x.jsonl", fs::last_write_time(scratch / "x.jsonl") + std::chrono::seconds(1));
  expect_error("changed since: inputs)", [&] { tokenize(options, "bytes"); });
}

BOOST_AUTO_TEST_CASE(inputs_are_found_by_name_and_glob) {
  ScratchFolder const scratch;
  for (char const* name : {"b.jsonl", "a.jsonl", "c[1].txt"}) write_file(scratch / name, "x");
  auto const found = expand_inputs({(scratch / "*.jsonl").string(), (scratch / "c[1].txt").string()});
  BOOST_TEST((found == std::vector<fs::path>{scratch / "a.jsonl", scratch / "b.jsonl", scratch / "c[1].txt"}));
  expect_error("No input matches", [&] { expand_inputs({(scratch / "*.gz").string()}); });
  expect_error("is a folder", [&] { expand_inputs({scratch.path().string()}); });
  BOOST_REQUIRE(mkfifo((scratch / "pipe").c_str(), 0600) == 0);
  expect_error("is a pipe", [&] { expand_inputs({(scratch / "pipe").string()}); });
}

BOOST_AUTO_TEST_CASE(the_trainer_learns_what_hugging_faces_learns) {
  ScratchFolder const scratch;
  for (int const threads : {1, 2}) {
    TokenizeOptions const input{.inputs = {folder + "corpus.jsonl"}, .threads = threads};
    auto const words = count_words(input, [](TokenizeProgress const&) {});
    auto const bpe = train_bpe(words, {1000, 2, {"<|endoftext|>"}}, [](std::int64_t) {});
    write_tokenizer(bpe, scratch.path(), true);
    using nlohmann::json;
    BOOST_TEST((json::parse(read_file(scratch / "vocab.json")) == json::parse(read_file(folder + "vocab.json"))));
    BOOST_TEST(read_file(scratch / "merges.txt") == read_file(folder + "merges.txt"));
    BOOST_TEST((json::parse(read_file(scratch / "tokenizer.json"))["model"] ==
                json::parse(read_file(folder + "gpt2.json"))["model"]));
  }
  BOOST_TEST(load_tokenizer((scratch / "tokenizer.json").string())->vocab_size() == 1000);
  expect_error("exists already", [&] { write_tokenizer({}, scratch.path(), false); });
  expect_error("too small", [&] { train_bpe({}, {200, 2, {}}, [](std::int64_t) {}); });
}
