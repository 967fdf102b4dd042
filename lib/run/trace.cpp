#include "run/trace.hpp"

#include <fstream>
#include <iterator>

#include "core/files.hpp"
#include "core/text.hpp"
#include "io/chrome_trace.hpp"

namespace selenite {

namespace {

constexpr std::int64_t most_in_one_file = 64;

std::string path_of(std::string const& path, std::int64_t rank, std::int64_t world) {
  return world == 1 ? path : concat(path, ".rank", rank);
}

JsonObject details(TimelineSpan const& span) {
  Cost const& c = span.cost;
  JsonObject d;
  if (c.work == Work::gemm || c.work == Work::attention) d.set("m", c.m).set("n", c.n).set("k", c.k);
  if (c.batch > 1) d.set("batch", c.batch);
  if (c.flops > 0) d.set("flops", c.flops);
  if (c.bytes > 0) d.set("bytes", c.bytes);
  if (!c.group.empty()) d.set("over", to_string(c.group));
  return d;
}

}  // namespace

Tracer::Tracer(Config const& config, Comm& comm, ProcessGrid const& grid)
    : path_(config.log.trace), comm_(comm), on_device_(config.run.backend == BackendKind::cuda) {
  if (path_.empty()) return;
  steps_left_ = config.log.trace_steps;
  std::string const coords = describe(grid, comm.rank());
  who_ = concat("rank ", comm.rank(), coords.empty() ? "" : " (", coords, coords.empty() ? "" : ")");
  write_file_atomically(path_of(path_, *comm.rank(), comm.world()), ChromeTrace().text());
}

void Tracer::begin_step(Ctx& ctx, std::int64_t step) {
  if (!recording()) return;
  if (origin_ == 0) {
    comm_.barrier();
    origin_ = Ctx::now();
  }
  step_ = concat("step ", step);
  step_start_ = Ctx::now();
  ctx.set_timeline(&timeline_);
}

void Tracer::end_action(Ctx& ctx) {
  if (in_action_) ctx.close_span();
  in_action_ = false;
}

void Tracer::begin_action(Ctx& ctx, std::string const& name) {
  if (!recording()) return;
  end_action(ctx);
  ctx.open_span(name, "action");
  in_action_ = true;
}

void Tracer::add(std::string const& name, double start) {
  if (recording()) timeline_.add({Lane::compute, name, "host", start, Ctx::now()});
}

void Tracer::end_step(Ctx& ctx) {
  if (!recording()) return;
  ctx.set_timeline(nullptr);
  timeline_.add({Lane::compute, step_, "step", step_start_, Ctx::now()});
  if (--steps_left_ == 0) write();
}

void Tracer::finish() {
  if (!recording()) return;
  steps_left_ = 0;
  write();
}

void Tracer::write() {
  std::int64_t const rank = *comm_.rank(), world = comm_.world();
  ChromeTrace trace;
  trace.name_process(rank, who_);
  for (Lane const lane : {Lane::compute, Lane::comm})
    trace.name_thread(rank, static_cast<std::int64_t>(lane), concat(name(lane)));
  // a device's lanes have times of their own: what the host does stands on a line of its own beside them
  constexpr auto host_thread = static_cast<std::int64_t>(lane_count);
  if (on_device_) trace.name_thread(rank, host_thread, "host");
  for (TimelineSpan const& s : timeline_.spans()) {
    bool const of_host = on_device_ && (s.category == "host" || s.category == "step");
    trace.add({rank, of_host ? host_thread : static_cast<std::int64_t>(s.lane), s.name, std::string(s.category),
               s.start - origin_, s.end - origin_, details(s)});
  }
  write_file_atomically(path_of(path_, rank, world), trace.text());
  if (world == 1 || world > most_in_one_file) return;
  comm_.barrier();
  if (rank != 0) return;
  std::vector<std::string> parts;
  for (std::int64_t r = 0; r < world; ++r) {
    std::ifstream in(path_of(path_, r, world), std::ios::binary);
    if (!in) return;  // no common file system: each keeps its own
    parts.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  write_file_atomically(path_, ChromeTrace::join(parts));
  std::error_code ignored;
  for (std::int64_t r = 0; r < world; ++r) std::filesystem::remove(path_of(path_, r, world), ignored);
}

std::string trace_text(PlannedSchedule const& planned) {
  ChromeTrace trace;
  trace.name_process(0, "planned: " + title(planned));
  for (std::size_t stage = 0; stage < planned.schedule.rows.size(); ++stage) {
    auto const thread = static_cast<std::int64_t>(stage);
    trace.name_thread(0, thread, concat("stage ", stage));
    for (std::size_t i = 0; i < planned.schedule.rows[stage].size(); ++i) {
      Span const span = planned.played.spans[stage][i];
      trace.add({0, thread, to_string(planned.schedule.rows[stage][i]), "action", span.start, span.end});
    }
  }
  return trace.text();
}

}  // namespace selenite
