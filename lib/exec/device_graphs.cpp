#include "exec/device_graphs.hpp"

#include "core/error.hpp"

namespace selenite {

DeviceGraphs::Entry* DeviceGraphs::find(LaunchKey const& key) {
  if (given_up_) return nullptr;
  auto found = entries_.find(key.place);
  if (found == entries_.end()) {
    if (entries_.size() == most) return nullptr;
    found = entries_.emplace(key.place, Entry{.variant = key.variant}).first;
  }
  Entry& entry = found->second;
  if (entry.variant != key.variant) entry = {.variant = key.variant};
  return &entry;
}

void DeviceGraphs::give_up(std::string const& why) {
  given_up_ = true;
  note_ = concat("run.cuda_graphs is not followed from here on: ", why);
}

}  // namespace selenite
