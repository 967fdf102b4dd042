#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace selenite {

/// Where the time of a step goes, for reports.
enum class Cause : std::uint8_t { gemm, attention, memory_bound, optimizer, communication };
constexpr std::size_t cause_count = 5;
using CauseSeconds = std::array<double, cause_count>;
std::string_view name(Cause cause);

/// Queues of work that run beside each other: on CUDA streams; on CPU the comm lane a thread, where there is one;
/// priced a clock each. What tensor ranks exchange has a lane of its own, so that a layer never waits for gradients.
/// What a device gets from the host (micro-batches) and gives to it (a checkpoint's gigabytes) do not wait for each
/// other.
enum class Lane : std::uint8_t { compute, comm, tensor, load, save };
constexpr std::size_t lane_count = 5;
std::string_view name(Lane lane);

}  // namespace selenite
