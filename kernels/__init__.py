"""Triton kernels, one operation a file: `@triton.jit` functions first, then the launcher.

They import triton and torch and nothing of gtp_fast. A launcher has the name of the operation in
`gtp_fast.reference`.
"""

if __name__ != "gtp_fast.kernels":
    raise ImportError(
        f"These kernels were imported as {__name__!r}, but they are part of a package: "
        "write `import gtp_fast.kernels`."
    )
