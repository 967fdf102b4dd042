#include "run/room.hpp"

#include "core/arena.hpp"
#include "core/cuda.hpp"
#include "core/text.hpp"
#include "plan/fit.hpp"

namespace selenite {

void require_room(Config const& config, Footprint const& needed, Comm& comm) {
  std::int64_t const free = available_memory();
  auto const texts = all_gather_on_machine(comm, concat(needed.total()));
  double sum = 0;
  for (std::string const& text : texts) sum += parse_double(text, "a rank's memory");
  auto const left = format_bytes(static_cast<double>(free));
  if (sum <= static_cast<double>(free)) return;
  require_fit(config, needed, free / std::ssize(texts),
              texts.size() == 1 ? concat("this machine has ", left, " left")
                                : concat("this machine has ", left, " left for its ", texts.size(), " ranks"));
}

void require_device_room(Config const& config, Footprint const& needed, Comm& comm, int device) {
  std::int64_t const free = free_cuda_memory();
  std::string const mine = concat(cuda_device_ids().at(static_cast<std::size_t>(device)), ":");
  double sum = 0;
  std::int64_t ranks = 0;
  for (std::string const& text : all_gather_on_machine(comm, concat(mine, needed.total())))
    if (text.starts_with(mine)) sum += parse_double(text.substr(mine.size()), "a rank's memory"), ++ranks;
  if (sum <= static_cast<double>(free)) return;
  require_fit(config, needed, free / ranks,
              concat("CUDA device ", device, " has ", format_bytes(static_cast<double>(free)), " free",
                     ranks == 1 ? std::string() : concat(" for its ", ranks, " ranks")));
}

void require_room_to_save(std::int64_t free, std::int64_t held, std::int64_t copied, Comm& comm) {
  double needed = 0, copies = 0;
  auto const texts = all_gather_on_machine(comm, concat(held, " ", copied));
  for (std::string const& text : texts) {
    auto const bytes = split(text, ' ');
    double const copy = parse_double(bytes[1], "a rank's copy");
    needed += parse_double(bytes[0], "a rank's memory") + copy, copies += copy;
  }
  validate(needed <= static_cast<double>(free), "This machine has ", format_bytes(static_cast<double>(free)),
           " left, but its ", texts.size() == 1 ? "rank needs " : concat(texts.size(), " ranks need "),
           format_bytes(needed), " to save (", format_bytes(copies),
           " of it for copies of their state, from which checkpoints are written while training goes on). Use more "
           "machines or a smaller model, or save nothing: checkpoint.every = 0, checkpoint.save_at_end = false.");
}

}  // namespace selenite
