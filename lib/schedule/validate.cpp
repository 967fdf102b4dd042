#include <algorithm>

#include "core/error.hpp"
#include "schedule/play.hpp"
#include "schedule/table.hpp"

namespace selenite {

namespace {

bool is_backward(What what) {
  return what == What::backward || what == What::backward_input || what == What::backward_weight;
}

/// Checks one row by itself: every action once, and in an order that a stage alone can keep.
class RowCheck {
 public:
  RowCheck(Schedule const& schedule, std::size_t row, bool trains, SlotTable const& available)
      : schedule_(schedule),
        row_(row),
        trains_(trains),
        slots_(available.empty() ? nullptr : &available[row]),
        micros_(static_cast<std::size_t>(schedule.micros)),
        chunks_(static_cast<std::size_t>(schedule.chunks)),
        done_(chunks_ * micros_),
        last_(chunks_),
        live_(chunks_, 0) {}

  void run() {
    auto const& row = schedule_.rows[row_];
    for (std::size_t i = 0; i < row.size(); ++i) is_pass(row[i].what) ? pass(i, row[i]) : end_of_step(i, row[i]);
    complete();
  }

 private:
  struct Done {
    bool forward = false, backward = false, input = false, weight = false;
    bool any_backward() const { return backward || input || weight; }
  };
  /// The micro-batches that a chunk last took, sent back and freed.
  struct Last {
    std::int64_t taken = -1, sent_back = -1, freed = -1;
  };

  [[noreturn]] void refuse(std::size_t column, std::string const& problem, std::string const& missing = "") const {
    throw Error(concat("The schedule is wrong: stage ", row_, " ", problem, ".\n",
                       table_with_mark(schedule_, row_, column, missing), "Correct the schedule."));
  }

  void pass(std::size_t i, Action a) {
    if (*a.chunk >= schedule_.chunks || *a.micro >= schedule_.micros || *a.chunk < 0 || *a.micro < 0)
      refuse(i, concat("does ", to_string(a), ", beyond the schedule's ", schedule_.chunks, " chunks of ",
                       schedule_.micros, " micro-batches"));
    if (syncs_ + steps_ > 0) refuse(i, concat("does ", to_string(a), " after the gradient sync"));
    Done& done = done_[static_cast<std::size_t>(*a.chunk) * micros_ + static_cast<std::size_t>(*a.micro)];
    bool& mine = a.what == What::forward          ? done.forward
                 : a.what == What::backward       ? done.backward
                 : a.what == What::backward_input ? done.input
                                                  : done.weight;
    if (mine) refuse(i, concat("does ", to_string(a), " twice"));
    mine = true;
    if (done.backward && (done.input || done.weight))
      refuse(i, concat("does the backward pass of micro-batch ", *a.micro, " both whole (B) and in two (I, W)"));
    if (done.any_backward() && !done.forward)
      refuse(i, concat("does ", to_string(a), " before the forward pass of its micro-batch"));
    if (done.weight && !done.input) refuse(i, concat("does ", to_string(a), " before its I"));
    keep_order(i, a);
  }

  void keep_order(std::size_t i, Action a) {
    auto const c = static_cast<std::size_t>(*a.chunk);
    auto in_order = [&](std::int64_t& last, char const* verb) {
      if (*a.micro < last)
        refuse(i, concat(verb, " micro-batch ", *a.micro, " of chunk ", c, " after micro-batch ", last,
                         " (slots and messages are used in turn)"));
      last = *a.micro;
    };
    if (a.what == What::forward) in_order(last_[c].taken, "takes"), ++live_[c];
    if (a.what == What::backward || a.what == What::backward_input) in_order(last_[c].sent_back, "sends back");
    if (a.what == What::backward || a.what == What::backward_weight) in_order(last_[c].freed, "frees"), --live_[c];
    std::int64_t const needed = trains_ ? live_[c] : 1;
    if (slots_ && needed > (*slots_)[c])
      refuse(i, concat("needs ", needed, " slots for chunk ", c, " and has ", (*slots_)[c]));
  }

  void end_of_step(std::size_t i, Action a) {
    if (!trains_) refuse(i, concat("does ", to_string(a), " in a schedule without backward passes"));
    if (++(a.what == What::sync ? syncs_ : steps_) > 1) refuse(i, concat("does ", to_string(a), " twice"));
    if (a.what == What::step && syncs_ == 0) refuse(i, "does the optimizer step before the gradient sync");
  }

  void complete() const {
    std::size_t const end = schedule_.rows[row_].size();
    for (std::size_t cell = 0; cell < done_.size(); ++cell) {
      Done const& done = done_[cell];
      auto lacks = [&](What what, char const* name) {
        Action const a{what, Chunk(static_cast<std::int64_t>(cell / micros_)),
                       Micro(static_cast<std::int64_t>(cell % micros_))};
        refuse(end, concat("lacks ", name, " of micro-batch ", *a.micro, " of chunk ", *a.chunk), to_string(a));
      };
      if (!done.forward) lacks(What::forward, "the forward pass");
      if (trains_ && !done.any_backward()) lacks(What::backward, "the backward pass");
      if (done.input && !done.weight) lacks(What::backward_weight, "the weights' half of the backward pass");
    }
    if (trains_ && syncs_ == 0) refuse(end, "lacks the gradient sync", "G");
    if (trains_ && steps_ == 0) refuse(end, "lacks the optimizer step", "O");
  }

  Schedule const& schedule_;
  std::size_t row_;
  bool trains_;
  std::vector<std::int64_t> const* slots_;  // [chunk], null if not asked for
  std::size_t micros_, chunks_;
  std::vector<Done> done_;  // [chunk, micro]
  std::vector<Last> last_;  // [chunk]
  std::vector<std::int64_t> live_;
  int syncs_ = 0, steps_ = 0;
};

}  // namespace

PlayOrder validate_schedule(Schedule const& schedule, SlotTable const& available, std::int64_t send_buffers) {
  validate(schedule.stages == static_cast<std::int64_t>(schedule.rows.size()) && schedule.stages > 0,
           "The schedule has ", schedule.rows.size(), " rows for ", schedule.stages,
           " stages (it takes one a stage). Correct the schedule.");
  validate(send_buffers > 0, "A schedule cannot be played with ", send_buffers, " send buffers. Use 1 or more.");
  validate(available.empty() || available.size() == schedule.rows.size(), "Slots are given for ", available.size(),
           " stages of ", schedule.stages, ". Give them for each.");
  for (auto const& chunks : available)
    validate(chunks.size() == static_cast<std::size_t>(schedule.chunks), "Slots are given for ", chunks.size(),
             " chunks of ", schedule.chunks, ". Give them for each.");
  bool const trains = std::any_of(schedule.rows.begin(), schedule.rows.end(), [](auto const& row) {
    return std::any_of(row.begin(), row.end(), [](Action a) { return is_backward(a.what); });
  });
  for (std::size_t r = 0; r < schedule.rows.size(); ++r) RowCheck(schedule, r, trains, available).run();
  return PlayOrder(schedule, send_buffers);
}

}  // namespace selenite
