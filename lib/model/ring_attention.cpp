#include "model/ring_attention.hpp"

#include <utility>

#include "kernels/cast/cast.hpp"

namespace selenite {
namespace {

constexpr AxisSet context{Axis::context};

/// One rank's keys and values with their places, on their way round.
struct Block {
  Tensor kv;      ///< [tokens, 2 kv width]
  Tensor places;  ///< int32 [2 or 1, tokens]: sequence positions, document starts
};

class Keys {
 public:
  Keys(Ctx& ctx, Batch const& batch, AttentionShape const& s, ContextExchange exchange, std::int64_t ranks)
      : ctx_(ctx),
        batch_(batch),
        s_(s),
        exchange_(exchange),
        ranks_(ranks),
        documents_(batch.document_starts.defined()) {}

  /// The block of this rank itself.
  void begin(Tensor const& kv) {
    Block const own = make(kv.dtype(), kv.cols());
    ctx_(Cast{.x = kv, .y = own.kv});
    ctx_(Cast{.x = batch_.places, .y = row(own.places, 0)});
    if (documents_) ctx_(Cast{.x = batch_.document_starts, .y = row(own.places, 1)});
    if (exchange_ == ContextExchange::gather) return gather(own);
    here_ = own, next_ = make(kv.dtype(), kv.cols());
  }
  /// Starts bringing the block of the step after this one.
  void fetch_next(std::int64_t step) {
    if (exchange_ == ContextExchange::gather || step + 1 == ranks_) return;
    arrival_ = ctx_.on(Lane::comm, [&] {
      ctx_(RingShift{.send = here_.kv, .recv = next_.kv, .group = context});
      ctx_(RingShift{.send = here_.places, .recv = next_.places, .group = context});
    });
  }
  void step_on(std::int64_t step) {
    step_ = step + 1;
    if (step + 1 == ranks_) return;
    if (exchange_ == ContextExchange::gather) return select(step + 1);
    ctx_.wait(arrival_);
    std::swap(here_, next_);
  }
  Tensor k() const { return here_.kv.columns(0, here_.kv.cols() / 2); }
  Tensor v() const { return here_.kv.columns(here_.kv.cols() / 2, here_.kv.cols() / 2); }
  AttentionPlaces places() const {
    Shape const shape{s_.samples, s_.keys};
    return {row(here_.places, 0).reshaped(shape), documents_ ? row(here_.places, 1).reshaped(shape) : Tensor{},
            batch_.place_runs(owner(step_))};
  }

 private:
  std::int64_t tokens() const { return s_.samples * s_.keys; }
  Block make(DType dtype, std::int64_t width) {
    return {ctx_.temporary(dtype, {tokens(), width}), ctx_.temporary(DType::int32, {documents_ ? 2 : 1, tokens()})};
  }
  static Tensor slice(Tensor const& t, std::int64_t part, Shape shape) {
    std::int64_t const bytes = shape.count() * size_of(t.dtype());
    return Tensor(t.raw() ? t.raw() + part * bytes : nullptr, t.dtype(), shape, t.device());
  }
  static Tensor row(Tensor const& t, std::int64_t i) { return slice(t, i, {t.cols()}); }

  void gather(Block const& own) {
    all_ = {ctx_.temporary(own.kv.dtype(), {ranks_ * own.kv.rows(), own.kv.cols()}),
            ctx_.temporary(DType::int32, {ranks_ * own.places.rows(), own.places.cols()})};
    ctx_(AllGather{.input = own.kv, .output = all_.kv, .group = context});
    ctx_(AllGather{.input = own.places, .output = all_.places, .group = context});
    own_ = own;
    select(0);
  }
  /// Blocks come in the order of the ring: the own first, then that of the rank before, and so on.
  std::int64_t owner(std::int64_t step) const {
    return (ctx_.grid().coord(ctx_.rank(), Axis::context) - step + ranks_) % ranks_;
  }
  void select(std::int64_t step) {
    std::int64_t const from = owner(step);
    here_ = {slice(all_.kv, from, own_.kv.shape()), slice(all_.places, from, own_.places.shape())};
  }

  Ctx& ctx_;
  Batch const& batch_;
  AttentionShape const& s_;
  ContextExchange exchange_;
  std::int64_t ranks_, step_ = 0;
  bool documents_;
  Block here_, next_, own_, all_;
  Event arrival_;
};

AttentionPlaces query_places(Batch const& batch) {
  Shape const shape{batch.samples, batch.sequence};
  return {batch.places.reshaped(shape),
          batch.document_starts.defined() ? batch.document_starts.reshaped(shape) : Tensor{},
          batch.place_runs(batch.context_index)};
}

}  // namespace

void RingAttention::forward(Ctx& ctx, Batch const& batch, AttentionShape const& shape, Tensor const& qkv,
                            Tensor const& out, Tensor const& logsumexp) const {
  ScopedMark const mark(ctx.scratch());
  std::int64_t const kv_width = shape.kv_heads * shape.head_dim;
  Tensor const q = qkv.columns(0, out.cols()), kv = qkv.columns(out.cols(), 2 * kv_width);
  Tensor const merged = out.dtype() == DType::fp32 ? out : ctx.temporary(DType::fp32, out.shape());
  Keys keys(ctx, batch, shape, exchange_, ranks_);
  keys.begin(kv);
  for (std::int64_t step = 0; step < ranks_; ++step) {
    keys.fetch_next(step);
    ctx(Attention{.shape = shape,
                  .q = q,
                  .k = keys.k(),
                  .v = keys.v(),
                  .out = merged,
                  .logsumexp = logsumexp,
                  .query_places = query_places(batch),
                  .key_places = keys.places(),
                  .sample_ids = batch.sample_ids,
                  .merge = step > 0});
    keys.step_on(step);
  }
  if (merged.raw() != out.raw() || merged.dtype() != out.dtype()) ctx(Cast{.x = merged, .y = out});
}

void RingAttention::backward(Ctx& ctx, Batch const& batch, AttentionShape const& shape, Tensor const& qkv,
                             Tensor const& out, Tensor const& logsumexp, Tensor const& d_out,
                             Tensor const& dqkv) const {
  ScopedMark const mark(ctx.scratch());
  std::int64_t const kv_width = shape.kv_heads * shape.head_dim, tokens = qkv.rows();
  Tensor const q = qkv.columns(0, out.cols()), kv = qkv.columns(out.cols(), 2 * kv_width);
  Tensor const delta = ctx.temporary(DType::fp32, logsumexp.shape()), dq = ctx.temporary(DType::fp32, out.shape());
  // The gradients of a block travel with it, one step behind, and are home after as many steps as there are ranks.
  Tensor dkv = ctx.temporary(DType::fp32, {tokens, 2 * kv_width}), other = ctx.temporary(DType::fp32, dkv.shape());
  ctx(Fill{.x = dq, .value = 0});
  ctx(Fill{.x = dkv, .value = 0});
  Keys keys(ctx, batch, shape, exchange_, ranks_);
  keys.begin(kv);
  for (std::int64_t step = 0; step < ranks_; ++step) {
    keys.fetch_next(step);
    ctx(AttentionBackward{.shape = shape,
                          .q = q,
                          .k = keys.k(),
                          .v = keys.v(),
                          .out = out,  // at every step: cuDNN makes delta itself
                          .dout = d_out,
                          .logsumexp = logsumexp,
                          .delta = delta,
                          .dq = dq,
                          .dk = dkv.columns(0, kv_width),
                          .dv = dkv.columns(kv_width, kv_width),
                          .query_places = query_places(batch),
                          .key_places = keys.places(),
                          .sample_ids = batch.sample_ids,
                          .accumulate = true});
    ctx.wait(ctx.on(Lane::comm, [&] { ctx(RingShift{.send = dkv, .recv = other, .group = context}); }));
    std::swap(dkv, other);
    keys.step_on(step);
  }
  ctx(Cast{.x = dq, .y = dqkv.columns(0, out.cols())});
  ctx(Cast{.x = dkv, .y = dqkv.columns(out.cols(), 2 * kv_width)});
}

}  // namespace selenite
