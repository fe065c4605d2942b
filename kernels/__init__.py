"""Triton kernels, one operation a file: `@triton.jit` functions first, then the launcher.

They know triton and torch and nothing of gtp_fast: a kernel can be lifted out, `philox.py` with it.
"""

if __name__ != "gtp_fast.kernels":
    raise ImportError(
        f"These kernels were imported as {__name__!r}, but they are part of a package: "
        "write `import gtp_fast.kernels`."
    )
