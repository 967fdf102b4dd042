#include "schedule/play.hpp"

#include <algorithm>
#include <limits>

#include "core/error.hpp"
#include "schedule/table.hpp"

namespace selenite {

namespace {

constexpr double never = std::numeric_limits<double>::infinity();
enum Direction : std::size_t { forwards, backwards };

/// Plays the table; flat arrays, because plans play schedules of 65,000 actions by the hundred.
class Player {
 public:
  Player(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers)
      : schedule_(schedule),
        seconds_(seconds),
        buffers_(static_cast<std::size_t>(send_buffers)),
        micros_(static_cast<std::size_t>(schedule.micros)),
        at_(schedule.rows.size(), 0),
        clock_(schedule.rows.size(), 0) {
    auto const parts = static_cast<std::size_t>(schedule.virtual_stages());
    for (Direction d : {forwards, backwards}) {
      pass_[d].assign(parts * micros_, {never, never});
      order_[d].resize(parts * micros_), sent_[d].assign(parts, 0);
    }
    for (std::size_t c = 0; c < static_cast<std::size_t>(schedule.chunks); ++c)
      for (StageSeconds const& s : seconds) part_seconds_.push_back(s.chunks[c]);
    for (auto const& row : schedule.rows)
      syncs_left_ += std::count_if(row.begin(), row.end(), [](Action a) { return a.what == What::sync; });
  }

  /// Every action that can start does; false if some never can.
  bool run(std::vector<std::vector<Span>>* spans) {
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t r = 0; r < at_.size(); ++r)
        for (; !at_end(r); ++at_[r], moved = true) {
          double const start = ready(r);
          if (start == never) break;
          finish(r, start);
          if (spans) (*spans)[r].push_back({start, clock_[r]});
        }
    }
    for (std::size_t r = 0; r < at_.size(); ++r)
      if (!at_end(r)) return false;
    return true;
  }
  double seconds() const { return clock_.empty() ? 0 : *std::max_element(clock_.begin(), clock_.end()); }
  [[noreturn]] void report_deadlock() const;

 private:
  bool at_end(std::size_t r) const { return at_[r] == schedule_.rows[r].size(); }
  Action next(std::size_t r) const { return schedule_.rows[r][at_[r]]; }
  std::size_t part(std::size_t r, Chunk chunk) const {
    return static_cast<std::size_t>(schedule_.virtual_stage(Stage(static_cast<std::int64_t>(r)), chunk));
  }
  std::size_t cell(std::size_t part, Micro micro) const { return part * micros_ + static_cast<std::size_t>(*micro); }
  static Direction direction(Action a) { return a.what == What::forward ? forwards : backwards; }

  double ready(std::size_t r) const;
  double input_there(std::size_t r, Action a) const;
  double buffer_free(std::size_t r, Action a) const;
  double message_there(std::size_t part, Direction d, Micro micro) const;
  double duration(std::size_t r, Action a) const;
  void finish(std::size_t r, double start);

  Schedule const& schedule_;
  std::vector<StageSeconds> const& seconds_;
  std::size_t buffers_, micros_;
  std::vector<std::size_t> at_;              // [stage]: the next action's place in the row
  std::vector<double> clock_;                // [stage]
  std::vector<ActionSeconds> part_seconds_;  // [virtual stage]
  std::vector<Span> pass_[2];                // [direction][virtual stage, micro]: when F, and B or I, runs
  // [direction][virtual stage, place]: micro-batches in the order of sending; [direction][virtual stage]: how many
  std::vector<std::uint32_t> order_[2];
  std::vector<std::size_t> sent_[2];
  std::int64_t syncs_left_ = 0;
  double synced_ = 0;
};

/// When the output of a virtual stage is with its receiver; `never` if it is not sent yet.
double Player::message_there(std::size_t part, Direction d, Micro micro) const {
  ActionSeconds const& s = part_seconds_[part];
  double const way = schedule_.stages == 1 ? 0 : d == forwards ? s.forward_message : s.backward_message;
  return pass_[d][cell(part, micro)].end + way;
}

/// When the input of the pass is on the stage; `never` if it is not sent yet.
double Player::input_there(std::size_t r, Action a) const {
  std::size_t const v = part(r, a.chunk);
  if (a.what == What::backward_weight) return pass_[backwards][cell(v, a.micro)].end;
  if (a.what == What::forward) return v == 0 ? 0 : message_there(v - 1, forwards, a.micro);
  double const own = pass_[forwards][cell(v, a.micro)].end;
  return v + 1 == part_seconds_.size() ? own : std::max(own, message_there(v + 1, backwards, a.micro));
}

/// When the receiver starts to take the message whose buffer this action writes to.
double Player::buffer_free(std::size_t r, Action a) const {
  if (!schedule_.sends(Stage(static_cast<std::int64_t>(r)), a)) return 0;
  Direction const d = direction(a);
  std::size_t const v = part(r, a.chunk);
  if (sent_[d][v] < buffers_) return 0;
  std::size_t const earlier = order_[d][v * micros_ + sent_[d][v] - buffers_];
  return pass_[d][(d == forwards ? v + 1 : v - 1) * micros_ + earlier].start;
}

double Player::ready(std::size_t r) const {
  Action const a = next(r);
  if (a.what == What::sync) return clock_[r];
  if (a.what == What::step) return syncs_left_ > 0 ? never : std::max(clock_[r], synced_);
  return std::max({clock_[r], input_there(r, a), buffer_free(r, a)});
}

double Player::duration(std::size_t r, Action a) const {
  if (a.what == What::sync) return seconds_[r].sync;
  if (a.what == What::step) return seconds_[r].step;
  ActionSeconds const& s = part_seconds_[part(r, a.chunk)];
  return a.what == What::forward          ? s.forward
         : a.what == What::backward       ? s.backward
         : a.what == What::backward_input ? s.backward_input
                                          : s.backward_weight;
}

void Player::finish(std::size_t r, double start) {
  Action const a = next(r);
  clock_[r] = start + duration(r, a);
  if (a.what == What::sync) --syncs_left_, synced_ = std::max(synced_, clock_[r]);
  if (!is_pass(a.what) || a.what == What::backward_weight) return;
  Direction const d = direction(a);
  std::size_t const v = part(r, a.chunk);
  EXPECTS(sent_[d][v] < micros_);
  order_[d][v * micros_ + sent_[d][v]++] = static_cast<std::uint32_t>(*a.micro);
  pass_[d][cell(v, a.micro)] = {start, clock_[r]};
}

void Player::report_deadlock() const {
  // a step waits for the sync of a stage that is stuck for another reason, so that one is shown
  std::size_t stuck = 0;
  for (std::size_t r = at_.size(); r-- > 0;)
    if (!at_end(r) && (next(r).what != What::step || at_end(stuck))) stuck = r;
  Action const a = next(stuck);
  bool const no_input = is_pass(a.what) && input_there(stuck, a) == never;
  throw Error(concat("The schedule deadlocks: stage ", stuck, " waits for ever before ", to_string(a), " (",
                     a.what == What::step ? "a gradient sync"
                     : no_input           ? "its input"
                                          : "the receiver's start with the message before, from the same buffer,",
                     " never comes).\n", table_with_mark(schedule_, stuck, at_[stuck]), "Correct the schedule."));
}

}  // namespace

std::vector<StageSeconds> same_seconds(Schedule const& schedule, ActionSeconds const& passes, double sync,
                                       double step) {
  StageSeconds const stage{std::vector<ActionSeconds>(static_cast<std::size_t>(schedule.chunks), passes), sync, step};
  return std::vector<StageSeconds>(schedule.rows.size(), stage);
}

double play(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers) {
  Player player(schedule, seconds, send_buffers);
  if (!player.run(nullptr)) player.report_deadlock();
  return player.seconds();
}

Played timeline(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers) {
  Played played;
  played.spans.resize(schedule.rows.size());
  Player player(schedule, seconds, send_buffers);
  if (!player.run(&played.spans)) player.report_deadlock();
  played.seconds = player.seconds();
  for (auto const& row : played.spans) {
    double& busy = played.busy.emplace_back(0);
    for (Span span : row) busy += span.end - span.start;
  }
  return played;
}

std::int64_t send_buffers_needed(Schedule const& schedule) {
  auto const seconds = same_seconds(schedule, {1, 1, 1, 1});
  auto plays = [&](std::int64_t buffers) { return Player(schedule, seconds, buffers).run(nullptr); };
  if (!plays(schedule.micros)) return play(schedule, seconds, schedule.micros), 0;  // throws: no number is enough
  std::int64_t enough = schedule.micros, few = 0;
  while (enough - few > 1) (plays((enough + few) / 2) ? enough : few) = (enough + few) / 2;
  return enough;
}

}  // namespace selenite
