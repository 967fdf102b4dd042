#include "plan/search.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "core/error.hpp"
#include "exec/price.hpp"
#include "plan/bounds.hpp"
#include "plan/choices.hpp"
#include "plan/pipeline.hpp"
#include "schedule/stages.hpp"

namespace selenite {

Config Choice::apply(Config c) const {
  c.layout.tensor = tensor, c.layout.context = context, c.layout.data = data, c.layout.pipe = pipe;
  c.layout.interleave = interleave, c.layout.schedule = schedule, c.layout.sequence_parallel = sequence_parallel;
  c.train.micro_batch = micro_batch, c.train.recompute = recompute, c.train.recompute_layers = recompute_layers;
  c.train.optimizer_sharding = optimizer_sharding;
  return c;
}

namespace {

constexpr std::size_t best_kept = 10;
constexpr char const* out_of_memory = "a rank needs more memory than the machine has";
constexpr char const* nothing_to_shard = "the optimizer's state has no other ranks to be shared with";

/// A choice with what it can't beat.
struct Candidate {
  std::uint32_t outer = 0, inner = 0, micro_batch = 0;
  bool sequence_parallel = false;
  double seconds = 0, bytes = 0;
};

bool faster(Found const& a, Found const& b) { return std::pair(a.seconds, a.bytes) < std::pair(b.seconds, b.bytes); }

/// What was found so far, for threads.
class Winners {
 public:
  /// Whether nothing with at least these figures can be among the best or on the front.
  bool beat(double seconds, double bytes) const {
    std::lock_guard const lock(mutex_);
    if (best_.size() < best_kept || seconds <= best_.back().seconds) return false;
    auto const larger =
        std::ranges::upper_bound(front_, bytes, {}, [](Found const& f) { return static_cast<double>(f.bytes); });
    return larger != front_.begin() && std::prev(larger)->seconds <= seconds;
  }
  void add(Found const& found) {
    std::lock_guard const lock(mutex_);
    best_.insert(std::ranges::upper_bound(best_, found, faster), found);
    if (best_.size() > best_kept) best_.pop_back();
    auto const dominates = [](Found const& a, Found const& b) { return a.seconds <= b.seconds && a.bytes <= b.bytes; };
    if (std::ranges::any_of(front_, [&](Found const& f) { return dominates(f, found); })) return;
    std::erase_if(front_, [&](Found const& f) { return dominates(found, f); });
    front_.insert(std::ranges::upper_bound(front_, found.bytes, {}, &Found::bytes), found);
  }
  std::vector<Found> const& best() const { return best_; }
  std::vector<Found> const& front() const { return front_; }

 private:
  mutable std::mutex mutex_;
  std::vector<Found> best_, front_;
};

class Search {
 public:
  Search(SearchRequest const& request, Machine const& machine)
      : request_(request), machine_(machine), choices_(request) {}

  SearchResult run() {
    generate();
    std::ranges::sort(candidates_, {}, [](Candidate const& c) { return std::tuple(c.seconds, c.bytes); });
    in_parallel(candidates_.size(), [&](std::size_t i) { predict(candidates_[i]); });
    result_.best = winners_.best(), result_.front = winners_.front();
    for (Infeasible const& list : {choices_.infeasible(), infeasible_})
      for (auto const& [reason, count] : list) result_.infeasible[reason] += count, result_.candidates += count;
    result_.pruned = pruned_;
    result_.candidates += result_.predicted + result_.pruned;
    return result_;
  }

 private:
  /// Calls `body` with 0 to count - 1, on as many threads as were asked for. What one throws, this does.
  template <class Body>
  void in_parallel(std::size_t count, Body const& body) {
    std::atomic<std::size_t> next = 0;
    std::exception_ptr error;
    std::mutex error_mutex;
    auto const work = [&] {
      try {
        for (std::size_t i = next++; i < count; i = next++) body(i);
      } catch (...) {
        std::lock_guard const lock(error_mutex);
        error = std::current_exception(), next = count;
      }
    };
    {
      std::vector<std::jthread> threads;
      for (unsigned t = 1; t < request_.threads; ++t) threads.emplace_back(work);
      work();
    }
    if (error) std::rethrow_exception(error);
  }

  double limit() const {
    return machine_.memory_bytes > 0 ? static_cast<double>(machine_.memory_bytes)
                                     : std::numeric_limits<double>::infinity();
  }

  /// Outer choices with the same tensor and context groups share walks of blocks.
  void generate() {
    auto const& outers = choices_.outers();
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < outers.size(); ++i)
      if (i == 0 || outers[i].tensor != outers[i - 1].tensor || outers[i].context != outers[i - 1].context)
        starts.push_back(i);
    starts.push_back(outers.size());
    auto const slots = std::make_shared<Bounds::Slots>();
    in_parallel(starts.size() - 1, [&](std::size_t k) {
      Bounds bounds(choices_.config(), machine_, slots);
      std::vector<Candidate> list;
      Infeasible refused;
      for (std::size_t i = starts[k]; i < starts[k + 1]; ++i) generate(i, bounds, list, refused);
      std::lock_guard const lock(mutex_);
      candidates_.insert(candidates_.end(), list.begin(), list.end());
      for (auto const& [reason, count] : refused) infeasible_[reason] += count;
    });
  }

  void generate(std::size_t outer, Bounds& bounds, std::vector<Candidate>& list, Infeasible& refused) const {
    auto const& o = choices_.outers()[outer];
    auto const& inners = choices_.inners(o.pipe);
    std::int64_t chunks = 0;
    std::vector<std::int64_t> layers;
    for (auto const& [micro_batch, sequence_parallel] : o.batches) {
      double passes = 0;
      Choice before;
      for (std::size_t i = 0; i < inners.size(); ++i) {
        Choice const choice = choices_.choice(o, inners[i], micro_batch, sequence_parallel);
        if (choice.optimizer_sharding > 0 && o.context * o.data == 1) {
          ++refused[nothing_to_shard];
          continue;
        }
        if (choice.interleave != chunks)
          chunks = choice.interleave, layers = choices_.layers(choice.pipe * choice.interleave);
        double const bytes = bounds.state_bytes(choice, layers) > limit() ? 2 * limit() : bounds.bytes(choice, layers);
        if (bytes > limit()) {
          ++refused[out_of_memory];
          continue;
        }
        bool const as_before = i > 0 && before.interleave == choice.interleave && before.schedule == choice.schedule &&
                               before.recompute == choice.recompute && passes > 0;
        if (!as_before) passes = bounds.passes(choice, layers), before = choice;
        double const seconds = passes + bounds.rest(choice, layers);
        list.push_back({static_cast<std::uint32_t>(outer), static_cast<std::uint32_t>(i),
                        static_cast<std::uint32_t>(micro_batch), sequence_parallel, seconds, bytes});
      }
    }
  }

  void predict(Candidate const& c) {
    auto const& outer = choices_.outers()[c.outer];
    Choice const choice =
        choices_.choice(outer, choices_.inners(outer.pipe)[c.inner], c.micro_batch, c.sequence_parallel);
    if (request_.prune && winners_.beat(c.seconds, c.bytes)) return void(++pruned_);
    std::string reason;
    try {
      auto const found = predict(choice, c);
      if (!found) return;
      winners_.add(*found);
    } catch (Error const& e) {
      reason = short_reason(e.what());
    }
    std::lock_guard const lock(mutex_);
    if (reason.empty())
      ++result_.predicted;
    else
      ++infeasible_[reason];
  }

  /// None if it turned out to be too large, or pruned.
  std::optional<Found> predict(Choice const& choice, Candidate const& bound) {
    Config const config = resolve(choice.apply(choices_.config()), request_.gpus);
    ProcessGrid const grid = make_grid(config.layout);
    Pipeline pipeline(config, grid, Rank(0), &machine_, Walking::alike_once, schedules(config));
    Found found{.choice = choice};
    for (Footprint const& f : pipeline.footprints()) found.bytes = std::max(found.bytes, f.total());
    if (static_cast<double>(found.bytes) > limit()) {
      std::lock_guard const lock(mutex_);
      ++infeasible_[out_of_memory];
      return std::nullopt;
    }
    if (request_.prune && winners_.beat(bound.seconds, static_cast<double>(found.bytes))) {
      ++pruned_;
      return std::nullopt;
    }
    std::vector<StageSeconds> seconds;
    double flops = 0;
    for (StagePlan const& stage : pipeline.plans()) seconds.push_back(stage.seconds), flops += stage.step.model_flops;
    found.seconds = pipeline.order().play(seconds);
    found.mfu =
        flops / static_cast<double>(choice.pipe) / found.seconds / machine_.peak(compute_dtype(config.train.precision));
    return found;
  }

  /// Choices that differ in other things share a schedule. Of so many actions that memory stays small.
  std::shared_ptr<CheckedSchedules const> schedules(Config const& c) {
    constexpr std::size_t most_actions = 2'000'000;
    std::tuple const key(c.layout.pipe, c.layout.schedule, c.layout.interleave, micro_batches(c, c.train.global_batch));
    {
      std::lock_guard const lock(schedules_mutex_);
      if (auto const known = schedules_.find(key); known != schedules_.end()) return known->second;
    }
    auto const made = std::make_shared<CheckedSchedules const>(c);
    std::lock_guard const lock(schedules_mutex_);
    actions_ += made->order.size();
    if (actions_ > most_actions) schedules_.clear(), actions_ = made->order.size();
    return schedules_.emplace(key, made).first->second;
  }

  SearchRequest const& request_;
  Machine const& machine_;
  Choices choices_;
  std::vector<Candidate> candidates_;
  Winners winners_;
  std::mutex mutex_;  // of the two below
  Infeasible infeasible_;
  SearchResult result_;
  std::atomic<std::int64_t> pruned_ = 0;
  std::mutex schedules_mutex_;  // of the two below
  std::map<std::tuple<std::int64_t, ScheduleKind, std::int64_t, std::int64_t>, std::shared_ptr<CheckedSchedules const>>
      schedules_;
  std::size_t actions_ = 0;
};

}  // namespace

SearchResult search(SearchRequest const& request, Machine const& machine) {
  require_links(machine, request.gpus);
  return Search(request, machine).run();
}

}  // namespace selenite
