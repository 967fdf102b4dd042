#include "schedule/schedule.hpp"

#include <algorithm>
#include <optional>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {

std::string to_string(Action a) {
  std::string text(1, static_cast<char>(a.what));
  if (a.what == What::forward || a.what == What::backward) text += concat(a.chunk, ".", a.micro);
  return text;
}

Action parse_action(std::string_view text) {
  auto bad = [&] {
    return concat("\"", text, "\" is not an action (it takes F0.3, B0.3, G or O). Correct the schedule.");
  };
  validate(!text.empty(), bad());
  char const letter = text[0];
  if (text == "G" || text == "O") return {static_cast<What>(letter), Chunk(0), Micro(0)};
  auto const point = text.find('.');
  validate((letter == 'F' || letter == 'B') && point != std::string_view::npos, bad());
  auto number = [&](std::string_view part) {
    validate(!part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos, bad());
    return parse_integer(part, std::string(text));
  };
  return {static_cast<What>(letter), Chunk(number(text.substr(1, point - 1))), Micro(number(text.substr(point + 1)))};
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

Schedule one_f_one_b(std::int64_t stages, std::int64_t micros) {
  Schedule schedule{stages, 1, micros, {}};
  for (std::int64_t r = 0; r < stages; ++r) {
    auto& row = schedule.rows.emplace_back();
    std::int64_t f = 0, b = 0;
    auto forward = [&] { row.push_back({What::forward, Chunk(0), Micro(f++)}); };
    auto backward = [&] { row.push_back({What::backward, Chunk(0), Micro(b++)}); };
    for (std::int64_t const ahead = std::min(stages - r - 1, micros); f < ahead;) forward();
    while (f < micros) forward(), backward();
    while (b < micros) backward();
    row.push_back({What::sync, Chunk(0), Micro(0)});
    row.push_back({What::step, Chunk(0), Micro(0)});
  }
  return schedule;
}

Schedule forward_only(std::int64_t stages, std::int64_t micros) {
  Schedule schedule{stages, 1, micros, {}};
  schedule.rows.resize(static_cast<std::size_t>(stages));
  for (auto& row : schedule.rows)
    for (std::int64_t f = 0; f < micros; ++f) row.push_back({What::forward, Chunk(0), Micro(f)});
  return schedule;
}

namespace {

/// Virtual stage of a chunk: chunk c of stage r is virtual stage c * stages + r.
struct Player {
  Schedule const& schedule;
  std::vector<std::optional<double>> forward_done, backward_done;
  std::vector<std::size_t> at;
  std::vector<double> clock;

  explicit Player(Schedule const& s)
      : schedule(s), forward_done(cells()), backward_done(cells()), at(s.rows.size(), 0), clock(s.rows.size(), 0) {}
  std::size_t cells() const { return static_cast<std::size_t>(schedule.stages * schedule.chunks * schedule.micros); }
  std::size_t cell(std::int64_t virtual_stage, Micro micro) const {
    return static_cast<std::size_t>(virtual_stage * schedule.micros + *micro);
  }

  /// When the inputs of stage r's next action are there; none if they are not yet.
  std::optional<double> ready(std::size_t r, double message) const {
    Action const a = schedule.rows[r][at[r]];
    if (a.what == What::sync || a.what == What::step) return clock[r];
    std::int64_t const v = *a.chunk * schedule.stages + static_cast<std::int64_t>(r),
                       last = schedule.stages * schedule.chunks - 1;
    if (a.what == What::forward) {
      if (v == 0) return 0;
      auto const& before = forward_done[cell(v - 1, a.micro)];
      return before ? std::optional(*before + message) : std::nullopt;
    }
    auto const& own = forward_done[cell(v, a.micro)];
    if (!own || v == last) return own;
    auto const& after = backward_done[cell(v + 1, a.micro)];
    return after ? std::optional(std::max(*own, *after + message)) : std::nullopt;
  }
  void finish(std::size_t r, double start, double seconds) {
    Action const a = schedule.rows[r][at[r]++];
    clock[r] = std::max(clock[r], start) + seconds;
    if (a.what == What::sync || a.what == What::step) return;
    std::int64_t const v = *a.chunk * schedule.stages + static_cast<std::int64_t>(r);
    (a.what == What::forward ? forward_done : backward_done)[cell(v, a.micro)] = clock[r];
  }
  bool at_end() const {
    for (std::size_t r = 0; r < at.size(); ++r)
      if (at[r] < schedule.rows[r].size()) return false;
    return true;
  }
};

std::string table_with_mark(Schedule const& schedule, std::size_t row, std::size_t column) {
  std::string text;
  for (std::size_t r = 0; r < schedule.rows.size(); ++r) {
    text += concat("  stage ", r, ":");
    for (std::size_t i = 0; i < schedule.rows[r].size(); ++i) {
      std::string const cell = to_string(schedule.rows[r][i]);
      text += r == row && i == column ? " [" + cell + "]" : " " + cell;
    }
    text += "\n";
  }
  return text;
}

void check_counts(Schedule const& s) {
  for (std::size_t r = 0; r < s.rows.size(); ++r) {
    // the table is printed only where something is wrong: with 65,000 actions it is long
    auto refuse = [&](std::size_t column, std::string const& problem) {
      throw Error(concat("The schedule is wrong: stage ", r, " ", problem, ".\n", table_with_mark(s, r, column),
                         "Correct the schedule."));
    };
    std::vector<int> seen(static_cast<std::size_t>(2 * s.chunks * s.micros), 0);
    bool const trains =
        std::any_of(s.rows[r].begin(), s.rows[r].end(), [](Action a) { return a.what == What::backward; });
    for (std::size_t i = 0; i < s.rows[r].size(); ++i) {
      Action const a = s.rows[r][i];
      if (a.what == What::sync || a.what == What::step) continue;
      auto const cell =
          static_cast<std::size_t>(((a.what == What::backward) * s.chunks + *a.chunk) * s.micros + *a.micro);
      if (++seen[cell] > 1) refuse(i, concat("does ", to_string(a), " twice"));
    }
    for (std::size_t cell = 0; cell < (trains ? seen.size() : seen.size() / 2); ++cell)
      if (!seen[cell])
        refuse(s.rows[r].size(), concat("lacks a ", cell < seen.size() / 2 ? "forward" : "backward",
                                        " pass of micro-batch ", cell % static_cast<std::size_t>(s.micros)));
  }
}

}  // namespace

double play(Schedule const& schedule, std::vector<ActionSeconds> const& seconds) {
  Player player(schedule);
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t r = 0; r < schedule.rows.size(); ++r) {
      while (player.at[r] < schedule.rows[r].size()) {
        auto const start = player.ready(r, seconds[r].message);
        if (!start) break;
        What const what = schedule.rows[r][player.at[r]].what;
        player.finish(r, *start,
                      what == What::forward    ? seconds[r].forward
                      : what == What::backward ? seconds[r].backward
                      : what == What::sync     ? seconds[r].sync
                                               : seconds[r].step);
        moved = true;
      }
    }
  }
  if (!player.at_end())
    for (std::size_t r = 0; r < schedule.rows.size(); ++r)
      if (player.at[r] < schedule.rows[r].size())
        throw Error(concat("The schedule deadlocks: stage ", r, " waits for ever before ",
                           to_string(schedule.rows[r][player.at[r]]), ".\n", table_with_mark(schedule, r, player.at[r]),
                           "Correct the schedule."));
  return *std::max_element(player.clock.begin(), player.clock.end());
}

void validate_schedule(Schedule const& schedule) {
  check_counts(schedule);
  play(schedule, std::vector<ActionSeconds>(schedule.rows.size(), {1, 1, 1, 1, 0}));
}

std::int64_t slots_needed(Schedule const& schedule, Stage stage, Chunk chunk) {
  std::int64_t live = 0, most = 0;
  for (Action a : schedule.rows[static_cast<std::size_t>(*stage)]) {
    if (a.chunk != chunk) continue;
    if (a.what == What::forward) most = std::max(most, ++live);
    if (a.what == What::backward) --live;
  }
  return most;
}

}  // namespace selenite
