#include "schedule/schedule.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {

std::string to_string(Action a) {
  std::string text(1, static_cast<char>(a.what));
  if (is_pass(a.what)) text += std::to_string(*a.chunk) + "." + std::to_string(*a.micro);
  return text;
}

Action parse_action(std::string_view text) {
  auto bad = [&] {
    return concat("\"", text, "\" is not an action (it takes F0.3, B0.3, I0.3, W0.3, G or O). Correct the schedule.");
  };
  validate(!text.empty(), bad());
  char const letter = text[0];
  if (text == "G" || text == "O") return {static_cast<What>(letter), Chunk(0), Micro(0)};
  auto const point = text.find('.');
  validate(std::string_view("FBIW").find(letter) != std::string_view::npos && point != std::string_view::npos, bad());
  auto number = [&](std::string_view part) {
    validate(!part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos, bad());
    return parse_integer(part, std::string(text));
  };
  return {static_cast<What>(letter), Chunk(number(text.substr(1, point - 1))), Micro(number(text.substr(point + 1)))};
}

bool splits_backward(Schedule const& schedule) {
  return std::ranges::any_of(schedule.rows[0], [](Action a) { return a.what == What::backward_weight; });
}

std::string to_string(Schedule const& schedule) {
  std::string text;
  for (auto const& row : schedule.rows) {
    std::vector<std::string> cells;
    for (Action a : row) cells.push_back(to_string(a));
    text += join(cells, " ") + "\n";
  }
  return text;
}

Schedule parse_schedule(std::string_view text) {
  Schedule schedule{0, 0, 0, {}};
  for (std::string const& line : split(text, '\n')) {
    if (trim(line).empty()) continue;
    auto& row = schedule.rows.emplace_back();
    for (std::string const& cell : split(trim(line), ' ')) {
      if (cell.empty()) continue;
      Action const a = row.emplace_back(parse_action(cell));
      schedule.chunks = std::max(schedule.chunks, *a.chunk + 1);
      schedule.micros = std::max(schedule.micros, *a.micro + 1);
    }
  }
  schedule.stages = static_cast<std::int64_t>(schedule.rows.size());
  return schedule;
}

bool Schedule::sends(Stage stage, Action a) const {
  if (stages == 1) return false;
  if (a.what == What::forward) return virtual_stage(stage, a.chunk) + 1 < virtual_stages();
  return (a.what == What::backward || a.what == What::backward_input) && virtual_stage(stage, a.chunk) > 0;
}

bool Schedule::receives(Stage stage, Action a) const {
  if (stages == 1) return false;
  if (a.what == What::forward) return virtual_stage(stage, a.chunk) > 0;
  return (a.what == What::backward || a.what == What::backward_input) &&
         virtual_stage(stage, a.chunk) + 1 < virtual_stages();
}

namespace {
/// Of each chunk, the most micro-batches between F and one of the actions that `ends` names; 1 if none of those comes.
template <class Ends>
std::vector<std::int64_t> most_in_flight(std::vector<Action> const& row, std::int64_t chunks, Ends const& ends) {
  std::vector<std::int64_t> live(static_cast<std::size_t>(chunks), 0), most = live;
  std::vector<char> ended(live.size(), 0);
  for (Action a : row) {
    if (!is_pass(a.what)) continue;
    auto const c = static_cast<std::size_t>(*a.chunk);
    if (a.what == What::forward) most[c] = std::max(most[c], ++live[c]);
    if (ends(a.what)) --live[c], ended[c] = 1;
  }
  for (std::size_t c = 0; c < most.size(); ++c)
    if (!ended[c]) most[c] = 1;
  return most;
}
}  // namespace

std::vector<std::int64_t> slots_needed(std::vector<Action> const& row, std::int64_t chunks) {
  return most_in_flight(row, chunks, [](What what) { return what == What::backward || what == What::backward_weight; });
}

std::int64_t slots_needed(Schedule const& schedule, Stage stage, Chunk chunk) {
  return slots_needed(schedule.rows[static_cast<std::size_t>(*stage)],
                      schedule.chunks)[static_cast<std::size_t>(*chunk)];
}

std::int64_t slots_until_input(Schedule const& schedule, Stage stage, Chunk chunk) {
  return most_in_flight(schedule.rows[static_cast<std::size_t>(*stage)], schedule.chunks, [](What what) {
    return what == What::backward || what == What::backward_input;
  })[static_cast<std::size_t>(*chunk)];
}

}  // namespace selenite
