"""Files, processes, memory, the native module and the machine."""
