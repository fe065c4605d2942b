// Checks of what Python passes, each failing with one clear ValueError, and the parts of the module.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "policy.hpp"

namespace py = pybind11;

template <class T>
T* pointer(uintptr_t address, const char* name) {
  if (address == 0) throw py::value_error(std::string(name) + " is a null pointer");
  return reinterpret_cast<T*>(address);
}

inline void check_count(const gtp::FlatLayout& flat, size_t count) {
  if (count != flat.total)
    throw py::value_error("the flat policy must hold " + std::to_string(flat.total) + " numbers, not " +
                          std::to_string(count));
}

void bind_random(py::module_& module);
void bind_mlp(py::module_& module);
void bind_losses(py::module_& module);
void bind_update(py::module_& module);
void bind_cuda(py::module_& module);
void bind_critics(py::module_& module);
