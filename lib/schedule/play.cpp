#include "schedule/play.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "schedule/table.hpp"

namespace selenite {

namespace {

enum Direction : std::size_t { forwards, backwards };
Direction direction(Action a) { return a.what == What::forward ? forwards : backwards; }
bool carries(What what) { return is_pass(what) && what != What::backward_weight; }

constexpr std::uint32_t kinds = 6;  // of durations of a virtual stage: those of ActionSeconds, in its order
std::uint32_t kind_of(What what) {
  return what == What::forward ? 0 : what == What::backward ? 1 : what == What::backward_input ? 2 : 3;
}

}  // namespace

/// Finds what each action waits for, then an order.
class PlayOrder::Maker {
 public:
  Maker(Schedule const& schedule, std::int64_t send_buffers, PlayOrder& order)
      : schedule_(schedule), order_(order), buffers_(static_cast<std::size_t>(send_buffers)) {
    order_.stages_ = schedule.stages, order_.chunks_ = schedule.chunks;
    order_.row_starts_.push_back(0);
    for (auto const& row : schedule.rows) order_.row_starts_.push_back(order_.row_starts_.back() + row.size());
    std::size_t const parts = static_cast<std::size_t>(schedule.virtual_stages());
    for (Direction d : {forwards, backwards}) pass_[d].assign(parts * static_cast<std::size_t>(schedule.micros), none);
    for_all([&](std::size_t r, Action a, std::uint32_t place) {
      if (carries(a.what)) pass_[direction(a)][cell(part(r, a.chunk), a.micro)] = place;
      syncs_left_ += a.what == What::sync;
    });
  }

  /// Whether every action comes at last.
  bool make() {
    all_.resize(order_.row_starts_.back());
    for_all([&](std::size_t r, Action a, std::uint32_t place) { all_[place] = step_of(r, a, place); });
    sort();
    return order_.steps_.size() == all_.size();
  }
  [[noreturn]] void report_deadlock() const;

 private:
  template <class Body>
  void for_all(Body const& body) {
    std::uint32_t place = 0;
    for (std::size_t r = 0; r < schedule_.rows.size(); ++r)
      for (Action const a : schedule_.rows[r]) body(r, a, place++);
  }
  std::size_t part(std::size_t r, Chunk chunk) const {
    return static_cast<std::size_t>(schedule_.virtual_stage(Stage(static_cast<std::int64_t>(r)), chunk));
  }
  std::size_t cell(std::size_t part, Micro micro) const {
    return part * static_cast<std::size_t>(schedule_.micros) + static_cast<std::size_t>(*micro);
  }
  Step step_of(std::size_t r, Action a, std::uint32_t place);
  std::uint32_t input_of(std::uint32_t v, Action a, std::uint32_t place) const;
  void sort();
  bool advance(std::size_t r);
  bool there(std::uint32_t place) const { return place == none || done_[place]; }

  Schedule const& schedule_;
  PlayOrder& order_;
  std::size_t buffers_;
  std::vector<std::uint32_t> pass_[2];  // [direction][virtual stage, micro]: place of F, and of B or I
  // [direction][virtual stage, number]: micro-batches in the order of sending
  std::vector<std::vector<Micro>> sent_[2];
  std::vector<Step> all_;        // by place
  std::vector<std::size_t> at_;  // [stage]: the next action's place in the row
  std::vector<char> done_;
  std::int64_t syncs_left_ = 0;
};

PlayOrder::Step PlayOrder::Maker::step_of(std::size_t r, Action a, std::uint32_t place) {
  Step step{.place = place, .before = place == order_.row_starts_[r] ? none : place - 1};
  auto const parts = static_cast<std::uint32_t>(schedule_.virtual_stages());
  if (!is_pass(a.what)) {
    step.duration = kinds * parts + 2 * static_cast<std::uint32_t>(r) + (a.what == What::step);
    return step;
  }
  auto const v = static_cast<std::uint32_t>(part(r, a.chunk));
  step.duration = kinds * v + kind_of(a.what);
  Direction const d = direction(a);
  step.input = input_of(v, a, place);
  if (a.what == What::forward && v > 0) step.way = kinds * (v - 1) + 4;
  if (carries(a.what) && d == backwards && v + 1 < parts) step.way = kinds * (v + 1) + 5;
  if (schedule_.stages == 1) step.way = none;
  if (!schedule_.sends(Stage(static_cast<std::int64_t>(r)), a)) return step;
  if (sent_[d].empty()) sent_[d].resize(parts);
  auto& sent = sent_[d][v];
  if (sent.size() >= buffers_) step.taker = pass_[d][cell(d == forwards ? v + 1 : v - 1, sent[sent.size() - buffers_])];
  sent.push_back(a.micro);
  return step;
}

/// The action itself if there is none: then it can never start.
std::uint32_t PlayOrder::Maker::input_of(std::uint32_t v, Action a, std::uint32_t place) const {
  if (a.what == What::forward && v == 0) return none;
  std::uint32_t input = none;
  if (a.what == What::forward) {
    input = pass_[forwards][cell(v - 1, a.micro)];
  } else if (a.what == What::backward_weight) {
    input = pass_[backwards][cell(v, a.micro)];
  } else {
    std::uint32_t const own = pass_[forwards][cell(v, a.micro)];
    bool const last = v + 1 == static_cast<std::uint32_t>(schedule_.virtual_stages());
    if (own < place) input = last ? own : pass_[backwards][cell(v + 1, a.micro)];  // own is in the same row
  }
  return input == none ? place : input;
}

bool PlayOrder::Maker::advance(std::size_t r) {
  bool moved = false;
  for (; at_[r] < schedule_.rows[r].size(); ++at_[r], moved = true) {
    Step const& step = all_[order_.row_starts_[r] + at_[r]];
    What const what = schedule_.rows[r][at_[r]].what;
    if (!there(step.input) || !there(step.taker) || (what == What::step && syncs_left_ > 0)) break;
    done_[step.place] = 1;
    syncs_left_ -= what == What::sync;
    order_.steps_.push_back(step);
  }
  return moved;
}

/// Up and down the stages, as messages go.
void PlayOrder::Maker::sort() {
  std::size_t const stages = schedule_.rows.size();
  at_.assign(stages, 0), done_.assign(all_.size(), 0);
  order_.steps_.reserve(all_.size());
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t r = 0; r < stages; ++r) moved |= advance(r);
    for (std::size_t r = stages; r-- > 0;) moved |= advance(r);
  }
}

void PlayOrder::Maker::report_deadlock() const {
  auto const at_end = [&](std::size_t r) { return at_[r] == schedule_.rows[r].size(); };
  auto const next = [&](std::size_t r) { return schedule_.rows[r][at_[r]]; };
  // a step waits for the sync of a stage that is stuck for another reason, so that one is shown
  std::size_t stuck = 0;
  for (std::size_t r = at_.size(); r-- > 0;)
    if (!at_end(r) && (next(r).what != What::step || at_end(stuck))) stuck = r;
  Action const a = next(stuck);
  bool const has_input = there(all_[order_.row_starts_[stuck] + at_[stuck]].input);
  throw Error(concat("The schedule deadlocks: stage ", stuck, " waits for ever before ", to_string(a), " (",
                     a.what == What::step ? "a gradient sync"
                     : !has_input         ? "its input"
                                          : "the receiver's start with the message before, from the same buffer,",
                     " never comes).\n", table_with_mark(schedule_, stuck, at_[stuck]), "Correct the schedule."));
}

PlayOrder::PlayOrder(Schedule const& schedule, std::int64_t send_buffers) {
  Maker maker(schedule, send_buffers, *this);
  if (!maker.make()) maker.report_deadlock();
}

std::vector<double> PlayOrder::durations(std::vector<StageSeconds> const& seconds) const {
  std::vector<double> list;
  for (std::size_t c = 0; c < static_cast<std::size_t>(chunks_); ++c)
    for (StageSeconds const& stage : seconds) {
      ActionSeconds const& s = stage.chunks[c];
      list.insert(list.end(),
                  {s.forward, s.backward, s.backward_input, s.backward_weight, s.forward_message, s.backward_message});
    }
  for (StageSeconds const& stage : seconds) list.insert(list.end(), {stage.sync, stage.step});
  return list;
}

void PlayOrder::run(std::vector<StageSeconds> const& seconds, std::vector<Span>& spans) const {
  std::vector<double> const all = durations(seconds);
  std::uint32_t const passes = kinds * static_cast<std::uint32_t>(stages_ * chunks_);
  spans.resize(steps_.size());
  double synced = 0;
  for (Step const& step : steps_) {
    double start = step.before == none ? 0 : spans[step.before].end;
    if (step.input != none) start = std::max(start, spans[step.input].end + (step.way == none ? 0 : all[step.way]));
    if (step.taker != none) start = std::max(start, spans[step.taker].start);
    bool const end_of_step = step.duration >= passes, optimizer = end_of_step && step.duration % 2;
    if (optimizer) start = std::max(start, synced);
    double const end = start + all[step.duration];
    if (end_of_step && !optimizer) synced = std::max(synced, end);
    spans[step.place] = {start, end};
  }
}

double PlayOrder::play(std::vector<StageSeconds> const& seconds) const {
  std::vector<Span> spans;
  run(seconds, spans);
  double last = 0;
  for (std::size_t r = 0; r + 1 < row_starts_.size(); ++r)
    if (row_starts_[r + 1] > row_starts_[r]) last = std::max(last, spans[row_starts_[r + 1] - 1].end);
  return last;
}

Played PlayOrder::timeline(std::vector<StageSeconds> const& seconds) const {
  std::vector<Span> spans;
  run(seconds, spans);
  Played played;
  for (std::size_t r = 0; r + 1 < row_starts_.size(); ++r) {
    auto const begin = spans.begin() + static_cast<std::ptrdiff_t>(row_starts_[r]),
               end = spans.begin() + static_cast<std::ptrdiff_t>(row_starts_[r + 1]);
    auto const& row = played.spans.emplace_back(begin, end);
    double& busy = played.busy.emplace_back(0);
    for (Span span : row) busy += span.end - span.start;
    if (!row.empty()) played.seconds = std::max(played.seconds, row.back().end);
  }
  return played;
}

std::vector<StageSeconds> same_seconds(Schedule const& schedule, ActionSeconds const& passes, double sync,
                                       double step) {
  StageSeconds const stage{std::vector<ActionSeconds>(static_cast<std::size_t>(schedule.chunks), passes), sync, step};
  return std::vector<StageSeconds>(schedule.rows.size(), stage);
}

double play(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers) {
  return PlayOrder(schedule, send_buffers).play(seconds);
}

Played timeline(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers) {
  return PlayOrder(schedule, send_buffers).timeline(seconds);
}

std::int64_t send_buffers_needed(Schedule const& schedule) {
  auto plays = [&](std::int64_t buffers) {
    PlayOrder order;
    return PlayOrder::Maker(schedule, buffers, order).make();
  };
  if (!plays(schedule.micros)) return PlayOrder(schedule, schedule.micros), 0;  // throws: no number is enough
  std::int64_t enough = schedule.micros, few = 0;
  while (enough - few > 1) (plays((enough + few) / 2) ? enough : few) = (enough + few) / 2;
  return enough;
}

}  // namespace selenite
