// In builds without cuDNN.
#include "core/cuda.hpp"
#include "core/error.hpp"
#include "kernels/attention/library.hpp"

namespace selenite {
namespace {
bool refuse(AttentionShape const& s) {
  validate(s.library != AttentionLibrary::cudnn,
           "run.attention_library = \"cudnn\" can't be followed (this build has no cuDNN). Use auto, or build with "
           "-DSELENITE_CUDNN=ON where cuDNN 9.10.2 or newer is installed.");
  return false;
}
std::string said(AttentionShape const& s) {
  refuse(s);
  return "our kernel (this build has no cuDNN)";
}
}  // namespace

bool launch_library(Cuda&, Attention const& op) { return refuse(op.shape); }
bool launch_library(Cuda&, AttentionBackward const& op) { return refuse(op.shape); }
std::string prepare_library(Cuda&, Attention const& op) { return said(op.shape); }
std::string prepare_library(Cuda&, AttentionBackward const& op) { return said(op.shape); }

}  // namespace selenite
