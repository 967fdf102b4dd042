#include "data/batch.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.hpp"

namespace selenite {
namespace {

/// starts: ascending, the first 0. Calls visit(first, last, start) for each document in [0, length).
template <class Visit>
void for_each_document(std::span<std::int32_t const> starts, std::int32_t length, Visit const& visit) {
  for (std::size_t i = 0; i < starts.size() && starts[i] < length; ++i) {
    visit(starts[i], i + 1 < starts.size() ? std::min(starts[i + 1], length) : length);
  }
}

}  // namespace

BatchSource::BatchSource(GptSamples samples, BatchOptions const& options)
    : samples_(std::move(samples)), options_(options) {
  bool const by_eod = options.document_mask == DocumentMask::eod || options.eod_mask_loss ||
                      (options.reset_positions && options.document_mask == DocumentMask::none);
  validate(!by_eod || options.eod >= 0,
           "data.document_mask = \"eod\", data.reset_positions and data.eod_mask_loss need an ",
           "end-of-document token (the tokenizer has none). Give a tokenizer that has one, or use document_mask = "
           "\"parts\".");
  validate(options.vocab_size > 0, "A vocabulary of ", options.vocab_size,
           " ids is impossible. Correct model.vocab_size.");
}

void BatchSource::fill(std::int64_t first, std::int64_t count, BatchBuffers const& buffers) const {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), first);
  fill(numbers, buffers);
}

void BatchSource::fill(std::span<std::int64_t const> numbers, BatchBuffers const& buffers) const {
  auto const length = static_cast<std::size_t>(sequence_length());
  std::size_t const elements = numbers.size() * length;
  validate(buffers.tokens.size() == elements && buffers.labels.size() == elements &&
               buffers.loss_mask.size() == elements && buffers.positions.size() == elements &&
               buffers.document_start.size() == elements,
           "A batch of ", numbers.size(), " samples needs buffers of ", elements, " elements (one has another size). ",
           "This is a defect of the caller.");
  std::vector<std::int32_t> tokens(length + 1), parts;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    BatchBuffers const row{buffers.tokens.subspan(i * length, length), buffers.labels.subspan(i * length, length),
                           buffers.loss_mask.subspan(i * length, length), buffers.positions.subspan(i * length, length),
                           buffers.document_start.subspan(i * length, length)};
    fill_row(numbers[i], row, tokens, parts);
  }
}

void BatchSource::fill_row(std::int64_t number, BatchBuffers const& row, std::vector<std::int32_t>& tokens,
                           std::vector<std::int32_t>& parts) const {
  auto const length = sequence_length();
  std::int64_t const count = samples_.sample(number, tokens, parts);
  check_ids(number, std::span(tokens).first(static_cast<std::size_t>(count)));
  std::fill(tokens.begin() + count, tokens.end(), 0);
  std::copy(tokens.begin(), tokens.end() - 1, row.tokens.begin());
  std::copy(tokens.begin() + 1, tokens.end(), row.labels.begin());

  auto const labelled = std::max<std::int64_t>(0, count - 1);  // the rest of a shorter last sample is padding
  std::fill_n(row.loss_mask.begin(), labelled, std::uint8_t{1});
  std::fill(row.loss_mask.begin() + labelled, row.loss_mask.end(), std::uint8_t{0});
  if (options_.eod_mask_loss) {
    for (std::size_t i = 0; i < row.tokens.size(); ++i) row.loss_mask[i] &= row.tokens[i] != options_.eod;
  }

  std::iota(row.positions.begin(), row.positions.end(), 0);
  std::fill(row.document_start.begin(), row.document_start.end(), 0);
  if (options_.document_mask == DocumentMask::none && !options_.reset_positions) return;
  if (options_.document_mask != DocumentMask::parts) find_eod_starts(row.tokens, parts);
  for_each_document(parts, length, [&](std::int32_t first, std::int32_t last) {
    if (options_.reset_positions) std::iota(row.positions.begin() + first, row.positions.begin() + last, 0);
    if (options_.document_mask == DocumentMask::none) return;
    std::fill(row.document_start.begin() + first, row.document_start.begin() + last, first);
  });
}

void BatchSource::check_ids(std::int64_t number, std::span<std::int32_t const> tokens) const {
  auto const limit = static_cast<std::uint64_t>(options_.vocab_size);
  bool bad = false;  // one pass without a branch, which the compiler can vectorize
  for (std::int32_t const token : tokens) bad |= static_cast<std::uint64_t>(std::int64_t{token}) >= limit;
  if (!bad) return;
  auto const at = std::find_if(tokens.begin(), tokens.end(), [&](std::int32_t token) {
    return static_cast<std::uint64_t>(std::int64_t{token}) >= limit;
  });
  auto const place = samples_.locate(number, at - tokens.begin());
  throw Error(concat("'", place.file.string(), "' has token id ", *at, " in document ", place.document, " at position ",
                     place.position, " (the vocabulary has ", options_.vocab_size,
                     " ids). Use the tokenizer that made the corpus, or tokenize it again."));
}

void BatchSource::find_eod_starts(std::span<std::int32_t const> tokens, std::vector<std::int32_t>& starts) const {
  starts.assign(1, 0);
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    if (tokens[i] == options_.eod) starts.push_back(static_cast<std::int32_t>(i + 1));
  }
}

}  // namespace selenite
