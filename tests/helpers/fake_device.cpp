// An accelerator that is none: torch's PrivateUse1 backend over ordinary memory. Every operation is computed by the
// CPU's kernel on the same memory, but a tensor of the CPU among those of the device is an error, as on a GPU. Built
// and used by tests/test_fake_device.py.
#include <ATen/EmptyTensor.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>

namespace {

using at::Tensor;
constexpr auto FAKE = c10::DeviceType::PrivateUse1;
const c10::Device DEVICE(FAKE, 0);

struct FakeAllocator : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = size ? std::malloc(size) : nullptr;
    return {data, data, &std::free, DEVICE};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, std::size_t size) const override { default_copy_data(to, from, size); }
};
FakeAllocator allocator;

struct FakeHooks : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};

struct FakeGuard : c10::impl::NoOpDeviceGuardImpl<FAKE> {  // which names no device, and autograd asks for one
  c10::Device getDevice() const override { return DEVICE; }
  c10::Device exchangeDevice(c10::Device) const override { return DEVICE; }
  c10::Stream getStream(c10::Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
};

// A tensor on another device that shares memory and shape with the given one and keeps it alive.
Tensor share(const Tensor& tensor, c10::Device device, c10::DispatchKey key, c10::Allocator* resizes) {
  auto* owner = new c10::Storage(tensor.storage());
  c10::DataPtr data(tensor.storage().mutable_data(), owner, [](void* p) { delete static_cast<c10::Storage*>(p); },
                    device);
  c10::Storage storage(c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), std::move(data), resizes, true);
  auto shared = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), tensor.dtype());
  auto* impl = shared.unsafeGetTensorImpl();
  impl->set_storage_offset(tensor.storage_offset());
  impl->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return shared;
}

Tensor to_cpu(const Tensor& tensor) {
  if (!tensor.defined() || tensor.device().type() != FAKE) return tensor;
  return share(tensor, c10::Device(c10::kCPU), c10::DispatchKey::CPU, c10::GetCPUAllocator());
}

Tensor to_fake(const Tensor& tensor) {
  if (!tensor.defined() || tensor.device().type() == FAKE) return tensor;
  return share(tensor, DEVICE, c10::DispatchKey::PrivateUse1, &allocator);
}

void refuse_cpu(const Tensor& tensor, const c10::OperatorHandle& op) {
  TORCH_CHECK(!tensor.defined() || tensor.device().type() == FAKE || tensor.dim() == 0,
              "Expected all tensors to be on the same device, but ", op.schema().name(), " got one of shape ",
              tensor.sizes(), " on ", tensor.device());
}

// The CPU's kernel for an operation that has none here.
void compute_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size(), first = stack->size() - count;
  std::vector<std::pair<Tensor, Tensor>> written;  // on the device, and the same memory on the CPU
  for (size_t i = 0; i < count; ++i) {
    c10::IValue& value = (*stack)[first + i];
    const bool writes = schema.arguments()[i].alias_info() && schema.arguments()[i].alias_info()->isWrite();
    auto convert = [&](const Tensor& tensor) {
      refuse_cpu(tensor, op);
      Tensor cpu = to_cpu(tensor);
      if (writes && tensor.defined()) written.emplace_back(tensor, cpu);
      return cpu;
    };
    if (value.isTensor()) {
      value = convert(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(convert(tensor));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const auto& tensor : value.toOptionalTensorVector())
        list.push_back(tensor ? std::optional<Tensor>(convert(*tensor)) : std::nullopt);
      value = list;
    } else if (value.isDevice() && value.toDevice().type() == FAKE) {
      value = c10::Device(c10::kCPU);
    }
  }
  op.callBoxed(stack);
  for (auto& [fake, cpu] : written) {
    auto* impl = fake.unsafeGetTensorImpl();
    if (cpu.storage().data() != fake.storage().data()) impl->set_storage_keep_dtype(to_fake(cpu).storage());
    impl->set_storage_offset(cpu.storage_offset());
    if (cpu.sizes() != fake.sizes() || cpu.strides() != fake.strides())
      impl->set_sizes_and_strides(cpu.sizes(), cpu.strides());
  }
  auto restore = [&](const Tensor& tensor) {
    for (auto& [fake, cpu] : written)
      if (cpu.is_same(tensor)) return fake;
    return to_fake(tensor);
  };
  const size_t returned = schema.returns().size();
  for (size_t i = stack->size() - returned; i < stack->size(); ++i) {
    c10::IValue& value = (*stack)[i];
    if (value.isTensor()) {
      value = restore(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(restore(tensor));
      value = list;
    }
  }
}

Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
             std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                     std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  to_cpu(to).copy_(to_cpu(from));
  return to;
}

Tensor& set_storage(Tensor& tensor, c10::Storage storage, int64_t offset, c10::IntArrayRef size,
                    c10::IntArrayRef stride) {
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_storage_offset(offset);
  if (stride.empty()) impl->set_sizes_contiguous(size);
  else impl->set_sizes_and_strides(size, stride);
  return tensor;
}

Tensor& set_whole_storage(Tensor& tensor, c10::Storage storage) {
  const int64_t count = storage.nbytes() / tensor.itemsize();
  return set_storage(tensor, std::move(storage), 0, {count}, {});
}

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                   c10::IntArrayRef stride, c10::IntArrayRef padding, c10::IntArrayRef dilation, bool transposed,
                   c10::IntArrayRef output_padding, int64_t groups) {
  TORCH_CHECK(input.device() == weight.device(), "Expected all tensors to be on the same device");
  std::optional<Tensor> cpu_bias = bias ? std::optional<Tensor>(to_cpu(*bias)) : std::nullopt;
  return to_fake(at::convolution(to_cpu(input), to_cpu(weight), cpu_bias, stride, padding, dilation, transposed,
                                 output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& slope, const Tensor& input,
                                                        const Tensor& weight, c10::IntArrayRef stride,
                                                        c10::IntArrayRef padding, c10::IntArrayRef dilation,
                                                        bool transposed, c10::IntArrayRef output_padding,
                                                        int64_t groups, std::array<bool, 3> mask) {
  auto [a, b, c] = at::convolution_backward(to_cpu(slope), to_cpu(input), to_cpu(weight),
                                            c10::IntArrayRef(weight.size(0)), stride, padding, dilation, transposed,
                                            output_padding, groups, mask);
  return {to_fake(a), to_fake(b), to_fake(c)};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("_copy_from", &copy_from);
  m.impl("set_.source_Storage", &set_whole_storage);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute_on_cpu>()); }

C10_REGISTER_GUARD_IMPL(PrivateUse1, FakeGuard)

const bool registered = [] {
  c10::SetAllocator(FAKE, &allocator);
  at::RegisterPrivateUse1HooksInterface(new FakeHooks);
  return true;
}();

}  // namespace
