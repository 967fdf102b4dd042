#pragma once
#include <cstdint>

#include "comm/collectives.hpp"
#include "exec/lanes.hpp"

namespace selenite {

/// What a context has run or priced.
struct Tally {
  CauseSeconds seconds{};       ///< of the host's clock, or priced
  double flops = 0;             ///< executed FLOPs of matrix work, from cost()
  double model_flops = 0;       ///< by the published convention (Cost::model_flops), without recomputation
  double hardware_flops = 0;    ///< the same with recomputation
  double bytes = 0;             ///< memory traffic, from cost()
  double collective_bytes = 0;  ///< of whole messages
  SentBytes sent;               ///< what this rank hands to the transport, from sent_bytes()
  std::int64_t launches = 0;
  double total_seconds() const;
  void add(Tally const& other);
};

}  // namespace selenite
