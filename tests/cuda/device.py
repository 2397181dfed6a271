"""A CUDA device for tests: memory is the host's, kernels run in the emulator.

`launched` keeps each kernel's Python function, the types of its arguments and its options, for the
gate that compiles all of them.
"""

import numpy as np

from fonio.kernels import ptx
from fonio.kernels.device import DeviceArray
from tests.cuda.emulator import emulate


class Launch:
    """An emulated launch, ready to run."""

    def __init__(self, device, name, function, grid, block, args):
        self.device, self.name, self.function = device, name, function
        self.grid, self.block, self.args = grid, block, args

    def run(self, stream=None):
        device = self.device
        args = [device.values(arg) if isinstance(arg, DeviceArray) else arg for arg in self.args]
        emulate(self.function, self.grid, self.block, args, seed=device.seed, models=ptx.MODELS)


class EmulatedDevice:
    """What kernels/numba_device.py gives, without a GPU."""

    name = "cuda"
    multiprocessors = 2
    capability = (9, 0)

    def __init__(self, seed=None):
        self.seed = seed
        self.launched = []

    def interface_of(self, value):
        return value.__cuda_array_interface__

    def allocate(self, size):
        owner = np.full(size + 64, 0xCD, np.uint8)  # poison: a float is about -4e8
        start = -owner.ctypes.data % 64
        return owner, owner.ctypes.data + start

    def values(self, array):
        """Return the NumPy array over a device array's memory, which is the host's."""
        return array.layout

    def copy_in(self, array, host):
        array.layout[...] = host

    def copy_out(self, host, array):
        host[...] = array.layout

    def copy(self, target, source):
        target.layout[...] = source.layout

    def compile(self, function, options, kinds):
        self.launched.append((function, kinds, options))
        return function

    def prepare(self, name, code, grid, block, kinds, size, args):
        if any(isinstance(arg, np.ndarray) for arg in args):
            raise TypeError(f"{name}: a NumPy array among the arguments of a CUDA kernel")
        args = args if size is None else (size, *args)
        return Launch(self, name, code, grid, block, args)

    def capture(self, launches, times=1):
        def run():
            for _ in range(times):
                for launch in launches:
                    launch.run()

        return run

    def synchronize(self):
        pass
