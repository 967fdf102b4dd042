#include "run/continuation.hpp"

#include <algorithm>
#include <span>

#include "core/error.hpp"
#include "core/fields.hpp"

namespace selenite {
namespace {

using std::string_view;

/// A field that is not named here makes another model, or another training: a new one is compared until it is known
/// that it need not be.
constexpr string_view only_of_training[]{"hidden_dropout", "attention_dropout"};
constexpr string_view not_of_the_model[]{"preset", "vocab_multiple", "attention", "init_std"};
constexpr string_view not_of_training[]{
    "micro_batch",        "steps",        "samples",       "recompute",   "recompute_layers",
    "optimizer_sharding", "bucket_bytes", "deterministic", "valid_every", "valid_batches"};
constexpr string_view not_of_training_data[]{"valid", "test", "cache"};

bool among(std::span<string_view const> names, string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

struct Change {
  string_view field;
  std::string now, was;
};
template <class SectionConfig>
std::vector<Change> changes(SectionConfig was, SectionConfig now) {
  auto const before = fields(was), after = fields(now);
  std::vector<Change> list;
  for (std::size_t i = 0; i < after.size(); ++i)
    if (std::string const a = to_text(after[i]), b = to_text(before[i]); a != b) list.push_back({after[i].name, a, b});
  return list;
}

void add(std::vector<std::string>& list, string_view section, Change const& c) {
  list.push_back(concat(section, ".", c.field, " (", c.now, ", was ", c.was, ")"));
}

}  // namespace

void require_same_model(Config const& was, Config const& now, TakenUp taken, std::string const& checkpoint) {
  bool const any_length = taken == TakenUp::weights && now.model.positions == Positions::rotary;
  for (Change const& c : changes(was.model, now.model)) {
    if (among(not_of_the_model, c.field) || among(only_of_training, c.field)) continue;
    if (any_length && c.field == "sequence_length") continue;
    throw Error(concat("The checkpoint ", checkpoint, " was made with model.", c.field, " = ", c.was, ", not ", c.now,
                       " (it is of another model). Use the config it was made with, or another ",
                       taken == TakenUp::training ? "run.folder." : "checkpoint.load."));
  }
}

std::vector<std::string> changes_of_training(Config const& was, Config const& now) {
  std::vector<std::string> list;
  for (Change const& c : changes(was.model, now.model))
    if (among(only_of_training, c.field)) add(list, "model", c);
  for (Change const& c : changes(was.train, now.train))
    if (!among(not_of_training, c.field)) add(list, "train", c);
  for (Change const& c : changes(was.data, now.data))
    if (!among(not_of_training_data, c.field)) add(list, "data", c);
  return list;
}

}  // namespace selenite
