#include "data/sample_index.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace selenite {

EpochPlan plan_epochs(std::int64_t tokens, std::int64_t sequences, SampleRequest const& request) {
  validate(request.sequence_length > 0, "Samples of ", request.sequence_length,
           " tokens cannot be made (a length is positive). Correct model.sequence_length.");
  validate(tokens > 0,
           "There are no tokens to make samples from (the split is empty). Give it a larger share in data.split.");
  std::int64_t const length = request.sequence_length;
  std::int64_t const wanted = request.samples.value_or(0);
  validate(wanted >= 0 && wanted <= (std::int64_t{1} << 62) / length, "Cannot make ", wanted, " samples of ", length,
           " tokens (more than can be counted). Correct train.samples.");
  EpochPlan plan;
  if (request.samples) plan.epochs = std::max<std::int64_t>(1, (wanted * length + 1 + tokens - 1) / tokens);
  constexpr std::int64_t limit = std::int64_t{1} << 34;  // entries of the document index: 64 GiB
  validate(plan.epochs <= limit / std::max<std::int64_t>(1, sequences), wanted, " samples of ", length, " tokens need ",
           plan.epochs, " epochs (the split has only ", tokens, " tokens). Ask for fewer samples or give more data.");

  std::int64_t const all = plan.epochs * tokens - 1;  // the first token is no label
  // In single precision, as the order is defined: from 2^24 tokens on it may be off by a few.
  plan.samples = request.drop_last
                     ? all / length
                     : static_cast<std::int64_t>(std::ceil(static_cast<float>(all) / static_cast<float>(length)));
  plan.samples_before_last = plan.samples;
  if (plan.epochs == 1) return plan;
  std::int64_t const before = ((plan.epochs - 1) * tokens - 1) / length;
  std::int64_t const per_epoch = (tokens - 1) / length;
  plan.separate_last_epoch = wanted - before < static_cast<std::int64_t>(0.80 * static_cast<double>(per_epoch));
  if (plan.separate_last_epoch) plan.samples_before_last = before;
  return plan;
}

std::vector<std::int32_t> build_document_index(std::int64_t first, std::int64_t last, EpochPlan const& plan,
                                               NumpyRandom& random) {
  std::int64_t const per_epoch = last - first;
  std::vector<std::int32_t> index(static_cast<std::size_t>(per_epoch * plan.epochs));
  for (std::int64_t epoch = 0; epoch < plan.epochs; ++epoch) {
    std::iota(index.begin() + epoch * per_epoch, index.begin() + (epoch + 1) * per_epoch,
              static_cast<std::int32_t>(first));
  }
  auto const all = std::span(index);
  auto const head = static_cast<std::size_t>(per_epoch * (plan.epochs - (plan.separate_last_epoch ? 1 : 0)));
  random.shuffle(all.first(head));
  if (head < all.size()) random.shuffle(all.subspan(head));
  return index;
}

}  // namespace selenite
