"""A GPU that is pretended: numbers are computed on the CPU, but tensors know where they would be.

Where a tensor is stands on its storage, so that views, ``.data`` and in-place changes follow. What
a GPU would refuse is an error here: tensors of both places in one operation, but for scalars and
indices, ``numpy()`` of a tensor that is there, and a generator of the other place. (In gradients
of one's own operations only the first is seen.)
``Pretended.waits`` has a line for each time that the host would wait for the device.
"""

import sys

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

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
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, T)]


def place(tensor):
    """Return where a tensor would be."""
    return getattr(_storage(tensor), "place", HOST)


def put(tensor, where):
    """Note where a tensor would be."""
    _storage(tensor).place = where
    return tensor


def device(given):
    """Return a device with its index."""
    given = torch.device(given)
    return AT if given.type == "cuda" else given


class Generator(_Generator):
    """A generator that belongs to a place."""

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
    """Keeps places apart, and hands them on."""

    def __init__(self, waits):
        super().__init__()
        self.wait = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        there = any(place(one) == AT for one in given)
        if there:
            for one in given:
                if place(one) == ANYWHERE:
                    put(one, AT)
            for i, one in enumerate(given):
                index = func in _WITH_INDICES and i and place(given[0]) == AT
                scalar = not one.dim() and func not in _NO_SCALARS
                if place(one) != AT and not (scalar or index or func is aten.copy_.default):
                    raise RuntimeError(f"{func}: {tuple(one.shape)} is on the CPU, others are not")
            masked = func in _WITH_INDICES and any(
                one.dtype == torch.bool for one in _tensors(args[1])
            )
            if func in _WAITS or masked or len({place(one) for one in given if one.dim()}) > 1:
                self.wait(func)
        known = {id(_storage(one)) for one in given}
        out = func(*args, **kwargs)
        for one in _tensors(out):
            if id(_storage(one)) not in known:
                put(one, AT if there else HOST if given else ANYWHERE)
        return out


class _Calls(TorchFunctionMode):
    """Answers what is asked of places."""

    def __init__(self, waits):
        super().__init__()
        self.wait = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        one = args[0] if args and isinstance(args[0], T) else None
        if func == T.device.__get__:
            return HOST if place(one) == ANYWHERE else place(one)
        if func in (T.numpy, T.__array__) and place(one) == AT:
            raise TypeError("a tensor that is on a GPU has no array")
        if func is T.tolist and place(one) == AT:
            self.wait(func)
        if func is T.backward:
            with self:
                kwargs["grad_tensors"] = kwargs.pop("gradient", None)
                return torch.autograd.backward(one, **kwargs)
        if func is T.__deepcopy__ and type(one) is T and place(one) == AT:
            return args[1].setdefault(id(one), put(one.detach().clone(), AT))
        if func in (T.to, T.cpu):
            said = [*args[1:], *kwargs.values()]
            where = next((device(s) for s in said if isinstance(s, (str, torch.device))), None)
            like = next((s for s in said if isinstance(s, T)), None)
            dtype = next((s for s in said if isinstance(s, torch.dtype)), one.dtype)
            if like is not None:
                where, dtype = place(like), like.dtype
            where = HOST if func is T.cpu else where or place(one)
            if where == place(one):
                return one if dtype == one.dtype else func(one, dtype)
            self.wait(func)
            return _Move.apply(one, where, dtype)
        where = device(kwargs["device"]) if kwargs.get("device") is not None else None
        home = place(one) if func is torch._standard_gamma else where or HOST
        if kwargs.get("generator") is not None and kwargs["generator"].device != home:
            raise RuntimeError(f"{func}: the generator is on {kwargs['generator'].device}")
        if where is not None and where != ANYWHERE:
            kwargs["device"] = "cpu"
        out = func(*args, **kwargs)
        if func in (torch.as_tensor, torch.tensor) and where == AT and one is None:
            out = out.clone()  # not the numbers of an array
            self.wait(func)
        if func is T.new_tensor and place(one) == AT:
            self.wait(func)
            return put(out, AT)
        if where is not None or func in _FACTORIES:
            for made in _tensors(out):
                if where is not None or place(made) == ANYWHERE:
                    put(made, where or HOST)
        return out


class Pretended:
    """A context in which ``device="auto"`` takes a GPU that is pretended."""

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
        made = groups.setdefault((place(first), first.dtype), [[] for _ in lists])
        for into, values in zip(made, lists, strict=True):
            into += values[i : i + 1]
    return {key: (made, []) for key, made in groups.items()}
