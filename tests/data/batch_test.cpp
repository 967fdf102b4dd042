// Batches: tokens, labels, loss mask, positions and document starts against a plain Python computation.
#define BOOST_TEST_MODULE batch
#include "data/batch.hpp"

#include <boost/test/unit_test.hpp>

#include "core/error.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace {

struct Batch {
  Batch(std::int64_t samples, std::int64_t length)
      : tokens(static_cast<std::size_t>(samples * length), -7),
        labels(tokens),
        positions(tokens),
        starts(tokens),
        loss_mask(tokens.size(), 9) {}
  BatchBuffers buffers() { return {tokens, labels, loss_mask, positions, starts}; }
  bool operator==(Batch const&) const = default;
  std::vector<std::int32_t> tokens, labels, positions, starts;
  std::vector<std::uint8_t> loss_mask;
};

BatchSource open_case(nlohmann::json const& c, BatchOptions const& options, std::filesystem::path const& cache = {}) {
  auto corpus = std::make_shared<IndexedDataset>(fixture("batches"));
  SampleRequest request{std::nullopt, c["sequence_length"], c["seed"], c["drop_last"]};
  if (!c["samples"].is_null()) request.samples = c["samples"].get<std::int64_t>();
  ElementRange const all{0, corpus->sequences()};
  return {GptSamples(GptDataset(std::move(corpus), all, request, cache)), options};
}

template <class T>
void check_rows(std::vector<T> const& made, nlohmann::json const& rows, char const* key) {
  std::vector<T> expected;
  for (auto const& row : rows) {
    for (auto const& value : row[key]) expected.push_back(value.get<T>());
  }
  BOOST_TEST_CONTEXT(key) BOOST_TEST(made == expected, boost::test_tools::per_element());
}

void check_options(nlohmann::json const& c, BatchOptions const& options) {
  auto const source = open_case(c, options);
  auto const& rows = c["rows"];
  BOOST_REQUIRE(source.size() == std::ssize(rows));
  Batch batch(source.size(), source.sequence_length());
  source.fill(0, source.size(), batch.buffers());
  check_rows(batch.tokens, rows, "tokens");
  check_rows(batch.labels, rows, "labels");
  check_rows(batch.loss_mask, rows, options.eod_mask_loss ? "counted_eod" : "counted");
  bool const parts = options.document_mask == DocumentMask::parts, eod = options.document_mask == DocumentMask::eod;
  if (options.reset_positions) {
    check_rows(batch.positions, rows, parts ? "part_positions" : "eod_positions");
  } else {
    for (std::size_t i = 0; i < batch.positions.size(); ++i)
      BOOST_REQUIRE(batch.positions[i] == static_cast<int>(i % 24));
  }
  if (parts || eod) {
    check_rows(batch.starts, rows, parts ? "part_start" : "eod_start");
  } else {
    BOOST_TEST(batch.starts == std::vector<std::int32_t>(batch.starts.size(), 0));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_option_against_the_plain_computation) {
  for (auto const& c : load_json("batches.json")) {
    for (auto const mask : {DocumentMask::none, DocumentMask::eod, DocumentMask::parts}) {
      for (bool const reset : {false, true}) {
        for (bool const eod_mask : {false, true}) check_options(c, {100, 0, mask, reset, eod_mask});
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_sample_is_the_same_in_any_batch_and_after_a_restart) {
  ScratchFolder const folder;
  auto const c = load_json("batches.json")[1];
  BatchOptions const options{100, 0, DocumentMask::eod, true, true};
  auto const source = open_case(c, options, folder / "cache");
  Batch whole(source.size(), 24);
  source.fill(0, source.size(), whole.buffers());
  auto const restarted = open_case(c, options, folder / "cache");
  std::mt19937 random(1);
  for (int draw = 0; draw < 50; ++draw) {
    std::vector<std::int64_t> numbers(1 + random() % 5);
    for (auto& number : numbers) number = static_cast<std::int64_t>(random()) % source.size();
    Batch batch(std::ssize(numbers), 24);
    restarted.fill(numbers, batch.buffers());
    for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
      auto const at = static_cast<std::size_t>(numbers[i / 24]) * 24 + i % 24;
      BOOST_REQUIRE((batch.tokens[i] == whole.tokens[at] && batch.labels[i] == whole.labels[at] &&
                     batch.positions[i] == whole.positions[at] && batch.starts[i] == whole.starts[at] &&
                     batch.loss_mask[i] == whole.loss_mask[at]));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_token_beyond_the_vocabulary_is_named) {
  ScratchFolder const folder;
  IndexedWriter writer(folder / "bad", TokenType::int32);
  std::vector<std::int32_t> tokens(40, 1), lengths = {15, 25};
  writer.add_document(tokens, lengths);
  tokens[20] = 50;
  writer.add_document(tokens, lengths);
  writer.finish();
  for (std::int32_t const id : {50, -3}) {
    std::string bytes = read_file(folder / "bad.bin");
    std::memcpy(bytes.data() + 4 * (40 + 20), &id, 4);
    write_file(folder / "bad.bin", bytes);
    DataConfig data;
    data.train = {(folder / "bad").string()};
    data.split = "1";
    auto splits = open_corpora(data, {10, 0, 0}, 8, 1);
    BatchSource const source(std::move(*splits[0]), {50, -1});
    std::string message;
    Batch batch(source.size(), 8);
    try {
      source.fill(0, source.size(), batch.buffers());
    } catch (Error const& error) {
      message = error.what();
    }
    BOOST_TEST_CONTEXT(message) {
      BOOST_TEST(message.find((folder / "bad.bin").string()) != std::string::npos);
      BOOST_TEST(message.find("token id " + std::to_string(id) + " in document 1 at position 20") != std::string::npos);
    }
  }
}

BOOST_AUTO_TEST_CASE(impossible_options) {
  auto const c = load_json("batches.json")[0];
  BOOST_CHECK_THROW(open_case(c, {0, 0}), Error);
  BOOST_CHECK_THROW(open_case(c, {100, -1, DocumentMask::eod}), Error);
  BOOST_CHECK_THROW(open_case(c, {100, -1, DocumentMask::none, true}), Error);
  BOOST_CHECK_THROW(open_case(c, {100, -1, DocumentMask::none, false, true}), Error);
  auto const source = open_case(c, {100, -1, DocumentMask::parts, true});
  Batch batch(2, 24);
  BOOST_CHECK_THROW(source.fill(0, 3, batch.buffers()), Error);
  BOOST_CHECK_THROW(source.fill(source.size() - 1, 2, batch.buffers()), Error);
}
