#include "exec/choose_executor.hpp"

#include <algorithm>
#include <set>

#include "core/cuda.hpp"
#include "core/text.hpp"

namespace selenite {

std::vector<std::optional<int>> spread_over_devices(std::vector<std::vector<std::string>> const& visible) {
  std::set<std::string> taken;
  std::vector<std::optional<int>> all;
  for (std::vector<std::string> const& seen : visible) {
    auto const free = std::ranges::find_if(seen, [&](std::string const& id) { return !taken.contains(id); });
    if (free == seen.end()) {
      all.push_back(std::nullopt);
      continue;
    }
    taken.insert(*free);
    all.push_back(static_cast<int>(free - seen.begin()));
  }
  return all;
}

namespace {

int choose_device(Comm& comm, bool shared) {
  std::vector<std::string> const mine = cuda_device_ids();
  auto const said = all_gather_on_machine(comm, concat(comm.rank(), " ", join(mine, " ")));
  std::size_t place = 0;
  std::vector<std::vector<std::string>> visible;
  for (std::string const& text : said) {
    auto words = split(text, ' ');
    if (words[0] == concat(comm.rank())) place = visible.size();
    words.erase(words.begin());
    std::erase(words, "");
    visible.push_back(std::move(words));
  }
  if (mine.empty()) return 0;  // to open it says what is wrong
  if (shared) return static_cast<int>(place % mine.size());
  std::optional<int> const found = spread_over_devices(visible)[place];
  validate(found.has_value(), "Rank ", comm.rank(), " has no device of its own (it is number ", place + 1, " of the ",
           said.size(), " on this machine and sees ", mine.size(), mine.size() == 1 ? " device" : " devices",
           ", which others have; each rank takes one). Start as many ranks a machine as it has devices, at most, and "
           "show each all of them or its own (srun --gpus-per-task=1, CUDA_VISIBLE_DEVICES).");
  return *found;
}

}  // namespace

Executor choose_executor(RunConfig const& run, Comm& comm) {
  if (run.backend == BackendKind::cpu) return Executor(run.backend, 0);
  return Executor(run.backend, choose_device(comm, run.comm == CommKind::threads));
}

}  // namespace selenite
