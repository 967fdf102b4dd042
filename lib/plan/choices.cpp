#include "plan/choices.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/text.hpp"
#include "train/stage.hpp"

namespace selenite {
namespace {

std::vector<std::int64_t> divisors(std::int64_t n, std::int64_t most) {
  std::vector<std::int64_t> list;
  for (std::int64_t d = 1; d <= std::min(n, most); ++d)
    if (n % d == 0) list.push_back(d);
  return list;
}

}  // namespace

std::string short_reason(std::string const& error) {
  std::string const what = error.substr(0, std::min(error.find(" ("), error.find(". ")));
  std::vector<std::string> words;
  for (std::string const& word : split(what, ' ')) {
    if (words.empty() && word == "x") continue;  // "2 x layout.context"
    bool const number = word.find_first_not_of("-0123456789.,") == std::string::npos;
    if (number && !words.empty() && (words.back() == "=" || words.back() == "x" || words.back() == "of"))
      words.pop_back();
    if (!number) words.push_back(word);
    if (number && word.ends_with(",")) words.back() += ",";
  }
  return join(words, " ");
}

Choices::Choices(SearchRequest const& request) : request_(request), config_(request.config) {
  if (!pinned("layout.stages")) config_.layout.stages.clear();
  make_outers();
}

bool Choices::pinned(std::string const& field) const { return std::ranges::count(request_.pinned, field) > 0; }

template <class T>
std::vector<T> Choices::values(std::string const& field, T own, std::vector<T> all) const {
  return pinned(field) ? std::vector<T>{own} : all;
}

Choice Choices::choice(Outer const& o, Choice const& inner, std::int64_t micro_batch, bool sequence_parallel) const {
  Choice c = inner;
  c.tensor = o.tensor, c.context = o.context, c.data = o.data, c.pipe = o.pipe;
  c.micro_batch = micro_batch, c.sequence_parallel = sequence_parallel;
  return c;
}

std::vector<std::int64_t> Choices::layers(std::int64_t virtual_stages) const {
  return chunk_layers(config_, virtual_stages);
}

std::string Choices::refusal(Choice const& choice, std::int64_t ranks, std::int64_t global_batch) const {
  Config c = choice.apply(config_);
  c.train.global_batch = global_batch;
  if (global_batch != config_.train.global_batch) c.train.batch_ramp.clear(), c.train.steps = c.train.samples = 0;
  try {
    resolve(c, ranks);
    return "";
  } catch (Error const& e) {
    return short_reason(e.what());
  }
}

/// One that the layout's size alone may refuse: with the simplest schedule and batch.
void Choices::make_outers() {
  LayoutConfig const& l = config_.layout;
  std::int64_t const gpus = request_.gpus;
  auto const fits = [&](std::int64_t n) { return gpus % n == 0; };
  for (std::int64_t t : values("layout.tensor", l.tensor, divisors(gpus, config_.model.heads)))
    for (std::int64_t c : values("layout.context", l.context, divisors(gpus, config_.model.sequence_length)))
      for (std::int64_t p : values("layout.pipe", l.pipe, divisors(gpus, config_.model.layers)))
        if (fits(t * c * p) && (!pinned("layout.data") || l.data == gpus / (t * c * p)))
          make_outer({t, c, gpus / (t * c * p), p, {}});
}

void Choices::make_outer(Outer outer) {
  if (!inners_.contains(outer.pipe)) make_inners(outer.pipe);
  Inners const& inners = inners_.at(outer.pipe);
  std::int64_t const batch = config_.train.global_batch;
  bool const divides = batch % outer.data == 0;
  auto const batches = values("train.micro_batch", config_.train.micro_batch,
                              divides ? divisors(batch / outer.data, batch) : std::vector<std::int64_t>{1});
  auto const parallel = outer.tensor == 1
                            ? std::vector<bool>{false}
                            : values("layout.sequence_parallel", config_.layout.sequence_parallel, {false, true});
  Choice simple{.tensor = outer.tensor, .context = outer.context, .data = outer.data, .pipe = outer.pipe};
  if (std::string const reason = refusal(simple, request_.gpus, outer.data); !reason.empty()) {
    infeasible_[reason] += static_cast<std::int64_t>(batches.size() * parallel.size()) * inners.all;
    return;
  }
  for (std::int64_t const b : batches)
    for (bool const s : parallel) {
      simple.micro_batch = b, simple.sequence_parallel = s;
      std::string const reason = refusal(simple, request_.gpus, batch);
      if (reason.empty())
        outer.batches.emplace_back(b, s);
      else
        infeasible_[reason] += inners.all;
    }
  for (auto const& [reason, count] : inners.infeasible)
    infeasible_[reason] += count * static_cast<std::int64_t>(outer.batches.size());
  if (!outer.batches.empty()) outers_.push_back(std::move(outer));
}

void Choices::make_inners(std::int64_t pipe) {
  Inners& list = inners_[pipe];
  LayoutConfig const& l = config_.layout;
  if (pipe == 1) {
    if (!pinned("layout.interleave") || l.interleave == 1) make_inners(1, ScheduleKind::one_f_one_b, 1, list);
    return;
  }
  std::vector<ScheduleKind> const all{ScheduleKind::one_f_one_b, ScheduleKind::interleaved, ScheduleKind::zero_bubble,
                                      ScheduleKind::zero_bubble_h2};
  for (ScheduleKind const kind : values("layout.schedule", l.schedule, all)) {
    std::vector<std::int64_t> chunks{1};
    if (kind == ScheduleKind::interleaved) {
      chunks.clear();
      for (std::int64_t v = 2; v * pipe <= config_.model.layers; ++v) chunks.push_back(v);
    }
    for (std::int64_t const v : values("layout.interleave", l.interleave, chunks))
      if ((v > 1) == (kind == ScheduleKind::interleaved)) make_inners(pipe, kind, v, list);
  }
}

void Choices::make_inners(std::int64_t pipe, ScheduleKind kind, std::int64_t chunks, Inners& list) {
  auto const& t = config_.train;
  std::int64_t const largest = (config_.model.layers + pipe * chunks - 1) / (pipe * chunks);
  for (Recompute const recompute :
       values("train.recompute", t.recompute, {Recompute::none, Recompute::selective, Recompute::full})) {
    std::vector<std::int64_t> together{1};
    for (std::int64_t k = 2; recompute == Recompute::full && k <= largest; ++k) together.push_back(k);
    for (std::int64_t const k : values("train.recompute_layers", t.recompute_layers, together))
      for (std::int64_t const sharding :
           values<std::int64_t>("train.optimizer_sharding", t.optimizer_sharding, {0, 1, 2})) {
        Choice const c{.pipe = pipe,
                       .interleave = chunks,
                       .recompute_layers = k,
                       .optimizer_sharding = sharding,
                       .schedule = kind,
                       .recompute = recompute};
        std::string const reason = refusal(c, pipe, 1);
        list.all += 1;
        if (reason.empty())
          list.feasible.push_back(c);
        else
          list.infeasible[reason] += 1;
      }
  }
}

}  // namespace selenite
