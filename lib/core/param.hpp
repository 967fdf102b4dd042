#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/grid.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// A cut of one dimension into equal parts, handed out along an axis. Where there are fewer parts than ranks (few
/// key-value heads, many tensor ranks), neighbouring ranks hold the same part.
struct Cut {
  int dimension = 0;
  Axis axis = Axis::tensor;
  std::int64_t parts = 0;  ///< 0: as many as the axis has ranks
};

/// How a parameter starts.
struct Init {
  enum class Rule : std::uint8_t { zero, one, normal } rule = Rule::zero;
  double std = 0;  ///< of the normal
};

/// One *logical* matrix or vector of the model, as if there were one rank: the one table that drives initialization,
/// gradient sync, norm, optimizer, checkpoint, import and export, memory report and FLOP count.
struct Param {
  std::string name;  ///< global: "layers.3.attention.q.weight"
  Shape shape;       ///< global
  std::vector<Cut> cuts;
  Init init;
  bool decay = false;  ///< weight decay applies
  bool beside_previous =
      false;          ///< lies without a gap behind the parameter before it (q, k, v are one matrix to the GEMM)
  bool tied = false;  ///< embedding and head at once: its gradient has parts from both ends of the model
  /// One of two copies of a tied parameter: the last pipeline stage's, which follows the first stage's.
  bool second_copy = false;
  bool expert = false;       ///< an expert's: replicated over context x data only
  std::int64_t padding = 0;  ///< last rows, which take no part in anything
  /// Axes over which the ranks' gradients are partial sums besides those of replication: tensor for what sequence
  /// parallelism feeds with token shards.
  AxisSet partial;

  /// The axes whose ranks hold the same values: gradients are summed over these of them that see different tokens.
  AxisSet replicas() const {
    return expert ? AxisSet{Axis::context, Axis::data} : AxisSet{Axis::context, Axis::expert, Axis::data};
  }
  /// The axes over which the gradient is summed.
  AxisSet gradient_axes() const;
};

/// A box of a logical tensor: per dimension the first index and the count.
struct Box {
  Shape begin, count;
  bool operator==(Box const&) const = default;
};
/// The part of `param` that `rank` holds. Throws Error if a cut does not divide.
Box box_of(Param const& param, ProcessGrid const& grid, Rank rank);
/// Of the ranks that hold the same box and differ in `axes` only, does `rank` count in sums over parameters (norm,
/// parameter count, what is saved)? The first does; of a tied parameter's copies the first stage's.
bool counts(Param const& param, ProcessGrid const& grid, Rank rank, AxisSet axes = AxisSet::all());

/// How a tensor is rounded to 8 bits: places in the stage's arrays, fp32 [1] each.
struct Fp8Scale {
  Tensor scale;    ///< a power of two: what is rounded is the tensor times it
  Tensor inverse;  ///< by which products are multiplied
  Tensor amax;     ///< the largest magnitude of the tensor in the step under way
};
/// What a linear layer that multiplies in 8 bits has besides its parameters. The stage binds it to memory, or leaves it
/// undefined: then the layer multiplies in the dtype of its weight.
struct Fp8Matrix {
  Fp8Scale input, gradient, weight;  ///< gradient: of the output
  Tensor rounded, transposed;        ///< the weight as e4m3, [outputs, inputs] and [inputs, outputs]
  bool defined() const { return rounded.defined(); }
};

/// A parameter as a layer holds it: its declaration, and views of this rank's part once the stage has bound it to
/// memory.
struct Parameter {
  Param spec;
  Tensor weight;             ///< compute dtype
  Tensor gradient;           ///< fp32, accumulated over the micro-batches of a step
  Fp8Matrix* fp8 = nullptr;  ///< of the matrix that begins with this parameter, if it may be multiplied in 8 bits
};
using ParameterList = std::vector<Parameter*>;

}  // namespace selenite
