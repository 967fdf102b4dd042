#include "core/batch_ramp.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {

BatchRamp::BatchRamp(TrainConfig const& t) {
  std::string const what = concat("train.batch_ramp = \"", t.batch_ramp, "\"");
  std::string blanks = t.batch_ramp;
  std::ranges::replace(blanks, ',', ' ');
  for (std::string const& pair : split(blanks, ' ')) {
    if (pair.empty()) continue;
    auto const colon = pair.find(':');
    validate(colon != std::string::npos, what, " has the part \"", pair,
             "\" (each is a sample count, a colon and a batch). Write for example 0:16 1000:32.");
    Part const part{parse_integer(pair.substr(0, colon), what), parse_integer(pair.substr(colon + 1), what)};
    validate(part.batch > 0, what, " has a batch of ", part.batch, " (a step takes at least one sample). Correct it.");
    validate(parts_.empty() ? part.from == 0 : part.from > parts_.back().from, what, " has a part from sample ",
             part.from, parts_.empty() ? " first (the first is from 0)" : " after one that is not before it",
             ". Write the parts in order, the first from 0.");
    parts_.push_back(part);
  }
  if (parts_.empty()) parts_.push_back({0, t.global_batch});
  validate(parts_.back().batch == t.global_batch, what, " ends with a batch of ", parts_.back().batch,
           " but train.global_batch = ", t.global_batch,
           " (the ramp's last batch is that of the rest). Set one to the other.");
}

std::int64_t BatchRamp::batch(std::int64_t consumed) const {
  return std::prev(std::ranges::upper_bound(parts_, consumed, {}, &Part::from))->batch;
}

std::vector<std::int64_t> BatchRamp::batches() const {
  std::vector<std::int64_t> list;
  for (Part const& part : parts_) list.push_back(part.batch);
  return list;
}

template <class Visit>
void BatchRamp::walk(Visit&& visit) const {
  std::int64_t consumed = 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    bool const last = i + 1 == parts_.size();
    std::int64_t const batch = parts_[i].batch,
                       left = last ? -1 : std::max<std::int64_t>(0, parts_[i + 1].from - consumed),
                       steps = last ? -1 : (left + batch - 1) / batch;
    visit(consumed, batch, steps);
    consumed += last ? 0 : steps * batch;
  }
}

std::int64_t BatchRamp::samples(std::int64_t steps) const {
  std::int64_t sum = 0;
  walk([&](std::int64_t, std::int64_t batch, std::int64_t of_part) {
    std::int64_t const taken = of_part < 0 ? steps : std::min(steps, of_part);
    sum += taken * batch, steps -= taken;
  });
  return sum;
}

std::int64_t BatchRamp::steps(std::int64_t samples) const {
  std::int64_t sum = 0;
  walk([&](std::int64_t consumed, std::int64_t batch, std::int64_t of_part) {
    std::int64_t const needed = (std::max<std::int64_t>(0, samples - consumed) + batch - 1) / batch;
    sum += of_part < 0 ? needed : std::min(needed, of_part);
  });
  return sum;
}

}  // namespace selenite
