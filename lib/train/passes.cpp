#include "train/passes.hpp"

#include <algorithm>
#include <bit>

#include "train/grad_sync.hpp"
#include "train/optimizer.hpp"

namespace selenite {

namespace {

enum class Pass : std::uint8_t { forward, backward, backward_input, backward_weight };
/// What a pass of a chunk launches is the same whenever its slot and the buffer of its outgoing message are: samples,
/// scales and masks' positions are read from memory. But dropout is left out of evaluations, and backward passes hold
/// their seed.
LaunchKey key_of(Pass pass, ChunkState const& chunk, std::size_t slot, Tensor const& message, double seed = 0) {
  return {.place = {static_cast<std::uint64_t>(pass), static_cast<std::uint64_t>(chunk.number), slot,
                    reinterpret_cast<std::uintptr_t>(message.raw()), chunk.batch[slot].dropout ? 1u : 0u},
          .variant = std::bit_cast<std::uint64_t>(seed)};
}
void no_news(std::size_t) {}

/// Messages are told apart by the chunk they go to and the micro-batch, of which an evaluation may have any number.
std::int64_t tag(StageState const& stage, std::int64_t to, Micro micro) {
  return *micro * stage.schedule().virtual_stages() + to;
}
std::size_t slot_of(ChunkState const& chunk, Micro micro) { return static_cast<std::size_t>(*micro) % chunk.slots; }

/// What of a message this rank sends or receives itself: the tensor ranks of a stage hold the same activations, so each
/// takes an equal part (all of it if they do not, or it can't be cut).
Tensor own_part(StageState const& stage, Tensor const& message) {
  LayoutConfig const& l = stage.config().layout;
  if (!l.split_p2p || l.tensor == 1 || l.sequence_parallel || message.count() % l.tensor != 0) return message;
  std::int64_t const part = message.count() / l.tensor;
  return run_of(message.reshaped({message.count()}), stage.grid().coord(stage.rank(), Axis::tensor) * part, part);
}

void send(Ctx& ctx, StageState const& stage, Send message) {
  message.data = own_part(stage, message.data);
  ctx(message);
}
void receive(Ctx& ctx, StageState const& stage, Recv message) {
  Tensor const whole = message.data;
  message.data = own_part(stage, whole);
  ctx(message);
  if (message.data.count() < whole.count())
    ctx(AllGather{.input = message.data, .output = whole, .group = {Axis::tensor}});
}

/// The buffer for a micro-batch's message to a neighbour, once what was sent from it before is on its way; undefined
/// where there is no neighbour.
Tensor send_buffer(Ctx& ctx, StageState const& stage, std::vector<Tensor> const& buffers, Channel channel,
                   Micro micro) {
  if (buffers.empty()) return {};
  Tensor const& buffer = buffers[static_cast<std::size_t>(*micro) % buffers.size()];
  ctx.finish(channel, own_part(stage, buffer));
  return buffer;
}

/// Runs `pass` between the arrival of the output's gradient and the departure of the input's.
template <class Pass>
void backward_with_messages(Ctx& ctx, StageState& stage, Chunk c, Micro micro, Pass&& pass) {
  ChunkState& chunk = stage.chunk(c);
  std::size_t const slot = slot_of(chunk, micro);
  Tensor const& d_output = chunk.d_output[std::min(slot, chunk.d_output.size() - 1)];
  ctx.set_save(chunk.slot[slot]);
  if (d_output.defined())
    receive(ctx, stage,
            {.data = d_output,
             .from = stage.holder(chunk.number + 1),
             .channel = Channel::backward,
             .tag = tag(stage, chunk.number, micro)});
  Tensor const d_input = send_buffer(ctx, stage, chunk.d_input, Channel::backward, micro);
  pass(chunk, slot, d_output, d_input);
  if (d_input.defined())
    send(ctx, stage,
         {.data = d_input,
          .to = stage.holder(chunk.number - 1),
          .channel = Channel::backward,
          .tag = tag(stage, chunk.number - 1, micro)});
}

}  // namespace

void forward_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  ChunkState& chunk = stage.chunk(c);
  std::size_t const slot = slot_of(chunk, micro);
  ctx.set_save(chunk.slot[slot]);
  if (chunk.input[slot].defined())
    receive(ctx, stage,
            {.data = chunk.input[slot],
             .from = stage.holder(chunk.number - 1),
             .channel = Channel::forward,
             .tag = tag(stage, chunk.number, micro)});
  Tensor const output = send_buffer(ctx, stage, chunk.output, Channel::forward, micro);
  auto const pass = [&](ParameterNews const& about_to_read) {
    chunk.model->forward(ctx, chunk.batch[slot], chunk.input[slot], output, stage.totals, chunk.saved[slot],
                         about_to_read);
  };
  if (!ctx.graphs() || weights_under_way(stage, c)) {
    pass([&](std::size_t end) { await_weights(ctx, stage, c, end); });
  } else {
    await_weights(ctx, stage, c, chunk.model->starts().back());
    ctx.repeated(key_of(Pass::forward, chunk, slot, output), chunk.saved[slot], [&] { pass(no_news); });
  }
  if (output.defined())
    send(ctx, stage,
         {.data = output,
          .to = stage.holder(chunk.number + 1),
          .channel = Channel::forward,
          .tag = tag(stage, chunk.number + 1, micro)});
}

void backward_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  auto const pass = [&](ChunkState& chunk, std::size_t slot, Tensor const& d_output, Tensor const& d_input) {
    auto const run = [&](ParameterNews const& done) {
      chunk.model->backward(ctx, chunk.batch[slot], d_output, d_input, backward_seed(stage), chunk.saved[slot], done);
    };
    if (gradients_leave(stage, micro))
      run([&](std::size_t first) { gradients_done(ctx, stage, c, micro, first); });
    else
      ctx.repeated(key_of(Pass::backward, chunk, slot, d_input, backward_seed(stage)), chunk.saved[slot],
                   [&] { run(no_news); });
    chunk.slot[slot].release(0);
  };
  backward_with_messages(ctx, stage, c, micro, pass);
}

void backward_input_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  auto const pass = [&](ChunkState& chunk, std::size_t slot, Tensor const& d_output, Tensor const& d_input) {
    ctx.set_kept(&chunk.slot[slot]);
    ctx.repeated(key_of(Pass::backward_input, chunk, slot, d_input, backward_seed(stage)), chunk.saved[slot], [&] {
      chunk.model->backward_input(ctx, chunk.batch[slot], d_output, d_input, backward_seed(stage), chunk.saved[slot]);
    });
    ctx.set_kept(nullptr);
  };
  backward_with_messages(ctx, stage, c, micro, pass);
}

void backward_weight_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  ChunkState& chunk = stage.chunk(c);
  std::size_t const slot = slot_of(chunk, micro);
  ctx.set_save(chunk.slot[slot]);
  auto const run = [&](ParameterNews const& done) { chunk.model->backward_weight(ctx, chunk.saved[slot], done); };
  if (gradients_leave(stage, micro))
    run([&](std::size_t first) { gradients_done(ctx, stage, c, micro, first); });
  else
    ctx.repeated(key_of(Pass::backward_weight, chunk, slot, {}), chunk.saved[slot], [&] { run(no_news); });
  chunk.slot[slot].release(0);
}

}  // namespace selenite
