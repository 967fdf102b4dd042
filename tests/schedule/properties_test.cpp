#include <boost/test/unit_test.hpp>
#include <map>
#include <vector>

#include "tests/schedule/support.hpp"

using namespace selenite;

namespace {

std::vector<std::int64_t> const stage_counts{1, 2, 3, 4, 7, 8, 16, 33, 64};
std::vector<std::int64_t> const micro_counts{1, 2, 3, 4, 5, 8, 15, 31, 64, 127, 512};

/// The seconds of the passes, no two sums alike by accident.
struct Times {
  double forward, input, weight;
  ActionSeconds seconds() const { return {forward, backward(), input, weight}; }
  double backward() const { return input + weight; }
  double micro() const { return forward + backward(); }
};
std::vector<Times> const times{{1, 1, 1}, {2, 3, 2}, {4, 5, 3}, {3, 2, 1}};

double idle(Schedule const& s, Times const& t, std::int64_t send_buffers = 1) {
  return play(s, same_seconds(s, t.seconds()), send_buffers) - static_cast<double>(s.chunks * s.micros) * t.micro();
}

/// Seconds without work between each stage's first and last pass.
std::vector<double> idle_inside(Schedule const& s, Times const& t, std::int64_t send_buffers) {
  Played const played = timeline(s, same_seconds(s, t.seconds()), send_buffers);
  std::vector<double> out;
  for (auto const& row : played.spans)  // the last two spans are sync and step
    out.push_back(row[row.size() - 3].end - row[0].start - static_cast<double>(s.micros) * t.micro());
  return out;
}

/// Every action of every micro-batch, chunk and stage once, then sync and step.
void check_every_action_once(Schedule const& s, std::string const& passes) {
  for (auto const& row : s.rows) {
    std::map<Action, int> times_seen;
    for (Action a : row) ++times_seen[a];
    std::size_t expected = 0;
    for (char const what : passes)
      for (std::int64_t c = 0; c < s.chunks; ++c)
        for (std::int64_t m = 0; m < s.micros; ++m, ++expected)
          if (times_seen[{static_cast<What>(what), Chunk(c), Micro(m)}] != 1)
            BOOST_FAIL(concat(what, c, ".", m, " comes ", times_seen[{static_cast<What>(what), Chunk(c), Micro(m)}],
                              " times in\n", to_string(s)));
    bool const trains = passes.size() > 1;
    BOOST_TEST_REQUIRE(row.size() == expected + (trains ? 2 : 0));
    if (trains) BOOST_TEST_REQUIRE(to_string(row[row.size() - 2]) + to_string(row.back()) == "GO");
  }
}

/// Micro-batches that lie in slots, action by action: two never share one of `slots_needed`, and no fewer would do.
void check_slots(Schedule const& s, Stage stage, Chunk chunk) {
  auto const slots = static_cast<std::size_t>(slots_needed(s, stage, chunk));
  std::vector<bool> taken(slots, false);
  std::size_t live = 0, most = 0;
  for (Action a : s.rows[static_cast<std::size_t>(*stage)]) {
    if (!is_pass(a.what) || a.chunk != chunk) continue;
    auto const slot = static_cast<std::size_t>(*a.micro) % slots;
    if (a.what == What::forward) {
      BOOST_TEST_REQUIRE(!taken[slot]);
      taken[slot] = true, most = std::max(most, ++live);
    } else if (a.what != What::backward_input) {
      taken[slot] = false, --live;
    }
  }
  BOOST_TEST_REQUIRE(most == slots);
}

void check_sound(Schedule const& s, std::string const& passes) {
  BOOST_TEST_CONTEXT(s.stages << " stages, " << s.chunks << " chunks, " << s.micros << " micro-batches") {
    BOOST_REQUIRE_NO_THROW(validate_schedule(s, {}, send_buffers_needed(s)));
    check_every_action_once(s, passes);
    if (passes == "F") return;
    for (std::int64_t r = 0; r < s.stages; ++r)
      for (std::int64_t c = 0; c < s.chunks; ++c) check_slots(s, Stage(r), Chunk(c));
  }
}

/// Calls body(stages, micros) over the grid.
void over_grid(auto const& body) {
  for (std::int64_t const p : stage_counts)
    for (std::int64_t const m : micro_counts) body(p, m);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(schedule_properties)

BOOST_AUTO_TEST_CASE(all_schedules_are_sound) {
  over_grid([](std::int64_t p, std::int64_t m) {
    check_sound(one_f_one_b(p, m), "FB");
    check_sound(zero_bubble_h1(p, m), "FIW");
    check_sound(zero_bubble_h2(p, m), "FIW");
    check_sound(forward_only(p, m), "F");
    for (std::int64_t const chunks : {2, 3}) {
      if (p * m * chunks > 20000) continue;
      check_sound(forward_only(p, chunks, m), "F");
      for (std::int64_t const group : {std::int64_t{1}, p, p + 3}) check_sound(interleaved(p, chunks, m, group), "FB");
    }
  });
  check_sound(interleaved(64, 2, 512, 64), "FB");
  check_sound(interleaved(64, 4, 130, 64), "FB");
}

BOOST_AUTO_TEST_CASE(bubble_of_1f1b) {
  over_grid([](std::int64_t p, std::int64_t m) {
    for (Times const& t : times)
      BOOST_TEST_REQUIRE(idle(one_f_one_b(p, m), t) == static_cast<double>(p - 1) * t.micro());
  });
}

BOOST_AUTO_TEST_CASE(bubble_of_interleaved_is_that_of_one_chunk) {
  over_grid([](std::int64_t p, std::int64_t m) {
    if (m % p != 0) return;
    for (std::int64_t const chunks : {2, 3, 8})
      for (Times const& t : times)
        if (p * m * chunks <= 20000)
          BOOST_TEST_REQUIRE(idle(interleaved(p, chunks, m, p), t) == static_cast<double>(p - 1) * t.micro());
  });
}

BOOST_AUTO_TEST_CASE(bubble_of_zero_bubble_h1) {
  over_grid([](std::int64_t p, std::int64_t m) {
    if (m < p) return;
    for (Times const& t : times)
      BOOST_TEST_REQUIRE(idle(zero_bubble_h1(p, m), t) ==
                         static_cast<double>(p - 1) * (t.forward + t.input - t.weight));
  });
}

BOOST_AUTO_TEST_CASE(bubble_of_zero_bubble_h2) {
  over_grid([](std::int64_t p, std::int64_t m) {
    if (m < 2 * p - 1) return;
    Schedule const s = zero_bubble_h2(p, m);
    for (Times const& t : times) {
      double const promised = t.forward + t.input - 2 * t.weight;
      std::vector<double> const inside = idle_inside(s, t, 2);
      for (std::int64_t r = 0; r < p; ++r)
        BOOST_TEST_REQUIRE(inside[static_cast<std::size_t>(r)] == static_cast<double>(p - r - 1) * promised);
      BOOST_TEST_REQUIRE(idle(s, t, 2) == static_cast<double>(p - 1) * std::max(t.forward, promised));
    }
  });
}

BOOST_AUTO_TEST_CASE(micro_batches_in_flight) {
  over_grid([](std::int64_t p, std::int64_t m) {
    Schedule const f1b = one_f_one_b(p, m), h1 = zero_bubble_h1(p, m), h2 = zero_bubble_h2(p, m);
    for (std::int64_t r = 0; r < p; ++r) {
      Stage const stage(r);
      BOOST_TEST_REQUIRE(slots_needed(f1b, stage, Chunk(0)) == std::min(p - r, m));
      BOOST_TEST_REQUIRE(slots_needed(h1, stage, Chunk(0)) == std::min(p, m));
      BOOST_TEST_REQUIRE(slots_needed(h2, stage, Chunk(0)) == std::min(2 * p - 1, m));
      BOOST_TEST_REQUIRE(slots_until_input(h1, stage, Chunk(0)) == std::min(p - r, m));
      BOOST_TEST_REQUIRE(slots_until_input(h2, stage, Chunk(0)) == std::min(2 * (p - r) - 1, m));
      BOOST_TEST_REQUIRE(slots_needed(forward_only(p, m), stage, Chunk(0)) == 1);
    }
  });
}

// Narayanan et al. 2021, section 2.2: stage r is 2(p-r-1) + (v-1)p forwards ahead.
BOOST_AUTO_TEST_CASE(interleaved_holds_as_many_as_it_runs_ahead) {
  for (std::int64_t const p : {2, 3, 4, 8, 16})
    for (std::int64_t const v : {2, 3, 4}) {
      std::int64_t const m = 4 * p;
      Schedule const s = interleaved(p, v, m, p);
      for (std::int64_t r = 0; r < p; ++r) {
        std::int64_t live = 0, most = 0;
        for (Action a : s.rows[static_cast<std::size_t>(r)]) {
          if (a.what == What::forward) most = std::max(most, ++live);
          if (a.what == What::backward) --live;
        }
        BOOST_TEST_REQUIRE(most == 2 * (p - r - 1) + (v - 1) * p + 1);
      }
    }
}

BOOST_AUTO_TEST_CASE(send_buffers) {
  over_grid([](std::int64_t p, std::int64_t m) {
    BOOST_TEST_REQUIRE(send_buffers_needed(one_f_one_b(p, m)) == 1);
    BOOST_TEST_REQUIRE(send_buffers_needed(zero_bubble_h1(p, m)) == 1);
    BOOST_TEST_REQUIRE(send_buffers_needed(zero_bubble_h2(p, m)) == 1);
    BOOST_TEST_REQUIRE(send_buffers_needed(forward_only(p, m)) == 1);
  });
  for (std::int64_t const p : {2, 3, 4, 8})
    for (std::int64_t const chunks : {2, 3})
      for (std::int64_t group = 1; group <= p + 4; ++group) {
        Schedule const s = interleaved(p, chunks, 4 * (p + 4), group);
        std::int64_t const needed = send_buffers_needed(s), most = std::max<std::int64_t>(1, group - p + 1);
        BOOST_TEST_REQUIRE((chunks == 2 ? needed <= most : needed == most));
        BOOST_REQUIRE_NO_THROW(validate_schedule(s, {}, needed));
        if (needed > 1) BOOST_REQUIRE_THROW(validate_schedule(s, {}, needed - 1), Error);
      }
}

// More send buffers never make a step longer, and messages on their way never make it shorter.
BOOST_AUTO_TEST_CASE(play_is_monotone) {
  for (Schedule const& s : {one_f_one_b(5, 9), interleaved(4, 2, 8, 4), zero_bubble_h1(4, 9), zero_bubble_h2(4, 9)}) {
    double before = play(s, same_seconds(s, times[1].seconds()), 1);
    for (std::int64_t buffers = 2; buffers < 5; ++buffers) {
      double const now = play(s, same_seconds(s, times[1].seconds()), buffers);
      BOOST_TEST(now <= before);
      before = now;
    }
    ActionSeconds slow = times[1].seconds();
    slow.forward_message = slow.backward_message = 0.5;
    BOOST_TEST(play(s, same_seconds(s, slow), 4) > before);
  }
}

BOOST_AUTO_TEST_SUITE_END()
