#include "data/gpt_dataset_index.hpp"

#include <limits>
#include <utility>

#include "data/index_cache.hpp"

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

template <class Row, class Order>
GptDatasetIndex build_in_memory(IndexedDataset const& corpus, ElementRange range, SampleRequest const& request,
                                EpochPlan const& plan) {
  NumpyRandom random(request.seed);  // one stream of draws for documents, then samples
  auto const length = [&](std::int64_t sequence) { return std::int64_t{corpus.length(sequence)}; };
  GptDatasetIndex index;
  index.plan = plan;
  index.documents = IndexArray(build_document_index(range.first, range.last, plan, random));
  auto rows = build_sample_index<Row>(index.documents.view(), plan, request.sequence_length, length);
  index.rows = EitherArray<std::int32_t>(IndexArray(std::move(rows)));
  index.order = EitherArray<std::uint32_t>(IndexArray(build_shuffle_index<Order>(plan, random)));
  return index;
}

/// As build_in_memory, with one array at a time in memory.
template <class Row, class Order>
GptDatasetIndex map_or_build(IndexedDataset const& corpus, ElementRange range, SampleRequest const& request,
                             EpochPlan const& plan, std::filesystem::path const& folder) {
  IndexCache const cache(folder, describe(corpus, range, request));
  auto const documents = cache.file("document_index.npy");
  auto const rows = cache.file("sample_index.npy"), order = cache.file("shuffle_index.npy");
  std::vector<std::int64_t> const documents_shape = {(range.last - range.first) * plan.epochs};
  std::vector<std::int64_t> const rows_shape = {plan.samples + 1, 2}, order_shape = {plan.samples};
  auto const map = [&] {
    return GptDatasetIndex{plan, map_array<std::int32_t>(documents, documents_shape),
                           EitherArray<std::int32_t>(map_array<Row>(rows, rows_shape)),
                           EitherArray<std::uint32_t>(map_array<Order>(order, order_shape))};
  };
  auto const length = [&](std::int64_t sequence) { return std::int64_t{corpus.length(sequence)}; };
  return cache.map_or_build(map, [&] {
    NumpyRandom random(request.seed);
    write_array(documents, build_document_index(range.first, range.last, plan, random), documents_shape);
    auto const mapped = map_array<std::int32_t>(documents, documents_shape);
    write_array(rows, build_sample_index<Row>(mapped.view(), plan, request.sequence_length, length), rows_shape);
    write_array(order, build_shuffle_index<Order>(plan, random), order_shape);
  });
}

template <class Row, class Order>
GptDatasetIndex open(IndexedDataset const& corpus, ElementRange range, SampleRequest const& request,
                     EpochPlan const& plan, std::filesystem::path const& cache) {
  if (cache.empty()) return build_in_memory<Row, Order>(corpus, range, request, plan);
  return map_or_build<Row, Order>(corpus, range, request, plan, cache);
}

}  // namespace

GptDatasetIndex open_gpt_index(IndexedDataset const& corpus, ElementRange range, SampleRequest const& request,
                               std::filesystem::path const& cache) {
  validate(range.first >= 0 && range.first <= range.last && range.last <= corpus.sequences() &&
               corpus.sequences() <= std::numeric_limits<std::int32_t>::max(),
           "Cannot index sequences ", range.first, " to ", range.last, " of '", corpus.prefix().string(), "' (it has ",
           corpus.sequences(), ", of which 2147483647 can be numbered). Split the corpus and blend the parts.");
  auto const plan = plan_epochs(count_tokens(corpus, range), range.last - range.first, request);
  bool const wide_order = shuffle_index_is_wide(plan.samples);
  if (sample_index_is_wide((range.last - range.first) * plan.epochs)) {
    return wide_order ? open<std::int64_t, std::int64_t>(corpus, range, request, plan, cache)
                      : open<std::int64_t, std::uint32_t>(corpus, range, request, plan, cache);
  }
  return wide_order ? open<std::int32_t, std::int64_t>(corpus, range, request, plan, cache)
                    : open<std::int32_t, std::uint32_t>(corpus, range, request, plan, cache);
}

}  // namespace selenite
