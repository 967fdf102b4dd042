#include "run/room.hpp"

#include <boost/test/unit_test.hpp>
#include <string>

#include "core/error.hpp"
#include "tests/contains.hpp"

using namespace selenite;
using namespace selenite::test;

BOOST_AUTO_TEST_SUITE(room)

BOOST_AUTO_TEST_CASE(what_is_copied_to_save_has_room_beside_the_run) {
  auto const comm = make_self_comm();
  BOOST_CHECK_NO_THROW(require_room_to_save(3 << 20, 2 << 20, 1 << 20, *comm));
  BOOST_CHECK_EXCEPTION(require_room_to_save((3 << 20) - 1, 2 << 20, 1 << 20, *comm), Error, [](Error const& e) {
    return contains(e.what(), "its rank needs 3.00 MiB to save (1.00 MiB of it for copies");
  });
}

BOOST_AUTO_TEST_CASE(all_ranks_of_a_machine_count) {
  run_threads(2, [](Comm& comm) {
    std::int64_t const copied = comm.rank() == Rank(0) ? 1 << 20 : 3 << 20;
    require_room_to_save(4 << 20, 0, copied, comm);
    BOOST_CHECK_EXCEPTION(require_room_to_save((4 << 20) - 1, 0, copied, comm), Error,
                          [](Error const& e) { return contains(e.what(), "its 2 ranks need 4.00 MiB to save"); });
  });
}

BOOST_AUTO_TEST_SUITE_END()
