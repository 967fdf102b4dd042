#include "data/gpt_dataset_index.hpp"

#include <array>
#include <atomic>
#include <iomanip>
#include <xxhash.h>

#include "core/parallel_for.hpp"

namespace selenite {
namespace {

std::int64_t count_tokens(IndexedDataset const& corpus, ElementRange range) {
  auto const before = [&](std::int64_t i) { return i < corpus.sequences() ? corpus.first_token(i) : corpus.tokens(); };
  return before(range.last) - before(range.first);
}

std::string describe(IndexedDataset const& corpus, ElementRange range, SampleRequest const& request) {
  return concat("selenite gpt indices, version 1\nsequence lengths: ", std::hex, hash_bytes(corpus.lengths()), std::dec,
                "\nsequences: ", range.first, " to ", range.last,
                "\nsamples: ", request.samples ? std::to_string(*request.samples) : "one epoch",
                "\nsequence length: ", request.sequence_length, "\nseed: ", request.seed,
                "\nlast sample dropped: ", request.drop_last ? "yes" : "no", "\n");
}

template <class T>
IndexArray<T> map_array(std::filesystem::path const& path, std::vector<std::int64_t> const& shape) {
  NpyFile file(path);
  validate(file.shape() == shape, "'", path.string(),
           "' has another shape than its name says. Delete it; it is made again.");
  return IndexArray<T>(std::move(file));
}

/// Holds an index that was just made: in memory without a cache, else written, freed and mapped.
template <class T>
IndexArray<T> keep(std::vector<T> values, std::vector<std::int64_t> const& shape, std::filesystem::path const& path) {
  if (path.empty()) return IndexArray<T>(std::move(values));
  write_npy(path, npy_type<T>::name, shape, std::as_bytes(std::span(values)));
  values = {};
  return map_array<T>(path, shape);
}

struct Files {
  std::filesystem::path documents, rows, order, description;
};

struct Shapes {
  std::vector<std::int64_t> documents, rows, order;
};

template <class Row, class Order>
void build(GptDatasetIndex& index, IndexedDataset const& corpus, ElementRange range, SampleRequest const& request,
           Files const& files, Shapes const& shapes) {
  NumpyRandom random(request.seed);  // one stream of draws for documents, then samples
  auto const length = [&](std::int64_t sequence) { return std::int64_t{corpus.length(sequence)}; };
  index.documents =
      keep(build_document_index(range.first, range.last, index.plan, random), shapes.documents, files.documents);
  index.rows = EitherArray<std::int32_t>(
      keep(build_sample_index<Row>(index.documents.view(), index.plan, request.sequence_length, length), shapes.rows,
           files.rows));
  index.order =
      EitherArray<std::uint32_t>(keep(build_shuffle_index<Order>(index.plan, random), shapes.order, files.order));
}

template <class Row, class Order>
void map(GptDatasetIndex& index, Files const& files, Shapes const& shapes) {
  index.documents = map_array<std::int32_t>(files.documents, shapes.documents);
  index.rows = EitherArray<std::int32_t>(map_array<Row>(files.rows, shapes.rows));
  index.order = EitherArray<std::uint32_t>(map_array<Order>(files.order, shapes.order));
}

template <class Row, class Order>
void map_or_build(GptDatasetIndex& index, IndexedDataset const& corpus, ElementRange range,
                  SampleRequest const& request, std::filesystem::path const& cache) {
  Shapes const shapes{
      {(range.last - range.first) * index.plan.epochs}, {index.plan.samples + 1, 2}, {index.plan.samples}};
  if (cache.empty()) return build<Row, Order>(index, corpus, range, request, {}, shapes);
  auto const text = describe(corpus, range, request);
  Files const files{cache_path(cache, text, "document_index.npy"), cache_path(cache, text, "sample_index.npy"),
                    cache_path(cache, text, "shuffle_index.npy"), cache_path(cache, text, "description.txt")};
  // The description is written last: where it is not, another process may be at work, or was killed.
  if (std::filesystem::exists(files.description)) {
    try {
      return map<Row, Order>(index, files, shapes);
    } catch (Error const&) {
      // Damaged or incomplete: what can be made again is not worth stopping for.
    }
  }
  std::error_code error;
  std::filesystem::create_directories(cache, error);
  validate(!error, "Cannot create the cache folder '", cache.string(), "' (", error.message(),
           "). Correct data.cache.");
  build<Row, Order>(index, corpus, range, request, files, shapes);
  write_text(files.description, text);
}

}  // namespace

std::filesystem::path cache_path(std::filesystem::path const& cache, std::string const& description, char const* what) {
  XXH128_hash_t const hash = XXH3_128bits(description.data(), description.size());
  return cache / concat(std::hex, std::setfill('0'), std::setw(16), hash.high64, std::setw(16), hash.low64, "-", what);
}

GptDatasetIndex open_gpt_index(IndexedDataset const& corpus, ElementRange range, SampleRequest const& request,
                               std::filesystem::path const& cache) {
  validate(range.first >= 0 && range.first <= range.last && range.last <= corpus.sequences() &&
               corpus.sequences() <= std::numeric_limits<std::int32_t>::max(),
           "Cannot index sequences ", range.first, " to ", range.last, " of '", corpus.prefix().string(), "' (it has ",
           corpus.sequences(), ", of which 2147483647 can be numbered). Split the corpus and blend the parts.");
  GptDatasetIndex index;
  index.plan = plan_epochs(count_tokens(corpus, range), range.last - range.first, request);
  bool const wide_rows = sample_index_is_wide((range.last - range.first) * index.plan.epochs);
  bool const wide_order = shuffle_index_is_wide(index.plan.samples);
  if (wide_rows && wide_order)
    map_or_build<std::int64_t, std::int64_t>(index, corpus, range, request, cache);
  else if (wide_rows)
    map_or_build<std::int64_t, std::uint32_t>(index, corpus, range, request, cache);
  else if (wide_order)
    map_or_build<std::int32_t, std::int64_t>(index, corpus, range, request, cache);
  else
    map_or_build<std::int32_t, std::uint32_t>(index, corpus, range, request, cache);
  return index;
}

}  // namespace selenite
