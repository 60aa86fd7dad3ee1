"""Counts of what torch computes in a block: elements of results, and bytes that live at a time."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Work(TorchDispatchMode):
    """Counts the elements of all results of torch's operations, and the peak of their bytes."""

    def __init__(self):
        super().__init__()
        self.n_elements, self.peak, self._n_bytes, self._alive = 0, 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.n_elements += tensor.numel()
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage):
        key, n_bytes = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self._n_bytes += n_bytes
            self.peak = max(self.peak, self._n_bytes)
            weakref.finalize(storage, self._release, key, n_bytes)

    def _release(self, key, n_bytes):
        self._alive.discard(key)
        self._n_bytes -= n_bytes
