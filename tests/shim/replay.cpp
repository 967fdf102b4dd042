#include "tests/shim/replay.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>
#include <utility>

#include "core/text.hpp"

namespace selenite::shim {
namespace {

struct Item {
  Step step;
  std::vector<Item*> before;    ///< what must be done first
  std::vector<Item*> partners;  ///< of a transfer: what the other ranks do in it
  bool done = false;
  bool ready() const {
    return std::ranges::all_of(before, [](Item const* i) { return i->done; });
  }
};

/// Members of a communicator meet by the order of their calls: of collectives, and of messages of one direction.
class Partners {
 public:
  void add(NcclCall const& call, Item& item) {
    int const side = call.is_message() ? (call.kind == NcclCall::Kind::send ? 0 : 1) : call.index,
              from = !call.is_message() ? -1
                     : side == 0        ? call.index
                                        : call.peer,
              to = !call.is_message() ? -1
                   : side == 0        ? call.peer
                                      : call.index;
    int const nth = counts_[{call.comm, from, to, side}]++;
    auto& meeting = meetings_[{call.comm, from, to, nth}];
    meeting.members = call.is_message() ? 2 : call.ranks;
    meeting.items.push_back(&item);
  }
  /// A rank that has no partner waits for one that never comes.
  void connect(Item& nobody) const {
    for (auto const& [key, meeting] : meetings_)
      for (Item* const item : meeting.items) {
        item->partners.insert(item->partners.end(), meeting.items.begin(), meeting.items.end());
        if (meeting.items.size() != static_cast<std::size_t>(meeting.members)) item->before.push_back(&nobody);
      }
  }

 private:
  struct Met {
    int members = 0;
    std::vector<Item*> items;
  };
  std::map<std::tuple<int, int, int, int>, int> counts_;
  std::map<std::tuple<int, int, int, int>, Met> meetings_;
};

/// The items of one rank, in its host's order.
std::deque<Item> items_of(NcclLog const& log, Partners& partners) {
  std::deque<Item> items;
  std::map<void const*, Item*> last_of_stream, record_of;
  std::map<int, Item*> last_of_comm;
  Item* host = nullptr;  // what it has waited for
  for (Step const& step : log.steps) {
    Item& item = items.emplace_back(Item{.step = step});
    auto const behind = [&](Item* other) {
      if (other) item.before.push_back(other);
    };
    behind(host);
    if (step.stream) behind(last_of_stream[step.stream]);
    if (step.kind == Step::Kind::wait || step.kind == Step::Kind::host_waits_for_event) behind(record_of[step.event]);
    for (std::size_t c = step.first; c < step.first + step.count; ++c) {
      behind(std::exchange(last_of_comm[log.calls[c].comm], &item));
      partners.add(log.calls[c], item);
    }
    if (step.stream) last_of_stream[step.stream] = &item;
    if (step.kind == Step::Kind::record) record_of[step.event] = &item;
    if (step.kind == Step::Kind::host_waits_for_stream || step.kind == Step::Kind::host_waits_for_event) host = &item;
  }
  for (Item& item : items) std::erase(item.before, &item);  // a group has several calls of one communicator
  return items;
}

bool advance(std::deque<Item>& items) {
  bool any = false;
  for (Item& item : items) {
    if (item.done || !item.ready()) continue;
    item.done = std::ranges::all_of(item.partners, [](Item const* p) { return p->done || p->ready(); });
    any = any || item.done;
  }
  return any;
}

std::string transfer(NcclLog const& log, Step const& step) {
  NcclCall const& call = log.calls[step.first];
  return concat("member ", call.index, " of communicator ", call.comm, " stays in ", to_string(call));
}

}  // namespace

std::string find_deadlock(std::vector<NcclLog> const& logs) {
  std::vector<std::deque<Item>> ranks;
  Partners partners;
  Item nobody{};
  for (NcclLog const& log : logs) ranks.push_back(items_of(log, partners));
  partners.connect(nobody);
  for (bool any = true; any;) {
    any = false;
    for (auto& items : ranks) any = advance(items) || any;
  }
  std::string stuck;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    auto const found =
        std::ranges::find_if(ranks[r], [](Item const& i) { return !i.done && i.step.kind == Step::Kind::transfer; });
    if (found != ranks[r].end()) stuck += concat(stuck.empty() ? "" : "; ", transfer(logs[r], found->step));
  }
  return stuck;
}

}  // namespace selenite::shim
