#pragma once
#include <filesystem>
#include <string>

#include "data/indexed.hpp"
#include "data/npy.hpp"
#include "data/sample_index.hpp"
#include "data/splits.hpp"

namespace selenite {

/// An integer array whose type depends on its length: `Narrow` nearly always, int64 where that is too small.
template <class Narrow>
class EitherArray {
 public:
  EitherArray() = default;
  explicit EitherArray(IndexArray<Narrow> values) : narrow_(std::move(values)) {}
  explicit EitherArray(IndexArray<std::int64_t> values) : wide_(std::move(values)), is_wide_(true) {}
  std::int64_t operator[](std::int64_t i) const { return is_wide_ ? wide_[i] : std::int64_t{narrow_[i]}; }
  std::int64_t size() const { return is_wide_ ? wide_.size() : narrow_.size(); }

 private:
  IndexArray<Narrow> narrow_;
  IndexArray<std::int64_t> wide_;
  bool is_wide_ = false;
};

/// The three indices of one split of one corpus.
struct GptDatasetIndex {
  EpochPlan plan;
  IndexArray<std::int32_t> documents;  // [epochs * sequences of the split], sequence numbers
  EitherArray<std::int32_t> rows;      // [samples + 1, 2]
  EitherArray<std::uint32_t> order;    // [samples]
};

/// Maps the indices from the folder `cache` (see IndexCache), or builds them and writes them there. Their name covers
/// the lengths of all sequences, so that neither a moved nor a remade corpus is mistaken. An empty `cache` keeps them
/// in memory.
GptDatasetIndex open_gpt_index(IndexedDataset const& corpus, ElementRange range, SampleRequest const& request,
                               std::filesystem::path const& cache);

}  // namespace selenite
