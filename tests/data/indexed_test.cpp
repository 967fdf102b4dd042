// Corpora on disk: byte for byte against files that a plain Python writer made, resuming, merging, and damaged input.
#define BOOST_TEST_MODULE indexed
#include "data/indexed.hpp"

#include <boost/test/unit_test.hpp>

#include "core/error.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace {

using Document = std::vector<std::vector<std::int32_t>>;  // sequences of ids

std::vector<Document> documents_of(int code) {
  return load_json("corpora.json")[std::to_string(code)].get<std::vector<Document>>();
}

void add(IndexedWriter& writer, Document const& document) {
  std::vector<std::int32_t> tokens, lengths;
  for (auto const& sequence : document) {
    tokens.insert(tokens.end(), sequence.begin(), sequence.end());
    lengths.push_back(static_cast<std::int32_t>(sequence.size()));
  }
  writer.add_document(tokens, lengths);
}

void check_same_files(std::filesystem::path const& made, std::filesystem::path const& expected) {
  BOOST_TEST((read_file(index_path(made)) == read_file(index_path(expected))));
  BOOST_TEST((read_file(tokens_path(made)) == read_file(tokens_path(expected))));
}

/// Reads everything that a corpus has; touching what is not there would crash.
std::int64_t read_all(IndexedDataset const& corpus) {
  std::int64_t sum = 0;
  std::vector<std::int32_t> tokens;
  for (std::int64_t d = 0; d < corpus.documents(); ++d) {
    for (std::int64_t s = corpus.first_sequence(d); s < corpus.first_sequence(d + 1); ++s) {
      BOOST_REQUIRE(corpus.document_of(s) == d);
      tokens.resize(static_cast<std::size_t>(corpus.length(s)));
      corpus.read(s, 0, tokens);
      for (auto const token : tokens) sum += token;
    }
  }
  return sum;
}

/// Loads a damaged copy. True if it loads; an Error must say something.
bool loads(std::filesystem::path const& prefix, std::string const& index, std::string const& tokens) {
  write_file(index_path(prefix), index);
  write_file(tokens_path(prefix), tokens);
  try {
    read_all(IndexedDataset(prefix));
    return true;
  } catch (Error const& error) {
    BOOST_TEST(std::string(error.what()).size() > 20);
    return false;
  }
}

constexpr std::array codes = {1, 2, 3, 4, 5, 8};

}  // namespace

BOOST_AUTO_TEST_CASE(writes_the_bytes_that_others_write) {
  ScratchFolder const folder;
  for (int const code : codes) {
    auto const prefix = folder / ("made.v1." + std::to_string(code));
    IndexedWriter writer(prefix, static_cast<TokenType>(code));
    for (auto const& document : documents_of(code)) add(writer, document);
    writer.finish();
    check_same_files(prefix, fixture("type" + std::to_string(code)));
  }
  for (auto const& entry : std::filesystem::directory_iterator(folder.path())) {
    BOOST_TEST(entry.path().extension() != ".partial");
  }
}

BOOST_AUTO_TEST_CASE(reads_what_others_wrote) {
  for (int const code : codes) {
    auto const documents = documents_of(code);
    IndexedDataset const corpus(fixture("type" + std::to_string(code)));
    BOOST_TEST(static_cast<int>(corpus.type()) == code);
    BOOST_REQUIRE(corpus.documents() == std::ssize(documents));
    std::int64_t sequence = 0, tokens = 0;
    for (std::size_t d = 0; d < documents.size(); ++d) {
      BOOST_TEST(corpus.first_sequence(static_cast<std::int64_t>(d)) == sequence);
      for (auto const& expected : documents[d]) {
        BOOST_REQUIRE(corpus.length(sequence) == std::ssize(expected));
        BOOST_TEST(corpus.first_token(sequence) == tokens);
        std::vector<std::int32_t> read(expected.size());
        corpus.read(sequence, 0, read);
        BOOST_TEST(read == expected, boost::test_tools::per_element());
        corpus.read(sequence, std::ssize(expected) - 1, std::span(read).first(1));
        BOOST_TEST(read[0] == expected.back());
        ++sequence, tokens += std::ssize(expected);
      }
    }
    BOOST_TEST(corpus.sequences() == sequence);
    BOOST_TEST(corpus.tokens() == tokens);
  }
}

BOOST_AUTO_TEST_CASE(empty_corpora) {
  ScratchFolder const folder;
  IndexedWriter writer(folder / "none", TokenType::int32);
  writer.finish();
  BOOST_TEST(IndexedDataset(folder / "none").documents() == 0);
  IndexedWriter blank(folder / "blank", TokenType::int32);
  blank.add_document({}, {});
  blank.merge(folder / "none");
  blank.finish();
  IndexedDataset const corpus(folder / "blank");
  BOOST_TEST(corpus.documents() == 1);
  BOOST_TEST(corpus.tokens() == 0);
}

BOOST_AUTO_TEST_CASE(merging_is_writing_one_after_the_other) {
  ScratchFolder const folder;
  auto const documents = documents_of(8);
  IndexedWriter twice(folder / "twice", TokenType::uint16), merged(folder / "merged", TokenType::uint16);
  for (int i = 0; i < 2; ++i) {
    for (auto const& document : documents) add(twice, document);
    merged.merge(fixture("type8"));
  }
  twice.finish();
  merged.finish();
  check_same_files(folder / "merged", folder / "twice");
  BOOST_CHECK_THROW(IndexedWriter(folder / "other", TokenType::int32).merge(fixture("type8")), Error);
}

BOOST_AUTO_TEST_CASE(goes_on_after_a_kill_at_any_document) {
  ScratchFolder const folder;
  auto const documents = documents_of(4);
  for (std::size_t stop = 0; stop <= documents.size(); ++stop) {
    auto const prefix = folder / ("resumed" + std::to_string(stop));
    WriterState state;
    {
      IndexedWriter writer(prefix, TokenType::int32);
      for (std::size_t d = 0; d < stop; ++d) add(writer, documents[d]);
      state = writer.checkpoint();
      for (std::size_t d = stop; d < documents.size(); ++d) add(writer, documents[d]);  // lost
      if (stop % 2 == 0) writer.checkpoint();  // on disk, but not in the state that was kept
    }
    IndexedWriter writer(prefix, TokenType::int32, state);
    for (std::size_t d = stop; d < documents.size(); ++d) add(writer, documents[d]);
    writer.finish();
    check_same_files(prefix, fixture("type4"));
  }
  WriterState const impossible{100, 1000, 10000};
  IndexedWriter(folder / "short", TokenType::int32).checkpoint();
  BOOST_CHECK_THROW(IndexedWriter(folder / "short", TokenType::int32, impossible), Error);
  BOOST_CHECK_THROW(IndexedWriter(folder / "absent", TokenType::int32, WriterState{}), Error);
}

BOOST_AUTO_TEST_CASE(goes_on_after_a_kill_between_the_two_renames) {
  ScratchFolder const folder;
  auto const prefix = folder / "a";
  IndexedWriter writer(prefix, TokenType::int32);
  for (auto const& document : documents_of(4)) add(writer, document);
  auto const state = writer.checkpoint();
  for (char const* spool : {"a.lengths.partial", "a.documents.partial"}) {
    std::filesystem::copy_file(folder / spool, folder / (std::string(spool) + ".kept"));
  }
  writer.finish();
  std::filesystem::remove(index_path(prefix));
  for (char const* spool : {"a.lengths.partial", "a.documents.partial"}) {
    std::filesystem::rename(folder / (std::string(spool) + ".kept"), folder / spool);
  }
  IndexedWriter(prefix, TokenType::int32, state).finish();
  check_same_files(prefix, fixture("type4"));
}

BOOST_AUTO_TEST_CASE(what_was_there_stays_until_the_new_is_whole) {
  ScratchFolder const folder;
  auto const prefix = folder / "a";
  for (char const* end : {".idx", ".bin"}) {
    std::filesystem::copy_file(fixture(std::string("type8") + end), prefix.string() + end);
  }
  IndexedWriter writer(prefix, TokenType::uint16);
  std::vector<std::int32_t> const good = {1, 2}, bad = {1, 65536}, negative = {-1, 1}, two = {2}, three = {3};
  writer.add_document(good, two);
  BOOST_CHECK_THROW(writer.add_document(bad, two), Error);
  BOOST_CHECK_THROW(writer.add_document(negative, two), Error);
  BOOST_CHECK_THROW(writer.add_document(good, three), Error);
  writer.checkpoint();
  check_same_files(prefix, fixture("type8"));
  writer.finish();
  IndexedDataset const corpus(prefix);
  BOOST_TEST(corpus.documents() == 1);
  BOOST_TEST(corpus.tokens() == 2);
}

BOOST_AUTO_TEST_CASE(a_full_disk_is_an_error) {
  if (!std::filesystem::exists("/dev/full")) return;
  OutputFile file("/dev/full");
  file.write_value(1);
  BOOST_CHECK_THROW(file.flush(), Error);
  BOOST_CHECK_THROW(OutputFile("/nonexistent-folder/x"), Error);
}

BOOST_AUTO_TEST_CASE(damaged_files_load_or_say_what_is_wrong) {
  ScratchFolder const folder;
  std::mt19937 random(12);
  int loaded = 0, refused = 0;
  for (int const code : codes) {
    auto const index = read_file(fixture("type" + std::to_string(code) + ".idx"));
    auto const tokens = read_file(fixture("type" + std::to_string(code) + ".bin"));
    for (int draw = 0; draw < 200; ++draw) {
      std::string damaged = index, damaged_tokens = tokens;
      for (unsigned flips = 1 + random() % 2; flips > 0; --flips) {
        // Half of the flips hit the header and its neighbourhood.
        auto const range = random() % 2 == 0 ? 60 : damaged.size();
        damaged[random() % range] ^= static_cast<char>(1 << random() % 8);
      }
      if (draw % 10 == 0) damaged = index, damaged.resize(random() % index.size());
      if (draw % 10 == 1) damaged = index + "x";
      if (draw % 10 == 2) damaged_tokens.resize(random() % tokens.size());
      (loads(folder / "d", damaged, damaged_tokens) ? loaded : refused) += 1;
    }
    for (std::size_t byte = 0; byte < 34; ++byte) {  // every byte of the header matters
      std::string damaged = index;
      damaged[byte] ^= 0x40;
      BOOST_TEST(!loads(folder / "d", damaged, tokens));
    }
    std::string damaged_tokens = tokens;
    for (int draw = 0; draw < 20; ++draw)
      damaged_tokens[random() % tokens.size()] ^= static_cast<char>(1 << random() % 8);
    BOOST_TEST((loads(folder / "d", index, damaged_tokens) || code == 5));  // ids beyond int32 are named
  }
  BOOST_TEST(refused > 1000);
  BOOST_TEST_MESSAGE(loaded << " loaded, " << refused << " refused");
  BOOST_CHECK_THROW(IndexedDataset(folder / "absent"), Error);
  BOOST_CHECK_THROW(IndexedDataset(folder.path().parent_path()), Error);
}

BOOST_AUTO_TEST_CASE(types) {
  BOOST_TEST((token_type_for(65499) == TokenType::uint16));
  BOOST_TEST((token_type_for(65500) == TokenType::int32));
  ScratchFolder const folder;
  BOOST_CHECK_THROW(IndexedWriter(folder / "f", TokenType::float32), Error);
}
