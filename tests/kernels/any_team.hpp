#pragma once
#include "cases.hpp"

namespace selenite::test {

/// The same bits from teams of one, two and five: pieces of work never depend on who does them.
template <Kernel Op>
void check_any_team(std::vector<Case<Op>> const& cases) {
  for (auto const& c : cases) {
    for (DType const type : c.options.dtypes) {
      if (c.options.speed) continue;
      BOOST_TEST_CONTEXT(c.name << ", " << name(type) << ", any team") {
        Tensors first(Tensors::rounded);
        for (int const team : {1, 2, 5}) {
          Tensors other(Tensors::rounded);
          Tensors& t = team == 1 ? first : other;
          Op const op = c.make(t, type);
          GuardedWorkspace scratch(workspace(op, 64 << 20));
          Backend::set_team(team);
          Backend::run(scratch.span(), op);
          if (team > 1) other.check_same_bits(first);
        }
        Backend::set_team(0);
      }
    }
  }
}

/// Everything that a table of cases is asked for but speed.
template <Kernel Op>
void check_all(std::vector<Case<Op>> const& cases) {
  check(cases);
  check_any_team(cases);
}

/// Launches outside of a table.
template <Kernel Op>
void run(Op const& op) {
  GuardedWorkspace scratch(workspace(op, 64 << 20));
  Backend::run(scratch.span(), op);
}

/// The dtypes of a case: speed is reported in two.
inline std::vector<DType> dtypes(bool speed) {
  std::vector<DType> types{DType::fp32, DType::bf16};
  if (!speed) types.push_back(DType::fp16);
  return types;
}

}  // namespace selenite::test

#define SELENITE_SPEED_TEST(cases)                                                                        \
  BOOST_AUTO_TEST_CASE(cases##_speed, *boost::unit_test::label("speed") * boost::unit_test::disabled()) { \
    measure(cases());                                                                                     \
  }
