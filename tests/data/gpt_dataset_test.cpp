// Samples of a corpus: the tokens of the shuffled stream; the cache: the same bits, damage, several builders at once.
#define BOOST_TEST_MODULE gpt_dataset
#include "data/gpt_dataset.hpp"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <set>
#include <thread>

#include "core/error.hpp"
#include "data/corpora.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace {

struct Corpus {
  std::vector<std::vector<std::int32_t>> sequences;
  std::shared_ptr<IndexedDataset const> data;
};

/// `count` sequences in documents of one to three, with some empty ones among both; ids tell where they are.
Corpus make_corpus(std::filesystem::path const& prefix, int count, unsigned seed) {
  Corpus corpus;
  std::mt19937 random(seed);
  IndexedWriter writer(prefix, TokenType::int32);
  std::int32_t next = 0;
  while (std::ssize(corpus.sequences) < count) {
    std::vector<std::int32_t> tokens, lengths;
    for (unsigned parts = random() % 4; parts > 0 && std::ssize(corpus.sequences) < count; --parts) {
      std::vector<std::int32_t> sequence(random() % 30);
      for (auto& token : sequence) token = next++;
      tokens.insert(tokens.end(), sequence.begin(), sequence.end());
      lengths.push_back(static_cast<std::int32_t>(sequence.size()));
      corpus.sequences.push_back(std::move(sequence));
    }
    writer.add_document(tokens, lengths);
  }
  writer.finish();
  corpus.data = std::make_shared<IndexedDataset>(prefix);
  return corpus;
}

std::vector<std::vector<std::int32_t>> all_samples(auto const& dataset) {
  std::vector<std::vector<std::int32_t>> samples;
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.sequence_length()) + 1), parts;
  for (std::int64_t k = 0; k < dataset.size(); ++k) {
    auto const count = dataset.sample(k, tokens, parts);
    samples.emplace_back(tokens.begin(), tokens.begin() + count);
  }
  return samples;
}

std::vector<std::filesystem::path> files_in(std::filesystem::path const& folder) {
  std::vector<std::filesystem::path> files;
  for (auto const& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

BOOST_AUTO_TEST_CASE(samples_are_the_shuffled_stream_cut_in_pieces) {
  ScratchFolder const folder;
  auto const corpus = make_corpus(folder / "a", 60, 1);
  std::mt19937 random(2);
  for (int draw = 0; draw < 60; ++draw) {
    std::int64_t const first = random() % 20, last = 40 + random() % 21;
    SampleRequest request{std::nullopt, static_cast<std::int32_t>(1 + random() % 50),
                          static_cast<std::uint32_t>(random()), random() % 2 == 0};
    if (random() % 3 != 0) request.samples = random() % 200;
    GptDataset const dataset(corpus.data, {first, last}, request, {});
    auto const& index = dataset.index();
    std::vector<std::int32_t> stream;
    for (auto const sequence : index.documents.view()) {
      auto const& tokens = corpus.sequences[static_cast<std::size_t>(sequence)];
      stream.insert(stream.end(), tokens.begin(), tokens.end());
    }
    auto const samples = all_samples(dataset);
    BOOST_TEST(std::ssize(samples) >= request.samples.value_or(0));
    std::size_t const length = static_cast<std::size_t>(request.sequence_length);
    for (std::size_t k = 0; k < samples.size(); ++k) {
      auto const begin = static_cast<std::size_t>(index.order[static_cast<std::int64_t>(k)]) * length;
      auto const end = std::min(begin + length + 1, stream.size());
      BOOST_REQUIRE((request.drop_last ? end - begin == length + 1 : end - begin >= 2));
      BOOST_REQUIRE(std::equal(samples[k].begin(), samples[k].end(),
                               stream.begin() + static_cast<std::ptrdiff_t>(begin),
                               stream.begin() + static_cast<std::ptrdiff_t>(end)));
    }
  }
}

BOOST_AUTO_TEST_CASE(places_and_parts) {
  ScratchFolder const folder;
  auto const corpus = make_corpus(folder / "a", 60, 3);
  GptDataset const dataset(corpus.data, {0, 60}, {std::nullopt, 40, 1, true}, {});
  std::vector<std::int32_t> tokens(41), parts;
  std::set<std::int32_t> first_ids;
  for (auto const& sequence : corpus.sequences) {
    if (!sequence.empty()) first_ids.insert(sequence.front());
  }
  for (std::int64_t k = 0; k < dataset.size(); ++k) {
    dataset.sample(k, tokens, parts);
    for (std::int64_t i = 0; i < 41; ++i) {
      auto const place = dataset.locate(k, i);
      BOOST_TEST(place.file == folder / "a.bin");
      // Ids number the tokens of the corpus.
      auto const first = corpus.data->first_token(corpus.data->first_sequence(place.document));
      BOOST_TEST(first + place.position == tokens[static_cast<std::size_t>(i)]);
      bool const part = std::find(parts.begin(), parts.end(), i) != parts.end();
      BOOST_TEST(part == (i == 0 || first_ids.contains(tokens[static_cast<std::size_t>(i)])));
    }
    BOOST_TEST(parts.front() == 0);
  }
  BOOST_CHECK_THROW(dataset.sample(dataset.size(), tokens, parts), Error);
  BOOST_CHECK_THROW(dataset.sample(-1, tokens, parts), Error);
}

BOOST_AUTO_TEST_CASE(the_cache_gives_the_same_samples_and_survives_damage) {
  ScratchFolder const folder;
  auto const corpus = make_corpus(folder / "a", 400, 4);
  auto const cache = folder / "deep/cache";
  SampleRequest const request{700, 16, 5, true};
  auto const open = [&](std::filesystem::path const& where) {
    return GptDataset(corpus.data, {0, 400}, request, where);
  };
  auto const expected = all_samples(open({}));
  BOOST_TEST((all_samples(open(cache)) == expected));
  auto const files = files_in(cache);
  BOOST_TEST(files.size() == 4u);
  auto const time = std::filesystem::last_write_time(files[1]);
  BOOST_TEST((all_samples(open(cache)) == expected));
  BOOST_TEST((std::filesystem::last_write_time(files[1]) == time));  // mapped, not made again

  std::mt19937 random(6);
  for (int draw = 0; draw < 200; ++draw) {
    auto const& path = files[random() % files.size()];
    std::string bytes = read_file(path);
    bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    if (draw % 5 == 0) bytes.resize(random() % bytes.size());
    write_file(path, bytes);
    if (draw % 7 == 0) std::filesystem::remove(path);
    BOOST_REQUIRE((all_samples(open(cache)) == expected));
  }
  BOOST_TEST((files_in(cache) == files));  // and no temporary file is left

  // Another corpus under the same name is another index.
  auto const remade = make_corpus(folder / "a", 400, 7);
  BOOST_TEST((all_samples(GptDataset(remade.data, {0, 400}, request, cache)) ==
              all_samples(GptDataset(remade.data, {0, 400}, request, {}))));
  write_file(folder / "file", "");
  BOOST_CHECK_THROW(open(folder / "file"), Error);
}

BOOST_AUTO_TEST_CASE(a_damaged_index_file_is_named) {
  ScratchFolder const folder;
  std::vector<std::int32_t> values(100);
  std::iota(values.begin(), values.end(), 0);
  write_npy(folder / "a.npy", "<i4", std::vector<std::int64_t>{50, 2}, std::as_bytes(std::span(values)));
  auto const whole = read_file(folder / "a.npy");
  std::mt19937 random(8);
  int refused = 0;
  for (int draw = 0; draw < 300; ++draw) {
    std::string bytes = whole;
    auto const range = draw % 2 == 0 ? 128 : bytes.size();
    bytes[random() % range] ^= static_cast<char>(1 << random() % 8);
    if (draw % 10 == 0) bytes.resize(random() % bytes.size());
    write_file(folder / "b.npy", bytes);
    try {
      NpyFile const file(folder / "b.npy");
      BOOST_TEST((read_file(folder / "b.npy").find(std::string(reinterpret_cast<char const*>(values.data()), 400)) !=
                  std::string::npos));
      BOOST_TEST((file.shape() == std::vector<std::int64_t>{50, 2}));
    } catch (Error const& error) {
      BOOST_TEST(std::string(error.what()).find("b.npy") != std::string::npos);
      ++refused;
    }
  }
  BOOST_TEST(refused > 200);
}

BOOST_AUTO_TEST_CASE(several_may_build_at_once) {
  ScratchFolder const folder;
  auto const corpus = make_corpus(folder / "a", 300, 9);
  SampleRequest const request{500, 16, 5, true};
  auto const expected = all_samples(GptDataset(corpus.data, {0, 300}, request, {}));
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> equal = 0;
    {
      std::vector<std::jthread> builders;
      for (int i = 0; i < 6; ++i) {
        builders.emplace_back([&] {
          equal += all_samples(GptDataset(corpus.data, {0, 300}, request, folder / "cache")) == expected;
        });
      }
    }
    BOOST_TEST(equal == 6);
    BOOST_TEST(files_in(folder / "cache").size() == 4u);
    std::filesystem::remove_all(folder / "cache");
  }
}

BOOST_AUTO_TEST_CASE(splits_share_a_corpus_and_do_not_overlap) {
  ScratchFolder const folder;
  auto const corpus = make_corpus(folder / "a", 500, 10);
  DataConfig data;
  data.train = {(folder / "a").string()};
  data.split = "80,15,5";
  auto const splits = open_corpora(data, {100, std::nullopt, std::nullopt}, 16, 1);
  std::set<std::int32_t> seen;
  for (auto const& split : splits) {
    BOOST_REQUIRE(split.has_value());
    std::set<std::int32_t> ids;
    for (auto const& sample : all_samples(*split)) ids.insert(sample.begin(), sample.end());
    for (auto const id : ids) BOOST_TEST(seen.insert(id).second);
  }
  data.split = "100,0,0";
  BOOST_TEST(!open_corpora(data, {100, 100, 0}, 16, 1)[1].has_value());
  data.split = "999999,1,0";
  BOOST_CHECK_THROW(open_corpora(data, {100, 100, 0}, 16, 1), Error);
  data.train = {(folder / "absent").string()};
  BOOST_CHECK_THROW(open_corpora(data, {100, 0, 0}, 16, 1), Error);
}

BOOST_AUTO_TEST_CASE(a_blend_draws_from_its_corpora) {
  ScratchFolder const folder;
  auto const a = make_corpus(folder / "a", 300, 11), b = make_corpus(folder / "b", 200, 12);
  auto const weights = normalize_weights({0.7, 0.2});
  DataConfig data;
  data.train = {"0.7", (folder / "a").string(), "0.2", (folder / "b").string()};
  data.valid = {(folder / "b").string()};
  for (std::string const& cache : {std::string(), (folder / "cache").string(), (folder / "cache").string()}) {
    data.cache = cache;
    auto const splits = open_corpora(data, {1000, std::nullopt, 50}, 16, 3);
    BOOST_REQUIRE((splits[0] && splits[1] && !splits[2]));
    auto const made = all_samples(*splits[0]);
    BOOST_TEST(std::ssize(made) == 1000);
    std::vector<std::vector<std::vector<std::int32_t>>> parts;
    parts.push_back(all_samples(GptDataset(a.data, {0, 300}, {prepared_samples(1000, weights[0]), 16, 3, true}, {})));
    parts.push_back(all_samples(GptDataset(b.data, {0, 200}, {prepared_samples(1000, weights[1]), 16, 3, true}, {})));
    std::array<std::size_t, 2> drawn{};
    for (auto const& sample : made) {  // each is the next of one of the two
      bool const first = sample == parts[0][drawn[0]];
      BOOST_REQUIRE((first || sample == parts[1][drawn[1]]));
      ++drawn[first ? 0 : 1];
    }
    BOOST_TEST(static_cast<double>(drawn[0]) == 1000 * weights[0], boost::test_tools::tolerance(0.01));
    BOOST_TEST((all_samples(*splits[1]) == all_samples(GptDataset(b.data, {0, 200}, {std::nullopt, 16, 3, true}, {}))));
  }
  data.train = {(folder / "a").string(), (folder / "b").string()};
  auto const by_size = open_corpora(data, {std::nullopt, 0, 0}, 16, 3);
  BOOST_TEST(by_size[0]->size() == by_size[0]->datasets()[0].size() + by_size[0]->datasets()[1].size());
  // More than they have: the same samples again, the first time in the same order.
  auto const epoch = all_samples(*by_size[0]);
  auto const repeated = all_samples(*open_corpora(data, {2 * std::ssize(epoch) + 5, 0, 0}, 16, 3)[0]);
  BOOST_TEST(std::ssize(repeated) == 2 * std::ssize(epoch) + 5);
  BOOST_TEST(std::equal(epoch.begin(), epoch.end(), repeated.begin()));
  auto const second = repeated.begin() + std::ssize(epoch);
  BOOST_TEST(std::is_permutation(second, second + std::ssize(epoch), epoch.begin()));
}

BOOST_AUTO_TEST_CASE(a_blend_may_have_many_small_corpora) {
  ScratchFolder const folder;
  make_corpus(folder / "large", 100, 13), make_corpus(folder / "small", 40, 14);
  DataConfig data;
  data.split = "80,20,0";
  data.train = {"0.5", (folder / "large").string()};
  for (int i = 0; i < 60; ++i) data.train.insert(data.train.end(), {"0.01", (folder / "small").string()});
  auto const splits = open_corpora(data, {20, 8, 0}, 16, 1);
  BOOST_TEST(splits[0]->size() == 20);
  BOOST_TEST(splits[1]->size() == 8);
}

BOOST_AUTO_TEST_CASE(corpora_without_a_sample_or_a_weight_are_never_drawn) {
  ScratchFolder const folder;
  for (int i = 0; i < 2; ++i) {
    IndexedWriter tiny(folder / ("tiny" + std::to_string(i)), TokenType::int32);
    std::vector<std::int32_t> const tokens = {1, 2, 3}, lengths = {3};
    tiny.add_document(tokens, lengths);
    tiny.finish();
  }
  auto const corpus = make_corpus(folder / "a", 300, 15);
  std::string const a = (folder / "a").string(), tiny = (folder / "tiny0").string();
  auto const alone = all_samples(GptDataset(corpus.data, {0, 300}, {std::nullopt, 16, 3, true}, {}));
  DataConfig data;
  data.split = "1";
  data.train = {tiny, a};
  BOOST_TEST((all_samples(*open_corpora(data, {std::nullopt, 0, 0}, 16, 3)[0]) == alone));
  BOOST_TEST((all_samples(*open_corpora(data, {std::ssize(alone), 0, 0}, 16, 3)[0]) == alone));
  data.train = {"0", tiny, "1", a};
  auto const weighted = all_samples(*open_corpora(data, {100, 0, 0}, 16, 3)[0]);
  BOOST_TEST(weighted.size() == 100u);
  BOOST_TEST(std::equal(weighted.begin(), weighted.end(), alone.begin()));
  data.train = {tiny, (folder / "tiny1").string()};
  BOOST_CHECK_EXCEPTION(open_corpora(data, {5, 0, 0}, 16, 3), Error, [](Error const& error) {
    return std::string(error.what()).find("None of the 2 corpora of the train split has a whole sample") == 0;
  });
}
