#include "run/batches.hpp"

#include <algorithm>

#include "data/tokenizer.hpp"

namespace selenite {

std::int32_t eod_of(DataConfig const& data) {
  bool const needed = data.document_mask == DocumentMask::eod || data.reset_positions || data.eod_mask_loss;
  if (!needed) return -1;
  validate(!data.tokenizer.empty(),
           "data.tokenizer is empty (document_mask = \"eod\", reset_positions and eod_mask_loss need to know the "
           "end-of-document token). Name the tokenizer.");
  return load_tokenizer(data.tokenizer)->eod();
}

BatchOptions batch_options(Config const& c) {
  return {.vocab_size = c.model.vocab_size,
          .eod = eod_of(c.data),
          .document_mask = c.data.document_mask,
          .reset_positions = c.data.reset_positions,
          .eod_mask_loss = c.data.eod_mask_loss};
}

Batches::Batches(Config const& c) {
  validate(!c.data.train.empty(),
           "data.train is empty (there is nothing to train on). Name the prefix of a tokenized corpus; "
           "selenite-preprocess tokenize makes one.");
  validate(c.train.samples > 0,
           "train.steps is 0 (and train.samples, too: there is no end to train to). Set one of them.");
  std::int64_t const rounds = c.train.valid_every > 0 ? c.train.steps / c.train.valid_every + 1 : 0;
  valid_samples_ = c.train.valid_batches * c.train.global_batch;
  auto const seed = static_cast<std::uint32_t>(c.train.seed);
  DataConfig data = c.data;
  if (data.cache.empty()) data.cache = c.run.folder + "/cache";
  auto splits = open_corpora(data, {c.train.samples, rounds * valid_samples_, 0},
                             static_cast<std::int32_t>(c.model.sequence_length), seed);
  validate(splits[0].has_value(), "The training split is empty (data.split = \"", c.data.split,
           "\" gives it no document, or the corpus is too small). Change data.split or use a larger corpus.");
  BatchOptions const options = batch_options(c);
  train_.emplace(std::move(*splits[0]), options);
  if (rounds > 0) {
    validate(splits[1].has_value(), "train.valid_every = ", c.train.valid_every,
             " but there is no validation split (data.valid is empty and data.split = \"", c.data.split,
             "\" gives it nothing). Name data.valid, change data.split, or set train.valid_every = 0.");
    valid_.emplace(std::move(*splits[1]), options);
  }
}

void fill_batch(BatchSource const& source, std::int64_t first, Batch& batch, std::int64_t end) {
  // Whole samples are read, and this context rank's places of them taken.
  std::int64_t const length = batch.sequence * batch.context_ranks;
  auto const count = static_cast<std::size_t>(batch.samples * length);
  std::vector<std::int32_t> tokens(count), labels(count), positions(count), starts(count);
  std::vector<std::uint8_t> weights(count);
  std::vector<std::int64_t> numbers;
  for (std::int64_t s = 0; s < batch.samples; ++s) numbers.push_back(std::min(first + s, end - 1));
  source.fill(numbers, {tokens, labels, weights, positions, starts});
  for (std::int64_t s = 0; s < batch.samples; ++s) {
    batch.sample_ids.data<std::int64_t>()[s] = first + s;
    for (std::int64_t i = 0; i < batch.sequence; ++i) {
      std::int64_t const row = s * batch.sequence + i, place = batch.place(i);
      auto const at = static_cast<std::size_t>(s * length + place);
      batch.tokens.data<std::int32_t>()[row] = tokens[at];
      batch.labels.data<std::int32_t>()[row] = labels[at];
      batch.weights.data<std::uint8_t>()[row] = first + s < end ? weights[at] : 0;
      batch.positions.data<std::int32_t>()[row] = positions[at];
      if (batch.document_starts.defined()) batch.document_starts.data<std::int32_t>()[row] = starts[at];
      batch.places.data<std::int32_t>()[row] = static_cast<std::int32_t>(place);
      batch.token_samples.data<std::int64_t>()[row] = first + s;
    }
  }
}

LoadBatch Batches::training(StageState const& stage, std::int64_t consumed) const {
  return [this, &stage, consumed](Micro micro, Batch& batch) {
    fill_batch(*train_, first_sample(stage.config(), stage.grid(), stage.rank(), consumed, micro), batch);
  };
}

LoadBatch Batches::validation(StageState const& stage, std::int64_t round) const {
  return [this, &stage, round](Micro micro, Batch& batch) {
    fill_batch(*valid_, first_sample(stage.config(), stage.grid(), stage.rank(), round * valid_samples_, micro), batch);
  };
}

}  // namespace selenite
