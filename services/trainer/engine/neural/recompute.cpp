#include "services/trainer/engine/neural/recompute.hpp"

#include "services/trainer/engine/neural/autocast.hpp"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/utils.h>

namespace troupe::trainer::neural {

namespace autograd = torch::autograd;

namespace {

using pass_function = std::function<torch::Tensor(const torch::Tensor&)>;

/// Keeps the function among the saved values of a node.
struct kept_pass : torch::CustomClassHolder {
  pass_function pass;
  bool reduced = false;
};

struct recomputed_pass : autograd::Function<recomputed_pass> {
  static torch::Tensor forward(autograd::AutogradContext* context, const torch::Tensor& x,
                               const c10::intrusive_ptr<kept_pass>& kept) {
    context->save_for_backward({x});
    context->saved_data["pass"] = c10::IValue::make_capsule(kept);
    return kept->pass(x);
  }
  static autograd::variable_list backward(autograd::AutogradContext* context,
                                          autograd::variable_list gradient) {
    auto kept = c10::static_intrusive_pointer_cast<kept_pass>(context->saved_data["pass"].toCapsule());
    auto x = context->get_saved_variables()[0].detach().requires_grad_(true);
    torch::Tensor y;
    {
      torch::AutoGradMode on{true};
      autocast reduced{kept->reduced, x.device().type()};
      y = kept->pass(x);
    }
    y.backward(gradient[0]);
    return {x.grad(), {}};
  }
};

} // namespace

torch::Tensor recomputed(pass_function pass, const torch::Tensor& x) {
  auto kept = c10::make_intrusive<kept_pass>();
  kept->pass = std::move(pass);
  kept->reduced = autocast::enabled(x.device().type());
  return recomputed_pass::apply(x, kept);
}

} // namespace troupe::trainer::neural
