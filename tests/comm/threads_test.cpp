#include <algorithm>
#include <atomic>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <iostream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "checks.hpp"
#include "core/arena.hpp"
#include "core/parallel_for.hpp"

using namespace selenite;
using namespace std::chrono_literals;

namespace {
std::int64_t const worlds[] = {1, 2, 3, 4, 8, 16};

/// What run_threads throws, and that it does so soon.
template <class Body>
std::string error_of(std::int64_t world, Body body) {
  auto const start = std::chrono::steady_clock::now();
  std::string message = "no error";
  try {
    run_threads(world, body);
  } catch (Error const& e) {
    message = e.what();
  }
  BOOST_TEST((std::chrono::steady_clock::now() - start < 1s), "the ranks took more than a second to end");
  return message;
}
}  // namespace

BOOST_AUTO_TEST_SUITE(thread_ranks)

BOOST_DATA_TEST_CASE(backend, boost::unit_test::data::make(worlds) * boost::unit_test::data::make(checks()), world,
                     check) {
  std::string error;
  try {
    run_threads(world, check.run);
  } catch (Error const& e) {
    error = e.what();
  }
  BOOST_TEST(error == "");
}

BOOST_AUTO_TEST_CASE(an_exception_ends_all_ranks_wherever_they_wait) {
  struct Wait {
    char const* where;
    void (*enter)(Comm&, Tensor const& data);
  };
  Wait const waits[] = {
      {"all-reduce", [](Comm& c, Tensor const& t) { c.launch(AllReduce{.data = t, .group = {Axis::data}}); }},
      {"ring", [](Comm& c, Tensor const& t) { c.launch(RingShift{.send = t, .recv = t, .group = {Axis::data}}); }},
      {"recv", [](Comm& c, Tensor const& t) { c.launch(Recv{.data = t, .from = Rank(2)}); }},
      {"barrier", [](Comm& c, Tensor const&) { c.barrier(); }},
      {"text", [](Comm& c, Tensor const&) { c.all_gather("x"); }},
      {"grid",
       [](Comm& c, Tensor const&) {
         c.set_grid(ProcessGrid({1, 1, 1, 4, 1}));
       }},
  };
  for (Wait const& wait : waits) {
    std::atomic<int> stopped{0};
    std::string const message = error_of(4, [&](Comm& comm) {
      comm.set_grid(ProcessGrid({1, 1, 1, 4, 1}));
      if (*comm.rank() == 2) {
        std::this_thread::sleep_for(20ms);  // the others are asleep by now
        throw Error("The file is gone.");
      }
      std::vector<float> data(1000);
      try {
        wait.enter(comm, Tensor::of(data.data(), {1000}));
      } catch (Stopped const&) {
        ++stopped;
        throw;
      }
    });
    BOOST_TEST(message == "rank 2: The file is gone.", wait.where << ": " << message);
    BOOST_TEST(stopped == 3, wait.where);
  }
}

// A message outlives the memory that it was sent from.
BOOST_AUTO_TEST_CASE(a_message_of_a_rank_that_is_gone_can_be_received) {
  std::atomic<bool> gone{false};
  run_threads(2, [&](Comm& comm) {
    Memory const memory(4 << 20);  // mapped alone, and unmapped at the end
    Tensor const t(memory.base(), DType::uint8, {4 << 20});
    if (*comm.rank() == 0) {
      {
        Memory const other(4 << 20);
        std::fill_n(other.base(), other.bytes(), std::byte{3});
        comm.launch(Send{.data = Tensor(other.base(), DType::uint8, {4 << 20}), .to = Rank(1)});
      }
      gone = true;
    } else {
      while (!gone) std::this_thread::yield();
      comm.launch(Recv{.data = t, .from = Rank(0)});
      validate(std::count(t.raw(), t.raw() + t.bytes(), std::byte{3}) == t.bytes(), "another message");
    }
  });
}

// The root of a broadcast is done long before those who copy from it: when another rank fails meanwhile, the root must
// not unwind and unmap what they read.
BOOST_AUTO_TEST_CASE(nobody_reads_the_memory_of_a_rank_that_is_gone) {
  for (int round = 0; round < 40; ++round) {
    std::string const message = error_of(4, [&](Comm& comm) {
      comm.set_grid(ProcessGrid({1, 1, 2, 2, 1}));
      if (*comm.rank() == 3) {
        std::this_thread::sleep_for(10ms + round * 100us);
        throw Error("gone");
      }
      Memory const memory(8 << 20);
      Tensor const t(memory.base(), DType::uint8, {8 << 20});
      for (;;) comm.launch(Broadcast{.data = t, .group = {Axis::data}});  // ranks 0 and 2; rank 1 waits for rank 3
    });
    BOOST_TEST(message == "rank 3: gone");
  }
}

BOOST_AUTO_TEST_CASE(one_rank_alone_keeps_its_error) {
  BOOST_TEST(error_of(1, [](Comm&) { throw Error("alone"); }) == "alone");
}

BOOST_AUTO_TEST_CASE(abort_ends_all) {
  std::string const message = error_of(3, [](Comm& comm) {
    if (*comm.rank() == 1) comm.abort(75);
    comm.barrier();
  });
  BOOST_TEST(message.find("rank 1: The job was ended with exit code 75") == 0u, message);
}

BOOST_AUTO_TEST_CASE(abort_gives_its_code_and_does_not_wait_for_a_rank_that_is_stuck) {
  int code = 0;
  try {
    run_threads(2, [](Comm& comm) { comm.abort(75); });
  } catch (Aborted const& e) {
    code = e.code;
  }
  BOOST_TEST(code == 75);
  pid_t const child = fork();
  if (child == 0) {
    run_threads(2, [](Comm& comm) {
      if (*comm.rank() == 1) comm.abort(76);
      std::this_thread::sleep_for(60s);
    });
    _exit(0);
  }
  auto const start = std::chrono::steady_clock::now();
  int status = 0;
  waitpid(child, &status, 0);
  BOOST_TEST(WIFEXITED(status));
  BOOST_TEST(WEXITSTATUS(status) == 76);
  BOOST_TEST((std::chrono::steady_clock::now() - start < 20s));
}

BOOST_AUTO_TEST_CASE(ranks_that_do_different_things_are_told) {
  auto const difference = [](auto body) {
    return error_of(2, [&](Comm& comm) {
      comm.set_grid(ProcessGrid({1, 1, 1, 2, 1}));
      std::vector<float> data(8);
      body(comm, data.data());
    });
  };
  std::string const sizes = difference([](Comm& comm, float* data) {
    comm.launch(AllReduce{.data = Tensor::of(data, {4 + *comm.rank()}), .group = {Axis::data}});
  });
  BOOST_TEST(sizes.find("all-reduce of 16 bytes, another in all-reduce of 20") != sizes.npos, sizes);
  std::string const kinds = difference([](Comm& comm, float* data) {
    Tensor const t = Tensor::of(data, {4});
    if (*comm.rank() == 0)
      comm.launch(AllReduce{.data = t, .group = {Axis::data}});
    else
      comm.launch(Broadcast{.data = t, .group = {Axis::data}});
  });
  BOOST_TEST(kinds.find("one is in all-reduce of 16 bytes, another in broadcast") != kinds.npos, kinds);
  std::string const message = difference([](Comm& comm, float* data) {
    if (*comm.rank() == 0)
      comm.launch(Send{.data = Tensor::of(data, {4}), .to = Rank(1), .tag = 3});
    else
      comm.launch(Recv{.data = Tensor::of(data, {5}), .from = Rank(0), .tag = 3});
  });
  BOOST_TEST(message.find("rank 1: A message of 16 bytes from rank 0 came where 20 were expected (tag 3)") == 0u,
             message);
}

BOOST_AUTO_TEST_CASE(ranks_share_the_threads) {
  set_threads(6);
  std::atomic<int> sum{0};
  run_threads(3, [&](Comm&) { sum += selenite::threads(); });
  BOOST_TEST(sum == 6);
  run_threads(16, [&](Comm&) { sum += selenite::threads(); });
  BOOST_TEST(sum == 6 + 16);
  BOOST_TEST(selenite::threads() == 6);
  set_threads(0);
}

BOOST_AUTO_TEST_SUITE_END()
