"""A simulated GPU: computations run on the CPU, but each tensor has the device it would be on.

The simulated device is an attribute of a tensor's storage, so that views, ``.data`` and in-place
operations share it. Errors of a real GPU are raised here too: operations on tensors of both devices
(other than scalars and indices), ``numpy()`` of a tensor on the GPU, and generators of the other
device. In gradients of custom autograd functions only the first of these is detected.
``Pretended.waits`` has an entry for each time that the host would wait for the device.
"""

import sys

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

HOST, AT, ANYWHERE = torch.device("cpu"), torch.device("cuda:0"), torch.device("meta")
aten, T = torch.ops.aten, torch.Tensor
_NEW = (
    "zeros ones empty full tensor as_tensor arange linspace rand randn randint randperm eye "
    "from_numpy"
)
_FACTORIES = {getattr(torch, name) for name in _NEW.split()}
_WITH_INDICES = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}
_NO_SCALARS = {aten.cat.default, aten.stack.default, aten.mm.default, aten.bmm.default}
_WAITS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.nonzero.default}
_Generator = torch.Generator


def _storage(tensor):
    with torch._C.DisableTorchFunction():
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # within vmap
            tensor = torch._C._functorch.get_unwrapped(tensor)
        return tensor.untyped_storage()


def _tensors(tree):
    if isinstance(tree, T):
        return [tree]
    items = tree.values() if isinstance(tree, dict) else tree
    is_container = isinstance(tree, (tuple, list, dict))
    return [leaf for item in items for leaf in _tensors(item)] if is_container else []


def place(tensor):
    """Return the simulated device of a tensor."""
    return getattr(_storage(tensor), "place", HOST)


def put(tensor, where):
    """Set the simulated device of a tensor."""
    _storage(tensor).place = where
    return tensor


def device(name):
    """Return a device with its index."""
    value = torch.device(name)
    return AT if value.type == "cuda" else value


class Generator(_Generator):
    """A generator of a simulated device."""

    def __new__(cls, where="cpu"):
        return _Generator.__new__(cls, "cpu")

    def __init__(self, where="cpu"):
        self._place = device(where)

    @property
    def device(self):
        return self._place


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, where, dtype):
        ctx.before = place(tensor), tensor.dtype
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            moved = tensor.detach().clone(memory_format=torch.preserve_format).to(dtype)
        return put(moved, where)

    @staticmethod
    def backward(ctx, grad):
        return _Move.apply(grad, *ctx.before), None, None


class _Operations(TorchDispatchMode):
    """Check the devices of each operation, and set the device of its results."""

    def __init__(self, waits):
        super().__init__()
        self.wait = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = _tensors((args, kwargs))
        storages = [_storage(tensor) for tensor in inputs]
        places = [getattr(storage, "place", HOST) for storage in storages]
        on_gpu = AT in places
        if on_gpu:
            for i, where in enumerate(places):
                if where == ANYWHERE:
                    storages[i].place = places[i] = AT
            for i, (tensor, where) in enumerate(zip(inputs, places, strict=True)):
                if where == AT:
                    continue
                index = func in _WITH_INDICES and i and places[0] == AT
                scalar = not tensor.dim() and func not in _NO_SCALARS
                if not (scalar or index or func is aten.copy_.default):
                    shape = tuple(tensor.shape)
                    raise RuntimeError(f"{func}: {shape} is on the CPU, other tensors are not")
            masked = func in _WITH_INDICES and any(
                tensor.dtype == torch.bool for tensor in _tensors(args[1])
            )
            devices = {where for tensor, where in zip(inputs, places, strict=True) if tensor.dim()}
            if func in _WAITS or masked or len(devices) > 1:
                self.wait(func)
        input_storages = {id(storage) for storage in storages}
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            if id(_storage(tensor)) not in input_storages:
                put(tensor, AT if on_gpu else HOST if inputs else ANYWHERE)
        return out


class _Calls(TorchFunctionMode):
    """Replace functions that read, set or move the device of a tensor."""

    def __init__(self, waits):
        super().__init__()
        self.wait = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensor = args[0] if args and isinstance(args[0], T) else None
        if func == T.device.__get__:
            return HOST if place(tensor) == ANYWHERE else place(tensor)
        if func in (T.numpy, T.__array__) and place(tensor) == AT:
            raise TypeError("a tensor on a GPU cannot be converted to an array")
        if func is T.tolist and place(tensor) == AT:
            self.wait(func)
        if func is T.backward:
            with self:
                kwargs["grad_tensors"] = kwargs.pop("gradient", None)
                return torch.autograd.backward(tensor, **kwargs)
        if func is T.__deepcopy__ and type(tensor) is T and place(tensor) == AT:
            return args[1].setdefault(id(tensor), put(tensor.detach().clone(), AT))
        if func in (T.to, T.cpu):
            options = [*args[1:], *kwargs.values()]
            where = next((device(o) for o in options if isinstance(o, (str, torch.device))), None)
            like = next((o for o in options if isinstance(o, T)), None)
            dtype = next((o for o in options if isinstance(o, torch.dtype)), tensor.dtype)
            if like is not None:
                where, dtype = place(like), like.dtype
            where = HOST if func is T.cpu else where or place(tensor)
            if where == place(tensor):
                return tensor if dtype == tensor.dtype else func(tensor, dtype)
            self.wait(func)
            return _Move.apply(tensor, where, dtype)
        where = device(kwargs["device"]) if kwargs.get("device") is not None else None
        home = place(tensor) if func is torch._standard_gamma else where or HOST
        if kwargs.get("generator") is not None and kwargs["generator"].device != home:
            raise RuntimeError(f"{func}: the generator is on {kwargs['generator'].device}")
        if where is not None and where != ANYWHERE:
            kwargs["device"] = "cpu"
        out = func(*args, **kwargs)
        if func in (torch.as_tensor, torch.tensor) and where == AT and tensor is None:
            out = out.clone()  # a copy to the GPU does not share memory with an array
            self.wait(func)
        if func is T.new_tensor and place(tensor) == AT:
            self.wait(func)
            return put(out, AT)
        if where is not None or func in _FACTORIES:
            for result in _tensors(out):
                if where is not None or place(result) == ANYWHERE:
                    put(result, where or HOST)
        return out


class Pretended:
    """A context in which ``device="auto"`` is the simulated GPU."""

    def __init__(self, monkeypatch):
        self.patch, self.waits = monkeypatch.setattr, []

    def wait(self, func):
        frame = sys._getframe(1)
        while frame and "/skmissvae/" not in frame.f_code.co_filename:
            frame = frame.f_back
        at = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "elsewhere"
        self.waits.append((str(func), at))

    def __enter__(self):
        cuda, states = torch.cuda, Generator()
        for name, stand_in in {
            "is_available": lambda: True,
            "current_device": lambda: 0,
            "_lazy_init": lambda: None,
            "get_rng_state": lambda device: states.get_state(),
            "set_rng_state": lambda state, device: states.set_state(state),
            "manual_seed": states.manual_seed,
            "device": lambda device: _Nothing(),
            "mem_get_info": lambda device: (2**34, 2**34),
        }.items():
            self.patch(cuda, name, stand_in)
        autocast = torch.autocast
        self.patch(torch, "autocast", lambda kind, **options: autocast("cpu", **options))
        self.patch(torch, "Generator", Generator)
        optimizer = torch.optim.Optimizer
        self.patch(optimizer, "_group_tensors_by_device_and_dtype", staticmethod(_grouped))
        self.modes = [_Operations(self.wait), _Calls(self.wait)]
        for mode in self.modes:
            mode.__enter__()
        return self

    def __exit__(self, *error):
        for mode in reversed(self.modes):
            mode.__exit__(*error)


class _Nothing:
    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass


def _grouped(lists, with_indices=False):
    groups = {}
    for i, first in enumerate(lists[0]):
        group = groups.setdefault((place(first), first.dtype), [[] for _ in lists])
        for members, values in zip(group, lists, strict=True):
            members += values[i : i + 1]
    return {key: (group, []) for key, group in groups.items()}
