// What the binding files share: checks of what Python hands in, each failing with one clear ValueError.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "policy.hpp"

namespace py = pybind11;

template <class T>
T* pointer(uintptr_t address, const char* name) {
  if (address == 0) throw py::value_error(std::string(name) + " is a null pointer");
  return reinterpret_cast<T*>(address);
}

inline std::string describe_shape(const py::array& array) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
  return text + (array.ndim() == 1 ? ",)" : ")");
}

// The data of a C-contiguous array of T with `axes` axes whose last has length `last` (any length if negative).
template <class T>
T* data_of(const py::array& array, const char* name, int axes, int64_t last, bool writeable) {
  const bool contiguous = (array.flags() & py::array::c_style) != 0;
  const bool right = py::isinstance<py::array_t<T>>(array) && contiguous && array.ndim() == axes &&
                     (last < 0 || array.shape(axes - 1) == last);
  if (!right)
    throw py::value_error(std::string(name) + " must be a C-contiguous " +
                          py::str(py::dtype::of<T>()).template cast<std::string>() + " array of " +
                          std::to_string(axes) + (axes == 1 ? " axis" : " axes") +
                          (last < 0 ? "" : ", the last of length " + std::to_string(last)) + "; got " +
                          (contiguous ? "" : "a non-contiguous one, ") +
                          py::str(array.dtype()).template cast<std::string>() + " of shape " + describe_shape(array));
  if (writeable && !array.writeable()) throw py::value_error(std::string(name) + " is read-only");
  return static_cast<T*>(const_cast<void*>(array.data()));
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
