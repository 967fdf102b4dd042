#include "data/gpt_dataset.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace selenite {

GptDataset::GptDataset(std::shared_ptr<IndexedDataset const> corpus, ElementRange range, SampleRequest const& request,
                       std::filesystem::path const& cache)
    : corpus_(std::move(corpus)),
      sequence_length_(request.sequence_length),
      index_(open_gpt_index(*corpus_, range, request, cache)) {}

template <class Visit>
void GptDataset::walk(std::int64_t k, Visit const& visit) const {
  validate(k >= 0 && k < size(), "There is no sample ", k, " of '", corpus_->prefix().string(), "' (", size(),
           " were prepared). Prepare as many as will be used.");
  std::int64_t const j = index_.order[k];
  std::int64_t const first_place = index_.rows[2 * j], last_place = index_.rows[2 * j + 2];
  std::int64_t const first_token = index_.rows[2 * j + 1], last_token = index_.rows[2 * j + 3];
  for (std::int64_t place = first_place; place <= last_place; ++place) {
    std::int64_t const sequence = index_.documents[place];
    std::int64_t const from = place == first_place ? first_token : 0;
    std::int64_t const to = place == last_place ? last_token + 1 : corpus_->length(sequence);
    if (to > from) visit(sequence, from, to - from);
  }
}

std::int64_t GptDataset::sample(std::int64_t k, std::span<std::int32_t> tokens,
                                std::vector<std::int32_t>& parts) const {
  EXPECTS(std::ssize(tokens) == sequence_length_ + 1);
  parts.clear();
  std::int64_t done = 0;
  walk(k, [&](std::int64_t sequence, std::int64_t first, std::int64_t count) {
    parts.push_back(static_cast<std::int32_t>(done));
    corpus_->read(sequence, first, tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)));
    done += count;
  });
  return done;
}

GptDataset::Place GptDataset::locate(std::int64_t k, std::int64_t token) const {
  Place place{tokens_path(corpus_->prefix()), 0, 0};
  std::int64_t done = 0;
  walk(k, [&](std::int64_t sequence, std::int64_t first, std::int64_t count) {
    if (token >= done && token < done + count) {
      place.document = corpus_->document_of(sequence);
      place.position = corpus_->first_token(sequence) - corpus_->first_token(corpus_->first_sequence(place.document)) +
                       first + token - done;
    }
    done += count;
  });
  return place;
}

}  // namespace selenite
