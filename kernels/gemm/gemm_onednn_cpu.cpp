#include <dnnl.hpp>
#include <string_view>
#include <vector>

#include "core/parallel_for.hpp"
#include "kernels/gemm/gemm_backend.hpp"

namespace selenite {
namespace {

using dnnl::memory;

memory::data_type onednn_type(DType type) {
  switch (type) {
    case DType::fp32:
      return memory::data_type::f32;
    case DType::bf16:
      return memory::data_type::bf16;
    case DType::fp16:
      return memory::data_type::f16;
    default:
      return memory::data_type::undef;
  }
}

memory::desc describe(Tensor const& x, bool transposed) {
  memory::dims const sizes = transposed ? memory::dims{x.cols(), x.rows()} : memory::dims{x.rows(), x.cols()};
  return {sizes, onednn_type(x.dtype()),
          transposed ? memory::dims{1, x.row_stride()} : memory::dims{x.row_stride(), 1}};
}

// oneDNN 2 and 3 differ in two calls: a factor of the product belongs to the attributes, or is a step after it; a
// primitive is made from a description of the operation, or at once. Templates, so that only one is compiled.
template <class Attributes, class PostOps>
void scale_product(float scale, Attributes& attributes, PostOps& after) {
  if constexpr (requires { attributes.set_output_scales(0, std::vector{scale}); })
    attributes.set_output_scales(0, std::vector{scale});
  else
    after.append_eltwise(dnnl::algorithm::eltwise_linear, scale, 0.0f);
}

/// dW += dy^T x in bf16 on AMX: of oneDNN 2, the GEMM that packs both operands takes 0.8 of the time of the kernel that
/// is proposed first, as long as dW is not a vocabulary's.
bool prefers_packing(Gemm const& op) {
  constexpr std::int64_t most_outputs = 16 << 20;
  return op.transpose_a && op.a.dtype() == DType::bf16 && op.out.dtype() == DType::fp32 &&
         op.m() * op.n() <= most_outputs;
}
template <class Primitive>
bool is_called(Primitive const& primitive, std::string_view what) {
  return std::string_view(primitive.impl_info_str()).find(what) != std::string_view::npos;
}

template <class Matmul, class... Tensors>
typename Matmul::primitive_desc make_primitive(Gemm const& op, dnnl::engine const& engine,
                                               dnnl::primitive_attr const& attributes, Tensors const&... tensors) {
  constexpr bool empty_if_unsupported = true;
  if constexpr (requires { typename Matmul::desc; }) {
    typename Matmul::desc const description{tensors...};  // next_impl() reads it again
    typename Matmul::primitive_desc const first{description, attributes, engine, empty_if_unsupported};
    if (!first || !prefers_packing(op) || !is_called(first, "amx")) return first;
    for (auto other = first; other.next_impl();)
      if (is_called(other, "gemm:jit")) return other;
    return first;
  } else {
    return {engine, tensors..., attributes, empty_if_unsupported};
  }
}

dnnl::matmul::primitive_desc primitive_of(Gemm const& op, dnnl::engine const& engine) {
  dnnl::primitive_attr attributes;
  dnnl::post_ops after;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (op.scale != 1) scale_product(static_cast<float>(op.scale), attributes, after);
  if (op.accumulate) after.append_sum(1.0f);
  attributes.set_post_ops(after);
  auto const a = describe(op.a, op.transpose_a), b = describe(op.b, op.transpose_b), out = describe(op.out, false);
  if (!op.bias.defined()) return make_primitive<dnnl::matmul>(op, engine, attributes, a, b, out);
  memory::desc const bias({1, op.n()}, onednn_type(op.bias.dtype()), memory::dims{op.n(), 1});
  return make_primitive<dnnl::matmul>(op, engine, attributes, a, b, bias, out);
}

/// The handle of "the CPU"; it holds no state of ours.
dnnl::engine const& cpu_engine() {
  static dnnl::engine const engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

}  // namespace

// Engine and stream cost nothing; a primitive of a known shape comes from oneDNN's own cache in microseconds (its key
// holds the thread count), so none is kept here.
Direct multiply_direct(Cpu& cpu, Gemm const& op) {
  threads();  // oneDNN asks OpenMP for the number of threads: it must have been set
  dnnl::engine const& engine = cpu_engine();
  auto const primitive = primitive_of(op, engine);
  if (!primitive) return Direct::unsupported;
  auto const scratch = primitive.scratchpad_desc();
  if (scratch.get_size() > cpu.workspace.size()) return Direct::too_large;
  dnnl::stream stream(engine);
  auto argument = [&](memory::desc const& desc, Tensor const& x) { return memory(desc, engine, x.raw()); };
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, argument(primitive.src_desc(), op.a)},
                                            {DNNL_ARG_WEIGHTS, argument(primitive.weights_desc(), op.b)},
                                            {DNNL_ARG_DST, argument(primitive.dst_desc(), op.out)},
                                            {DNNL_ARG_SCRATCHPAD, memory(scratch, engine, cpu.workspace.data())}};
  if (op.bias.defined()) arguments.emplace(DNNL_ARG_BIAS, argument(primitive.bias_desc(), op.bias));
  dnnl::matmul(primitive).execute(stream, arguments);
  stream.wait();
  cpu.flops += 2.0 * static_cast<double>(op.m()) * static_cast<double>(op.n()) * static_cast<double>(op.k());
  return Direct::done;
}

void multiply_fp32(std::int64_t m, std::int64_t n, std::int64_t k, float scale, Fp32Matrix a, Fp32Matrix b,
                   Fp32Matrix out, bool accumulate) {
  threads();
  auto const status = dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, scale, a.data, a.stride,
                                 b.data, b.stride, accumulate ? 1.0f : 0.0f, out.data, out.stride);
  validate(status == dnnl_success, "oneDNN refuses a matrix product of ", m, " x ", n, " x ", k, " (status ", status,
           "). This is a defect of Selenite; please report it with the config.");
}

}  // namespace selenite
