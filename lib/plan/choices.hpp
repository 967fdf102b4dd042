#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plan/search.hpp"

namespace selenite {

/// Choices that resolve() refuses, by its reason without the numbers.
using Infeasible = std::map<std::string, std::int64_t>;
std::string short_reason(std::string const& error);

/// All choices of a search, as products: how ranks are laid out and the batch cut (outer), times what the pipeline and
/// the memory do (inner). resolve() is asked for each factor once, since its checks concern one or the other.
class Choices {
 public:
  explicit Choices(SearchRequest const& request);

  struct Outer {
    std::int64_t tensor = 1, context = 1, data = 1, pipe = 1;
    std::vector<std::pair<std::int64_t, bool>> batches;  ///< micro-batch and sequence parallelism
  };
  /// Those with a batch at least, tensor and context varying most slowly.
  std::vector<Outer> const& outers() const { return outers_; }
  /// Schedule, chunks, recomputation and sharding; the last two vary fastest.
  std::vector<Choice> const& inners(std::int64_t pipe) const { return inners_.at(pipe).feasible; }
  Choice choice(Outer const& outer, Choice const& inner, std::int64_t micro_batch, bool sequence_parallel) const;
  std::vector<std::int64_t> layers(std::int64_t virtual_stages) const;

  /// The request's, without what is chosen.
  Config const& config() const { return config_; }
  Infeasible const& infeasible() const { return infeasible_; }

 private:
  struct Inners {
    std::vector<Choice> feasible;
    std::int64_t all = 0;
    Infeasible infeasible;
  };
  bool pinned(std::string const& field) const;
  /// The values, or the config's alone where the field is pinned.
  template <class T>
  std::vector<T> values(std::string const& field, T own, std::vector<T> all) const;
  std::string refusal(Choice const& choice, std::int64_t ranks, std::int64_t global_batch) const;

  void make_inners(std::int64_t pipe);
  void make_inners(std::int64_t pipe, ScheduleKind kind, std::int64_t chunks, Inners& list);
  void make_outers();
  void make_outer(Outer outer);

  SearchRequest const& request_;
  Config config_;
  std::map<std::int64_t, Inners> inners_;
  std::vector<Outer> outers_;
  Infeasible infeasible_;
};

}  // namespace selenite
