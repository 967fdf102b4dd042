#pragma once
#include "core/cost.hpp"
#include "core/machine.hpp"

namespace selenite {

/// Seconds that work of this cost takes on this machine.
double price(Cost const& cost, Machine const& machine, ProcessGrid const& grid);

}  // namespace selenite
