#include "run/watch_table.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {

constexpr std::size_t most_named = 4;  // ranks or groups of ranks in one message

std::string what_to_do() {
  return " Look at that rank's process and machine, or raise run.watchdog if an action may take longer; the same "
         "command "
         "goes on from the last checkpoint. The job ends with code 75.";
}

/// "Ranks 0, 1, 2 and 5 others"
std::string list(std::vector<std::size_t> const& ranks) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(ranks.size(), most_named); ++i) names.push_back(concat(ranks[i]));
  std::string const rest = ranks.size() > most_named ? concat(" and ", ranks.size() - most_named, " others") : "";
  return concat(ranks.size() == 1 ? "Rank " : "Ranks ", join(names, ", "), rest);
}

}  // namespace

void WatchPost::set_action(std::string const& text) {
  std::size_t const size = std::min(text.size(), action.size() - 1);
  std::copy_n(text.begin(), size, action.begin());
  action[size] = '\0';
}

std::string to_note(WatchPost const& post) {
  std::string note(sizeof post, '\0');
  std::memcpy(note.data(), &post, sizeof post);
  return note;
}

std::optional<WatchPost> from_note(std::string const& note) {
  WatchPost post;
  if (note.size() != sizeof post) return std::nullopt;
  std::memcpy(&post, note.data(), sizeof post);
  return post;
}

std::string doing(WatchPost const& post) {
  std::string const action = post.action.data();
  return post.waits() ? concat(action, ": ", to_string(unpacked(post.call))) : action;
}

WatchTable::WatchTable(ProcessGrid const& grid, double now)
    : grid_(grid), rows_(static_cast<std::size_t>(grid.world()), Row{.at = now}) {
  for (Row& row : rows_) row.post.set_action("start");
}

void WatchTable::update(WatchPost const& post, double now) {
  auto const rank = static_cast<std::size_t>(post.rank);
  if (rank < rows_.size()) rows_[rank] = {post, now};
}

void WatchTable::skip(double seconds) {
  for (Row& row : rows_) row.at += seconds;
}

bool WatchTable::silent(Rank rank, double now, double limit) const {
  Row const& row = rows_[static_cast<std::size_t>(*rank)];
  return !row.post.ended && now - row.at > limit;
}

std::optional<std::string> WatchTable::verdict(double now, double limit) const {
  auto const silent = of_the_silent(now, limit);
  return silent ? silent : of_the_stuck(now, limit);
}

std::string WatchTable::missing_since(double then, double now) const {
  std::vector<std::string> lines;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    if (rows_[r].post.ended || rows_[r].at >= then) continue;
    if (lines.size() < most_named)
      lines.push_back(concat(name(r), " no longer answers; its last action was ", doing(rows_[r].post), ", ",
                             format_duration(now - rows_[r].at), " ago."));
  }
  return join(lines, " ");
}

std::optional<std::string> WatchTable::of_the_silent(double now, double limit) const {
  std::vector<std::size_t> silent;
  for (std::size_t r = 0; r < rows_.size(); ++r)
    if (this->silent(Rank(static_cast<std::int64_t>(r)), now, limit)) silent.push_back(r);
  if (silent.empty()) return std::nullopt;
  std::string text;
  for (std::size_t i = 0; i < std::min(silent.size(), most_named); ++i)
    text += concat(i ? ". " : "", name(silent[i]), " has been silent for ", format_duration(now - rows_[silent[i]].at),
                   ": its last action was ", doing(rows_[silent[i]].post));
  if (silent.size() > most_named) text += concat("; so have been ", silent.size() - most_named, " more ranks");
  return concat(text, " (nothing comes from its watchdog: the process is stopped or dead, or can't be reached).",
                others(silent), what_to_do());
}

std::optional<std::string> WatchTable::of_the_stuck(double now, double limit) const {
  std::vector<std::size_t> late;  // those to look at: who waits for nobody or, if all wait, who has got least far
  bool all_wait = true, any = false;
  double least = 0;
  std::uint64_t behind = 0;
  for (Row const& row : rows_) {
    if (row.post.ended) continue;
    if (row.post.slow && !row.post.waits()) return std::nullopt;
    least = any ? std::min(least, idle(row, now)) : idle(row, now);
    behind = any ? std::min(behind, row.post.actions) : row.post.actions;
    any = true;
    all_wait = all_wait && row.post.waits();
  }
  if (!any || least <= limit) return std::nullopt;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    WatchPost const& post = rows_[r].post;
    if (!post.ended && (all_wait ? post.actions == behind : !post.waits())) late.push_back(r);
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(late.size(), most_named); ++i)
    text += concat(i ? ". " : "", name(late[i]), " has not moved for ", format_duration(idle(rows_[late[i]], now)),
                   ": its last action was ", doing(rows_[late[i]].post));
  if (late.size() > most_named) text += concat("; nor have ", late.size() - most_named, " more ranks");
  return concat(text,
                all_wait ? " (all ranks wait for each other, and this is how far the last one got)."
                         : " (the process is alive, and waits for no other rank).",
                others(late), what_to_do());
}

std::string WatchTable::name(std::size_t rank) const {
  std::string const coords = describe(grid_, Rank(static_cast<std::int64_t>(rank)));
  return concat("Rank ", rank, coords.empty() ? "" : concat(" (", coords, ")"));
}

std::string WatchTable::others(std::vector<std::size_t> const& but) const {
  std::map<std::string, std::vector<std::size_t>> groups;  // by what they do
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    if (rows_[r].post.ended || std::find(but.begin(), but.end(), r) != but.end()) continue;
    bool const waits = rows_[r].post.waits();
    groups[concat(waits ? "in " : "at ", doing(rows_[r].post))].push_back(r);
  }
  std::string text;
  std::size_t shown = 0;
  for (auto const& [what, ranks] : groups) {
    if (shown++ == most_named) return concat(text, " Others do other things.");
    bool const waits = rows_[ranks.front()].post.waits();
    text +=
        concat(" ", list(ranks),
               waits ? (ranks.size() == 1 ? " waits " : " wait ") : (ranks.size() == 1 ? " is " : " are "), what, ".");
  }
  return text;
}

}  // namespace selenite
