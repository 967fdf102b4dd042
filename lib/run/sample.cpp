#include <algorithm>
#include <cmath>

#include "core/element.hpp"
#include "core/rng.hpp"
#include "run/evaluate.hpp"
#include "train/step.hpp"

namespace selenite {
namespace {

/// Draws from the `top_k` largest logits at this temperature.
std::int32_t draw(std::vector<float> const& logits, SamplingOptions const& options, std::uint64_t number) {
  std::vector<std::int32_t> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  auto value = [&](std::int32_t i) { return logits[static_cast<std::size_t>(i)]; };
  std::size_t const k =
      options.top_k > 0 ? std::min(order.size(), static_cast<std::size_t>(options.top_k)) : order.size();
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(),
                    [&](std::int32_t a, std::int32_t b) { return value(a) > value(b); });
  if (options.temperature <= 0) return order[0];
  std::vector<double> cumulative;
  double sum = 0;
  for (std::size_t i = 0; i < k; ++i)
    cumulative.push_back(sum += std::exp((value(order[i]) - value(order[0])) / options.temperature));
  double const u =
      uniform(philox(pack_counter(Purpose::sampling, 0, 0, number, 0), static_cast<std::uint64_t>(options.seed))[0]) *
      sum;
  auto const found = std::upper_bound(cumulative.begin(), cumulative.end(), u) - cumulative.begin();
  return order[std::min(static_cast<std::size_t>(found), k - 1)];
}

/// Bytes at the end of `text` that begin a UTF-8 character but do not finish it.
std::size_t unfinished(std::string const& text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    auto const c = static_cast<unsigned char>(text[text.size() - back]);
    if ((c & 0xc0) == 0x80) continue;
    std::size_t const length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

}  // namespace

void Evaluator::require_sampling() const {
  LayoutConfig const& l = config_.layout;
  validate(l.tensor * l.context * l.pipe == 1, "A text can't be drawn with layout.tensor = ", l.tensor,
           ", context = ", l.context, ", pipe = ", l.pipe,
           " (one rank draws it, and has to hold the whole model). Use 1 for all three.");
}

void Evaluator::sample(std::string const& prompt, SamplingOptions const& options,
                       std::function<void(std::string const&)> const& emit) {
  require_sampling();
  std::vector<std::int32_t> tokens;
  tokenizer().encode(prompt, tokens);
  if (tokens.empty()) tokens.push_back(std::max(0, tokenizer().eod()));
  std::int64_t const limit = config_.model.sequence_length;
  std::string pending;
  emit(prompt);
  for (std::int64_t n = 0; n < options.tokens; ++n) {
    auto const used = std::min<std::int64_t>(limit, static_cast<std::int64_t>(tokens.size()));
    std::int64_t const length = std::min(limit, (used + 63) / 64 * 64);  // few different shapes
    ChunkState& chunk = stage_->chunk();
    load_batch(*ctx_, chunk, Micro(0), [&](Micro, Batch& whole) {
      Batch const batch = whole.first(1, length);
      for (std::int64_t i = 0; i < length; ++i) {
        auto const from_end = static_cast<std::size_t>(used - i);
        batch.tokens.data<std::int32_t>()[i] = i < used ? tokens[tokens.size() - from_end] : 0;
        batch.labels.data<std::int32_t>()[i] = 0;
        batch.weights.data<std::uint8_t>()[i] = 0;
        batch.positions.data<std::int32_t>()[i] = batch.places.data<std::int32_t>()[i] = static_cast<std::int32_t>(i);
        if (batch.document_starts.defined()) batch.document_starts.data<std::int32_t>()[i] = 0;
        batch.token_samples.data<std::int64_t>()[i] = 0;
      }
      batch.sample_ids.data<std::int64_t>()[0] = 0;
    });
    Batch batch = chunk.batch[0].first(1, length);
    batch.dropout = false;
    ctx_->set_save(chunk.slot[0]);
    chunk.model->forward(*ctx_, batch, Tensor{}, Tensor{}, stage_->totals, chunk.saved[0]);
    Tensor const scores = chunk.saved[0].head.logits.row_range(used - 1, 1);
    std::vector<std::byte> row(static_cast<std::size_t>(scores.bytes()));
    ctx_->synchronize();
    copy_to_host(row.data(), scores.raw(), scores.bytes(), scores.device());
    Tensor const on_host(row.data(), scores.dtype(), scores.shape());
    std::vector<float> logits(static_cast<std::size_t>(tokenizer().vocab_size()));
    for (std::size_t i = 0; i < logits.size(); ++i)
      logits[i] = static_cast<float>(load(on_host, static_cast<std::int64_t>(i)));
    chunk.slot[0].release(0);
    std::int32_t const next = draw(logits, options, static_cast<std::uint64_t>(n));
    if (next == tokenizer().eod()) break;
    tokens.push_back(next);
    pending += tokenizer().decode({&next, 1});
    std::size_t const keep = unfinished(pending);
    emit(pending.substr(0, pending.size() - keep));
    pending.erase(0, pending.size() - keep);
  }
  emit(pending);
}

}  // namespace selenite
